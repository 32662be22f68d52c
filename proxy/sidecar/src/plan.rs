//! What becomes of a request: decided from the policy and the head, before anything is sent. The decisions themselves
//! are `rules`'; here they are asked for, and their edits to the head applied.

use std::net::SocketAddr;
use std::sync::Arc;

use codec::{Body, Fields, Known, Request, Response, Version, translate};
use rules::endpoint::{Endpoint, Hint};
use rules::inbound::{self, authorize_request};
use rules::meta::Meta;
use rules::outbound::{Backend, Filter, Protocol, Retry, Route, Timeouts, Unavailable};
use rules::path::Path;
use rules::route::{self, GrpcMatch, Headers, HttpMatch, Match, PathMatch, Redirect, RedirectPath};
use telemetry::{Author, Direction, Edge, EdgeKey, Reason};

use crate::engine::Engine;
use crate::exchange::{Exchange, ExchangeId};
use crate::failure::Failure;
use crate::outbound::Answer as Policy;
use crate::side::{Called, Caller, Side};
use crate::upstream::Speaks;

/// Where a request goes.
pub enum Plan {
    /// Nowhere: it is answered here.
    None,
    Service(Service),
    /// The workload's own application.
    App(SocketAddr),
    /// The control plane behind a front.
    Front,
}

/// A request of the workload's, routed.
#[derive(Clone)]
pub struct Service {
    pub backend: Arc<Backend>,
    pub parent: Arc<Meta>,
    pub route: Arc<Meta>,
    /// The route's filters and the backend's, for the response.
    pub filters: [Arc<[Filter]>; 2],
    pub authority: Option<Arc<str>>,
    pub retry: Option<Arc<Retry>>,
}

impl Plan {
    /// What replaces the authority.
    pub fn authority(&self) -> Option<Arc<str>> {
        match self {
            Plan::Service(service) => service.authority.clone(),
            _ => None,
        }
    }
}

/// What is said instead of forwarding.
pub enum Answer {
    Failure(Failure),
    Redirect { status: u16, location: String },
    Injected { status: u16, grpc: Option<u8>, message: Arc<str> },
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        Answer::Failure(failure)
    }
}

/// Fields to add to a head, pointing into the policy that wants them.
type Extra<'p> = Vec<(&'p [u8], &'p [u8])>;

/// Decides, and stores the head as it will be sent.
pub fn make(engine: &mut Engine, id: ExchangeId, side: &Side, head: &mut Request<'_>) -> Result<(), Answer> {
    match side {
        Side::Outbound(caller) => outbound_plan(engine, id, caller, head),
        Side::Inbound(called) => inbound_plan(engine, id, called, head),
        Side::Front(_) => {
            store(engine, id, head, &vec![], Plan::Front, Timeouts::default());
            Ok(())
        }
    }
}

fn store(engine: &mut Engine, id: ExchangeId, head: &Request<'_>, extra: &Extra<'_>, plan: Plan, timeouts: Timeouts) {
    let Some(exchange) = engine.exchanges.get_mut(id) else { return };
    exchange.head.store(head, extra);
    exchange.plan = plan;
    if timeouts != Timeouts::default() {
        engine.limit_exchange(id, timeouts);
    }
}

fn inbound_plan(engine: &mut Engine, id: ExchangeId, called: &Called, head: &mut Request<'_>) -> Result<(), Answer> {
    let policy = match engine.inbound_policy(called.local.port()) {
        Policy::Known(policy) => policy,
        Policy::Waiting | Policy::Unavailable(Unavailable::NoAnswer) => return Err(no_policy()),
        Policy::Unavailable(Unavailable::Invalid(why)) => return Err(invalid_policy(&why)),
    };
    let protocol = protocol_of(engine.exchange(id));
    let fields = head.fields;
    let decided = authorize_request(&policy, &called.client, &request(head, &FieldList(&fields)));
    let admitted = match decided {
        Ok(admitted) => admitted,
        Err(refusal) => {
            let cause = crate::inbound::cause_of(&refusal);
            let route = match &refusal {
                inbound::Refusal::Unauthorized { route, .. } => route.as_ref(),
                _ => None,
            };
            engine.inbound_edge(called, protocol, &policy.meta, route, None).denied(cause.reason);
            called.log(Err(&cause));
            return Err(cause.by(Author::Inbound).into());
        }
    };
    let permit = &admitted.permit;
    called.log(Ok(permit));
    let edge = engine.inbound_edge(called, protocol, permit.server(), permit.route(), Some(permit.authorization()));
    if let Some(exchange) = engine.exchanges.get_mut(id) {
        exchange.edge = Some(edge);
    }
    let rng = engine.random();
    let mut extra = Extra::new();
    for filter in admitted.filters {
        match filter {
            inbound::Filter::RequestHeaders(edits) => edit_request(head, edits, &mut extra),
            inbound::Filter::Redirect(redirect) => return Err(redirect_to(redirect, head, admitted.path)),
            inbound::Filter::Fail { status, message, numerator, denominator } => {
                fail(*status, None, message, (*numerator, *denominator), rng)?;
            }
            inbound::Filter::FailGrpc { code, message, numerator, denominator } => {
                fail(200, Some(*code), message, (*numerator, *denominator), rng)?;
            }
        }
    }
    store(engine, id, head, &extra, Plan::App(called.local), Timeouts::default());
    Ok(())
}

fn outbound_plan(engine: &mut Engine, id: ExchangeId, caller: &Caller, head: &mut Request<'_>) -> Result<(), Answer> {
    let policy = match engine.outbound_policy(caller.destination) {
        Policy::Known(policy) => policy,
        Policy::Waiting | Policy::Unavailable(Unavailable::NoAnswer) => return Err(no_policy()),
        Policy::Unavailable(Unavailable::Invalid(why)) => return Err(invalid_policy(&why)),
    };
    let prefix = |matched: &HttpMatch| matched.path.clone();
    let parent = &policy.meta;
    match (&policy.protocol, head.version) {
        (Protocol::Detect { http2, .. }, Version::Http2) => routed(engine, id, parent, &http2.routes, head, prefix),
        (Protocol::Detect { http1, .. }, _) => routed(engine, id, parent, &http1.routes, head, prefix),
        (Protocol::Http1(http) | Protocol::Http2(http), _) => routed(engine, id, parent, &http.routes, head, prefix),
        (Protocol::Grpc(grpc), _) => routed(engine, id, parent, &grpc.routes, head, |_: &GrpcMatch| None),
        // It was HTTP when the connection was opened; a new connection will be what it is now.
        (Protocol::Opaque(_) | Protocol::Tls(_), _) => {
            Err(Failure::new(Author::Outbound, Reason::NoRoute, "the port is opaque now").into())
        }
    }
}

fn routed<M: Match>(
    engine: &mut Engine,
    id: ExchangeId,
    parent: &Arc<Meta>,
    routes: &[Route<M>],
    head: &mut Request<'_>,
    prefix: impl Fn(&M) -> Option<PathMatch>,
) -> Result<(), Answer> {
    let fields = head.fields;
    let list = FieldList(&fields);
    let Some(found) = route::find(routes, &request(head, &list)) else {
        return Err(
            Failure::new(Author::Outbound, Reason::NoRoute, format!("no route of {} matches", parent.name())).into()
        );
    };
    let rule = found.rule;
    let matched = found.matched.and_then(prefix);
    let rng = engine.random();
    let Some(chosen) = rule.backends.pick(rng, |backend| engine.is_available(backend)) else {
        return Err(Failure::new(Author::Outbound, Reason::NoRoute, "the route has no backend").into());
    };
    let mut extra = Extra::new();
    for filter in rule.filters.iter().chain(chosen.filters.iter()) {
        match filter {
            Filter::RequestHeaders(edits) => edit_request(head, edits, &mut extra),
            Filter::ResponseHeaders(_) => {}
            Filter::Redirect(redirect) => return Err(redirect_to(redirect, head, matched.as_ref())),
            Filter::Fail { status, message, numerator, denominator } => {
                fail(*status, None, message, (*numerator, *denominator), engine.random())?;
            }
            Filter::FailGrpc { code, message, numerator, denominator } => {
                fail(200, Some(*code), message, (*numerator, *denominator), engine.random())?;
            }
        }
    }
    let service = Service {
        backend: chosen.backend.clone(),
        parent: parent.clone(),
        route: found.route.meta.clone(),
        filters: [rule.filters.clone(), chosen.filters.clone()],
        authority: None,
        retry: rule.retry.clone().filter(|_| !is_tunnel(head)),
    };
    store(engine, id, head, &extra, Plan::Service(service), rule.timeouts);
    if let Some(retry) = &rule.retry
        && let Some(exchange) = engine.exchanges.get_mut(id)
        && fits(head.body, retry.body_limit())
    {
        exchange.requesting.keep(retry.body_limit());
    }
    Ok(())
}

fn is_tunnel(head: &Request<'_>) -> bool {
    !head.upgrade.is_empty() || head.method == b"CONNECT"
}

/// A body that is known to be too long need not be kept at all.
fn fits(body: Body, limit: u64) -> bool {
    match body {
        Body::Length(length) => length <= limit,
        _ => true,
    }
}

fn no_policy() -> Answer {
    Failure::new(Author::ControlPlane, Reason::NoPolicy, "the control plane has not answered").into()
}

fn invalid_policy(why: &str) -> Answer {
    Failure::new(Author::ControlPlane, Reason::InvalidPolicy, why.to_owned()).into()
}

/// The head as the rules see it: the same bytes that are forwarded.
fn request<'a>(head: &Request<'a>, headers: &'a dyn Headers) -> route::Request<'a> {
    route::Request {
        method: head.method,
        host: head.host(),
        path: Path::parse(head.path),
        grpc: head.is_grpc(),
        headers,
    }
}

struct FieldList<'a>(&'a Fields<'a>);

impl Headers for FieldList<'_> {
    fn values(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        self.0.get_all(name.as_bytes()).for_each(each);
    }
}

fn edit_request<'p>(head: &mut Request<'_>, edits: &'p route::HeaderModifier, extra: &mut Extra<'p>) {
    edit(&mut head.fields, edits, extra);
}

/// Add, then set, then remove (Gateway API).
fn edit<'p>(fields: &mut Fields<'_>, edits: &'p route::HeaderModifier, extra: &mut Extra<'p>) {
    extra.extend(edits.add.iter().map(|(name, value)| (name.as_bytes(), &**value)));
    for (name, value) in &edits.set {
        fields.remove(name.as_bytes());
        extra.retain(|(other, _)| !other.eq_ignore_ascii_case(name.as_bytes()));
        extra.push((name.as_bytes(), value));
    }
    for name in &edits.remove {
        fields.remove(name.as_bytes());
        extra.retain(|(other, _)| !other.eq_ignore_ascii_case(name.as_bytes()));
    }
}

/// The edits of a route's response filters.
pub fn edit_response<'p>(head: &mut Response<'_>, filters: &'p [Arc<[Filter]>; 2], extra: &mut Extra<'p>) {
    for filter in filters.iter().flat_map(|filters| filters.iter()) {
        if let Filter::ResponseHeaders(edits) = filter {
            edit(&mut head.fields, edits, extra);
        }
    }
}

fn fail(status: u16, grpc: Option<u8>, message: &Arc<str>, share: (u32, u32), rng: u64) -> Result<(), Answer> {
    let (numerator, denominator) = share;
    let hit = denominator == 0 || rng % u64::from(denominator) < u64::from(numerator);
    if hit { Err(Answer::Injected { status, grpc, message: message.clone() }) } else { Ok(()) }
}

fn redirect_to(redirect: &Redirect, head: &Request<'_>, matched: Option<&PathMatch>) -> Answer {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let scheme = redirect.scheme.as_deref().map_or_else(|| text(head.scheme), str::to_owned);
    let host = redirect.host.as_deref().map_or_else(|| text(head.host()), str::to_owned);
    let port = redirect.port.or(if redirect.scheme.is_none() { head.port() } else { None });
    let path = match (&redirect.path, matched) {
        (None, _) => text(head.path),
        (Some(RedirectPath::Full(path)), _) => path.to_string(),
        (Some(RedirectPath::ReplacePrefix(to)), Some(PathMatch::Prefix(from))) => {
            let rest = head.path.strip_prefix(from.trim_end_matches('/').as_bytes()).unwrap_or(head.path);
            let (to, rest) = (to.trim_end_matches('/'), text(rest));
            if rest.is_empty() && to.is_empty() { "/".to_owned() } else { format!("{to}{rest}") }
        }
        (Some(RedirectPath::ReplacePrefix(to)), _) => to.to_string(),
    };
    let default = matches!((scheme.as_str(), port), ("http", Some(80)) | ("https", Some(443)));
    let location = match port.filter(|_| !default) {
        Some(port) => format!("{scheme}://{host}:{port}{path}"),
        None => format!("{scheme}://{host}{path}"),
    };
    Answer::Redirect { status: redirect.status, location }
}

/// HTTP/1 travels as HTTP/2 to a sidecar that understands it, unless it is to become a tunnel (reference §2.6).
pub fn towards_endpoint(endpoint: &Endpoint, http2: bool, tunnel: bool) -> Speaks {
    let upgraded = endpoint.tls.is_some() && endpoint.hint == Hint::H2 && !tunnel;
    if http2 || upgraded { Speaks::Http2 } else { Speaks::Http1 }
}

/// The application hears what its caller spoke.
pub fn towards_app(http2: bool) -> Speaks {
    if http2 { Speaks::Http2 } else { Speaks::Http1 }
}

/// What a peer sidecar said beside the response itself.
#[derive(Default)]
pub struct Said {
    pub failure: Option<Failure>,
    /// The connection of the application should end.
    pub close: bool,
}

/// Takes what only sidecars may say out of a response; from anybody else it is dropped unheard (security A-35).
pub fn hear(head: &mut Response<'_>, exchange: &Exchange) -> Said {
    let mut said = Said::default();
    if exchange.mesh {
        said.failure = head.fields.get(b"l5d-proxy-error").map(|error| {
            Failure::parse(error).unwrap_or_else(|| {
                Failure::new(Author::Inbound, Reason::Other, String::from_utf8_lossy(error).into_owned())
            })
        });
        said.close = head.fields.get(b"l5d-proxy-connection").is_some_and(|value| value == b"close");
        translate::restore_response(head);
    }
    head.fields.remove_known(Known::Mesh);
    said
}

/// The number in `grpc-status`.
pub fn grpc_status(fields: &Fields<'_>) -> Option<u8> {
    std::str::from_utf8(fields.get(b"grpc-status")?).ok()?.parse().ok()
}

fn protocol_of(exchange: Option<&Exchange>) -> telemetry::Protocol {
    match exchange {
        Some(exchange) if exchange.grpc => telemetry::Protocol::Grpc,
        Some(exchange) if exchange.version == Version::Http2 => telemetry::Protocol::Http2,
        _ => telemetry::Protocol::Http1,
    }
}

impl Engine {
    /// The counters of a routed request to one endpoint, remembered with the connection it came on.
    pub fn service_edge(&mut self, id: ExchangeId, service: &Service, endpoint: &Endpoint) -> Option<Arc<Edge>> {
        let exchange = self.exchanges.get(id)?;
        let Side::Outbound(caller) = &exchange.side else { return None };
        let caller = caller.clone();
        let protocol = protocol_of(Some(exchange));
        if let Some(edge) = caller.known_edge(&service.route, endpoint, protocol) {
            return Some(edge);
        }
        let tls = if endpoint.tls.is_some() { telemetry::Tls::Mesh } else { telemetry::Tls::Plain };
        let dst = crate::outbound::dst(&service.backend.meta, endpoint.address);
        let edge = self.metrics.edge(EdgeKey {
            peer: endpoint.tls.as_ref().map(|tls| tls.identity.clone()),
            target: Some(endpoint.address),
            server: Some(service.parent.clone()),
            route: Some(service.route.clone()),
            labels: endpoint.labels.clone(),
            ..EdgeKey::new(Direction::Outbound, protocol, tls, dst)
        });
        caller.remember_edge(&service.route, endpoint, protocol, edge.clone());
        Some(edge)
    }

    /// The counters of a request that reached nobody.
    pub fn failure_edge(&mut self, id: ExchangeId) -> Option<Arc<Edge>> {
        let exchange = self.exchanges.get(id)?;
        let Side::Outbound(caller) = &exchange.side else { return None };
        let (dst, server, route) = match &exchange.plan {
            Plan::Service(service) => (
                crate::outbound::dst(&service.backend.meta, caller.address),
                Some(service.parent.clone()),
                Some(service.route.clone()),
            ),
            _ => (telemetry::Dst::Address(caller.address), None, None),
        };
        let protocol = protocol_of(Some(exchange));
        let key = EdgeKey::new(Direction::Outbound, protocol, telemetry::Tls::Plain, dst);
        Some(self.metrics.edge(EdgeKey { server, route, ..key }))
    }
}
