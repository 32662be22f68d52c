//! Beginning a connection: TCP from the workload's own address, TLS for exactly one name where one is expected, and the
//! transport header in front of everything else. Never plaintext where an identity is expected.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use codec::transport_header::{self, Session};
use control::handover::Alpn;
use control::identity::Trust;
use rules::endpoint::ServerTls;
use telemetry::{Author, Edge, Reason};

use crate::app::Reach;
use crate::balance::Lease;
use crate::conn::{Conn, ConnId, Phase};
use crate::drive::Driver;
use crate::engine::{Engine, Waiter};
use crate::failure::Cause;
use crate::socket::Socket;
use crate::tls;

/// A peer sidecar that vanished without a word is noticed by the kernel, after this long.
const VANISHED: (Option<Duration>, Option<Duration>) = (Some(Duration::from_secs(10)), Some(Duration::from_secs(30)));
/// TCP and TLS together.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// A connection under way, not yet part of the loop.
pub struct Dialled {
    pub conn: Conn,
    /// For TCP alone.
    pub timeout: Duration,
    pub lease: Option<Lease>,
    pub author: Author,
    pub edge: Option<Arc<Edge>>,
}

/// TCP, or a Unix socket, and nothing on top.
pub fn plain(socket: Socket, timeout: Duration, author: Author) -> Dialled {
    let conn = Conn::new(socket, Phase::Connecting, Driver::Linger);
    Dialled { conn, timeout, lease: None, author, edge: None }
}

impl Engine {
    /// Begins to connect to an endpoint. `session`: what a transport header, if one is wanted, says of the bytes.
    pub fn dial_endpoint(
        &mut self,
        dial: SocketAddr,
        tls: Option<&ServerTls>,
        port: Option<u16>,
        session: Option<Session>,
    ) -> Result<Dialled, Cause> {
        // A workload may well call its own service, by mesh TLS; in the clear it would come back as a stranger's call.
        if tls.is_none() && self.listeners.is_own(dial) {
            return Err(Cause::new(Reason::Loop, "the endpoint is this sidecar"));
        }
        let secure = tls.map(|tls| self.client_tls(tls, port)).transpose()?;
        let socket = Socket::connect(dial, self.options.source).map_err(|error| Cause::of(&error))?;
        let side = &self.options.outbound_side;
        let (idle, unacknowledged) = if tls.is_some() { VANISHED } else { (None, None) };
        socket.keepalive(side.connect_keepalive.or(idle), side.connect_user_timeout.or(unacknowledged));
        let mut conn = Conn::new(socket, Phase::Connecting, Driver::Linger);
        let author = if secure.is_some() { Author::Outbound } else { Author::Application };
        if let Some((tls, trust)) = secure {
            conn.secure(tls, trust);
            if let Some(port) = port {
                let header = transport_header::Header { port, name: "", session };
                transport_header::write(conn.output.buffer(&mut self.pool), &header);
            }
        }
        Ok(Dialled { conn, timeout: side.connect_timeout, lease: None, author, edge: None })
    }

    fn client_tls(&self, tls: &ServerTls, port: Option<u16>) -> Result<(Box<dyn crate::tls::Tls>, Arc<Trust>), Cause> {
        let Some(credentials) = &self.credentials else {
            return Err(Cause::new(Reason::Tls, "no valid certificate of our own"));
        };
        let alpn = if port.is_some() { Alpn::TransportHeader } else { Alpn::None };
        let config = credentials.client.expecting(&tls.identity, alpn);
        let session = tls::client(config, &tls.server_name).map_err(|error| Cause::new(Reason::Tls, error))?;
        Ok((session, credentials.trust.clone()))
    }

    /// Begins to connect to a port of the host's loopback.
    pub fn dial_host(&mut self, address: SocketAddr) -> Result<Dialled, Cause> {
        let socket = Socket::connect(address, None).map_err(|error| Cause::of(&error))?;
        Ok(plain(socket, self.options.outbound_side.connect_timeout, Author::Application))
    }

    /// Begins to connect to the application; `None` when the waiter must wait for a socket.
    pub fn dial_app(&mut self, local: SocketAddr, waiter: Waiter) -> Result<Option<Dialled>, Cause> {
        match self.reach_app(local, waiter)? {
            Reach::Wait => Ok(None),
            Reach::Connecting(socket) => {
                Ok(Some(plain(socket, self.options.inbound_side.connect_timeout, Author::Application)))
            }
        }
    }

    /// Adds a dialled connection to the loop under its driver.
    pub fn adopt_dialled(&mut self, dialled: Dialled, driver: Driver) -> Option<ConnId> {
        let id = self.adopt(Conn { driver, ..dialled.conn })?;
        self.set_deadline(id, dialled.timeout);
        Some(id)
    }

    /// TCP is connected; the handshake gets a time of its own.
    pub fn handshake_deadline(&mut self, id: ConnId) {
        self.set_deadline(id, HANDSHAKE);
    }
}
