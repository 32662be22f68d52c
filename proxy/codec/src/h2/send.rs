//! What we send on a stream: heads, body bytes within the windows, trailers (RFC 9113 8.1).

use super::connection::{Connection, Refused};
use super::frame::{self, END_HEADERS, END_STREAM};
use super::hpack;
use super::streams::Stream;
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
            self.earn_reset();
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

    /// Sends a PING; the answer is [`crate::Event::Pong`].
    pub fn ping(&mut self, data: u64) {
        if self.failed.is_none() {
            frame::write_ping(&mut self.out, 0, &data.to_be_bytes());
        }
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
