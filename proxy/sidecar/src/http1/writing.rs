//! The writing half of HTTP/1 connections: heads, pieces of bodies, and what becomes of a connection after an exchange.

use codec::h1::{Answer, Framing, State, write};
use codec::{Field, Request, Response, Version};

use super::{client, server};
use crate::conn::ConnId;
use crate::drive::Driver;
use crate::engine::{Engine, Task};
use crate::exchange::{ExchangeId, Piece};

impl Engine {
    /// Writes a request head; `last`: the exchange will not reuse the connection.
    pub fn h1_request(&mut self, id: ConnId, exchange: ExchangeId, head: &Request<'_>, extra: &[Field<'_>]) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Driver::Http1Client(client) = &mut conn.driver else { return };
        let tunnel = !head.upgrade.is_empty() || head.method == b"CONNECT";
        client.current = Some(exchange);
        client.reader.answer(Answer::to(head));
        let persistent = !tunnel && head.version != Version::Http10;
        client.framing = write::request(conn.output.buffer(&mut self.pool), head, extra, persistent || tunnel);
        self.touch(id);
    }

    /// Writes a response head. `close`: the peer sidecar asks that the client's connection end.
    pub fn h1_response(&mut self, id: ConnId, head: &Response<'_>, extra: &[Field<'_>], close: bool) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Driver::Http1Server(server) = &mut conn.driver else { return };
        server.closing |= close;
        let persistent = server.persistent && !server.closing;
        let to = write::To { version: server.version, answer: server.answer, persistent };
        let framing = write::response(conn.output.buffer(&mut self.pool), head, extra, to);
        if !head.is_informational() {
            server.framing = if server.tunnel { Framing::Plain } else { framing };
        }
        self.touch(id);
    }

    /// Writes as much of a body as there is room for, and its end when all of it went.
    pub fn h1_piece(&mut self, id: ConnId, piece: Piece<'_>) -> usize {
        let Some(conn) = self.conns.get_mut(id) else { return piece.len() };
        let room = conn.room();
        let (framing, tunnel) = match &conn.driver {
            Driver::Http1Server(server) => (server.framing, server.tunnel),
            Driver::Http1Client(client) => (client.framing, client.tunnel),
            _ => return piece.len(),
        };
        let out = conn.output.buffer(&mut self.pool);
        let taken = match piece {
            Piece::Data(bytes, end) => {
                let taken = room.min(bytes.len());
                write::data(out, framing, &bytes[..taken]);
                if end && taken == bytes.len() {
                    write::end(out, framing, None);
                }
                conn.flags.starved |= taken < bytes.len();
                taken
            }
            Piece::Trailers(fields) => {
                write::end(out, framing, Some(fields));
                0
            }
        };
        let ended = matches!(piece, Piece::Data(bytes, true) if taken == bytes.len());
        self.touch(id);
        if tunnel && ended {
            self.finish(id);
        }
        taken
    }

    /// Bytes follow instead of messages, on both connections.
    pub fn h1_tunnel(&mut self, id: ConnId) {
        match self.conns.get_mut(id).map(|conn| &mut conn.driver) {
            Some(Driver::Http1Server(server)) => {
                server.tunnel = true;
                server.framing = Framing::Plain;
                server.reader.tunnel();
                self.later(Task::Resume(id));
            }
            Some(Driver::Http1Client(client)) => {
                client.tunnel = true;
                client.framing = Framing::Plain;
                client.reader.tunnel();
            }
            _ => {}
        }
    }

    /// The exchange on a serving connection is over. `clean`: both messages were whole, so another may follow.
    pub fn h1_served(&mut self, id: ConnId, clean: bool) {
        let Some(server) = server(self, id) else { return };
        server.current = None;
        let whole = clean && server.reader.state() == State::Done && server.framing != Framing::UntilClose;
        if !whole || !server.persistent || server.closing || server.tunnel {
            return if server.tunnel && clean { self.close_if_over(id) } else { self.linger(id) };
        }
        server.reader.proceed();
        self.later(Task::Resume(id));
    }

    /// The exchange on an asking connection is over.
    pub fn h1_asked(&mut self, id: ConnId, reusable: bool) {
        let Some(client) = client(self, id) else { return };
        client.current = None;
        client.reused = true;
        let whole =
            reusable && client.persistent && !client.leaving && client.reader.state() == State::Done && !client.tunnel;
        let upstream = client.upstream;
        if whole { self.give_back(id, upstream) } else { self.close_when_written(id) }
    }
}
