//! The only thing the two threads of a sidecar share: what traffic asks for, and the immutable answers it gets.
//!
//! Traffic → control: [`Ask`] through an unbounded tokio channel (a send never blocks; the number of open
//! watches is bounded by the traffic side's caches). Control → traffic: [`News`] through a std channel, then one
//! wake. Nothing crosses per request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use rules::endpoint::Endpoint;
use rules::identity::Identity;
use rules::inbound::ServerPolicy;
use rules::outbound::{OutboundPolicy, Unavailable};
pub use wire::names::Place;

use crate::identity::Trust;

/// A request from the traffic thread. A watch stays open until it is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Policy and profile of an original destination, merged into one answer.
    WatchOutbound(SocketAddr),
    ForgetOutbound(SocketAddr),
    /// Endpoints behind an authority (`web.default.svc.cluster.local:8080`).
    WatchEndpoints(Arc<str>),
    ForgetEndpoints(Arc<str>),
    /// Policy of one of our own workload's ports.
    WatchInbound(u16),
    ForgetInbound(u16),
    /// The first listeners are open: the launcher may be told that we are ready.
    Listening,
    /// Nothing that a peer asked of the workload is unanswered, as [`News::Quiet`] wanted.
    Quiet,
    /// The traffic thread has drained, or has given up waiting: the process may end.
    Drained,
}

/// A complete value for the traffic thread; the newest wins, nothing is a delta.
#[derive(Clone, Debug)]
pub enum News {
    /// The first, or a renewed, certificate, or the same one under newer trust. Listeners open with the first one.
    Credentials(Arc<Credentials>),
    /// The newest trust, under which we have no certificate: no new connections until there is one.
    Withdrawn(Arc<Trust>),
    Outbound(SocketAddr, Result<Arc<OutboundPolicy>, Unavailable>),
    /// `Ok` of an empty set means the service exists and has nobody ready;
    /// `Err` that discovery has not answered and nothing is remembered.
    Endpoints(Arc<str>, Result<Arc<[Endpoint]>, Unavailable>),
    /// `Err` only before the first answer; later failures keep the last good policy.
    Inbound(u16, Result<Arc<ServerPolicy>, Unavailable>),
    /// The endpoint was withdrawn: send [`Ask::Quiet`] once what peers have asked is answered. Everything stays open.
    Quiet,
    /// Stop accepting, finish what is open, then send [`Ask::Drained`].
    Drain,
}

/// TLS configurations made from one certificate and one trust bundle.
#[derive(Debug)]
pub struct Credentials {
    pub identity: Identity,
    /// Generation of the trust bundle these were made under (seams §2).
    pub generation: u64,
    /// Seconds since the Unix epoch.
    pub not_before: u64,
    /// Seconds since the Unix epoch; compared with wall time, never with a monotonic clock (seams §4).
    pub not_after: u64,
    /// Of our certificate: big-endian, without leading zeros.
    pub serial: Vec<u8>,
    /// SHA-256 of the anchor to which our certificate chains.
    pub anchor_sha256: [u8; 32],
    /// Whom these configurations believe.
    pub trust: Arc<Trust>,
    /// Verifies the server by chain and by the exact expected name; presents our certificate. Without ALPN.
    pub client: Arc<dyn ClientConfigs>,
    /// Terminates for our own name; requests a client certificate and verifies it when sent.
    pub server: Arc<rustls::ServerConfig>,
}

/// Client configurations of one generation, by what is expected of the server.
pub trait ClientConfigs: Send + Sync + std::fmt::Debug {
    /// A configuration whose verifier accepts exactly one SAN, equal byte for byte to `server`.
    fn expecting(&self, server: &Identity, alpn: Alpn) -> Arc<rustls::ClientConfig>;
}

/// What the client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alpn {
    None,
    /// `transport.l5d.io/v1`
    TransportHeader,
}

/// Names the DNS stub answers, and who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Fully qualified, lower case, without trailing dot → addresses.
    pub addresses: BTreeMap<Arc<str>, Vec<std::net::IpAddr>>,
    /// Names that exist under a zone we own but have no address answer NODATA; others NXDOMAIN.
    pub zones: Vec<Arc<str>>,
    /// Tried in order for names without a dot, and after the name as given.
    pub search: Vec<Arc<str>>,
    /// Names of named ports (`_http._tcp.web.…`, RFC 2782) → where they are.
    pub services: BTreeMap<Arc<str>, Vec<Place>>,
}
