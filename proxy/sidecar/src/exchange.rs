//! A request as a value: who asked, where it goes, what was decided, and its 0..n attempts. It can wait for endpoints or
//! a connection with bounded memory and a deadline, because its head is stored and its body stays with the source.
//!
//! Bytes of both bodies pass through `flow`; answers of our own are made in `answer`; decisions in `plan`.

use std::sync::Arc;

use codec::h2::Reason as H2Reason;
use codec::head::StoredRequest;
use codec::{Request, Response, Stream, Version, translate};
use rules::outbound::Timeouts;
use telemetry::{Author, Edge, Reason};

use crate::arena::{Arena, Id};
use crate::balance::Lease;
use crate::conn::ConnId;
use crate::drive::Driver;
use crate::engine::{Engine, Task};
use crate::failure::{Cause, Failure};
use crate::flow::Flow;
use crate::plan::{self, Answer, Plan};
use crate::side::Side;
use crate::upstream::UpstreamId;
use crate::wheel::Tick;

pub use crate::flow::{Dir, Piece};

pub type ExchangeId = Id<Exchange>;

/// Stored heads kept for reuse.
const SPARE: usize = 64;

/// One end of an exchange: a connection, and a stream of it (0 on HTTP/1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub conn: ConnId,
    pub stream: u32,
}

/// The connection to whoever answers.
#[derive(Clone, Copy, Debug)]
pub enum Up {
    None,
    /// A connection is on its way, or a link is full.
    Waiting(UpstreamId),
    Open(End),
}

pub struct Exchange {
    pub side: Side,
    pub down: End,
    pub up: Up,
    pub plan: Plan,
    pub head: StoredRequest,
    pub requesting: Flow,
    pub responding: Flow,
    /// What the caller spoke, before any sidecar changed it.
    pub version: Version,
    pub grpc: bool,
    /// Asks to become a tunnel (`Upgrade`, `CONNECT`), and has become one.
    pub wants_tunnel: bool,
    pub tunnel: bool,
    /// A response head went to the caller.
    pub answered: bool,
    pub timeouts: Timeouts,
    /// Nanoseconds: the head was read; it began to wait; this attempt began.
    pub started: u64,
    pub queued: u64,
    pub attempted: u64,
    pub attempts: u8,
    /// Attempts that the route's retry added.
    pub retries: u32,
    pub lease: Option<Lease>,
    /// Who failed the attempt before.
    pub failed: Option<Lease>,
    /// It opens its connection, so its time says nothing about the endpoint.
    pub cold: bool,
    /// The link that carries it ends at a sidecar that proved its name.
    pub mesh: bool,
    pub author: Author,
    pub edge: Option<Arc<Edge>>,
    /// The edge knows of the request.
    pub counted: bool,
    pub status: u16,
    pub grpc_status: Option<u8>,
    pub latency_us: u64,
    pub failure: Option<(Author, Reason)>,
    /// Give up waiting; give up altogether. 0 for never.
    pub wait_until: Tick,
    pub ends_at: Tick,
    /// The response must be whole by then; this attempt be answered; something have moved.
    pub respond_by: Tick,
    pub try_until: Tick,
    pub idle_at: Tick,
    /// Nanoseconds: something moved.
    pub active: u64,
    pub armed: Tick,
}

#[derive(Default)]
pub struct Exchanges {
    all: Arena<Exchange>,
    spare: Vec<StoredRequest>,
}

impl Exchanges {
    pub fn get(&self, id: ExchangeId) -> Option<&Exchange> {
        self.all.get(id)
    }

    pub fn get_mut(&mut self, id: ExchangeId) -> Option<&mut Exchange> {
        self.all.get_mut(id)
    }

    pub fn remove(&mut self, id: ExchangeId) -> Option<Exchange> {
        self.all.remove(id)
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn any(&self, test: impl Fn(&Exchange) -> bool) -> bool {
        self.all.ids().any(|id| self.all.get(id).is_some_and(&test))
    }

    pub fn reuse(&mut self, head: StoredRequest) {
        if self.spare.len() < SPARE {
            self.spare.push(head);
        }
    }
}

impl Id<Exchange> {
    /// The number that streams carry; never 0.
    pub fn token(self) -> u32 {
        self.index() + 1
    }
}

impl Engine {
    pub fn exchange_of(&self, stream: Stream) -> Option<ExchangeId> {
        self.exchanges.all.at(stream.token.checked_sub(1)?)
    }

    /// A request arrived. From here on its connection only moves bytes for it.
    pub fn begin_exchange(&mut self, side: Side, down: ConnId, stream: Stream, head: &Request<'_>, end: bool) {
        let mut head = *head;
        if side.peer_is_mesh() {
            translate::restore_request(&mut head);
        }
        // Nobody but a sidecar speaks these names, and what a sidecar said has just been heard (security A-35).
        translate::strip_mesh_fields(&mut head);
        let busy = self.exchanges.len();
        let id = self.insert_exchange(side.clone(), End { conn: down, stream: stream.id }, &head, end);
        let limit = match &side {
            Side::Outbound(_) => self.options.outbound_side.in_flight,
            Side::Inbound(_) | Side::Front(_) => self.options.inbound_side.in_flight,
        };
        if busy >= limit {
            return self.answer(id, Failure::new(side.author(), Reason::LoadShed, "too many requests in flight"));
        }
        match plan::make(self, id, &side, &mut head) {
            Ok(()) => self.attempt(id),
            Err(Answer::Failure(failure)) => self.answer(id, failure),
            Err(Answer::Redirect { status, location }) => self.redirect(id, status, &location),
            Err(Answer::Injected { status, grpc, message }) => self.inject(id, status, grpc, &message),
        }
    }

    fn insert_exchange(&mut self, side: Side, down: End, head: &Request<'_>, end: bool) -> ExchangeId {
        let id = self.exchanges.all.insert(Exchange {
            author: side.author(),
            side,
            down,
            up: Up::None,
            plan: Plan::None,
            head: self.exchanges.spare.pop().unwrap_or_default(),
            requesting: Flow::ended(end),
            responding: Flow::default(),
            version: head.version,
            grpc: head.is_grpc(),
            wants_tunnel: !head.upgrade.is_empty() || head.method == b"CONNECT",
            tunnel: false,
            answered: false,
            timeouts: Timeouts::default(),
            started: self.now,
            queued: self.now,
            attempted: self.now,
            attempts: 0,
            retries: 0,
            lease: None,
            failed: None,
            cold: false,
            mesh: false,
            edge: None,
            counted: false,
            status: 0,
            grpc_status: None,
            latency_us: 0,
            failure: None,
            wait_until: 0,
            ends_at: 0,
            respond_by: 0,
            try_until: 0,
            idle_at: 0,
            active: self.now,
            armed: 0,
        });
        match self.conns.get_mut(down.conn).map(|conn| &mut conn.driver) {
            Some(Driver::Http1Server(server)) => server.current = Some(id),
            Some(Driver::Http2(_)) => self.h2_own(down.conn, down.stream, id),
            _ => {}
        }
        id
    }

    /// The caller is gone, or broke its own message: nobody waits for the answer any more.
    pub fn break_exchange(&mut self, id: ExchangeId, cause: &Cause) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        if let Some(Driver::Http1Server(server)) = self.conns.get_mut(exchange.down.conn).map(|conn| &mut conn.driver) {
            server.current = None;
        }
        let up = exchange.up;
        exchange.failure.get_or_insert((
            Author::Application,
            if cause.reason == Reason::BadRequest { Reason::BadRequest } else { Reason::Cancelled },
        ));
        self.abandon(id, up, H2Reason::CANCEL);
        self.forget_exchange(id);
    }

    /// Gives up the asking side.
    pub fn abandon(&mut self, id: ExchangeId, up: Up, reason: H2Reason) {
        match up {
            Up::None => {}
            Up::Waiting(upstream) => self.stop_waiting(upstream, id),
            Up::Open(end) if end.stream == 0 => self.h1_asked(end.conn, false),
            Up::Open(end) => self.h2_reset(end.conn, end.stream, reason),
        }
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.up = Up::None;
        }
    }

    /// Both messages are over: counts, and gives everything back.
    pub fn complete(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get(id) else { return };
        let (down, up, tunnel) = (exchange.down, exchange.up, exchange.tunnel);
        let (asked, heard) = (exchange.requesting.is_over(), exchange.responding.is_over());
        let request_read = exchange.requesting.ended || asked;
        if !asked {
            self.abandon(id, up, H2Reason::NO_ERROR);
        } else if let Up::Open(end) = up {
            if end.stream == 0 { self.h1_asked(end.conn, heard && !tunnel) } else { self.later(Task::Room(end.conn)) }
        }
        self.forget_exchange(id);
        if down.stream == 0 {
            self.h1_served(down.conn, request_read);
        } else {
            if !request_read {
                self.h2_reset(down.conn, down.stream, H2Reason::NO_ERROR);
            }
            self.later(Task::Room(down.conn));
        }
    }

    /// Removes it from the table and counts how it ended.
    pub fn forget_exchange(&mut self, id: ExchangeId) {
        self.give_lease_back(id);
        let Some(mut exchange) = self.exchanges.remove(id) else { return };
        exchange.requesting.clear(&mut self.pool);
        exchange.responding.clear(&mut self.pool);
        if let Some(edge) = &exchange.edge {
            if !exchange.counted {
                edge.request();
            }
            let failed = exchange.failure.is_some() || exchange.status >= 500 || exchange.grpc_status.unwrap_or(0) != 0;
            if exchange.retries > 0 && !failed {
                edge.retry_succeeded();
            }
            edge.response(telemetry::Response {
                status: exchange.status,
                grpc_status: exchange.grpc_status,
                latency_us: exchange.latency_us,
                failure: exchange.failure,
            });
        }
        self.exchanges.reuse(exchange.head);
    }

    pub fn is_connect(&self, id: ExchangeId) -> bool {
        self.exchanges.get(id).is_some_and(|exchange| exchange.head.view().method == b"CONNECT")
    }

    /// The answer to a tunnel's request: from now on both connections carry bytes.
    pub fn open_tunnel(&mut self, id: ExchangeId, up: ConnId) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        exchange.tunnel = true;
        exchange.requesting.reopen();
        let down = exchange.down.conn;
        self.h1_tunnel(up);
        self.h1_tunnel(down);
    }

    /// A final response head arrived.
    pub fn respond(&mut self, id: ExchangeId, head: &Response<'_>, end: bool) {
        let now = self.now;
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let mut head = *head;
        let said = plan::hear(&mut head, exchange);
        let (lease, attempted) = (exchange.lease.filter(|_| !exchange.cold), exchange.attempted);
        (exchange.wait_until, exchange.try_until) = (0, 0);
        exchange.latency_us = now.saturating_sub(exchange.started) / 1000;
        exchange.status = head.status;
        exchange.grpc_status = plan::grpc_status(&head.fields);
        if let Some(failure) = &said.failure {
            exchange.failure = Some((failure.author, failure.cause.reason));
        }
        if let Some(lease) = lease {
            self.lease_measured(lease, attempted);
        }
        if self.repeat_answered(id) {
            return;
        }
        self.send_response(id, &mut head, said, end);
    }

    /// 1xx: passed on to whoever may know it.
    pub fn inform(&mut self, id: ExchangeId, head: &Response<'_>) {
        let Some(exchange) = self.exchanges.get(id) else { return };
        let (down, old) = (exchange.down, exchange.version == Version::Http10);
        if down.stream != 0 {
            self.h2_response(down.conn, down.stream, head, &[], false);
        } else if !old {
            self.h1_response(down.conn, head, &[], false);
        }
    }
}
