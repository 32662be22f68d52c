//! Frames from the peer: which may come when (RFC 9113 3.4, 4), and what each becomes.
//!
//! What a kind of frame does is in the module of that name; the small ones, which change nothing, are at the end.

use super::connection::{Connection, Opening};
use super::frame::{self, Head, MAX_31};
use super::message::Facts;
use super::{ConnectionError, PREFACE, Reason, Role};
use crate::event::{self, Event, Flow, Scratch, Sink};

/// What one frame gave.
pub(super) enum Found {
    Nothing,
    /// An event that borrows nothing.
    Event(Event<'static>),
    /// A block that is in the scratch.
    Request(event::Stream, Facts, bool),
    Response(event::Stream, Facts, bool),
    Trailers(event::Stream, Facts),
}

/// What a frame came to, or the end of the connection.
pub(super) type Step<T> = Result<T, ConnectionError>;

pub(super) fn error<T>(reason: Reason, text: &'static str) -> Step<T> {
    Err(ConnectionError { reason, text })
}

pub(super) fn protocol<T>(text: &'static str) -> Step<T> {
    error(Reason::PROTOCOL_ERROR, text)
}

pub(super) fn frame_size<T>() -> Step<T> {
    error(Reason::FRAME_SIZE_ERROR, "frame of a wrong size")
}

impl Connection {
    /// Takes the next event from the front of `input`: how many bytes were used, and the event.
    ///
    /// `None`: give more input, with the unused rest in front. Only whole frames are used, except `DATA`, so `input` must
    /// be able to grow to `max_frame + 9`. Afterwards look at [`Connection::next_writable`] and write `out`.
    pub fn next<'a>(
        &mut self,
        input: &'a [u8],
        scratch: &'a mut Scratch,
    ) -> Result<(usize, Option<Event<'a>>), ConnectionError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let step = self.step(input, scratch).map_err(|error| self.fail(error));
        if let Ok((_, None)) = step {
            self.round = self.round.wrapping_add(1);
        }
        step
    }

    /// Calls `sink` for every event in `input` and returns how many bytes were used.
    pub fn receive(
        &mut self,
        input: &[u8],
        scratch: &mut Scratch,
        sink: &mut impl Sink,
    ) -> Result<usize, ConnectionError> {
        let mut used = 0;
        loop {
            let (step, event) = self.next(&input[used..], scratch)?;
            used += step;
            match event.map(|event| sink.event(event)) {
                Some(Flow::Continue) => {}
                Some(Flow::Pause) | None => return Ok(used),
            }
        }
    }

    fn step<'a>(&mut self, input: &'a [u8], scratch: &'a mut Scratch) -> Step<(usize, Option<Event<'a>>)> {
        let mut used = 0;
        loop {
            if let Some(event) = self.swept() {
                return Ok((used, Some(event)));
            }
            let rest = &input[used..];
            if self.data.active {
                let (taken, event) = self.body(rest);
                used += taken;
                if event.is_some() || self.data.active {
                    return Ok((used, event));
                }
                continue;
            }
            if self.opening == Opening::Preface {
                let front = rest.len().min(PREFACE.len());
                if rest[..front] != PREFACE[..front] {
                    return protocol("not an HTTP/2 preface");
                }
                if front < PREFACE.len() {
                    return Ok((used, None));
                }
                self.opening = Opening::Settings;
                used += front;
                continue;
            }
            let Some(head) = Head::read(rest) else { return Ok((used, None)) };
            self.may_come(&head)?;
            if head.kind == frame::DATA {
                let Some((taken, event)) = self.data(&head, rest)? else { return Ok((used, None)) };
                used += taken;
                if event.is_some() {
                    return Ok((used, event));
                }
                continue;
            }
            let Some(payload) = rest.get(frame::HEAD..frame::HEAD + head.length) else { return Ok((used, None)) };
            used += frame::HEAD + head.length;
            let event = match self.frame(&head, payload, scratch)? {
                Found::Nothing => continue,
                Found::Event(event) => event,
                Found::Request(stream, facts, end) => {
                    Event::Request { stream, head: facts.request(&scratch.bytes, &scratch.spans, end), end }
                }
                Found::Response(stream, facts, end) => {
                    let head = facts.response(&scratch.bytes, &scratch.spans, end);
                    if head.is_informational() {
                        Event::Informational { stream, head }
                    } else {
                        Event::Response { stream, head, end }
                    }
                }
                Found::Trailers(stream, facts) => {
                    Event::Trailers { stream, fields: facts.trailers(&scratch.bytes, &scratch.spans) }
                }
            };
            return Ok((used, Some(event)));
        }
    }

    /// Whether a frame may come at this place at all: SETTINGS first (3.4), no larger than allowed (4.2), nothing within a
    /// header block (4.3).
    fn may_come(&mut self, head: &Head) -> Step<()> {
        if self.opening == Opening::Settings {
            if head.kind != frame::SETTINGS || head.has(frame::ACK) {
                return protocol("the first frame is not SETTINGS");
            }
            self.opening = Opening::Open;
        }
        if head.length > self.config.max_frame as usize {
            return error(Reason::FRAME_SIZE_ERROR, "frame larger than allowed");
        }
        let continues = head.kind == frame::CONTINUATION;
        if self.block.stream != 0 && !(continues && head.stream == self.block.stream) {
            return protocol("a header block was interrupted");
        }
        if continues && self.block.stream == 0 {
            return protocol("CONTINUATION without a header block");
        }
        Ok(())
    }

    fn frame(&mut self, head: &Head, payload: &[u8], scratch: &mut Scratch) -> Step<Found> {
        match head.kind {
            frame::HEADERS => self.headers(head, payload, scratch),
            frame::CONTINUATION => self.continuation(head, payload, scratch),
            frame::PRIORITY => self.priority(head, payload),
            frame::RST_STREAM => self.reset_by_peer(head, payload),
            frame::SETTINGS => self.settings(head, payload),
            frame::PUSH_PROMISE => protocol("PUSH_PROMISE is not enabled"),
            frame::PING => self.ping_by_peer(head, payload),
            frame::GOAWAY => self.goaway_by_peer(head, payload),
            frame::WINDOW_UPDATE => self.window_update(head, payload),
            _ => self.spend_idle().map(|()| Found::Nothing),
        }
    }

    /// 6.3: the scheme is deprecated, the frame must be well-formed.
    fn priority(&mut self, head: &Head, payload: &[u8]) -> Step<Found> {
        if head.stream == 0 {
            return protocol("PRIORITY on stream 0");
        }
        self.spend_idle()?;
        let reason = match payload {
            _ if payload.len() != 5 => Reason::FRAME_SIZE_ERROR,
            _ if frame::number(payload) & MAX_31 == head.stream => Reason::PROTOCOL_ERROR,
            _ => return Ok(Found::Nothing),
        };
        if self.is_idle(head.stream) {
            return error(reason, "bad PRIORITY on an idle stream");
        }
        let event = self.stream_error(head.stream, reason)?;
        Ok(event.map_or(Found::Nothing, Found::Event))
    }

    /// 6.7.
    fn ping_by_peer(&mut self, head: &Head, payload: &[u8]) -> Step<Found> {
        if head.stream != 0 {
            return protocol("PING on a stream");
        }
        let Ok(data) = <[u8; 8]>::try_from(payload) else { return frame_size() };
        self.spend_idle()?;
        if head.has(frame::ACK) {
            return Ok(Found::Event(Event::Pong { data: u64::from_be_bytes(data) }));
        }
        frame::write_ping(&mut self.out, frame::ACK, &data);
        Ok(Found::Nothing)
    }

    /// Neither side has used this stream yet (5.1).
    pub(super) fn is_idle(&self, id: u32) -> bool {
        match self.config.role {
            Role::Server => id % 2 == 0 || id > self.last_peer,
            Role::Client => id % 2 == 0 || id >= self.next_id,
        }
    }
}
