//! HTTP/1 connections of both roles: the codec's reader on the way in, its writers on the way out, and one exchange
//! at a time. What an exchange is, and where it goes, is not known here.

mod writing;

use codec::h1::{Answer, Framing, Reader, State, write};
use codec::{Event, Request, Response, Version};
use telemetry::Reason;

use crate::conn::ConnId;
use crate::drive::Driver;
use crate::engine::{Engine, Task};
use crate::exchange::{Dir, ExchangeId, Piece};
use crate::failure::Cause;
use crate::side::Side;
use crate::upstream::UpstreamId;

/// A head must be whole this long after its first byte (security A-27).
const HEAD_TIME: std::time::Duration = std::time::Duration::from_secs(30);

/// A connection on which requests arrive.
pub struct Server {
    pub side: Side,
    reader: Reader,
    pub current: Option<ExchangeId>,
    /// How the response in progress is written.
    framing: Framing,
    version: Version,
    answer: Answer,
    /// The client keeps its connection open.
    persistent: bool,
    tunnel: bool,
    /// The answer says goodbye: drain, or an unread body.
    closing: bool,
}

/// A connection on which we ask.
pub struct Client {
    reader: Reader,
    pub upstream: UpstreamId,
    pub current: Option<ExchangeId>,
    framing: Framing,
    /// The server keeps its connection open.
    persistent: bool,
    tunnel: bool,
    /// It has carried an exchange before, so the server may have closed it meanwhile.
    pub reused: bool,
    /// It is not kept for another exchange.
    leaving: bool,
}

impl Server {
    /// The response in progress, or the next one, is the last.
    pub fn close_after_response(&mut self) {
        self.closing = true;
    }

    pub fn driver(side: Side) -> Driver {
        Driver::Http1Server(Box::new(Server {
            side,
            reader: Reader::requests(),
            current: None,
            framing: Framing::None,
            version: Version::Http11,
            answer: Answer::Other,
            persistent: true,
            tunnel: false,
            closing: false,
        }))
    }
}

impl Client {
    /// The exchange in progress is the last.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    pub fn driver(upstream: UpstreamId, exchange: ExchangeId) -> Driver {
        Driver::Http1Client(Box::new(Client {
            reader: Reader::responses(),
            upstream,
            current: Some(exchange),
            framing: Framing::None,
            persistent: true,
            tunnel: false,
            reused: false,
            leaving: false,
        }))
    }
}

/// Requests and their bodies, as far as they may go now.
pub fn server_data(engine: &mut Engine, id: ConnId, bytes: &[u8]) -> usize {
    let mut heads = std::mem::take(&mut engine.heads);
    let mut used = 0;
    while let Some(server) = server(engine, id) {
        let step = server.reader.next(&bytes[used..], &mut heads);
        let (count, event) = match step {
            Ok(step) => step,
            Err(error) => {
                bad_request(engine, id, error);
                used = bytes.len();
                break;
            }
        };
        used += count;
        let exchange = server.current;
        match event {
            None => {
                waiting(engine, id, bytes.len() - used);
                break;
            }
            Some(Event::Request { head, end, .. }) => begin(engine, id, &head, end),
            Some(Event::Data { bytes: data, end, .. }) => {
                let taken =
                    exchange.map_or(data.len(), |it| engine.forward(it, Dir::Request, Piece::Data(data, end), false));
                if taken < data.len() {
                    used -= data.len() - taken;
                    unread(engine, id, data.len() - taken);
                    break;
                }
            }
            Some(Event::Trailers { fields, .. }) => {
                if let Some(exchange) = exchange {
                    engine.forward(exchange, Dir::Request, Piece::Trailers(&fields), false);
                }
            }
            Some(_) => {}
        }
    }
    engine.heads = heads;
    used
}

fn begin(engine: &mut Engine, id: ConnId, head: &Request<'_>, end: bool) {
    let draining = engine.drain.started();
    let Some(server) = server(engine, id) else { return };
    server.version = head.version;
    server.answer = Answer::to(head);
    server.persistent = head.persistent;
    server.closing = draining;
    server.framing = Framing::None;
    let side = server.side.clone();
    engine.clear_deadline(id);
    engine.begin_exchange(side, id, codec::Stream::default(), head, end);
}

/// The reader can do no more with what there is. Bytes behind a finished request wait for its response; the beginning
/// of a head has a deadline.
fn waiting(engine: &mut Engine, id: ConnId, left: usize) {
    let Some(server) = server(engine, id) else { return };
    match server.reader.state() {
        State::Done if left > 0 => engine.pause(id),
        State::Head if left > 0 => engine.set_deadline_once(id, HEAD_TIME),
        _ => {}
    }
}

/// The other side took fewer bytes than there were: read on when it has room.
fn unread(engine: &mut Engine, id: ConnId, count: usize) {
    match engine.conns.get_mut(id).map(|conn| &mut conn.driver) {
        Some(Driver::Http1Server(server)) => server.reader.unread(count),
        Some(Driver::Http1Client(client)) => client.reader.unread(count),
        _ => return,
    }
    engine.pause(id);
}

/// What is no HTTP gets a short answer when nothing was promised yet, and the connection ends (security A-20).
fn bad_request(engine: &mut Engine, id: ConnId, error: codec::h1::Error) {
    let Some(server) = server(engine, id) else { return };
    let (current, author) = (server.current, server.side.author());
    if let Some(exchange) = current {
        let answered = engine.exchanges.get(exchange).is_none_or(|it| it.answered);
        engine.break_exchange(exchange, &Cause::new(Reason::BadRequest, error.text()));
        if answered {
            return engine.later(Task::Reset(id));
        }
    }
    let failure = Cause::new(Reason::BadRequest, error.text()).by(author).header();
    let informational = engine.options.informational_headers;
    let Some(conn) = engine.conns.get_mut(id) else { return };
    let out = conn.output.buffer(&mut engine.pool);
    let head = Response {
        status: error.status(),
        body: codec::Body::Length(0),
        version: Version::Http11,
        ..Response::default()
    };
    let extra: &[codec::Field<'_>] = if informational {
        &[(b"l5d-proxy-error", failure.as_bytes()), (b"content-length", b"0")]
    } else {
        &[(b"content-length", b"0")]
    };
    write::response(
        out,
        &head,
        extra,
        write::To { version: Version::Http11, answer: Answer::Other, persistent: false },
    );
    engine.linger(id);
}

/// The client sends nothing more. A request that is whole still gets its response.
pub fn server_end(engine: &mut Engine, id: ConnId) {
    let left = engine.conns.get(id).map_or(0, |conn| conn.input.len());
    let Some(server) = server(engine, id) else { return };
    let (state, exchange) = (server.reader.state(), server.current);
    match (state, exchange) {
        (State::Done, Some(_)) => server.persistent = false,
        (State::Raw, Some(exchange)) => {
            engine.forward(exchange, Dir::Request, Piece::Data(&[], true), false);
        }
        (_, Some(exchange)) => {
            // A request cut in the middle must not look whole to anybody.
            engine.break_exchange(exchange, &Cause::new(Reason::Cancelled, "request cut short"));
            engine.later(Task::Reset(id));
        }
        (_, None) if left > 0 => bad_request(engine, id, codec::h1::Error::Truncated),
        (_, None) => engine.close_when_written(id),
    }
}

pub fn server_deadline(engine: &mut Engine, id: ConnId) {
    let idle = server(engine, id).is_some_and(|server| server.current.is_none());
    if idle {
        engine.close(id);
    }
}

/// Responses and their bodies, as far as they may go now.
pub fn client_data(engine: &mut Engine, id: ConnId, bytes: &[u8]) -> usize {
    let mut heads = std::mem::take(&mut engine.heads);
    let mut used = 0;
    while let Some(client) = client(engine, id) {
        let Some(exchange) = client.current else {
            // The exchange is over; more bytes would be ones that nobody asked for.
            if used < bytes.len() {
                engine.later(Task::Fail(id, Cause::new(Reason::Protocol, "unexpected bytes")));
                used = bytes.len();
            }
            break;
        };
        let (count, event) = match client.reader.next(&bytes[used..], &mut heads) {
            Ok(step) => step,
            Err(error) => {
                engine.later(Task::Fail(id, Cause::new(Reason::Protocol, error.text())));
                used = bytes.len();
                break;
            }
        };
        used += count;
        match event {
            None => {
                let done = client.reader.state() == State::Done;
                if done && used < bytes.len() {
                    engine.pause(id);
                }
                break;
            }
            Some(event) => {
                if let Some(refused) = client_event(engine, id, exchange, event) {
                    used -= refused;
                    unread(engine, id, refused);
                    break;
                }
            }
        }
    }
    engine.heads = heads;
    used
}

/// Returns how many bytes were not taken, if any.
fn client_event(engine: &mut Engine, id: ConnId, exchange: ExchangeId, event: Event<'_>) -> Option<usize> {
    match event {
        Event::Informational { head, .. } => engine.inform(exchange, &head),
        Event::Response { head, end, .. } => {
            let tunnels = head.status == 101 || (engine.is_connect(exchange) && (200..300).contains(&head.status));
            if let Some(client) = client(engine, id) {
                client.persistent = head.persistent;
            }
            if tunnels {
                engine.open_tunnel(exchange, id);
            }
            engine.respond(exchange, &head, end);
        }
        Event::Data { bytes, end, .. } => {
            let taken = engine.forward(exchange, Dir::Response, Piece::Data(bytes, end), false);
            if taken < bytes.len() {
                return Some(bytes.len() - taken);
            }
        }
        Event::Trailers { fields, .. } => {
            engine.forward(exchange, Dir::Response, Piece::Trailers(&fields), false);
        }
        _ => {}
    }
    None
}

/// The server closed: perhaps that ends the response, perhaps it cuts it.
pub fn client_end(engine: &mut Engine, id: ConnId) {
    let left = engine.conns.get(id).map_or(0, |conn| conn.input.len());
    let Some(client) = client(engine, id) else { return };
    let Some(exchange) = client.current else { return engine.close(id) };
    match client.reader.finish(left) {
        Ok(Some(Event::Data { bytes, end, .. })) => {
            engine.forward(exchange, Dir::Response, Piece::Data(bytes, end), false);
        }
        Ok(_) | Err(_) => engine.fail(id, Cause::new(Reason::Closed, "closed before the response")),
    }
}

/// There is room in this connection's output: whoever fills it may go on.
pub fn writable(engine: &mut Engine, id: ConnId) {
    let (exchange, dir) = match engine.conns.get(id).map(|conn| &conn.driver) {
        Some(Driver::Http1Server(server)) => (server.current, Dir::Response),
        Some(Driver::Http1Client(client)) => (client.current, Dir::Request),
        _ => return,
    };
    if let Some(exchange) = exchange {
        engine.drain(exchange, dir);
    }
}

/// The response in progress will never be whole. Where only the end of the connection ends it, that end must be a reset.
pub fn cut_off(engine: &mut Engine, id: ConnId) {
    let until_close = server(engine, id).is_some_and(|server| server.framing == Framing::UntilClose || server.tunnel);
    if until_close {
        engine.flush(id);
        engine.reset(id);
    } else {
        engine.close_when_written(id);
    }
}

pub fn failed(engine: &mut Engine, id: ConnId, cause: &Cause) {
    match engine.conns.get_mut(id).map(|conn| &mut conn.driver) {
        Some(Driver::Http1Server(server)) => {
            if let Some(exchange) = server.current.take() {
                engine.break_exchange(exchange, cause);
            }
        }
        Some(Driver::Http1Client(client)) => {
            if let Some(exchange) = client.current.take() {
                engine.upstream_failed(exchange, id, cause);
            }
        }
        _ => {}
    }
}

fn server(engine: &mut Engine, id: ConnId) -> Option<&mut Server> {
    match &mut engine.conns.get_mut(id)?.driver {
        Driver::Http1Server(server) => Some(server),
        _ => None,
    }
}

fn client(engine: &mut Engine, id: ConnId) -> Option<&mut Client> {
    match &mut engine.conns.get_mut(id)?.driver {
        Driver::Http1Client(client) => Some(client),
        _ => None,
    }
}
