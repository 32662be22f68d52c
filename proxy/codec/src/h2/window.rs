//! Flow control (RFC 9113 5.2, 6.9): what the peer may send, what we may send, and who waits for room.
//!
//! Bytes handed out count until the owner has released them: a stream that nobody reads stops its peer, not us.

use super::connection::Connection;
use super::frame::{self, Head, MAX_31};
use super::receive::{Found, Step, error, frame_size, protocol};
use super::{OUT_CAP, Reason};
use crate::event;

impl Connection {
    /// The application side took `n` body bytes of this stream: gives the credit back to the peer. Credit of streams that are
    /// gone was given back when they went.
    pub fn release(&mut self, id: u32, n: usize) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        let n = u32::try_from(n).unwrap_or(u32::MAX).min(stream.unreleased);
        stream.unreleased -= n;
        self.credit_connection(n);
        self.credit_stream(id, n);
    }

    /// How much `send_data` would accept now.
    pub fn room(&self, id: u32) -> usize {
        let stream = self.streams.get(id).filter(|stream| !stream.local_closed);
        stream.map_or(0, |stream| self.connection_room().min(stream.send.max(0) as usize))
    }

    /// The next stream that was refused room and has some now, oldest first. Call until `None` after `next` has said `None` and
    /// after `out` was written.
    pub fn next_writable(&mut self) -> Option<event::Stream> {
        while self.connection_room() > 0 {
            let id = self.queue.pop_front()?;
            let Some(stream) = self.streams.get_mut(id) else { continue };
            stream.queued = false;
            if stream.send > 0 && !stream.local_closed {
                return Some(stream.name());
            }
            stream.starved = true;
        }
        None
    }

    /// The peer lets us send more: on the connection, or on one stream, which may have waited for it.
    pub(super) fn window_update(&mut self, head: &Head, payload: &[u8]) -> Step<Found> {
        if payload.len() != 4 {
            return frame_size();
        }
        self.spend_idle()?;
        let more = frame::number(payload) & MAX_31;
        if head.stream == 0 {
            return match self.send.checked_add_unsigned(more) {
                _ if more == 0 => protocol("WINDOW_UPDATE of 0"),
                None => error(Reason::FLOW_CONTROL_ERROR, "connection window overflow"),
                Some(send) => {
                    self.send = send;
                    Ok(Found::Nothing)
                }
            };
        }
        if self.is_idle(head.stream) {
            return protocol("WINDOW_UPDATE on an idle stream");
        }
        let Some(stream) = self.streams.get_mut(head.stream) else { return Ok(Found::Nothing) };
        let reason = match stream.send.checked_add_unsigned(more) {
            _ if more == 0 => Reason::PROTOCOL_ERROR,
            None => Reason::FLOW_CONTROL_ERROR,
            Some(send) => {
                stream.send = send;
                let wakes = stream.starved && send > 0;
                if wakes {
                    stream.starved = false;
                    stream.queued = true;
                    self.enqueue(head.stream);
                }
                return Ok(Found::Nothing);
            }
        };
        let event = self.stream_error(head.stream, reason)?;
        Ok(event.map_or(Found::Nothing, Found::Event))
    }

    /// The peer's INITIAL_WINDOW_SIZE has changed, and with it the window of every open stream (6.9.2).
    pub(super) fn move_windows(&mut self, change: i64) -> Step<()> {
        let queue = &mut self.queue;
        for stream in self.streams.iter_mut() {
            let Ok(send) = i32::try_from(i64::from(stream.send) + change) else {
                return error(Reason::FLOW_CONTROL_ERROR, "stream window overflow");
            };
            stream.send = send;
            if stream.starved && send > 0 {
                stream.starved = false;
                stream.queued = true;
                queue.push_back(stream.id);
            }
        }
        Ok(())
    }

    /// What may be written on any stream now.
    pub(super) fn connection_room(&self) -> usize {
        OUT_CAP.saturating_sub(self.out.len()).min(self.send.max(0) as usize)
    }

    /// A stream wants to send and waits for the connection. Streams that are gone are cleared away now and then.
    pub(super) fn enqueue(&mut self, id: u32) {
        if self.queue.len() > 2 * self.streams.len() + 16 {
            self.queue.retain(|id| self.streams.get(*id).is_some());
        }
        self.queue.push_back(id);
    }

    /// `n` bytes of the connection's window may be used again; tells the peer when it is worth a frame.
    pub(super) fn credit_connection(&mut self, n: u32) {
        self.credit += n;
        if self.credit >= self.config.connection_window / 2 && self.failed.is_none() {
            frame::write_number(&mut self.out, frame::WINDOW_UPDATE, 0, self.credit);
            self.receive += self.credit as i32;
            self.credit = 0;
        }
    }

    /// The same for one stream; only while the peer may send more.
    pub(super) fn credit_stream(&mut self, id: u32, n: u32) {
        let window = self.config.stream_window;
        let Some(stream) = self.streams.get_mut(id).filter(|stream| !stream.remote_closed) else { return };
        stream.credit += n;
        if stream.credit >= window / 2 && self.failed.is_none() {
            frame::write_number(&mut self.out, frame::WINDOW_UPDATE, id, stream.credit);
            stream.receive += stream.credit as i32;
            stream.credit = 0;
        }
    }
}
