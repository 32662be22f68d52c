//! The bytes of one message on their way from one connection to the other: what the destination does not take stays
//! with the source where that can wait (HTTP/1), else here, bounded by the window that the source was given (HTTP/2).

use codec::head::StoredFields;
use codec::{Fields, Known};

use crate::engine::{Engine, Task};
use crate::exchange::{End, ExchangeId, Up};
use crate::failure::Cause;
use crate::keep::Kept;
use crate::plan;
use crate::pool::{Bytes, Pool};
use telemetry::Reason;

/// More than any window we give; a source that sends more has broken its protocol.
const PARKED: usize = 256 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dir {
    /// From the caller to whoever answers.
    Request,
    Response,
}

/// A part of a message after its head.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    /// Body bytes; with `true` they are the last.
    Data(&'a [u8], bool),
    /// The end, with trailers.
    Trailers(&'a Fields<'a>),
}

impl Piece<'_> {
    pub fn len(&self) -> usize {
        match self {
            Piece::Data(bytes, _) => bytes.len(),
            Piece::Trailers(_) => 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One direction of an exchange.
#[derive(Default)]
pub struct Flow {
    parked: Bytes,
    trailers: Option<Box<StoredFields>>,
    /// The source has said everything, though perhaps not all of it has left.
    pub ended: bool,
    /// The destination has everything.
    pub sent_end: bool,
    /// Its trailers left.
    trailed: bool,
    /// Body bytes that the destination has.
    pub moved: u64,
    /// What left, while it may have to leave again.
    kept: Option<Box<Kept>>,
    /// The first bytes of `parked` that were here before: their source has its credit back already.
    repeated: usize,
}

impl Flow {
    /// `ended`: there is no body.
    pub fn ended(ended: bool) -> Flow {
        Flow { ended, ..Flow::default() }
    }

    pub fn is_over(&self) -> bool {
        self.sent_end
    }

    /// Nothing but the end is left to send.
    pub fn is_only_end(&self) -> bool {
        self.ended && self.parked.is_empty() && self.trailers.is_none()
    }

    /// A finished message turns out to be the beginning of a tunnel.
    pub fn reopen(&mut self) {
        (self.ended, self.sent_end) = (false, false);
    }

    pub fn clear(&mut self, pool: &mut Pool) {
        self.parked.clear(pool);
        self.settle_for_once(pool);
    }

    /// From now on keeps what leaves, up to `limit` bytes.
    pub fn keep(&mut self, limit: u64) {
        self.kept = Some(Box::new(Kept::new(limit)));
    }

    /// It will not be sent again.
    pub fn settle_for_once(&mut self, pool: &mut Pool) {
        if let Some(mut kept) = self.kept.take() {
            kept.clear(pool);
        }
    }

    /// Takes back what left, to be sent again. False when not all of it is here any more; then nothing has changed.
    pub fn rewind(&mut self, pool: &mut Pool) -> bool {
        match &mut self.kept {
            Some(kept) => {
                self.repeated += kept.put_back(pool, &mut self.parked, &mut self.trailers);
            }
            None if self.moved > 0 || self.trailed => return false,
            None => {}
        }
        (self.moved, self.sent_end, self.trailed) = (0, false, false);
        true
    }

    /// The destination has these bytes.
    fn left(&mut self, pool: &mut Pool, bytes: &[u8]) {
        self.moved += bytes.len() as u64;
        if let Some(kept) = &mut self.kept
            && !kept.add(pool, bytes)
        {
            self.settle_for_once(pool);
        }
    }

    /// The destination has the trailers, and so everything.
    fn left_whole(&mut self, trailers: &Fields<'_>) {
        (self.ended, self.sent_end, self.trailed) = (true, true, true);
        if let Some(kept) = &mut self.kept {
            kept.add_trailers(trailers);
        }
    }
}

impl Engine {
    /// Hands on a piece of a message and returns how many of its bytes the destination took. With `keep`, the rest is
    /// parked here and its credit given back later; without, the source keeps it and pauses.
    pub fn forward(&mut self, id: ExchangeId, dir: Dir, piece: Piece<'_>, keep: bool) -> usize {
        let Some(exchange) = self.exchanges.get_mut(id) else { return piece.len() };
        let mut clean = Fields::default();
        let mut piece = piece;
        if let Piece::Trailers(fields) = piece {
            // Nobody speaks for a sidecar in trailers (security A-35).
            clean = *fields;
            clean.remove_known(Known::Mesh);
            if dir == Dir::Response {
                exchange.grpc_status = plan::grpc_status(&clean).or(exchange.grpc_status);
            }
        }
        if let Piece::Trailers(fields) = &mut piece {
            *fields = &clean;
        }
        let target = target(&exchange.up, exchange.down, dir);
        let flow = if dir == Dir::Request { &mut exchange.requesting } else { &mut exchange.responding };
        if flow.sent_end {
            return piece.len();
        }
        let free = flow.parked.is_empty() && !flow.ended;
        let mut taken = 0;
        if free && let Some(target) = target {
            taken = self.send_piece(target, piece);
        }
        let Some(exchange) = self.exchanges.get_mut(id) else { return piece.len() };
        exchange.active = self.now;
        let flow = if dir == Dir::Request { &mut exchange.requesting } else { &mut exchange.responding };
        if let Piece::Data(bytes, _) = piece {
            flow.left(&mut self.pool, &bytes[..taken]);
        }
        let gone = free && target.is_some() && taken == piece.len();
        match piece {
            Piece::Data(_, end) if gone => (flow.ended, flow.sent_end) = (end, end),
            Piece::Trailers(fields) if gone => flow.left_whole(fields),
            Piece::Data(bytes, end) if keep || bytes.is_empty() => {
                flow.parked.push(&mut self.pool, &bytes[taken..]);
                flow.ended |= end;
                if flow.parked.is_empty() {
                    flow.parked.clear(&mut self.pool);
                }
                if flow.parked.len() > PARKED {
                    self.break_exchange(id, &Cause::new(Reason::Protocol, "more than the window"));
                    return taken;
                }
            }
            Piece::Data(..) => {}
            Piece::Trailers(fields) => {
                let mut stored = Box::<StoredFields>::default();
                stored.store(fields, &[]);
                flow.trailers = Some(stored);
                flow.ended = true;
            }
        }
        self.settle(id, dir);
        taken
    }

    /// The destination has room, or has just been found: what was parked goes first, then the source may go on.
    pub fn drain(&mut self, id: ExchangeId, dir: Dir) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let Some(target) = target(&exchange.up, exchange.down, dir) else { return };
        let source = target_opposite(&exchange.up, exchange.down, dir);
        let flow = if dir == Dir::Request { &mut exchange.requesting } else { &mut exchange.responding };
        if flow.sent_end {
            return self.settle(id, dir);
        }
        let mut parked = std::mem::take(&mut flow.parked);
        let trailers = flow.trailers.take();
        let (ended, repeated) = (flow.ended, flow.repeated);
        let mut taken = 0;
        let mut sent_end = false;
        if !parked.is_empty() || (ended && trailers.is_none()) {
            let last = ended && trailers.is_none();
            taken = self.send_piece(target, Piece::Data(parked.as_slice(), last));
            sent_end = last && taken == parked.len();
            if let Some(exchange) = self.exchanges.get_mut(id) {
                exchange.active = self.now;
                let flow = if dir == Dir::Request { &mut exchange.requesting } else { &mut exchange.responding };
                flow.left(&mut self.pool, &parked.as_slice()[..taken]);
            }
            parked.consume(&mut self.pool, taken);
        }
        if parked.is_empty()
            && let Some(trailers) = &trailers
        {
            self.send_piece(target, Piece::Trailers(&trailers.view()));
            sent_end = true;
        }
        let empty = parked.is_empty();
        let Some(exchange) = self.exchanges.get_mut(id) else { return parked.clear(&mut self.pool) };
        let flow = if dir == Dir::Request { &mut exchange.requesting } else { &mut exchange.responding };
        flow.parked = parked;
        flow.sent_end = sent_end;
        flow.repeated = repeated.saturating_sub(taken);
        match trailers {
            Some(trailers) if sent_end => flow.left_whole(&trailers.view()),
            trailers => flow.trailers = trailers,
        }
        if let Some(source) = source {
            let owed = taken.saturating_sub(repeated);
            if source.stream != 0 && owed > 0 {
                self.h2_release(source.conn, source.stream, owed);
            } else if source.stream == 0 && empty {
                self.later(Task::Resume(source.conn));
            }
        }
        self.settle(id, dir);
    }

    /// Looks whether something ended.
    pub fn settle(&mut self, id: ExchangeId, dir: Dir) {
        let Some(exchange) = self.exchanges.get(id) else { return };
        let (asked, heard) = (exchange.requesting.sent_end, exchange.responding.sent_end);
        if dir == Dir::Request && asked && !exchange.answered {
            self.asked(id);
        } else if heard && (asked || !exchange.tunnel) {
            self.complete(id);
        }
    }

    fn send_piece(&mut self, to: End, piece: Piece<'_>) -> usize {
        if to.stream == 0 { self.h1_piece(to.conn, piece) } else { self.h2_piece(to.conn, to.stream, piece) }
    }
}

/// Where this direction goes.
fn target(up: &Up, down: End, dir: Dir) -> Option<End> {
    match (dir, up) {
        (Dir::Response, _) => Some(down),
        (Dir::Request, Up::Open(end)) => Some(*end),
        (Dir::Request, Up::None | Up::Waiting(_)) => None,
    }
}

fn target_opposite(up: &Up, down: End, dir: Dir) -> Option<End> {
    match dir {
        Dir::Request => Some(down),
        Dir::Response => target(up, down, Dir::Request),
    }
}
