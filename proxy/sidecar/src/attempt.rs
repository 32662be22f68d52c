//! The attempts of an exchange: whom to ask, over which connection, and what to do when that comes to nothing.

use std::time::Duration;

use codec::h2::{Reason as H2Reason, Refused};
use codec::head::StoredRequest;
use codec::{Field, Version, translate};
use telemetry::{Author, Reason};

use crate::balance::Choice;
use crate::conn::ConnId;
use crate::drive::Driver;
use crate::engine::{Engine, Task, Waiter};
use crate::exchange::{End, ExchangeId, Up};
use crate::failure::{Cause, Failure};
use crate::flow::Dir;
use crate::plan::{self, Plan};
use crate::side::Side;
use crate::upstream::{Acquired, Key};

/// Connections tried for one request.
const ATTEMPTS: u8 = 5;
/// Who waits for room on a link looks around again after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

impl Engine {
    /// Tries to get the request on its way.
    pub fn attempt(&mut self, id: ExchangeId) {
        let now = self.now;
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        if !matches!(exchange.up, Up::None) || exchange.answered {
            return;
        }
        exchange.attempted = now;
        exchange.wait_until = 0;
        match self.find_upstream(id) {
            Ok(Some(key)) => self.connect(id, key),
            Ok(None) => {}
            Err(cause) => {
                let author = self.blame(id, cause.reason);
                self.answer(id, cause.by(author));
            }
        }
    }

    /// Where this attempt goes; `None` while nobody can be chosen.
    fn find_upstream(&mut self, id: ExchangeId) -> Result<Option<Key>, Cause> {
        let Some(exchange) = self.exchanges.get_mut(id) else { return Ok(None) };
        let (queued, http2, failed) = (exchange.queued, exchange.version == Version::Http2, exchange.failed);
        match &exchange.plan {
            Plan::None => Ok(None),
            Plan::Front => Ok(self.options.front.clone().map(Key::Front)),
            Plan::App(local) => {
                exchange.author = Author::Application;
                Ok(Some(Key::App { local: *local, speaks: plan::towards_app(http2) }))
            }
            Plan::Service(service) => {
                let service = service.clone();
                match self.choose(&service.backend, Waiter::Exchange(id), queued, failed)? {
                    Choice::Wait(limit) => {
                        self.wait_at_most(id, limit);
                        Ok(None)
                    }
                    Choice::Endpoint(endpoint, lease) => {
                        let edge = self.service_edge(id, &service, &endpoint);
                        let Some(exchange) = self.exchanges.get_mut(id) else { return Ok(None) };
                        let speaks = plan::towards_endpoint(&endpoint, http2, exchange.wants_tunnel);
                        let key = Key::endpoint(&endpoint, speaks);
                        exchange.attempts += 1;
                        exchange.lease = lease;
                        exchange.mesh = key.is_mesh();
                        exchange.author = key.author();
                        exchange.edge = edge;
                        if let Plan::Service(service) = &mut exchange.plan {
                            service.authority = endpoint.authority_override;
                        }
                        Ok(Some(key))
                    }
                }
            }
        }
    }

    fn connect(&mut self, id: ExchangeId, key: Key) {
        let mesh = key.is_mesh();
        match self.acquire(key, id) {
            Ok((_, Acquired::Now(conn))) => self.start(id, conn),
            Ok((upstream, Acquired::Wait)) => {
                if let Some(exchange) = self.exchanges.get_mut(id) {
                    exchange.up = Up::Waiting(upstream);
                }
                self.wait_at_most(id, LOOK_AGAIN);
            }
            Ok((_, Acquired::Later)) => {}
            Err(cause) if mesh && self.credentials.is_none() => {
                // Our trouble, not the endpoint's.
                self.give_lease_back(id);
                self.answer(id, cause.by(Author::Outbound));
            }
            Err(cause) => self.attempt_failed(id, &cause),
        }
    }

    /// The connection is there: the head goes, then what waited of the body.
    pub fn start(&mut self, id: ExchangeId, conn: ConnId) {
        let now = self.now;
        let Some(exchange) = self.exchanges.get_mut(id) else { return self.unneeded(conn) };
        let stored = std::mem::take(&mut exchange.head);
        let result = self.send_head(id, conn, &stored);
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        exchange.head = stored;
        match result {
            Ok(stream) => {
                exchange.cold = matches!(exchange.up, Up::Waiting(_));
                exchange.up = Up::Open(End { conn, stream });
                exchange.attempted = now;
                exchange.wait_until = 0;
                if !std::mem::replace(&mut exchange.counted, true)
                    && let Some(edge) = &exchange.edge
                {
                    edge.request();
                }
                if let Some(lease) = exchange.lease {
                    self.lease_connected(lease);
                }
                self.drain(id, Dir::Request);
            }
            Err(Refused::TooLarge) => {
                let author = exchange.author;
                self.answer(id, Failure::new(author, Reason::TooLarge, "the peer takes no head of this size"));
            }
            // The link filled up or said goodbye meanwhile.
            Err(Refused::Full | Refused::Leaving) => {
                self.try_again(id);
            }
        }
    }

    fn send_head(&mut self, id: ExchangeId, conn: ConnId, stored: &StoredRequest) -> Result<u32, Refused> {
        let Some(exchange) = self.exchanges.get_mut(id) else { return Ok(0) };
        let mut head = stored.view();
        let over_http2 = matches!(self.conns.get(conn).map(|conn| &conn.driver), Some(Driver::Http2(_)));
        let side = exchange.side.clone();
        let authority = exchange.plan.authority();
        let (mesh, whole) = (exchange.mesh, exchange.requesting.is_only_end());
        if let Some(authority) = &authority {
            head.authority = authority.as_bytes();
        }
        let original = if over_http2 && mesh { translate::orig_proto(&head) } else { None };
        let mut extra: [Field<'_>; 4] = Default::default();
        let mut count = 0;
        for (name, value) in [
            (translate::ORIG_PROTO, original),
            (&b"l5d-client-id"[..], side.client_id().map(|identity| identity.as_str().as_bytes())),
            (&b"l5d-client-address"[..], side.client_address().map(str::as_bytes)),
            (&b"gossamer-client-serial"[..], side.client_serial().map(str::as_bytes)),
        ] {
            if let Some(value) = value {
                extra[count] = (name, value);
                count += 1;
            }
        }
        if !over_http2 {
            self.h1_request(conn, id, &head, &extra[..count]);
            return Ok(0);
        }
        let stream = self.h2_request(conn, id, &head, &extra[..count], whole)?;
        if whole && let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.requesting.sent_end = true;
        }
        Ok(stream)
    }

    /// The connection it waited for, or was on, is none for it: begins a new attempt.
    pub fn try_again(&mut self, id: ExchangeId) {
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.up = Up::None;
            self.give_lease_back(id);
            self.later(Task::Retry(Waiter::Exchange(id)));
        }
    }

    /// A connection was made for somebody who has gone.
    fn unneeded(&mut self, conn: ConnId) {
        if let Some(Driver::Http1Client(_)) = self.conns.get(conn).map(|conn| &conn.driver) {
            self.h1_asked(conn, true);
        }
    }

    /// No connection could be made. Somebody else may do; the balancer knows whom not to ask again for a while.
    pub fn attempt_failed(&mut self, id: ExchangeId, cause: &Cause) {
        let now = self.now;
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        exchange.up = Up::None;
        let (author, attempts) = (exchange.author, exchange.attempts);
        let app = if let Plan::App(local) = &exchange.plan { Some(local.port()) } else { None };
        let leased = exchange.lease;
        if let Some(lease) = leased {
            self.lease_failed(lease, now);
        }
        self.give_lease_back(id);
        let again = match app {
            Some(port) => self.try_other_loopback(port, cause),
            None => leased.is_some() && attempts < ATTEMPTS,
        };
        let failure = cause.clone().by(author);
        if again {
            self.later(Task::Retry(Waiter::Exchange(id)));
        } else if !self.repeat_unsent(id, &failure) {
            self.answer(id, failure);
        }
    }

    /// The connection that carried it broke. Nothing was promised yet? Then it may be said again, or an answer says why.
    pub fn upstream_failed(&mut self, id: ExchangeId, conn: ConnId, cause: &Cause) {
        let reused = matches!(self.conns.get(conn).map(|conn| &conn.driver), Some(Driver::Http1Client(c)) if c.reused);
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        if !matches!(exchange.up, Up::Open(_)) {
            return self.attempt_failed(id, cause);
        }
        exchange.up = Up::None;
        let untouched = exchange.requesting.moved == 0 && !exchange.answered;
        let repeatable =
            matches!(exchange.head.view().method, b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE" | b"TRACE");
        if untouched
            && reused
            && repeatable
            && exchange.attempts < ATTEMPTS
            && exchange.requesting.rewind(&mut self.pool)
        {
            exchange.attempts += 1;
            return self.try_again(id);
        }
        let author = if exchange.mesh { Author::Outbound } else { exchange.author };
        let failure = cause.clone().by(author);
        if !self.repeat_broken(id, &failure) {
            self.answer(id, failure);
        }
    }

    /// A stream was reset by its peer.
    pub fn stream_reset(&mut self, id: ExchangeId, conn: ConnId, reason: H2Reason) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        if exchange.down.conn == conn {
            return self.break_exchange(id, &Cause::new(Reason::Cancelled, ""));
        }
        exchange.up = Up::None;
        let refused = reason == H2Reason::REFUSED_STREAM && !exchange.answered && exchange.attempts < ATTEMPTS;
        if refused && exchange.requesting.rewind(&mut self.pool) {
            return self.try_again(id);
        }
        let down = exchange.down;
        let failure = Failure::new(Author::Application, Reason::Reset, reason.text());
        if self.repeat_broken(id, &failure) {
            return;
        }
        let speaks_http2 = matches!(self.conns.get(down.conn).map(|conn| &conn.driver), Some(Driver::Http2(_)));
        if !speaks_http2 {
            return self.answer(id, failure);
        }
        // The application's own word reaches the caller as it was said.
        self.note_failure(id, &failure);
        self.h2_reset(down.conn, down.stream, reason);
        self.forget_exchange(id);
    }

    pub fn give_lease_back(&mut self, id: ExchangeId) {
        if let Some(lease) = self.exchanges.get_mut(id).and_then(|exchange| exchange.lease.take()) {
            self.lease_finished(lease);
        }
    }

    /// Who is to blame when no connection was even begun.
    fn blame(&self, id: ExchangeId, reason: Reason) -> Author {
        let Some(exchange) = self.exchanges.get(id) else { return Author::Outbound };
        match (reason, &exchange.side) {
            (Reason::NoPolicy, _) => Author::ControlPlane,
            // The service is known and none of its programs is up.
            (Reason::NoEndpoints, _) => Author::Application,
            (Reason::Refused | Reason::Unreachable | Reason::ConnectTimeout, Side::Inbound(_)) => Author::Application,
            (_, side) => side.author(),
        }
    }
}
