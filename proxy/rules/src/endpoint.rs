//! One place a request can be sent to, as discovery describes it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::identity::Identity;

/// What the client must see in the server's certificate, and the SNI it sends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerTls {
    pub identity: Identity,
    pub server_name: Arc<str>,
}

/// Which protocol the endpoint's sidecar understands beyond the application's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Hint {
    #[default]
    Unknown,
    /// HTTP/1 may travel as HTTP/2 (`l5d-orig-proto`).
    H2,
    Opaque,
}

/// Equal values mean the same connections may be shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address and port of the application as the service knows it.
    pub address: SocketAddr,
    /// 10,000 is the neutral weight.
    pub weight: u32,
    /// `Some` obliges: never plaintext, never another name.
    pub tls: Option<ServerTls>,
    pub hint: Hint,
    /// The port at which the peer's sidecar wants a transport header (seams §14).
    pub inbound_port: Option<u16>,
    /// Replaces `:authority` / `Host`.
    pub authority_override: Option<Arc<str>>,
    /// Metric labels (`pod`, `zone`, …).
    pub labels: Arc<BTreeMap<String, String>>,
}

/// What tells endpoints of one destination apart: workloads that share a machine's address differ in the inbound port.
pub type Place = (SocketAddr, Option<u16>);

impl Endpoint {
    pub fn place(&self) -> Place {
        (self.address, self.inbound_port)
    }

    /// Where the TCP connection goes: the peer's inbound port if it has one, else the application's own.
    pub fn dial(&self) -> SocketAddr {
        match self.inbound_port {
            Some(port) => SocketAddr::new(self.address.ip(), port),
            None => self.address,
        }
    }
}
