//! The sending half: heads, body bytes within the windows, trailers, resets.

use super::connection::{Connection, Refused};
use super::frame::{self, END_HEADERS, END_STREAM};
use super::streams::Stream;
use super::{OUT_CAP, PREFACE, Reason, Role, hpack};
use crate::event;
use crate::head::{Field, Fields, Known, Request, Response};

impl Connection {
    /// Client: opens a stream and sends the head with its remaining fields and `extra`. What HTTP/2 cannot say
    /// (`Host`, `Connection`, `Transfer-Encoding`, …) is left out, names are lower-cased, `te: trailers` is said if the head
    /// says so. Returns the stream's id; events about it carry `token`.
    pub fn send_request(
        &mut self,
        token: u32,
        head: &Request<'_>,
        extra: &[Field<'_>],
        end: bool,
    ) -> Result<u32, Refused> {
        self.can_open()?;
        let id = self.next_id;
        let at = self.begin_block(id, end);
        let out = &mut self.out;
        let connect = head.method == b"CONNECT" && head.protocol.is_empty();
        hpack::encode_method(out, head.method);
        if !connect {
            hpack::encode_scheme(out, head.scheme);
        }
        if !head.authority.is_empty() {
            hpack::encode_authority(out, head.authority);
        }
        if !connect {
            hpack::encode_path(out, head.path);
        }
        if !head.protocol.is_empty() {
            hpack::encode_field(out, Known::Other, b":protocol", head.protocol);
        }
        let mut size = fields(out, &head.fields, extra);
        if head.te_trailers {
            hpack::encode_field(out, Known::Te, b"te", b"trailers");
        }
        size += head.authority.len() + head.path.len() + 5 * hpack::OVERHEAD;
        if size > self.peer.head_bytes as usize {
            self.out.truncate(at);
            return Err(Refused::TooLarge);
        }
        self.end_block(at);
        self.next_id += 2;
        self.streams.insert(Stream {
            id,
            token,
            send: self.peer.initial_window,
            receive: self.config.stream_window as i32,
            local_closed: end,
            head: head.method == b"HEAD",
            ..Stream::default()
        });
        Ok(id)
    }

    /// Server: sends a response head, final or informational (1xx, which never ends the stream; 101 is not sent).
    /// Returns false if the stream is gone.
    pub fn send_response(&mut self, id: u32, head: &Response<'_>, extra: &[Field<'_>], end: bool) -> bool {
        let informational = head.is_informational();
        if head.status == 101 || self.failed.is_some() {
            return false;
        }
        let Some(stream) = self.streams.get_mut(id).filter(|stream| !stream.local_closed && !stream.answered) else {
            return false;
        };
        if !informational {
            stream.answered = true;
            self.spent.rapid_resets = self.spent.rapid_resets.saturating_sub(1);
            self.spent.early_resets = self.spent.early_resets.saturating_sub(1);
        }
        let end = end && !informational;
        let at = self.begin_block(id, end);
        hpack::encode_status(&mut self.out, head.status);
        fields(&mut self.out, &head.fields, extra);
        self.end_block(at);
        if end {
            self.close_local(id);
        }
        true
    }

    /// Sends body bytes and returns how many were accepted: limited by both windows and by [`super::OUT_CAP`].
    /// `end` counts only if all were accepted. After a short or zero acceptance the stream appears in
    /// [`Connection::next_writable`] once there is room. A stream that is gone accepts everything and sends nothing.
    pub fn send_data(&mut self, id: u32, bytes: &[u8], end: bool) -> usize {
        let connection = self.connection_room();
        let stream = self.streams.get_mut(id).filter(|stream| !stream.local_closed && self.failed.is_none());
        let Some(stream) = stream else { return bytes.len() };
        let accepted = bytes.len().min(connection).min(stream.send.max(0) as usize);
        let all = accepted == bytes.len();
        stream.send -= accepted as i32;
        self.send -= accepted as i32;
        if !all {
            if stream.send <= 0 {
                stream.starved = true;
            } else if !stream.queued {
                stream.queued = true;
                self.enqueue(id);
            }
        }
        let end = end && all;
        let mut rest = &bytes[..accepted];
        while !rest.is_empty() || end {
            let (piece, after) = rest.split_at(rest.len().min(self.peer.max_frame));
            let last = end && after.is_empty();
            frame::write_head(&mut self.out, piece.len(), frame::DATA, if last { END_STREAM } else { 0 }, id);
            self.out.extend_from_slice(piece);
            self.earn(piece.len());
            rest = after;
            if last {
                self.close_local(id);
                break;
            }
        }
        accepted
    }

    /// Ends the stream with trailers (and `extra`). Not flow-controlled. Returns false if the stream is gone.
    pub fn send_trailers(&mut self, id: u32, trailers: &Fields<'_>, extra: &[Field<'_>]) -> bool {
        if self.failed.is_some() || self.streams.get(id).is_none_or(|stream| stream.local_closed) {
            return false;
        }
        if trailers.is_empty() && extra.is_empty() {
            self.send_data(id, &[], true);
            return true;
        }
        if let Some(stream) = self.streams.get_mut(id) {
            stream.trailed = true;
        }
        let at = self.begin_block(id, true);
        fields(&mut self.out, trailers, extra);
        self.end_block(at);
        self.close_local(id);
        true
    }

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

    /// The application side took `n` body bytes of this stream: gives the credit back to the peer. Credit of streams that are
    /// gone was given back when they went.
    pub fn release(&mut self, id: u32, n: usize) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        let n = u32::try_from(n).unwrap_or(u32::MAX).min(stream.unreleased);
        stream.unreleased -= n;
        self.credit_connection(n);
        self.credit_stream(id, n);
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

    /// How much `send_data` would accept now.
    pub fn room(&self, id: u32) -> usize {
        let stream = self.streams.get(id).filter(|stream| !stream.local_closed);
        stream.map_or(0, |stream| self.connection_room().min(stream.send.max(0) as usize))
    }

    /// Sends a PING; the answer is [`crate::Event::Pong`].
    pub fn ping(&mut self, data: u64) {
        if self.failed.is_none() {
            frame::write_ping(&mut self.out, 0, &data.to_be_bytes());
        }
    }

    fn connection_room(&self) -> usize {
        OUT_CAP.saturating_sub(self.out.len()).min(self.send.max(0) as usize)
    }

    fn begin_block(&mut self, id: u32, end: bool) -> usize {
        let at = self.out.len();
        frame::write_head(&mut self.out, 0, frame::HEADERS, END_HEADERS | if end { END_STREAM } else { 0 }, id);
        if self.empty_table {
            hpack::encode_empty_table(&mut self.out);
        }
        at
    }

    fn end_block(&mut self, at: usize) {
        self.empty_table = false;
        frame::finish_block(&mut self.out, at, self.peer.max_frame);
    }
}

/// Encodes what HTTP/2 can say of `fields`, then `extra`; returns the size as RFC 9113 6.5.2 counts it.
fn fields(out: &mut Vec<u8>, fields: &Fields<'_>, extra: &[Field<'_>]) -> usize {
    let mut size = 0;
    for (known, (name, value)) in fields.tagged() {
        match known {
            Known::ContentLength | Known::Cookie | Known::Expect | Known::Mesh | Known::Other => {
                size += name.len() + value.len() + hpack::OVERHEAD;
                hpack::encode_field(out, known, name, value);
            }
            _ => {}
        }
    }
    for (name, value) in extra {
        size += name.len() + value.len() + hpack::OVERHEAD;
        hpack::encode_field(out, Known::Other, name, value);
    }
    size
}
