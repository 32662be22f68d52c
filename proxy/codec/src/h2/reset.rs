//! RST_STREAM (RFC 9113 6.4): streams that the peer abandons, and those that we do.

use super::connection::Connection;
use super::frame::{self, Head};
use super::receive::{Found, Step, frame_size, protocol};
use super::{PREFACE, Reason, Role, hpack};
use crate::event::Event;

impl Connection {
    /// Abandons a stream; no further event for it. A server that has sent a whole response and does not want the rest
    /// of the request says `NO_ERROR`. A request of which nothing has left `out` is taken back instead: its server never
    /// hears of it, and so cannot take many of them for an attack.
    pub fn reset(&mut self, id: u32, reason: Reason) {
        let Some(stream) = self.forget(id) else { return };
        if self.failed.is_some() || (!stream.trailed && self.take_back(id)) {
            return;
        }
        frame::write_reset(&mut self.out, id, reason);
        self.dropped.add(id);
    }

    /// The peer ends a stream. One that is gone already is late, not wrong.
    pub(super) fn reset_by_peer(&mut self, head: &Head, payload: &[u8]) -> Step<Found> {
        if payload.len() != 4 {
            return frame_size();
        }
        if head.stream == 0 || self.is_idle(head.stream) {
            return protocol("RST_STREAM on an idle stream");
        }
        let Some(stream) = self.forget(head.stream) else {
            return self.spend_idle().map(|()| Found::Nothing);
        };
        self.abandoned.add(head.stream);
        self.spend_reset(&stream)?;
        let reason = Reason(frame::number(payload));
        Ok(Found::Event(Event::Reset { stream: stream.name(), reason, remote: true }))
    }

    /// Client: removes every frame of a stream from `out`, if the one that opens it is there.
    fn take_back(&mut self, id: u32) -> bool {
        if self.config.role == Role::Server {
            return false;
        }
        let Some(mut at) = self.opening_of(id) else { return false };
        self.empty_table |= hpack::empties_table(&self.out[at + frame::HEAD..]);
        let mut kept = at;
        while let Some(head) = frame::Head::read(&self.out[at..]) {
            let end = at + frame::HEAD + head.length;
            if head.stream != id {
                self.out.copy_within(at..end, kept);
                kept += end - at;
            } else if head.kind == frame::DATA {
                self.send += head.length as i32;
            }
            at = end;
        }
        self.out.truncate(kept);
        true
    }

    /// Where in `out` the HEADERS frame of a stream is. `out` holds whole frames, except for a client's preface.
    fn opening_of(&self, id: u32) -> Option<usize> {
        let mut at = if self.out.starts_with(PREFACE) { PREFACE.len() } else { 0 };
        let mut found = None;
        while at < self.out.len() {
            let head = frame::Head::read(&self.out[at..])?;
            if head.stream == id && head.kind == frame::HEADERS {
                found = found.or(Some(at));
            }
            at += frame::HEAD + head.length;
        }
        found.filter(|_| at == self.out.len())
    }
}
