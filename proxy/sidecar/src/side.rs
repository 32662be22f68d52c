//! On whose behalf an accepted connection is served: what its bytes may ask for, and under which policy.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use rules::endpoint::Endpoint;
use rules::identity::Identity;
use rules::inbound::{Client, ClientTls};
use rules::meta::Meta;
use telemetry::{Author, Edge, Tls};

use crate::engine::Engine;
use crate::outbound::DestId;

/// Holding one keeps its policy watched; [`Engine::side_closed`] ends that.
#[derive(Clone)]
pub enum Side {
    /// The workload calls somebody.
    Outbound(Rc<Caller>),
    /// Somebody calls the workload.
    Inbound(Rc<Called>),
    /// Somebody calls the control plane that this sidecar stands in front of.
    Front(Rc<Visitor>),
}

/// Who calls the control plane.
pub struct Visitor {
    /// The verified name, if one was shown.
    pub identity: Option<Identity>,
    /// Where the connection comes from, as the control plane is told it.
    pub address: String,
    /// Of its certificate, in lower-case hexadecimal digits.
    pub serial: Option<String>,
}

/// The outbound side of one connection.
pub struct Caller {
    pub destination: DestId,
    pub address: SocketAddr,
    /// A port of the host's loopback that was opened on purpose: no policy, no mesh.
    pub host_port: bool,
    edges: RefCell<Vec<ServiceEdge>>,
}

/// Edges remembered per connection.
const EDGES: usize = 16;

struct ServiceEdge {
    route: Arc<Meta>,
    address: SocketAddr,
    labels: Arc<std::collections::BTreeMap<String, String>>,
    protocol: telemetry::Protocol,
    edge: Arc<Edge>,
}

impl Caller {
    pub fn new(destination: DestId, address: SocketAddr, host_port: bool) -> Caller {
        Caller { destination, address, host_port, edges: RefCell::default() }
    }

    pub fn known_edge(
        &self,
        route: &Arc<Meta>,
        endpoint: &Endpoint,
        protocol: telemetry::Protocol,
    ) -> Option<Arc<Edge>> {
        let edges = self.edges.borrow();
        let found = edges.iter().find(|known| {
            Arc::ptr_eq(&known.route, route)
                && known.address == endpoint.address
                && Arc::ptr_eq(&known.labels, &endpoint.labels)
                && known.protocol == protocol
        });
        found.map(|known| known.edge.clone())
    }

    pub fn remember_edge(
        &self,
        route: &Arc<Meta>,
        endpoint: &Endpoint,
        protocol: telemetry::Protocol,
        edge: Arc<Edge>,
    ) {
        let mut edges = self.edges.borrow_mut();
        if edges.len() >= EDGES {
            edges.remove(0);
        }
        let (route, labels) = (route.clone(), endpoint.labels.clone());
        edges.push(ServiceEdge { route, address: endpoint.address, labels, protocol, edge });
    }
}

/// The inbound side of one connection.
pub struct Called {
    pub client: Client,
    pub peer: SocketAddr,
    /// Where the connection was going, with the application's port.
    pub local: SocketAddr,
    /// The last edge counted on; the same as long as the same rules decide.
    pub edge: RefCell<Option<CountedEdge>>,
}

/// An edge and what it stands for.
pub struct CountedEdge {
    pub server: Arc<Meta>,
    pub route: Option<Arc<Meta>>,
    pub authorization: Option<Arc<Meta>>,
    pub protocol: telemetry::Protocol,
    pub edge: Arc<Edge>,
}

impl Side {
    /// Whom our own refusals and failures on this side are to be blamed on.
    pub fn author(&self) -> Author {
        match self {
            Side::Outbound(_) => Author::Outbound,
            Side::Inbound(_) | Side::Front(_) => Author::Inbound,
        }
    }

    /// The other end proved who it is, so its `l5d-` fields are another sidecar's.
    pub fn peer_is_mesh(&self) -> bool {
        matches!(self, Side::Inbound(called) if matches!(called.client.tls, ClientTls::Mesh(Some(_))))
    }

    /// What the application may be told of its caller.
    pub fn client_id(&self) -> Option<&Identity> {
        match self {
            Side::Inbound(called) => match &called.client.tls {
                ClientTls::Mesh(identity) => identity.as_ref(),
                ClientTls::Plaintext | ClientTls::Passthrough => None,
            },
            Side::Front(visitor) => visitor.identity.as_ref(),
            Side::Outbound(_) => None,
        }
    }

    /// What the control plane is told of where its caller is.
    pub fn client_address(&self) -> Option<&str> {
        match self {
            Side::Front(visitor) => Some(&visitor.address),
            Side::Outbound(_) | Side::Inbound(_) => None,
        }
    }
}

impl Side {
    /// What the control plane is told of its caller's certificate.
    pub fn client_serial(&self) -> Option<&str> {
        match self {
            Side::Front(visitor) => visitor.serial.as_deref(),
            Side::Outbound(_) | Side::Inbound(_) => None,
        }
    }
}

impl Called {
    pub fn tls_label(&self) -> Tls {
        match self.client.tls {
            ClientTls::Mesh(_) => Tls::Mesh,
            ClientTls::Passthrough => Tls::Passthrough,
            ClientTls::Plaintext => Tls::Plain,
        }
    }
}

impl Engine {
    /// The connection that was served for `side` is gone.
    pub fn side_closed(&mut self, side: &Side) {
        match side {
            Side::Outbound(caller) if !caller.host_port => self.release_destination(caller.destination),
            Side::Inbound(called) => self.release_port(called.local.port()),
            Side::Outbound(_) | Side::Front(_) => {}
        }
    }
}
