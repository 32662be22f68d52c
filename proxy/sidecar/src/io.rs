//! The way into a connection: events, TLS, reading, delivering to the driver, pausing it and going on. The way out is
//! `output`.
//!
//! Nothing here knows a protocol. Edge-triggered rules (mio never repeats an edge): a short read ends reading
//! unless the peer has closed; a paused connection remembers that its socket owes bytes; the only registration
//! is made once, for both directions.

use std::io::ErrorKind;
use std::sync::Arc;

use control::identity::Trust;
use telemetry::Reason;

use crate::conn::{Conn, ConnId, Phase};
use crate::drive::{self, Driver};
use crate::engine::{Engine, Task};
use crate::failure::Cause;
use crate::wheel;

/// Read from one application connection in one turn, so that one upload does not own the loop.
const TURN: usize = 32 * 1024;
/// Read from, and flushed to, a link that many streams share.
const SHARED_TURN: usize = 64 * 1024;
/// Ciphertext that may wait for the rest of its message: the largest handshake message, and one record.
const KEPT: usize = 96 * 1024;
/// What one read may need.
pub const SCRATCH: usize = SHARED_TURN + KEPT;

impl Engine {
    /// Adds a connection to the loop.
    pub fn adopt(&mut self, conn: Conn) -> Option<ConnId> {
        let id = self.conns.insert(conn);
        let conn = self.conns.get_mut(id)?;
        match conn.socket.register(&self.registry, mio::Token(id.to_bits() as usize)) {
            Ok(()) => Some(id),
            Err(_) => {
                self.conns.remove(id);
                None
            }
        }
    }

    /// Tells the driver after `after`, unless the deadline is moved or cleared before.
    pub fn set_deadline(&mut self, id: ConnId, after: std::time::Duration) {
        let at = wheel::deadline(self.now, after);
        if let Some(conn) = self.conns.get_mut(id) {
            conn.deadline = at;
            if conn.armed == 0 || at < conn.armed {
                conn.armed = at;
                self.arm_conn(at, id);
            }
        }
    }

    /// Like [`Engine::set_deadline`], unless one is set.
    pub fn set_deadline_once(&mut self, id: ConnId, after: std::time::Duration) {
        if self.conns.get(id).is_some_and(|conn| conn.deadline == 0) {
            self.set_deadline(id, after);
        }
    }

    pub fn clear_deadline(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.deadline = 0;
        }
    }

    /// An entry of the wheel came up for this connection.
    pub fn conn_timer(&mut self, id: ConnId) {
        let now = wheel::tick_of(self.now);
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.armed > now {
            return;
        }
        conn.armed = 0;
        if conn.deadline > now {
            conn.armed = conn.deadline;
            let at = conn.deadline;
            self.arm_conn(at, id);
        } else if conn.deadline != 0 {
            conn.deadline = 0;
            drive::deadline(self, id);
        }
    }

    /// A poll event.
    pub fn event(&mut self, id: ConnId, readable: bool, writable: bool, closed: bool) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.phase == Phase::Connecting {
            match conn.socket.connected() {
                None => return,
                Some(Ok(())) => self.connected(id),
                Some(Err(error)) => return self.fail(id, Cause::of(&error)),
            }
        } else if writable && conn.flags.blocked {
            conn.flags.blocked = false;
            self.touch(id);
        }
        if closed && let Some(conn) = self.conns.get_mut(id) {
            conn.flags.closing = true;
        }
        if readable || closed {
            self.readable(id);
        }
    }

    fn connected(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.tls.is_none() {
            conn.phase = Phase::Open;
            drive::ready(self, id);
        } else {
            conn.phase = Phase::Handshaking;
            self.handshake_deadline(id);
            self.decrypt(id, 0);
        }
    }

    /// Puts TLS under an open connection, whose input so far is the beginning of the handshake.
    pub fn begin_tls(&mut self, id: ConnId, session: Box<dyn crate::tls::Tls>, trust: Arc<Trust>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.secure(session, trust);
        conn.phase = Phase::Handshaking;
        let mut input = std::mem::take(&mut conn.input);
        let count = input.len().min(SCRATCH);
        self.scratch[..count].copy_from_slice(&input.as_slice()[..count]);
        input.clear(&mut self.pool);
        self.decrypt(id, count);
    }

    /// Reads until the socket is empty, the driver pauses, or this connection's share of the turn is used.
    pub fn readable(&mut self, id: ConnId) {
        let mut moved = 0;
        loop {
            let Some(conn) = self.conns.get_mut(id) else { return };
            if conn.flags.paused || conn.phase == Phase::Connecting || conn.flags.ended {
                conn.flags.owed = true;
                return;
            }
            conn.flags.owed = false;
            // What waits of the last record comes first, and the driver may have to see it together with the rest.
            let kept = conn.tls.as_mut().map_or(0, |tls| {
                let kept = tls.received.len().min(KEPT);
                self.scratch[..kept].copy_from_slice(tls.received.as_slice());
                tls.received.clear(&mut self.pool);
                kept
            });
            let share = if conn.flags.shared { SHARED_TURN } else { TURN };
            let read = conn.socket.read(&mut self.scratch[kept..kept + share]);
            let restore = !matches!(read, Ok(count) if count > 0);
            if restore && kept > 0 {
                if let Some(tls) = conn.tls.as_mut() {
                    tls.received.push(&mut self.pool, &self.scratch[..kept]);
                }
            }
            let count = match read {
                Ok(0) => return self.ended(id),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return self.fail(id, Cause::of(&error)),
            };
            if conn.tls.is_some() {
                self.decrypt(id, kept + count)
            } else {
                self.deliver_scratch(id, count)
            }
            if count < share && !self.conns.get(id).is_some_and(|conn| conn.flags.closing) {
                return;
            }
            moved += count;
            if moved >= share {
                if let Some(conn) = self.conns.get_mut(id) {
                    conn.flags.owed = true;
                    self.again.push(id);
                }
                return;
            }
        }
    }

    /// Opens the first `count` bytes of scratch and delivers what was inside.
    fn decrypt(&mut self, id: ConnId, count: usize) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Some(tls) = conn.tls.as_mut() else { return };
        let mut plain = std::mem::take(&mut self.plain);
        let wire = tls.sealed.buffer(&mut self.pool);
        let result = tls.session.receive(&mut self.scratch[..count], &mut plain, wire);
        let silent = wire.is_empty();
        match result {
            Ok(progress) => {
                if count - progress.used > KEPT {
                    return self.fail(id, Cause::new(Reason::Tls, "a message without an end"));
                }
                if progress.used < count {
                    tls.received.push(&mut self.pool, &self.scratch[progress.used..count]);
                }
                if silent {
                    tls.sealed.clear(&mut self.pool)
                } else {
                    self.touch(id)
                }
                if progress.established {
                    self.established(id);
                }
                if !plain.is_empty() {
                    self.deliver(id, &plain);
                }
                if progress.finished {
                    self.ended_cleanly(id);
                }
            }
            Err(error) => {
                // The alert that says why leaves at once; nothing else will.
                conn.socket.write(tls.sealed.as_slice()).unwrap_or_default();
                self.fail(id, Cause::new(Reason::Tls, error));
            }
        }
        plain.clear();
        self.plain = plain;
    }

    fn established(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.phase == Phase::Handshaking {
            conn.phase = Phase::Open;
            // Trust may have changed since the handshake began.
            if self.is_still_believed(id) {
                drive::ready(self, id);
            }
        }
    }

    fn deliver_scratch(&mut self, id: ConnId, count: usize) {
        let scratch = std::mem::take(&mut self.scratch);
        self.deliver(id, &scratch[..count]);
        self.scratch = scratch;
    }

    /// Hands plaintext to the driver, without a copy when nothing waits before it.
    fn deliver(&mut self, id: ConnId, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if !conn.input.is_empty() || conn.flags.paused {
            conn.input.push(&mut self.pool, bytes);
            if !conn.flags.paused {
                self.pump(id);
            }
            return;
        }
        let used = drive::data(self, id, bytes);
        if let Some(conn) = self.conns.get_mut(id) {
            if used < bytes.len() {
                conn.input.push(&mut self.pool, &bytes[used..]);
            }
            if std::mem::take(&mut conn.flags.handed_over) {
                self.pump(id);
            }
        }
    }

    /// Offers the waiting plaintext to the driver, again if it was replaced meanwhile.
    fn pump(&mut self, id: ConnId) {
        loop {
            let Some(conn) = self.conns.get_mut(id) else { return };
            if conn.input.is_empty() || conn.flags.paused {
                return;
            }
            let mut input = std::mem::take(&mut conn.input);
            let used = drive::data(self, id, input.as_slice());
            input.consume(&mut self.pool, used);
            let Some(conn) = self.conns.get_mut(id) else {
                return input.clear(&mut self.pool);
            };
            conn.input = input;
            if !std::mem::take(&mut conn.flags.handed_over) {
                return;
            }
        }
    }

    /// Replaces the driver; bytes that wait are offered to the new one.
    pub fn hand_over(&mut self, id: ConnId, driver: Driver) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.driver = driver;
            conn.flags.paused = false;
            conn.flags.handed_over = true;
            self.later(Task::Resume(id));
        }
    }

    pub fn pause(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.flags.paused = true;
        }
    }

    /// Continues a paused connection: first what waits, then the end if it came, then the socket.
    pub fn resume(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.flags.paused = false;
        conn.flags.handed_over = false;
        if conn.phase == Phase::Open {
            self.pump(id);
        }
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.flags.ended {
            self.tell_end(id);
        } else if conn.flags.owed && !conn.flags.paused {
            self.readable(id);
        }
    }

    /// The socket has no more bytes.
    fn ended(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.tls.is_some() && !conn.flags.ended {
            // Without close_notify nobody can tell an end from a cut.
            return self.fail(id, Cause::new(Reason::Reset, "connection cut short"));
        }
        self.ended_cleanly(id);
    }

    fn ended_cleanly(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.flags.ended = true;
        if conn.phase == Phase::Open {
            self.tell_end(id);
        } else {
            self.fail(id, Cause::new(Reason::Closed, "closed during the handshake"));
        }
    }

    /// Tells the driver of the end once it has seen every byte before it.
    fn tell_end(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if !conn.flags.paused && !conn.flags.end_told {
            conn.flags.end_told = true;
            drive::end(self, id);
        }
    }

    /// Many streams share this connection: it may move more in one turn.
    pub fn share(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.flags.shared = true;
        }
    }
}

impl Conn {
    /// Bytes that may be queued before the source must wait.
    pub fn room(&self) -> usize {
        const LIMIT: usize = 64 * 1024;
        let sealed = self.tls.as_ref().map_or(0, |tls| tls.sealed.len());
        LIMIT.saturating_sub(self.output.len() + sealed)
    }
}
