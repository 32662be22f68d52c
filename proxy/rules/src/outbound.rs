//! Where traffic to one destination goes, and how.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::meta::Meta;
use crate::route::{self, GrpcMatch, HeaderModifier, HostMatch, HttpMatch, Match, Redirect};

/// Why there is no policy for a destination; each is an answer to the caller, never a detour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The control plane has not answered and nothing is remembered (seams §20).
    NoAnswer,
    /// It answered with something that cannot be understood, and nothing better is remembered.
    Invalid(Arc<str>),
}

/// The complete answer for one destination.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboundPolicy {
    pub meta: Arc<Meta>,
    pub protocol: Protocol,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Protocol {
    Detect { timeout: Duration, opaque: Arc<[OpaqueRoute]>, http1: HttpPolicy, http2: HttpPolicy },
    Http1(HttpPolicy),
    Http2(HttpPolicy),
    Grpc(GrpcPolicy),
    Opaque(Arc<[OpaqueRoute]>),
    Tls(Arc<[OpaqueRoute]>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct HttpPolicy {
    pub routes: Arc<[Route<HttpMatch>]>,
    pub accrual: Option<Accrual>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct GrpcPolicy {
    pub routes: Arc<[Route<GrpcMatch>]>,
    pub accrual: Option<Accrual>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Route<M> {
    pub meta: Arc<Meta>,
    pub hosts: Vec<HostMatch>,
    pub rules: Vec<Rule<M>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Rule<M> {
    pub matches: Vec<M>,
    pub filters: Arc<[Filter]>,
    pub backends: Distribution,
    pub timeouts: Timeouts,
    pub retry: Option<Arc<Retry>>,
}

/// For opaque TCP and for TLS begun by the application; `snis` is empty for opaque.
#[derive(Clone, Debug, PartialEq)]
pub struct OpaqueRoute {
    pub meta: Arc<Meta>,
    pub snis: Vec<HostMatch>,
    pub backends: Distribution,
    /// The route refuses: why.
    pub forbidden: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    RequestHeaders(HeaderModifier),
    ResponseHeaders(HeaderModifier),
    Redirect(Redirect),
    /// Answer instead of forwarding, for the given share of requests. On a backend for bytes: refuse the connection.
    Fail {
        status: u16,
        message: Arc<str>,
        numerator: u32,
        denominator: u32,
    },
    /// The same of a gRPC route: `code` is a gRPC status.
    FailGrpc {
        code: u8,
        message: Arc<str>,
        numerator: u32,
        denominator: u32,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    Empty,
    FirstAvailable(Arc<[RouteBackend]>),
    /// Weights, not shares.
    Random(Arc<[(u32, RouteBackend)]>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct RouteBackend {
    pub backend: Arc<Backend>,
    pub filters: Arc<[Filter]>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    pub meta: Arc<Meta>,
    pub target: Target,
    pub queue: Queue,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// One endpoint, known already.
    Forward(Endpoint),
    /// Found by `Destination.Get` on this authority (`web.default.svc.cluster.local:8080`).
    Balance { authority: Arc<str>, ewma: Ewma },
    /// Nobody: the policy names a backend that cannot be used. Its share of the traffic fails, as the Gateway API asks.
    Fail(Arc<str>),
}

/// Parameters of the peak-EWMA estimator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ewma {
    pub default_rtt: Duration,
    pub decay: Duration,
}

impl Default for Ewma {
    /// Linkerd's defaults (reference §3.2).
    fn default() -> Self {
        Ewma { default_rtt: Duration::from_millis(30), decay: Duration::from_secs(10) }
    }
}

/// How many requests may wait for an endpoint, and for how long before they fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    pub capacity: u32,
    pub failfast: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Queue { capacity: 100, failfast: Duration::from_secs(3) }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    pub request: Option<Duration>,
    pub response: Option<Duration>,
    pub idle: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    pub max_retries: u32,
    pub max_request_bytes: u32,
    pub status_ranges: Vec<(u16, u16)>,
    pub grpc_codes: Vec<u8>,
    pub timeout: Option<Duration>,
    pub backoff: Option<Backoff>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    pub min: Duration,
    pub max: Duration,
    /// Share of the delay that chance may add.
    pub jitter: f32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Accrual {
    Consecutive { max_failures: u32, backoff: Backoff },
    Unified { success_rate: f64, window: Duration, min_requests: u32, max_failures: u32, backoff: Backoff },
}

/// A policy that sends every byte and every request to `endpoint`: what is done with an address the
/// control plane does not know (seams §20), and with a single known endpoint.
pub fn forward(meta: Meta, endpoint: Endpoint, timeout: Duration) -> OutboundPolicy {
    let meta = Arc::new(meta);
    let backend = Arc::new(Backend { meta: meta.clone(), target: Target::Forward(endpoint), queue: Queue::default() });
    let backends =
        || Distribution::FirstAvailable([RouteBackend { backend: backend.clone(), filters: Arc::new([]) }].into());
    let http = HttpPolicy {
        routes: [Route {
            meta: meta.clone(),
            hosts: vec![],
            rules: vec![Rule {
                matches: vec![],
                filters: Arc::new([]),
                backends: backends(),
                timeouts: Timeouts::default(),
                retry: None,
            }],
        }]
        .into(),
        accrual: None,
    };
    OutboundPolicy {
        protocol: Protocol::Detect {
            timeout,
            opaque: [OpaqueRoute { meta: meta.clone(), snis: vec![], backends: backends(), forbidden: None }].into(),
            http1: http.clone(),
            http2: http,
        },
        meta,
    }
}

/// The endpoint for traffic forwarded as it was addressed: no identity is known, so no TLS of ours.
pub fn as_addressed(address: SocketAddr) -> Endpoint {
    Endpoint {
        address,
        weight: 10_000,
        tls: None,
        hint: Default::default(),
        inbound_port: None,
        authority_override: None,
        labels: Default::default(),
    }
}

impl<M: Match> route::Route for Route<M> {
    type Match = M;
    type Rule = Rule<M>;
    fn hosts(&self) -> &[HostMatch] {
        &self.hosts
    }
    fn rules(&self) -> &[Rule<M>] {
        &self.rules
    }
    fn matches(rule: &Rule<M>) -> &[M] {
        &rule.matches
    }
}

/// The route for bytes: the one with the closest SNI; without SNI, or for opaque TCP, the first that asks for none.
pub fn find_opaque<'r>(routes: &'r [OpaqueRoute], sni: Option<&str>) -> Option<&'r OpaqueRoute> {
    let mut best = None;
    for route in routes {
        let closeness = match sni {
            _ if route.snis.is_empty() => Some(None),
            Some(sni) => route.snis.iter().filter_map(|name| name.closeness(sni.as_bytes())).max().map(Some),
            None => None,
        };
        if let Some(closeness) = closeness
            && best.is_none_or(|(other, _)| closeness > other)
        {
            best = Some((closeness, route));
        }
    }
    best.map(|(_, route)| route)
}

impl Distribution {
    /// Which backend a request or connection goes to. Those for which `available` is false are passed over, unless it
    /// is false for all: then the choice is made as if it were true, so that the request waits there.
    pub fn pick(&self, rng: u64, available: impl Fn(&Backend) -> bool) -> Option<&RouteBackend> {
        match self {
            Distribution::Empty => None,
            Distribution::FirstAvailable(backends) => {
                backends.iter().find(|route| available(&route.backend)).or_else(|| backends.first())
            }
            Distribution::Random(backends) => {
                by_weight(backends, rng, &available).or_else(|| by_weight(backends, rng, &|_| true))
            }
        }
    }
}

fn by_weight<'d>(
    backends: &'d [(u32, RouteBackend)],
    rng: u64,
    available: &dyn Fn(&Backend) -> bool,
) -> Option<&'d RouteBackend> {
    let usable = || backends.iter().filter(|(weight, route)| *weight > 0 && available(&route.backend));
    let total: u64 = usable().map(|(weight, _)| u64::from(*weight)).sum();
    let mut left = crate::balance::below(rng, total)?;
    for (weight, route) in usable() {
        match left.checked_sub(u64::from(*weight)) {
            Some(rest) => left = rest,
            None => return Some(route),
        }
    }
    None
}
