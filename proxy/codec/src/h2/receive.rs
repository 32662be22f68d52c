//! The receiving half: frames to events, and every rule a peer can break.

use super::connection::{Connection, Data, Leaving, Opening};
use super::frame::{self, Head, MAX_31};
use super::message::{Block, Facts};
use super::streams::Stream;
use super::{ConnectionError, PREFACE, Reason, Role, hpack, settings};
use crate::event::{self, Event, Flow, Scratch, Sink};

/// Most CONTINUATION frames of one header block (security A-05).
const MAX_CONTINUATIONS: u32 = 16;

/// How many times the limit of concurrent streams holds until the peer has acknowledged our settings.
const UNSETTLED: usize = 4;

/// Bytes that an encoded header block may have beyond the decoded limit.
const BLOCK_SLACK: usize = 16 * 1024;

/// What one frame gave.
enum Found {
    Nothing,
    /// An event that borrows nothing.
    Event(Event<'static>),
    /// A block that is in the scratch.
    Request(event::Stream, Facts, bool),
    Response(event::Stream, Facts, bool),
    Trailers(event::Stream, Facts),
}

type Step<T> = Result<T, ConnectionError>;

fn error<T>(reason: Reason, text: &'static str) -> Step<T> {
    Err(ConnectionError { reason, text })
}

fn protocol<T>(text: &'static str) -> Step<T> {
    error(Reason::PROTOCOL_ERROR, text)
}

fn frame_size<T>() -> Step<T> {
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

    /// Whether a frame may come at this place at all.
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

    // --- DATA ---

    /// The head of a DATA frame: all rules about the frame as a whole. `None`: its padding length has not come.
    fn data(&mut self, head: &Head, rest: &[u8]) -> Step<Option<(usize, Option<Event<'static>>)>> {
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
    fn body<'a>(&mut self, rest: &'a [u8]) -> (usize, Option<Event<'a>>) {
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

    // --- HEADERS and CONTINUATION ---

    fn headers(&mut self, head: &Head, payload: &[u8], scratch: &mut Scratch) -> Step<Found> {
        if head.stream == 0 {
            return protocol("HEADERS on stream 0");
        }
        let mut block = payload;
        let mut padding = 0;
        if head.has(frame::PADDED) {
            let Some((length, rest)) = block.split_first() else { return frame_size() };
            padding = usize::from(*length);
            block = rest;
        }
        let mut flawed = false;
        if head.has(frame::PRIORITIZED) {
            let Some((dependency, rest)) = block.split_at_checked(5) else { return frame_size() };
            flawed = frame::number(dependency) & MAX_31 == head.stream;
            block = rest;
        }
        let Some(length) = block.len().checked_sub(padding) else { return protocol("padding longer than its frame") };
        let block = &block[..length];
        let end = head.has(frame::END_STREAM);
        if head.has(frame::END_HEADERS) {
            return self.block(head.stream, end, flawed, block, scratch);
        }
        self.block.stream = head.stream;
        self.block.end = end;
        self.block.flawed = flawed;
        self.block.frames = 0;
        self.block.bytes.clear();
        self.gather(block)?;
        Ok(Found::Nothing)
    }

    fn continuation(&mut self, head: &Head, payload: &[u8], scratch: &mut Scratch) -> Step<Found> {
        self.block.frames += 1;
        if self.block.frames > MAX_CONTINUATIONS {
            return error(Reason::ENHANCE_YOUR_CALM, "too many CONTINUATION frames");
        }
        self.gather(payload)?;
        if !head.has(frame::END_HEADERS) {
            return Ok(Found::Nothing);
        }
        let (bytes, end, flawed) = (std::mem::take(&mut self.block.bytes), self.block.end, self.block.flawed);
        self.block.stream = 0;
        self.block(head.stream, end, flawed, &bytes, scratch)
    }

    fn gather(&mut self, part: &[u8]) -> Step<()> {
        if self.block.bytes.len() + part.len() > self.config.head_bytes as usize + BLOCK_SLACK {
            return error(Reason::ENHANCE_YOUR_CALM, "header block too large");
        }
        self.block.bytes.extend_from_slice(part);
        Ok(())
    }

    /// A whole header block. It is decoded whatever becomes of its stream, because later blocks build on it.
    fn block(&mut self, id: u32, end: bool, flawed: bool, block: &[u8], scratch: &mut Scratch) -> Step<Found> {
        if self.config.role == Role::Server && id % 2 == 0 {
            return protocol("a client opened an even stream");
        }
        let idle = self.is_idle(id);
        if idle && self.config.role == Role::Client {
            return protocol("HEADERS on an idle stream");
        }
        let mut gathered = Block::new(&mut scratch.spans, self.config.head_fields as usize);
        let limit = self.config.head_bytes as usize;
        if self.decoder.decode(block, &mut scratch.bytes, limit, &mut gathered).is_err() {
            return error(Reason::COMPRESSION_ERROR, "header block cannot be decoded");
        }
        let facts = gathered.facts;
        if idle {
            self.earn(0);
            return self.opened(id, end, flawed, facts, &scratch.bytes);
        }
        let Some(stream) = self.streams.get(id).copied() else {
            return match () {
                _ if self.ended.has(id) || self.abandoned.has(id) => {
                    error(Reason::STREAM_CLOSED, "HEADERS on a closed stream")
                }
                _ if self.dropped.has(id) || self.config.role == Role::Client => {
                    self.spend_idle().map(|()| Found::Nothing)
                }
                _ => protocol("a stream was opened out of order"),
            };
        };
        let event = match stream {
            Stream { remote_closed: true, .. } => self.stream_error(id, Reason::STREAM_CLOSED)?,
            _ if facts.too_large => self.stream_error(id, Reason::ENHANCE_YOUR_CALM)?,
            _ if flawed => self.stream_error(id, Reason::PROTOCOL_ERROR)?,
            Stream { answered: false, .. } if self.config.role == Role::Client => {
                return self.answered(stream, end, facts, &scratch.bytes);
            }
            Stream { expect, .. } if end && facts.is_trailers() && expect.is_none_or(|left| left == 0) => {
                self.close_remote(id);
                return Ok(Found::Trailers(stream.name(), facts));
            }
            _ => self.stream_error(id, Reason::PROTOCOL_ERROR)?,
        };
        Ok(event.map_or(Found::Nothing, Found::Event))
    }

    /// Server: the peer opened a stream.
    fn opened(&mut self, id: u32, end: bool, flawed: bool, mut facts: Facts, bytes: &[u8]) -> Step<Found> {
        self.last_peer = id;
        let leaving = matches!(self.sent_goaway, Leaving::Final(last) if id > last);
        // Who has not read our settings yet cannot know the limit.
        let limit = self.config.max_streams as usize * if self.settled { 1 } else { UNSETTLED };
        if leaving || self.streams.len() >= limit {
            if self.settled && !leaving {
                self.spend_error()?;
            }
            frame::write_reset(&mut self.out, id, Reason::REFUSED_STREAM);
            self.dropped.add(id);
            return Ok(Found::Nothing);
        }
        if flawed || (!facts.too_large && !facts.is_request(bytes, end, self.config.extended_connect)) {
            self.stream_error(id, Reason::PROTOCOL_ERROR)?;
            return Ok(Found::Nothing);
        }
        if facts.too_large {
            self.spend_error()?;
            self.answer_too_large(id, end);
            return Ok(Found::Nothing);
        }
        let stream = Stream {
            id,
            send: self.peer.initial_window,
            receive: self.config.stream_window as i32,
            round: self.round,
            expect: facts.length,
            remote_closed: end,
            ..Stream::default()
        };
        self.streams.insert(stream);
        Ok(Found::Request(stream.name(), facts, end))
    }

    /// A head above the limit is answered with 431 here, since nobody can be shown it (security A-07).
    fn answer_too_large(&mut self, id: u32, end: bool) {
        let at = self.out.len();
        frame::write_head(&mut self.out, 0, frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, id);
        hpack::encode_status(&mut self.out, 431);
        frame::finish_block(&mut self.out, at, self.peer.max_frame);
        if end {
            self.ended.add(id);
        } else {
            frame::write_reset(&mut self.out, id, Reason::NO_ERROR);
            self.dropped.add(id);
        }
    }

    /// Client: a head came for a stream that has none yet.
    fn answered(&mut self, stream: Stream, end: bool, mut facts: Facts, bytes: &[u8]) -> Step<Found> {
        if !facts.is_response(bytes, end, stream.head) {
            let event = self.stream_error(stream.id, Reason::PROTOCOL_ERROR)?;
            return Ok(event.map_or(Found::Nothing, Found::Event));
        }
        if facts.status < 200 {
            self.spend_idle()?;
            return Ok(Found::Response(stream.name(), facts, false));
        }
        self.earn(0);
        // Bytes after a head that cannot have any are a mismatch like any other.
        let bodiless = stream.head || matches!(facts.status, 204 | 304);
        if let Some(kept) = self.streams.get_mut(stream.id) {
            kept.answered = true;
            kept.expect = if bodiless { Some(0) } else { facts.length };
        }
        if end {
            self.close_remote(stream.id);
        }
        Ok(Found::Response(stream.name(), facts, end))
    }

    // --- the other frames ---

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

    fn reset_by_peer(&mut self, head: &Head, payload: &[u8]) -> Step<Found> {
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
        if self.config.role == Role::Server && !stream.answered {
            let spent = &mut self.spent;
            let rapid = u32::from(stream.round == self.round);
            spent.rapid_resets += rapid;
            spent.early_resets += 1 - rapid;
            if spent.rapid_resets > self.config.rapid_resets || spent.early_resets > self.config.early_resets {
                return error(Reason::ENHANCE_YOUR_CALM, "too many streams reset before an answer");
            }
        }
        let reason = Reason(frame::number(payload));
        Ok(Found::Event(Event::Reset { stream: stream.name(), reason, remote: true }))
    }

    fn settings(&mut self, head: &Head, payload: &[u8]) -> Step<Found> {
        if head.stream != 0 {
            return protocol("SETTINGS on a stream");
        }
        self.spend_idle()?;
        if head.has(frame::ACK) {
            if !payload.is_empty() {
                return frame_size();
            }
            if !self.settled {
                self.settled = true;
                self.decoder.settle(self.config.header_table);
            }
            return Ok(Found::Nothing);
        }
        if payload.len() % 6 != 0 {
            return frame_size();
        }
        let window = self.peer.initial_window;
        for entry in payload.chunks_exact(6) {
            self.setting(u16::from_be_bytes([entry[0], entry[1]]), frame::number(&entry[2..]))?;
        }
        // Once for the frame, however often it says it: this looks at every stream.
        if self.peer.initial_window != window {
            self.move_windows(i64::from(self.peer.initial_window) - i64::from(window))?;
        }
        frame::write_head(&mut self.out, 0, frame::SETTINGS, frame::ACK, 0);
        Ok(Found::Event(Event::Settings))
    }

    fn setting(&mut self, name: u16, value: u32) -> Step<()> {
        match name {
            // Our table is empty anyway, but a peer that wants a smaller one waits to be told so.
            settings::HEADER_TABLE_SIZE => self.empty_table |= value < 4_096,
            settings::ENABLE_PUSH if value > 1 || (value == 1 && self.config.role == Role::Client) => {
                return protocol("bad SETTINGS_ENABLE_PUSH");
            }
            settings::MAX_CONCURRENT_STREAMS => self.peer.max_streams = value,
            settings::INITIAL_WINDOW_SIZE if value > MAX_31 => {
                return error(Reason::FLOW_CONTROL_ERROR, "bad SETTINGS_INITIAL_WINDOW_SIZE");
            }
            settings::INITIAL_WINDOW_SIZE => self.peer.initial_window = value as i32,
            settings::MAX_FRAME_SIZE if !(16_384..=0xff_ffff).contains(&value) => {
                return protocol("bad SETTINGS_MAX_FRAME_SIZE");
            }
            // We gain nothing from larger frames than these.
            settings::MAX_FRAME_SIZE => self.peer.max_frame = value.min(16_384) as usize,
            settings::MAX_HEADER_LIST_SIZE => self.peer.head_bytes = value,
            settings::ENABLE_CONNECT_PROTOCOL if value > 1 => return protocol("bad SETTINGS_ENABLE_CONNECT_PROTOCOL"),
            _ => {}
        }
        Ok(())
    }

    fn move_windows(&mut self, change: i64) -> Step<()> {
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

    fn goaway_by_peer(&mut self, head: &Head, payload: &[u8]) -> Step<Found> {
        if head.stream != 0 {
            return protocol("GOAWAY on a stream");
        }
        if payload.len() < 8 {
            return frame_size();
        }
        self.spend_idle()?;
        // It may only come down (RFC 9113 6.8).
        let last = (frame::number(payload) & MAX_31).min(self.received_goaway.unwrap_or(MAX_31));
        self.received_goaway = Some(last);
        self.sweep = (self.config.role == Role::Client).then_some((0, false));
        Ok(Found::Event(Event::GoAway { last, reason: Reason(frame::number(&payload[4..])) }))
    }

    /// One stream that the peer will not process. Looks through the table until it finds none.
    fn swept(&mut self) -> Option<Event<'static>> {
        let (mut place, mut found) = self.sweep?;
        let last = self.received_goaway.unwrap_or(MAX_31);
        loop {
            if let Some(id) = self.streams.above(last, &mut place) {
                self.sweep = Some((place, true));
                let stream = self.forget(id)?.name();
                self.dropped.add(id);
                return Some(Event::Reset { stream, reason: Reason::REFUSED_STREAM, remote: true });
            }
            if !found {
                self.sweep = None;
                return None;
            }
            (place, found) = (0, false);
        }
    }

    fn window_update(&mut self, head: &Head, payload: &[u8]) -> Step<Found> {
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

    // --- accounts ---

    /// Neither side has used this stream yet.
    fn is_idle(&self, id: u32) -> bool {
        match self.config.role {
            Role::Server => id % 2 == 0 || id > self.last_peer,
            Role::Client => id % 2 == 0 || id >= self.next_id,
        }
    }

    /// The peer broke a rule that concerns one stream: resets it, and tells the owner if it knows the stream.
    fn stream_error(&mut self, id: u32, reason: Reason) -> Step<Option<Event<'static>>> {
        self.spend_error()?;
        frame::write_reset(&mut self.out, id, reason);
        self.dropped.add(id);
        let stream = self.forget(id);
        Ok(stream.map(|stream| Event::Reset { stream: stream.name(), reason, remote: false }))
    }

    fn spend_error(&mut self) -> Step<()> {
        self.spent.stream_errors += 1;
        if self.spent.stream_errors > self.config.stream_errors {
            return error(Reason::ENHANCE_YOUR_CALM, "too many stream errors");
        }
        Ok(())
    }

    fn spend_idle(&mut self) -> Step<()> {
        self.spent.idle_frames += 1;
        if self.spent.idle_frames > self.config.idle_frames {
            return error(Reason::ENHANCE_YOUR_CALM, "too many frames without content");
        }
        Ok(())
    }

    /// A frame with content came or went: it pays for the frames that answer it. Some peers send a ping and two window
    /// updates for every message.
    pub(super) fn earn(&mut self, bytes: usize) {
        self.spent.idle_frames = self.spent.idle_frames.saturating_sub(4 + bytes as u32 / 1024);
    }
}
