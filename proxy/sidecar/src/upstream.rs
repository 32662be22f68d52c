//! Connections that we open: to endpoints, to the application, to the control plane behind a front.
//!
//! HTTP/2 connections are links: few per upstream, shared by many requests. HTTP/1 connections carry one exchange at a
//! time and are kept for a moment. Never plaintext where an identity is expected, never a link for another identity.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use codec::transport_header::Session;
use rules::endpoint::{Endpoint, ServerTls};
use telemetry::{Author, Reason};

use crate::arena::{Arena, Id};
use crate::conn::{ConnId, Phase};
use crate::dial::{Dialled, plain};
use crate::drive::Driver;
use crate::engine::{Engine, Task, Waiter};
use crate::exchange::ExchangeId;
use crate::failure::Cause;
use crate::http1;
use crate::http2::Http2;
use crate::quick::QuickMap;
use crate::socket::Socket;

/// Links to one upstream, and the streams on each that make another worth its while.
const LINKS: usize = 4;
/// A control plane is called with thousands of long streams.
const FRONT_LINKS: usize = 64;
const CROWDED: usize = 100;
/// An unused link is kept this long.
const LINK_IDLE: Duration = Duration::from_secs(90);

/// The protocol towards an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Speaks {
    Http1,
    Http2,
}

/// Equal keys mean that a connection may be shared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    Endpoint { dial: SocketAddr, tls: Option<ServerTls>, port: Option<u16>, speaks: Speaks },
    App { local: SocketAddr, speaks: Speaks },
    Front(PathBuf),
}

impl Key {
    pub fn endpoint(endpoint: &Endpoint, speaks: Speaks) -> Key {
        let port = endpoint.inbound_port.map(|_| endpoint.address.port());
        Key::Endpoint { dial: endpoint.dial(), tls: endpoint.tls.clone(), port, speaks }
    }

    fn speaks(&self) -> Speaks {
        match self {
            Key::Endpoint { speaks, .. } | Key::App { speaks, .. } => *speaks,
            Key::Front(_) => Speaks::Http2,
        }
    }

    /// The peer is a sidecar that proved its name.
    pub fn is_mesh(&self) -> bool {
        matches!(self, Key::Endpoint { tls: Some(_), .. })
    }

    /// Whom a connection that cannot be made is to be blamed on.
    pub fn author(&self) -> Author {
        match self {
            Key::Endpoint { tls: Some(_), .. } => Author::Outbound,
            Key::Endpoint { tls: None, .. } | Key::App { .. } => Author::Application,
            Key::Front(_) => Author::ControlPlane,
        }
    }
}

pub type UpstreamId = Id<Upstream>;

pub struct Upstream {
    pub key: Key,
    links: Vec<ConnId>,
    idle: Vec<ConnId>,
    /// Exchanges that wait for a link, or for room on one.
    waiting: VecDeque<ExchangeId>,
    /// Open or opening connections, in use or not.
    connections: u32,
}

#[derive(Default)]
pub struct Upstreams {
    all: Arena<Upstream>,
    by_key: QuickMap<Key, UpstreamId>,
}

/// How a request gets its connection.
pub enum Acquired {
    Now(ConnId),
    /// It is told when a connection is ready, or failed.
    Wait,
    /// Nothing to dial with yet: it is told to try again.
    Later,
}

impl Engine {
    fn upstream(&mut self, key: Key) -> UpstreamId {
        if let Some(id) = self.upstreams.by_key.get(&key) {
            return *id;
        }
        let upstream =
            Upstream { key: key.clone(), links: vec![], idle: vec![], waiting: VecDeque::new(), connections: 0 };
        let id = self.upstreams.all.insert(upstream);
        self.upstreams.by_key.insert(key, id);
        id
    }

    /// A connection for one exchange: an open one if there is room, else one that is on its way.
    pub fn acquire(&mut self, key: Key, exchange: ExchangeId) -> Result<(UpstreamId, Acquired), Cause> {
        let id = self.upstream(key);
        let acquired = match self.upstreams.all.get(id).map(|upstream| upstream.key.speaks()) {
            Some(Speaks::Http1) => self.acquire_connection(id, exchange),
            _ => self.acquire_link(id, exchange),
        };
        if acquired.is_err() {
            self.forget_if_unused(id);
        }
        Ok((id, acquired?))
    }

    fn acquire_connection(&mut self, id: UpstreamId, exchange: ExchangeId) -> Result<Acquired, Cause> {
        while let Some(conn) = self.upstreams.all.get_mut(id).and_then(|upstream| upstream.idle.pop()) {
            if self.conns.get(conn).is_some_and(|conn| !conn.flags.ended) {
                self.clear_deadline(conn);
                return Ok(Acquired::Now(conn));
            }
        }
        let Some(dialled) = self.dial_upstream(id, exchange)? else { return Ok(Acquired::Later) };
        let driver = http1::Client::driver(id, exchange);
        self.adopt_dialled(dialled, driver).ok_or(Cause::new(Reason::Resources, ""))?;
        if let Some(upstream) = self.upstreams.all.get_mut(id) {
            upstream.connections += 1;
        }
        Ok(Acquired::Wait)
    }

    fn acquire_link(&mut self, id: UpstreamId, exchange: ExchangeId) -> Result<Acquired, Cause> {
        let Some(upstream) = self.upstreams.all.get(id) else { return Ok(Acquired::Wait) };
        let limit = if matches!(upstream.key, Key::Front(_)) { FRONT_LINKS } else { LINKS };
        let mut connecting = false;
        let mut best: Option<(usize, ConnId)> = None;
        let links = upstream.links.len();
        for link in &upstream.links {
            let Some(conn) = self.conns.get(*link) else { continue };
            let Driver::Http2(http2) = &conn.driver else { continue };
            connecting |= conn.phase != Phase::Open;
            if conn.phase == Phase::Open && http2.codec.can_open().is_ok() {
                let streams = http2.codec.streams();
                if best.is_none_or(|(least, _)| streams < least) {
                    best = Some((streams, *link));
                }
            }
        }
        let crowded = best.is_none_or(|(streams, _)| streams >= CROWDED);
        if crowded && !connecting && links < limit {
            match self.open_link(id, exchange) {
                Ok(true) => {}
                Ok(false) if best.is_none() => return Ok(Acquired::Later),
                Err(cause) if best.is_none() && links == 0 => return Err(cause),
                Ok(false) | Err(_) => {}
            }
        }
        if let Some((_, link)) = best {
            return Ok(Acquired::Now(link));
        }
        if let Some(upstream) = self.upstreams.all.get_mut(id) {
            upstream.waiting.push_back(exchange);
        }
        Ok(Acquired::Wait)
    }

    /// False when the exchange must come again, once there is a socket to dial with.
    fn open_link(&mut self, id: UpstreamId, exchange: ExchangeId) -> Result<bool, Cause> {
        let Some(dialled) = self.dial_upstream(id, exchange)? else { return Ok(false) };
        let mesh = self.upstreams.all.get(id).is_some_and(|upstream| upstream.key.is_mesh());
        let driver = Http2::client(id, mesh);
        let link = self.adopt_dialled(dialled, driver).ok_or(Cause::new(Reason::Resources, ""))?;
        self.share(link);
        if let Some(upstream) = self.upstreams.all.get_mut(id) {
            upstream.links.push(link);
            upstream.connections += 1;
        }
        Ok(true)
    }

    fn dial_upstream(&mut self, id: UpstreamId, exchange: ExchangeId) -> Result<Option<Dialled>, Cause> {
        let Some(upstream) = self.upstreams.all.get(id) else { return Err(Cause::new(Reason::Other, "")) };
        match upstream.key.clone() {
            Key::Endpoint { dial, tls, port, speaks } => {
                let session = if speaks == Speaks::Http1 { Session::Http1 } else { Session::Http2 };
                self.dial_endpoint(dial, tls.as_ref(), port, Some(session)).map(Some)
            }
            Key::App { local, .. } => self.dial_app(local, Waiter::Exchange(exchange)),
            Key::Front(path) => {
                let socket = Socket::connect_unix(&path).map_err(|error| Cause::of(&error))?;
                Ok(Some(plain(socket, self.options.inbound_side.connect_timeout, Author::ControlPlane)))
            }
        }
    }

    /// A dialled HTTP connection is open: whoever waited for it begins.
    pub fn upstream_ready(&mut self, id: ConnId) {
        match self.conns.get(id).map(|conn| &conn.driver) {
            Some(Driver::Http1Client(client)) => {
                if let Some(exchange) = client.current {
                    self.start(exchange, id);
                }
            }
            Some(Driver::Http2(_)) => self.stream_room(id),
            _ => {}
        }
    }

    /// A link has room: exchanges that wait may begin. A link that nobody uses is given a time.
    pub fn stream_room(&mut self, id: ConnId) {
        loop {
            let Some(conn) = self.conns.get(id) else { return };
            let Driver::Http2(http2) = &conn.driver else { return };
            let Some(upstream) = http2.upstream() else { return };
            let free = http2.codec.can_open().is_ok() && !http2.is_leaving();
            let unused = http2.codec.streams() == 0;
            let next =
                if free { self.upstreams.all.get_mut(upstream).and_then(|up| up.waiting.pop_front()) } else { None };
            match next {
                Some(exchange) => self.start(exchange, id),
                None if unused && http2.is_leaving() => return self.close_when_written(id),
                None if unused => return self.set_deadline(id, LINK_IDLE),
                None => return,
            }
        }
    }

    /// A kept connection has not been used for too long.
    pub fn upstream_idle(&mut self, id: ConnId) {
        match self.conns.get(id).map(|conn| &conn.driver) {
            Some(Driver::Http2(http2)) if http2.codec.streams() > 0 => {}
            Some(Driver::Http1Client(client)) if client.current.is_some() => {}
            _ => self.close_when_written(id),
        }
    }

    /// An HTTP/1 connection is free again.
    pub fn give_back(&mut self, id: ConnId, upstream: UpstreamId) {
        let side = &self.options.outbound_side;
        let (limit, timeout) = (side.idle_connections, side.idle_timeout);
        match self.upstreams.all.get_mut(upstream) {
            Some(held) if held.idle.len() < limit => {
                held.idle.push(id);
                self.set_deadline(id, timeout);
            }
            _ => self.close_when_written(id),
        }
    }

    /// The connection is closed. Exchanges that waited for it try again, or fail with why it could not be made.
    pub fn upstream_gone(&mut self, id: ConnId, upstream: UpstreamId) {
        let Some(held) = self.upstreams.all.get_mut(upstream) else { return };
        held.links.retain(|link| *link != id);
        held.idle.retain(|conn| *conn != id);
        held.connections = held.connections.saturating_sub(1);
        if held.links.is_empty() {
            for exchange in std::mem::take(&mut held.waiting) {
                self.try_again(exchange);
            }
        }
        self.forget_if_unused(upstream);
    }

    /// A link could not be made: whoever waits for one hears why, unless another link is there to wait for.
    pub fn link_failed(&mut self, id: ConnId, upstream: UpstreamId, cause: &Cause) {
        let Some(held) = self.upstreams.all.get_mut(upstream) else { return };
        held.links.retain(|link| *link != id);
        if !held.links.is_empty() {
            return;
        }
        for exchange in std::mem::take(&mut held.waiting) {
            self.attempt_failed(exchange, cause);
        }
    }

    /// The link takes no new streams: it was made under an old certificate, or the peer says goodbye.
    pub fn retire_link(&mut self, id: ConnId, upstream: UpstreamId) {
        let Some(held) = self.upstreams.all.get_mut(upstream) else { return };
        held.links.retain(|link| *link != id);
        let waiting = std::mem::take(&mut held.waiting);
        for exchange in waiting {
            self.try_again(exchange);
        }
        self.later(Task::Room(id));
    }

    /// New credentials: links made under the old ones finish what they carry.
    pub fn retire_links(&mut self) {
        let links: Vec<(ConnId, UpstreamId)> = self
            .conns
            .ids()
            .filter_map(|id| match &self.conns.get(id)?.driver {
                Driver::Http2(http2) if http2.is_mesh_client() => Some((id, http2.upstream()?)),
                _ => None,
            })
            .collect();
        for (id, upstream) in links {
            if let Some(Driver::Http2(http2)) = self.conns.get_mut(id).map(|conn| &mut conn.driver) {
                http2.leave();
            }
            self.retire_link(id, upstream);
        }
    }

    fn forget_if_unused(&mut self, id: UpstreamId) {
        let Some(upstream) = self.upstreams.all.get(id) else { return };
        if upstream.connections == 0 && upstream.waiting.is_empty() {
            if let Some(upstream) = self.upstreams.all.remove(id) {
                self.upstreams.by_key.remove(&upstream.key);
            }
        }
    }

    pub fn upstream_key(&self, id: UpstreamId) -> Option<&Key> {
        self.upstreams.all.get(id).map(|upstream| &upstream.key)
    }

    /// The exchange no longer waits.
    pub fn stop_waiting(&mut self, id: UpstreamId, exchange: ExchangeId) {
        if let Some(upstream) = self.upstreams.all.get_mut(id) {
            upstream.waiting.retain(|waiting| *waiting != exchange);
        }
    }
}
