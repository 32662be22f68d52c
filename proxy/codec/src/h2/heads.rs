//! HEADERS and CONTINUATION from the peer (RFC 9113 6.2, 6.10): header blocks, the streams they open (5.1), the heads and
//! trailers they are (8.1).
//!
//! What a field may say is in `message`, how it is written in `hpack`.

use super::connection::Connection;
use super::frame::{self, Head, MAX_31};
use super::goaway::Leaving;
use super::message::{Block, Facts};
use super::receive::{Found, Step, error, frame_size, protocol};
use super::streams::Stream;
use super::{Reason, Role, hpack};
use crate::event::Scratch;

/// Most CONTINUATION frames of one header block (security A-05).
const MAX_CONTINUATIONS: u32 = 16;

/// How many times the limit of concurrent streams holds until the peer has acknowledged our settings.
const UNSETTLED: usize = 4;

/// Bytes that an encoded header block may have beyond the decoded limit.
const BLOCK_SLACK: usize = 16 * 1024;

impl Connection {
    /// 6.2: a header block begins, behind padding and a priority that count for nothing.
    pub(super) fn headers(&mut self, head: &Head, payload: &[u8], scratch: &mut Scratch) -> Step<Found> {
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

    /// 6.10: it goes on.
    pub(super) fn continuation(&mut self, head: &Head, payload: &[u8], scratch: &mut Scratch) -> Step<Found> {
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

    /// A whole header block. It is decoded whatever becomes of its stream, because later blocks build on it (4.3).
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
}
