//! DATA frames from the peer (RFC 9113 6.1): padding, both receive windows, and the length that the head announced (8.1.1).
//!
//! A body is handed on as it arrives, before its frame is whole; nothing is gathered here.

use super::connection::{Connection, Data};
use super::frame::{self, Head};
use super::receive::{Step, error, frame_size, protocol};
use super::{Reason, Role};
use crate::event::Event;

impl Connection {
    /// The head of a DATA frame: all rules about the frame as a whole. `None`: its padding length has not come.
    pub(super) fn data(&mut self, head: &Head, rest: &[u8]) -> Step<Option<(usize, Option<Event<'static>>)>> {
        let mut front = frame::HEAD;
        let mut padding = 0;
        if head.has(frame::PADDED) {
            if head.length == 0 {
                return frame_size();
            }
            let Some(length) = rest.get(front) else { return Ok(None) };
            front += 1;
            padding = usize::from(*length);
            if padding + 1 > head.length {
                return protocol("padding longer than its frame");
            }
        }
        if head.stream == 0 {
            return protocol("DATA on stream 0");
        }
        if head.length as i64 > i64::from(self.receive) {
            return error(Reason::FLOW_CONTROL_ERROR, "connection window exceeded");
        }
        self.receive -= head.length as i32;
        let left = head.length - (front - frame::HEAD) - padding;
        let end = head.has(frame::END_STREAM);
        self.data = Data { active: true, live: true, stream: head.stream, left, padding, end };
        let event = match self.data_error(head, left, end)? {
            None => {
                let overhead = (head.length - left) as u32;
                if overhead > 0 {
                    self.credit_connection(overhead);
                    self.credit_stream(head.stream, overhead);
                }
                None
            }
            Some(refused) => {
                self.data.live = false;
                self.data.end = false;
                self.credit_connection(head.length as u32);
                match refused {
                    Some(reason) => self.stream_error(head.stream, reason)?,
                    None => None,
                }
            }
        };
        Ok(Some((front, event)))
    }

    /// `None`: the frame is good, and the stream's accounts are updated. Else it is thrown away, with a stream error or
    /// without.
    fn data_error(&mut self, head: &Head, left: usize, end: bool) -> Step<Option<Option<Reason>>> {
        let idle = self.is_idle(head.stream);
        let client = self.config.role == Role::Client;
        let Some(stream) = self.streams.get_mut(head.stream) else {
            if idle {
                return protocol("DATA on an idle stream");
            }
            if self.ended.has(head.stream) {
                return error(Reason::STREAM_CLOSED, "DATA on a closed stream");
            }
            if self.abandoned.has(head.stream) {
                return Ok(Some(Some(Reason::STREAM_CLOSED)));
            }
            self.spend_idle()?;
            return Ok(Some(None));
        };
        if stream.remote_closed {
            return Ok(Some(Some(Reason::STREAM_CLOSED)));
        }
        if client && !stream.answered {
            return Ok(Some(Some(Reason::PROTOCOL_ERROR)));
        }
        if head.length as i64 > i64::from(stream.receive) {
            return Ok(Some(Some(Reason::FLOW_CONTROL_ERROR)));
        }
        stream.receive -= head.length as i32;
        if let Some(expect) = &mut stream.expect {
            match expect.checked_sub(left as u64) {
                Some(rest) if rest == 0 || !end => *expect = rest,
                _ => return Ok(Some(Some(Reason::PROTOCOL_ERROR))),
            }
        }
        if left == 0 && !end {
            self.spend_idle()?;
        } else {
            self.earn(left);
        }
        Ok(None)
    }

    /// The bytes of a DATA frame, as far as they are there.
    pub(super) fn body<'a>(&mut self, rest: &'a [u8]) -> (usize, Option<Event<'a>>) {
        let (bytes, rest) = rest.split_at(self.data.left.min(rest.len()));
        self.data.left -= bytes.len();
        let mut used = bytes.len();
        let done = self.data.left == 0;
        let mut event = None;
        if self.data.live {
            let end = done && self.data.end;
            match self.streams.get_mut(self.data.stream) {
                Some(stream) if !bytes.is_empty() || end => {
                    stream.unreleased += bytes.len() as u32;
                    event = Some(Event::Data { stream: stream.name(), bytes, end });
                    if end {
                        self.data.end = false;
                        self.close_remote(self.data.stream);
                    }
                }
                Some(_) => {}
                // Reset by us in the middle of the frame.
                None => self.credit_connection(bytes.len() as u32),
            }
        }
        if done {
            let padding = self.data.padding.min(rest.len());
            self.data.padding -= padding;
            used += padding;
            self.data.active = self.data.padding > 0;
        }
        (used, event)
    }
}
