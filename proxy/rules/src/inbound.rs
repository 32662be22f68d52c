//! What a workload's port accepts, from whom.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use crate::identity::Identity;
use crate::meta::Meta;
use crate::route::{self, Found, GrpcMatch, HeaderModifier, HostMatch, HttpMatch, PathMatch, Redirect, Request};

/// The policy of one port. `protocol` says how to read the bytes, `authorizations` who may send any.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerPolicy {
    pub meta: Arc<Meta>,
    pub protocol: Protocol,
    pub authorizations: Arc<[Authorization]>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Protocol {
    /// Read first, then decide; after `timeout` it is opaque.
    Detect {
        timeout: Duration,
        http: Arc<[HttpRoute]>,
    },
    Http1(Arc<[HttpRoute]>),
    Http2(Arc<[HttpRoute]>),
    Grpc(Arc<[GrpcRoute]>),
    Opaque,
    /// TLS begun by the application: forwarded, not terminated.
    Tls,
}

/// Lets through a client that is in `networks` and satisfies `authentication`. Several are ORed.
#[derive(Clone, Debug, PartialEq)]
pub struct Authorization {
    pub meta: Arc<Meta>,
    pub networks: Vec<Network>,
    pub authentication: Authentication,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Authentication {
    Unauthenticated,
    /// Mesh TLS, with or without a client certificate.
    TlsUnauthenticated,
    /// Mesh TLS with one of these names; a suffix is kept with its leading dot (`.ns.serviceaccount…`), and `""` admits any.
    TlsAuthenticated {
        identities: Vec<Arc<str>>,
        suffixes: Vec<Arc<str>>,
    },
}

/// A CIDR block less its exceptions.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    pub net: Cidr,
    pub except: Vec<Cidr>,
}

pub use crate::cidr::Cidr;

#[derive(Clone, Debug, PartialEq)]
pub struct HttpRoute {
    pub meta: Arc<Meta>,
    pub hosts: Vec<HostMatch>,
    pub authorizations: Arc<[Authorization]>,
    pub rules: Vec<Rule<HttpMatch>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct GrpcRoute {
    pub meta: Arc<Meta>,
    pub hosts: Vec<HostMatch>,
    pub authorizations: Arc<[Authorization]>,
    pub rules: Vec<Rule<GrpcMatch>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Rule<M> {
    pub matches: Vec<M>,
    pub filters: Vec<Filter>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    RequestHeaders(HeaderModifier),
    Redirect(Redirect),
    /// Answer instead of forwarding, for the given share of requests.
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

/// What is known of a client when a connection or request is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub address: IpAddr,
    pub tls: ClientTls,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientTls {
    Plaintext,
    /// Mesh TLS; `None` when no client certificate was sent.
    Mesh(Option<Identity>),
    /// TLS for another name: bytes are opaque to us.
    Passthrough,
}

/// Evidence that an authorization let this client through; only `authorize` makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Permit {
    pub(crate) server: Arc<Meta>,
    pub(crate) route: Option<Arc<Meta>>,
    pub(crate) authorization: Arc<Meta>,
    pub(crate) audit: bool,
}

/// Why a connection or request goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No authorization of the server (or of the route, when named) admits this client.
    Unauthorized { server: Arc<Meta>, route: Option<Arc<Meta>> },
    /// Routes exist and none matches.
    NoRoute { server: Arc<Meta> },
    /// The path is not in the form policy may be decided on (security §1.4).
    BadPath { server: Arc<Meta> },
}

impl Permit {
    pub fn server(&self) -> &Arc<Meta> {
        &self.server
    }

    pub fn route(&self) -> Option<&Arc<Meta>> {
        self.route.as_ref()
    }

    pub fn authorization(&self) -> &Arc<Meta> {
        &self.authorization
    }

    /// Nothing but audit mode let it through: log it, and let it pass.
    pub fn is_audit(&self) -> bool {
        self.audit
    }
}

/// What a request that was let through goes through.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted<'p> {
    pub permit: Permit,
    pub filters: &'p [Filter],
    /// The path that a redirect's prefix replaces.
    pub path: Option<&'p PathMatch>,
}

/// For what is forwarded as bytes (opaque, TLS passed through): decides before the first one is.
///
/// An HTTP connection is decided request by request ([`authorize_request`]); this must not be asked of it, as routes
/// may admit whom the server does not.
pub fn authorize_connection(policy: &ServerPolicy, client: &Client) -> Result<Permit, Refusal> {
    permit(policy, None, &[], client)
}

/// The route a request falls under, and whether its client may. A refusal names what refused.
///
/// Authorizations of the route and of the server are ORed (`inbound.proto`: a route *extends* the server's list).
pub fn authorize_request<'p>(
    policy: &'p ServerPolicy,
    client: &Client,
    request: &Request<'_>,
) -> Result<Admitted<'p>, Refusal> {
    match &policy.protocol {
        Protocol::Detect { http, .. } | Protocol::Http1(http) | Protocol::Http2(http) => {
            authorize_http(policy, http, client, request)
        }
        Protocol::Grpc(grpc) => authorize_grpc(policy, grpc, client, request),
        Protocol::Opaque | Protocol::Tls => {
            let permit = authorize_connection(policy, client)?;
            Ok(Admitted { permit, filters: &[], path: None })
        }
    }
}

fn authorize_http<'p>(
    policy: &'p ServerPolicy,
    routes: &'p [HttpRoute],
    client: &Client,
    request: &Request<'_>,
) -> Result<Admitted<'p>, Refusal> {
    if !is_acceptable(request) || (!request.path.is_canonical() && routes.iter().any(guards_paths)) {
        return Err(Refusal::BadPath { server: policy.meta.clone() });
    }
    if routes.is_empty() {
        let permit = permit(policy, None, &[], client)?;
        return Ok(Admitted { permit, filters: &[], path: None });
    }
    let Some(Found { route, rule, matched }) = route::find(routes, request) else {
        return Err(Refusal::NoRoute { server: policy.meta.clone() });
    };
    let permit = permit(policy, Some(&route.meta), &route.authorizations, client)?;
    Ok(Admitted { permit, filters: &rule.filters, path: matched.and_then(|matched| matched.path.as_ref()) })
}

fn authorize_grpc<'p>(
    policy: &'p ServerPolicy,
    routes: &'p [GrpcRoute],
    client: &Client,
    request: &Request<'_>,
) -> Result<Admitted<'p>, Refusal> {
    if request.path.grpc().is_none() {
        return Err(Refusal::BadPath { server: policy.meta.clone() });
    }
    if routes.is_empty() {
        let permit = permit(policy, None, &[], client)?;
        return Ok(Admitted { permit, filters: &[], path: None });
    }
    let Some(Found { route, rule, .. }) = route::find(routes, request) else {
        return Err(Refusal::NoRoute { server: policy.meta.clone() });
    };
    let permit = permit(policy, Some(&route.meta), &route.authorizations, client)?;
    Ok(Admitted { permit, filters: &rule.filters, path: None })
}

/// Security A-30: refused whatever the policy. `CONNECT` has no path, and gRPC only one form of it.
fn is_acceptable(request: &Request<'_>) -> bool {
    if request.grpc { request.path.grpc().is_some() } else { request.path.is_path() || request.method == b"CONNECT" }
}

/// Security A-31: where a rule tells paths apart, an ambiguous one is refused.
fn guards_paths(route: &HttpRoute) -> bool {
    let matches = route.rules.iter().flat_map(|rule| &rule.matches);
    matches.filter_map(|matching| matching.path.as_ref()).any(PathMatch::discriminates)
}

/// The first authorization that admits, an auditing one last, so that `audit` says what would have been refused.
fn permit(
    policy: &ServerPolicy,
    route: Option<&Arc<Meta>>,
    more: &[Authorization],
    client: &Client,
) -> Result<Permit, Refusal> {
    let mut audit = None;
    for authorization in more.iter().chain(&*policy.authorizations).filter(|candidate| candidate.admits(client)) {
        if !authorization.is_audit() {
            return Ok(granted(policy, route, authorization));
        }
        audit.get_or_insert(authorization);
    }
    match audit {
        Some(authorization) => Ok(granted(policy, route, authorization)),
        None => Err(Refusal::Unauthorized { server: policy.meta.clone(), route: route.cloned() }),
    }
}

fn granted(policy: &ServerPolicy, route: Option<&Arc<Meta>>, authorization: &Authorization) -> Permit {
    Permit {
        server: policy.meta.clone(),
        route: route.cloned(),
        authorization: authorization.meta.clone(),
        audit: authorization.is_audit(),
    }
}

impl Authorization {
    pub fn admits(&self, client: &Client) -> bool {
        self.authentication.admits(&client.tls) && self.networks.iter().any(|network| network.contains(client.address))
    }

    /// Lets through what would be refused, and says so (reference §1.4, seams §33).
    pub fn is_audit(&self) -> bool {
        matches!(&*self.meta, Meta::Default(name) if &**name == "audit")
    }
}

impl Authentication {
    fn admits(&self, tls: &ClientTls) -> bool {
        match (self, tls) {
            (Authentication::Unauthenticated, _) | (Authentication::TlsUnauthenticated, ClientTls::Mesh(_)) => true,
            (Authentication::TlsAuthenticated { identities, suffixes }, ClientTls::Mesh(Some(client))) => {
                identities.iter().any(|name| **name == *client.as_str())
                    || suffixes.iter().any(|suffix| is_under(client, suffix))
            }
            _ => false,
        }
    }
}

/// A suffix is of DNS-like names, which end in who vouches for them; the end of a URI is the workload's to choose.
fn is_under(client: &Identity, suffix: &str) -> bool {
    match client {
        _ if suffix.is_empty() => true,
        Identity::Dns(name) => name.len() > suffix.len() && suffix.starts_with('.') && name.ends_with(suffix),
        Identity::Uri(_) => false,
    }
}

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        self.net.contains(address) && !self.except.iter().any(|except| except.contains(address))
    }
}

/// The names of [`default_policy`], as in `LINKERD2_PROXY_INBOUND_DEFAULT_POLICY` (reference §1.4).
pub const DEFAULT_POLICIES: [&str; 6] =
    ["deny", "all-authenticated", "all-unauthenticated", "cluster-authenticated", "cluster-unauthenticated", "audit"];

/// The policy of a port that the control plane has nothing to say about; `None` for an unknown name.
///
/// `timeout` is that of detection; an `opaque` port is not detected.
pub fn default_policy(name: &str, cluster: &[Cidr], opaque: bool, timeout: Duration) -> Option<ServerPolicy> {
    let everywhere = || vec![Cidr::all(Ipv4Addr::UNSPECIFIED.into()), Cidr::all(Ipv6Addr::UNSPECIFIED.into())];
    let authenticated = || Authentication::TlsAuthenticated { identities: vec![], suffixes: vec!["".into()] };
    let (networks, authentication) = match name {
        "deny" => (vec![], Authentication::Unauthenticated),
        "all-authenticated" => (everywhere(), authenticated()),
        "all-unauthenticated" | "audit" => (everywhere(), Authentication::Unauthenticated),
        "cluster-authenticated" => (cluster.to_vec(), authenticated()),
        "cluster-unauthenticated" => (cluster.to_vec(), Authentication::Unauthenticated),
        _ => return None,
    };
    let meta = Arc::new(Meta::Default(name.into()));
    let networks: Vec<_> = networks.into_iter().map(|net| Network { net, except: vec![] }).collect();
    let authorization = Authorization { meta: meta.clone(), networks, authentication };
    let authorizations: Arc<[_]> = Some(authorization).filter(|it| !it.networks.is_empty()).into_iter().collect();
    let route = HttpRoute {
        meta: Arc::new(Meta::Default("default".into())),
        hosts: vec![],
        authorizations: Arc::new([]),
        rules: vec![Rule { matches: vec![], filters: vec![] }],
    };
    let protocol = if opaque { Protocol::Opaque } else { Protocol::Detect { timeout, http: [route].into() } };
    Some(ServerPolicy { meta, protocol, authorizations })
}

impl route::Route for HttpRoute {
    type Match = HttpMatch;
    type Rule = Rule<HttpMatch>;
    fn hosts(&self) -> &[HostMatch] {
        &self.hosts
    }
    fn rules(&self) -> &[Rule<HttpMatch>] {
        &self.rules
    }
    fn matches(rule: &Rule<HttpMatch>) -> &[HttpMatch] {
        &rule.matches
    }
}

impl route::Route for GrpcRoute {
    type Match = GrpcMatch;
    type Rule = Rule<GrpcMatch>;
    fn hosts(&self) -> &[HostMatch] {
        &self.hosts
    }
    fn rules(&self) -> &[Rule<GrpcMatch>] {
        &self.rules
    }
    fn matches(rule: &Rule<GrpcMatch>) -> &[GrpcMatch] {
        &rule.matches
    }
}
