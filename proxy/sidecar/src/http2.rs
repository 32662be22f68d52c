//! HTTP/2 connections of both roles: links between sidecars, and what applications speak. Each stream belongs to one
//! exchange, found by the token that its stream carries.

use codec::h2::{Config, Connection, Reason as H2Reason, Refused};
use codec::{Event, Field, Request, Response, Stream};
use telemetry::Reason;

use crate::conn::ConnId;
use crate::drive::Driver;
use crate::engine::{Engine, Task};
use crate::exchange::{Dir, ExchangeId, Piece};
use crate::failure::Cause;
use crate::side::Side;
use crate::upstream::UpstreamId;

pub struct Http2 {
    pub codec: Connection,
    role: Role,
    /// Takes no new streams.
    leaving: bool,
    /// When spent credits of the codec's limits were last given back, in nanoseconds.
    calmed: u64,
}

/// How often that happens while anything does.
const CALM: u64 = 1_000_000_000;

enum Role {
    Server(Side),
    /// `mesh`: the peer is a sidecar that proved its name.
    Client {
        upstream: UpstreamId,
        mesh: bool,
    },
}

impl Http2 {
    /// `mesh`: many applications share the link, so its limits are wide. A front serves thousands of long streams to
    /// each sidecar; who shows it no certificate can only ask for one.
    pub fn server(side: Side, mesh: bool) -> Driver {
        let wide = mesh || matches!(&side, Side::Front(visitor) if visitor.identity.is_some());
        let config = match &side {
            _ if wide => Config::mesh_server(),
            // Our own application may cancel and ping much: the sidecar is nobody else's. Those it calls are, so not without end.
            Side::Outbound(_) => {
                Config { rapid_resets: 1_000, early_resets: 20_000, idle_frames: 20_000, ..Config::server() }
            }
            Side::Inbound(_) | Side::Front(_) => Config::server(),
        };
        Http2::driver(config, Role::Server(side))
    }

    pub fn client(upstream: UpstreamId, mesh: bool) -> Driver {
        let config = if mesh { Config::mesh_client() } else { application() };
        Http2::driver(config, Role::Client { upstream, mesh })
    }

    fn driver(config: Config, role: Role) -> Driver {
        Driver::Http2(Box::new(Http2 { codec: Connection::new(config), role, leaving: false, calmed: 0 }))
    }

    pub fn upstream(&self) -> Option<UpstreamId> {
        match &self.role {
            Role::Client { upstream, .. } => Some(*upstream),
            Role::Server(_) => None,
        }
    }

    pub fn is_mesh_client(&self) -> bool {
        matches!(self.role, Role::Client { mesh: true, .. })
    }

    pub fn is_server(&self) -> bool {
        matches!(self.role, Role::Server(_))
    }

    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    pub fn leave(&mut self) {
        self.leaving = true;
    }
}

/// Towards an application or a control plane of our own: whoever floods there harms nobody else, and gRPC servers send
/// a ping and a window update for every message.
fn application() -> Config {
    Config { max_streams: 10_000, idle_frames: 1_000_000, ..Config::client() }
}

/// Frames. Whole ones are used; the rest waits for more.
pub fn data(engine: &mut Engine, id: ConnId, bytes: &[u8]) -> usize {
    let mut heads = std::mem::take(&mut engine.heads);
    let mut used = 0;
    loop {
        lend_output(engine, id);
        let Some(http2) = get(engine, id) else { break };
        let (count, event) = match http2.codec.next(&bytes[used..], &mut heads) {
            Ok(step) => step,
            Err(error) => {
                broken(engine, id, &error);
                used = bytes.len();
                break;
            }
        };
        used += count;
        let Some(event) = event else { break };
        handle(engine, id, event);
    }
    engine.heads = heads;
    let now = engine.now;
    if let Some(http2) = get(engine, id)
        && now.saturating_sub(http2.calmed) >= CALM
    {
        http2.calmed = now;
        http2.codec.calm();
    }
    engine.touch(id);
    writable(engine, id);
    finish_leaving(engine, id);
    used
}

fn handle(engine: &mut Engine, id: ConnId, event: Event<'_>) {
    match event {
        Event::Request { stream, head, end } => {
            let Some(Http2 { role: Role::Server(side), .. }) = get(engine, id) else { return };
            let side = side.clone();
            engine.begin_exchange(side, id, stream, &head, end);
        }
        Event::Response { stream, head, end } => {
            if let Some(exchange) = engine.exchange_of(stream) {
                engine.respond(exchange, &head, end);
            }
        }
        Event::Informational { stream, head } => {
            if let Some(exchange) = engine.exchange_of(stream) {
                engine.inform(exchange, &head);
            }
        }
        Event::Data { stream, bytes, end } => forward(engine, id, stream, Piece::Data(bytes, end)),
        Event::Trailers { stream, fields } => forward(engine, id, stream, Piece::Trailers(&fields)),
        Event::Reset { stream, reason, .. } => {
            if let Some(exchange) = engine.exchange_of(stream) {
                engine.stream_reset(exchange, id, reason);
            }
            engine.later(Task::Room(id));
        }
        Event::GoAway { .. } => {
            let Some(http2) = get(engine, id) else { return };
            http2.leave();
            if let Some(upstream) = http2.upstream() {
                engine.retire_link(id, upstream);
            }
        }
        Event::Settings => engine.later(Task::Room(id)),
        Event::Pong { .. } => {}
    }
}

/// What the exchange's other side took at once gives its credit back at once; the rest when it leaves.
fn forward(engine: &mut Engine, id: ConnId, stream: Stream, piece: Piece<'_>) {
    let dir = if get(engine, id).is_some_and(|http2| http2.is_server()) { Dir::Request } else { Dir::Response };
    let sent = match engine.exchange_of(stream) {
        Some(exchange) => engine.forward(exchange, dir, piece, true),
        None => piece.len(),
    };
    if sent > 0
        && let Some(http2) = get(engine, id)
    {
        http2.codec.release(stream.id, sent);
    }
}

fn broken(engine: &mut Engine, id: ConnId, error: &codec::h2::ConnectionError) {
    let cause = Cause::new(Reason::Protocol, error.to_string());
    failed(engine, id, &cause);
    // The GOAWAY that says why still leaves.
    engine.close_when_written(id);
}

/// Streams that were refused room have some now.
pub fn writable(engine: &mut Engine, id: ConnId) {
    lend_output(engine, id);
    while let Some(http2) = get(engine, id) {
        let dir = if http2.is_server() { Dir::Response } else { Dir::Request };
        let Some(stream) = http2.codec.next_writable() else { return };
        if let Some(exchange) = engine.exchange_of(stream) {
            engine.drain(exchange, dir);
        }
    }
}

/// Every stream of a broken connection ends.
pub fn failed(engine: &mut Engine, id: ConnId, cause: &Cause) {
    let opening = engine.conns.get(id).is_some_and(|conn| conn.phase != crate::conn::Phase::Open);
    let Some(http2) = get(engine, id) else { return };
    let server = http2.is_server();
    let upstream = http2.upstream();
    let streams: Vec<Stream> = http2.codec.open_streams().collect();
    for stream in streams {
        let Some(exchange) = engine.exchange_of(stream) else { continue };
        if server { engine.break_exchange(exchange, cause) } else { engine.upstream_failed(exchange, id, cause) }
    }
    if let (Some(upstream), true) = (upstream, opening) {
        engine.link_failed(id, upstream, cause);
    }
}

pub fn gone(engine: &mut Engine, id: ConnId, http2: Http2) {
    match http2.role {
        Role::Server(side) => engine.side_closed(&side),
        Role::Client { upstream, .. } => engine.upstream_gone(id, upstream),
    }
}

fn finish_leaving(engine: &mut Engine, id: ConnId) {
    if get(engine, id).is_some_and(|http2| http2.leaving && http2.codec.streams() == 0) {
        engine.close_when_written(id);
    }
}

/// The codec appends to its own buffer; it is one of the pool's, and goes back with the flush.
fn lend_output(engine: &mut Engine, id: ConnId) {
    let Some(conn) = engine.conns.get_mut(id) else { return };
    if let Driver::Http2(http2) = &mut conn.driver
        && http2.codec.out.capacity() == 0
    {
        http2.codec.out = engine.pool.lend();
    }
}

fn get(engine: &mut Engine, id: ConnId) -> Option<&mut Http2> {
    match &mut engine.conns.get_mut(id)?.driver {
        Driver::Http2(http2) => Some(http2),
        _ => None,
    }
}

/// The writing half, called by exchanges.
impl Engine {
    /// Opens a stream for the exchange.
    pub fn h2_request(
        &mut self,
        id: ConnId,
        exchange: ExchangeId,
        head: &Request<'_>,
        extra: &[Field<'_>],
        end: bool,
    ) -> Result<u32, Refused> {
        lend_output(self, id);
        let Some(http2) = get(self, id) else { return Err(Refused::Leaving) };
        let stream = http2.codec.send_request(exchange.token(), head, extra, end)?;
        self.touch(id);
        Ok(stream)
    }

    pub fn h2_own(&mut self, id: ConnId, stream: u32, exchange: ExchangeId) {
        if let Some(http2) = get(self, id) {
            http2.codec.set_token(stream, exchange.token());
        }
    }

    pub fn h2_response(&mut self, id: ConnId, stream: u32, head: &Response<'_>, extra: &[Field<'_>], end: bool) {
        lend_output(self, id);
        if let Some(http2) = get(self, id) {
            http2.codec.send_response(stream, head, extra, end);
            self.touch(id);
        }
    }

    pub fn h2_piece(&mut self, id: ConnId, stream: u32, piece: Piece<'_>) -> usize {
        lend_output(self, id);
        let Some(http2) = get(self, id) else { return piece.len() };
        let taken = match piece {
            Piece::Data(bytes, end) => http2.codec.send_data(stream, bytes, end),
            Piece::Trailers(fields) => {
                http2.codec.send_trailers(stream, fields, &[]);
                0
            }
        };
        self.touch(id);
        taken
    }

    pub fn h2_reset(&mut self, id: ConnId, stream: u32, reason: H2Reason) {
        lend_output(self, id);
        if let Some(http2) = get(self, id) {
            http2.codec.reset(stream, reason);
            self.touch(id);
            self.later(Task::Room(id));
        }
    }

    /// The other side took parked bytes.
    pub fn h2_release(&mut self, id: ConnId, stream: u32, count: usize) {
        lend_output(self, id);
        if let Some(http2) = get(self, id) {
            http2.codec.release(stream, count);
            self.touch(id);
        }
    }

    /// Says goodbye on a serving connection.
    pub fn h2_goodbye(&mut self, id: ConnId) {
        lend_output(self, id);
        if let Some(http2) = get(self, id) {
            http2.codec.goaway(H2Reason::NO_ERROR);
            self.touch(id);
        }
    }
}
