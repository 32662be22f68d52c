//! The way out of a connection: what is queued leaves once a turn, and in which of several ways the connection ends.

use std::io::ErrorKind;

use crate::conn::{ConnId, Phase};
use crate::drive::{self, Driver};
use crate::engine::{Engine, Task};
use crate::failure::Cause;

/// Written to one connection in one turn, so that a large body on a shared link is interleaved with others.
const SHARE: usize = 64 * 1024;

impl Engine {
    /// Queues plaintext; it leaves at the end of the turn.
    pub fn write(&mut self, id: ConnId, bytes: &[u8]) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.output.push(&mut self.pool, bytes);
            self.touch(id);
        }
    }

    /// Has this connection flushed at the end of the turn.
    pub fn touch(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id) {
            if !conn.flags.dirty && !conn.flags.blocked {
                conn.flags.dirty = true;
                self.dirty.push(id);
            }
        }
    }

    /// Ends our direction once everything is written.
    pub fn finish(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.flags.finish = true;
            self.touch(id);
        }
    }

    /// Closes once everything is written.
    pub fn close_when_written(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.flags.close = true;
            self.touch(id);
        }
    }

    /// Both directions are over and everything is written.
    pub fn close_if_over(&mut self, id: ConnId) {
        if self.conns.get(id).is_some_and(|conn| conn.flags.finished && conn.flags.ended) {
            self.close(id);
        }
    }

    /// Closes once everything is written, waiting a moment for the peer to have read it.
    pub fn linger(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id) {
            let driver = std::mem::replace(&mut conn.driver, Driver::Linger);
            drive::gone(self, id, driver);
        }
        self.later(Task::Resume(id));
        self.set_deadline(id, std::time::Duration::from_secs(2));
        self.finish(id);
    }

    /// Writes what is queued, at most one share; what is left goes on in the next turn.
    pub fn flush(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.flags.dirty = false;
        if conn.phase == Phase::Connecting || conn.flags.blocked {
            return;
        }
        let mut wrote = 0;
        let outcome = loop {
            match self.flush_once(id) {
                Ok(0) => break Ok(true),
                Ok(count) => wrote += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
            if wrote >= SHARE {
                self.touch(id);
                return self.flushed(id);
            }
        };
        match outcome {
            Ok(true) => self.written(id),
            Ok(false) => {
                if let Some(conn) = self.conns.get_mut(id) {
                    conn.flags.blocked = true;
                }
                self.flushed(id);
            }
            Err(error) => self.fail(id, Cause::of(&error)),
        }
    }

    /// One write; 0 when nothing is left to write.
    fn flush_once(&mut self, id: ConnId) -> std::io::Result<usize> {
        let Some(conn) = self.conns.get_mut(id) else { return Ok(0) };
        if conn.output.is_empty() {
            conn.driver.collect(&mut conn.output, &mut self.pool);
        }
        let output = &mut conn.output;
        let Some(tls) = conn.tls.as_mut() else {
            if output.is_empty() {
                return Ok(0);
            }
            let count = conn.socket.write(output.as_slice())?;
            output.consume(&mut self.pool, count);
            return Ok(count);
        };
        if tls.sealed.is_empty() && !output.is_empty() && conn.phase == Phase::Open {
            let count = output.len().min(SHARE);
            let wire = tls.sealed.buffer(&mut self.pool);
            tls.session.seal(&output.as_slice()[..count], wire).map_err(std::io::Error::other)?;
            output.consume(&mut self.pool, count);
        }
        if tls.sealed.is_empty() {
            return Ok(0);
        }
        let count = conn.socket.write(tls.sealed.as_slice())?;
        tls.sealed.consume(&mut self.pool, count);
        Ok(count)
    }

    /// Everything queued is with the kernel.
    fn written(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if (conn.flags.finish || conn.flags.close) && !conn.flags.finished && conn.phase == Phase::Open {
            conn.flags.finished = true;
            if let Some(tls) = conn.tls.as_mut() {
                tls.session.close(tls.sealed.buffer(&mut self.pool));
                conn.socket.write(tls.sealed.as_slice()).unwrap_or_default();
                tls.sealed.clear(&mut self.pool);
            }
            conn.socket.shutdown_write();
        }
        if conn.flags.close { self.close(id) } else { self.flushed(id) }
    }

    /// There is room again.
    fn flushed(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.flags.finished && conn.flags.ended {
            return self.close(id);
        }
        if matches!(conn.driver, Driver::Http2(_)) {
            self.later(Task::Writable(id));
        } else if conn.flags.starved && conn.room() > 0 {
            conn.flags.starved = false;
            self.later(Task::Writable(id));
        }
    }

    /// The connection broke, or never came about.
    pub fn fail(&mut self, id: ConnId, cause: Cause) {
        drive::failed(self, id, &cause);
        self.close(id);
    }

    /// Removes the connection at once; what is queued is lost.
    pub fn close(&mut self, id: ConnId) {
        let Some(mut conn) = self.conns.remove(id) else { return };
        conn.input.clear(&mut self.pool);
        conn.output.clear(&mut self.pool);
        if let Some(tls) = conn.tls.as_mut() {
            tls.received.clear(&mut self.pool);
            tls.sealed.clear(&mut self.pool);
        }
        let driver = std::mem::replace(&mut conn.driver, Driver::Linger);
        drop(conn);
        drive::gone(self, id, driver);
    }

    /// Closes with a reset, so that the peer does not take the cut for an end.
    pub fn reset(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.socket.reset_on_close();
        }
        self.close(id);
    }
}
