//! What makes two conversations the same in metrics and reports.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use rules::identity::Identity;
use rules::meta::Meta;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    Inbound,
    Outbound,
}

impl Direction {
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        }
    }
}

/// What the bytes were read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Http1,
    Http2,
    Grpc,
    Tcp,
}

impl Protocol {
    /// The word used in reports and by `gossamer edges`.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Http1 => "http/1",
            Protocol::Http2 => "http/2",
            Protocol::Grpc => "grpc",
            Protocol::Tcp => "tcp",
        }
    }

    pub fn is_http(self) -> bool {
        self != Protocol::Tcp
    }
}

/// How the bytes between the two sidecars travelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tls {
    /// Mesh TLS; the peer's name, if it showed one, is in [`EdgeKey::peer`].
    Mesh,
    /// TLS of the application's own.
    Passthrough,
    Plain,
}

/// Where the traffic goes, as its sender addressed it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dst {
    Service {
        namespace: Arc<str>,
        service: Arc<str>,
        port: u16,
    },
    /// Not a Service: an endpoint or something outside the mesh. Inbound: the workload's own address and port.
    Address(SocketAddr),
    /// Everything past the registry's bound.
    Other,
}

impl Dst {
    pub fn port(&self) -> u16 {
        match self {
            Dst::Service { port, .. } => *port,
            Dst::Address(address) => address.port(),
            Dst::Other => 0,
        }
    }
}

static NO_LABELS: LazyLock<Arc<BTreeMap<String, String>>> = LazyLock::new(Arc::default);

/// The identity of an [`crate::Edge`]. Cheap to clone: everything in it is shared or small.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeKey {
    pub direction: Direction,
    pub protocol: Protocol,
    pub tls: Tls,
    /// The verified name of the other side: the client's when inbound, the server's when outbound.
    pub peer: Option<Identity>,
    pub dst: Dst,
    /// The socket address dialled (outbound) or accepted on (inbound); labels `target_addr`, `target_ip`, `target_port`.
    pub target: Option<SocketAddr>,
    /// Inbound: the Server that applied. Outbound: the policy's parent.
    pub server: Option<Arc<Meta>>,
    pub route: Option<Arc<Meta>>,
    /// Inbound: the authorization that admitted; `None` on an edge that counts refusals.
    pub authorization: Option<Arc<Meta>>,
    /// Labels that discovery gave the endpoint (`dst_pod`, `zone`, …); names that are not label names are left out.
    pub labels: Arc<BTreeMap<String, String>>,
}

impl EdgeKey {
    /// A key without what is not always known; fill in the rest by struct update.
    pub fn new(direction: Direction, protocol: Protocol, tls: Tls, dst: Dst) -> EdgeKey {
        EdgeKey {
            direction,
            protocol,
            tls,
            peer: None,
            dst,
            target: None,
            server: None,
            route: None,
            authorization: None,
            labels: NO_LABELS.clone(),
        }
    }
}
