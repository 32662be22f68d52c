//! What a workload's port accepts, from whom.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::identity::Identity;
use crate::meta::Meta;
use crate::route::{GrpcMatch, HeaderModifier, HostMatch, HttpMatch, Redirect};

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
    Detect { timeout: Duration, http: Arc<[HttpRoute]> },
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
    TlsAuthenticated { identities: Vec<Arc<str>>, suffixes: Vec<Arc<str>> },
}

/// A CIDR block less its exceptions.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    pub net: Cidr,
    pub except: Vec<Cidr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub address: IpAddr,
    pub prefix: u8,
}

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
    Fail { status: u16, message: Arc<str>, numerator: u32, denominator: u32 },
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
