//! Responses: those of others on their way to the caller, and our own when there is nobody else to say something.

use codec::h2::Reason as H2Reason;
use codec::{Body, Field, Response, Version, translate};
use telemetry::{Author, Reason};

use crate::drive::Driver;
use crate::engine::{Engine, Task};
use crate::exchange::{Dir, ExchangeId, Piece};
use crate::failure::Failure;
use crate::plan::{self, Plan, Said};
use crate::side::Side;

impl Engine {
    /// Passes a response head on.
    pub fn send_response(&mut self, id: ExchangeId, head: &mut Response<'_>, said: Said, end: bool) {
        let informational = self.options.informational_headers;
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let down = exchange.down;
        let inbound = matches!(exchange.side, Side::Inbound(_));
        let translated = inbound && down.stream != 0 && exchange.version != Version::Http2;
        let original = if translated { translate::orig_proto_of_response(head) } else { None };
        let error = said.failure.filter(|_| informational || inbound).map(|failure| failure.header());
        exchange.answered = true;
        exchange.requesting.settle_for_once(&mut self.pool);
        let plan = std::mem::replace(&mut exchange.plan, Plan::None);
        // Almost every response gets nothing, or this one field; more is worth an allocation.
        let mut extra: Vec<Field<'_>> = Vec::new();
        if let Plan::Service(service) = &plan {
            plan::edit_response(head, &service.filters, &mut extra);
        }
        extra.extend(error.as_ref().map(|error| (&b"l5d-proxy-error"[..], error.as_bytes())));
        match original.map(|value| (translate::ORIG_PROTO, value)) {
            Some(field) if extra.is_empty() => self.write_head(id, head, &[field], end, said.close),
            field => {
                extra.extend(field);
                self.write_head(id, head, &extra, end, said.close);
            }
        }
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.plan = plan;
        }
        if end {
            self.forward(id, Dir::Response, Piece::Data(&[], true), false);
        }
    }

    /// On HTTP/2 the head may end the message itself.
    fn write_head(&mut self, id: ExchangeId, head: &Response<'_>, extra: &[Field<'_>], end: bool, close: bool) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let down = exchange.down;
        if down.stream == 0 {
            return self.h1_response(down.conn, head, extra, close);
        }
        self.h2_response(down.conn, down.stream, head, extra, end);
        if end && let Some(exchange) = self.exchanges.get_mut(id) {
            (exchange.responding.ended, exchange.responding.sent_end) = (true, true);
            self.settle(id, Dir::Response);
        }
    }

    /// Says that the request failed, whose fault it is, and why. When a response has already begun, it is cut visibly.
    pub fn answer(&mut self, id: ExchangeId, failure: Failure) {
        self.note_failure(id, &failure);
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let (up, answered, grpc) = (exchange.up, exchange.answered, exchange.grpc);
        let inbound = !matches!(exchange.side, Side::Outbound(_));
        self.abandon(id, up, H2Reason::CANCEL);
        if answered {
            return self.cut(id);
        }
        let status = if grpc { 200 } else { failure.status() };
        let code = failure.grpc_status().to_string();
        let header = failure.header();
        let mut extra: Vec<Field<'_>> = Vec::with_capacity(4);
        if grpc {
            extra.push((b"content-type", b"application/grpc"));
            extra.push((b"grpc-status", code.as_bytes()));
            extra.push((b"grpc-message", header.as_bytes()));
        } else {
            extra.push((b"content-length", b"0"));
        }
        if inbound || self.options.informational_headers {
            extra.push((b"l5d-proxy-error", header.as_bytes()));
        }
        if grpc && let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.grpc_status = Some(failure.grpc_status());
        }
        self.own_response(id, status, &extra);
    }

    /// A response that only policy knows of.
    pub fn redirect(&mut self, id: ExchangeId, status: u16, location: &str) {
        self.own_response(id, status, &[(b"location", location.as_bytes()), (b"content-length", b"0")]);
    }

    /// A failure that the policy orders; `grpc` for callers of a gRPC route.
    pub fn inject(&mut self, id: ExchangeId, status: u16, grpc: Option<u8>, message: &str) {
        let author = self.exchange(id).map_or(Author::Outbound, |exchange| exchange.side.author());
        self.note_failure(id, &Failure::new(author, Reason::Injected, message.to_owned()));
        let error = Failure::new(author, Reason::Injected, message.to_owned()).header();
        if let Some(code) = grpc {
            let code = code.to_string();
            let extra: [Field<'_>; 4] = [
                (b"content-type", b"application/grpc"),
                (b"grpc-status", code.as_bytes()),
                (b"grpc-message", message.as_bytes()),
                (b"l5d-proxy-error", error.as_bytes()),
            ];
            return self.own_response(id, 200, &extra);
        }
        self.own_response(id, status, &[(b"content-length", b"0"), (b"l5d-proxy-error", error.as_bytes())]);
    }

    fn own_response(&mut self, id: ExchangeId, status: u16, extra: &[Field<'_>]) {
        let now = self.now;
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let (version, unread) = (exchange.version, !exchange.requesting.ended);
        exchange.answered = true;
        exchange.status = status;
        exchange.latency_us = now.saturating_sub(exchange.started) / 1000;
        let version = if version == Version::Http2 { Version::Http2 } else { Version::Http11 };
        let head = Response { status, version, body: Body::Length(0), persistent: true, ..Response::default() };
        self.write_head(id, &head, extra, true, unread);
        // HTTP/1: the head says that there is no body, so this is the end.
        if let Some(exchange) = self.exchanges.get_mut(id) {
            (exchange.responding.ended, exchange.responding.sent_end) = (true, true);
            self.complete(id);
        }
    }

    /// A response that cannot be finished must not look finished.
    fn cut(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(id) else { return };
        let down = exchange.down;
        if down.stream == 0 {
            if let Some(Driver::Http1Server(server)) = self.conns.get_mut(down.conn).map(|conn| &mut conn.driver) {
                server.current = None;
            }
            self.later(Task::CutOff(down.conn));
        } else {
            self.h2_reset(down.conn, down.stream, H2Reason::INTERNAL_ERROR);
        }
        self.forget_exchange(id);
    }

    /// Remembers why, for the counters, and sees that there are any.
    pub fn note_failure(&mut self, id: ExchangeId, failure: &Failure) {
        let refused = matches!(failure.cause.reason, Reason::Unauthorized | Reason::BadPath | Reason::NoRoute);
        let edge = match self.exchange(id) {
            Some(exchange) if exchange.edge.is_none() && !(refused && failure.author == Author::Inbound) => {
                self.failure_edge(id)
            }
            _ => None,
        };
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        exchange.failure = Some((failure.author, failure.cause.reason));
        if edge.is_some() {
            exchange.edge = edge;
        }
        match failure.author {
            // Said where it was refused, with the caller's name.
            Author::Inbound if refused => {}
            Author::Application => telemetry::debug!("request failed: {failure}"),
            _ => telemetry::info!("request failed: {failure}"),
        }
    }
}
