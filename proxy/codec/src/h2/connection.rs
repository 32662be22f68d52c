//! The state machine of one HTTP/2 connection, either role: bytes in, events out; calls in, bytes out.
//!
//! Bytes to send are appended to [`Connection::out`], which the owner writes and empties; leave unwritten bytes in it,
//! because its length is what bounds `send_data`. Take its memory away (`mem::take`) when it is empty.

use super::{Config, ConnectionError, Reason};
use crate::event::{Event, Flow, Scratch, Sink};
use crate::head::{Field, Fields, Request, Response};

/// A stream could not be opened now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The peer's limit of concurrent streams is reached: wait for a stream to end, or use another connection.
    Full,
    /// GOAWAY was sent or received, or stream numbers are used up: use another connection.
    Leaving,
    /// The head is larger than the peer said it accepts.
    TooLarge,
}

/// One HTTP/2 connection. See the module.
#[derive(Debug)]
pub struct Connection {
    /// Bytes to write, in order.
    pub out: Vec<u8>,
    config: Config,
}

impl Connection {
    /// A new connection; the preface and our settings are in `out`.
    pub fn new(config: Config) -> Self {
        Connection { out: Vec::new(), config }
    }

    /// Takes the next event from the front of `input`: how many bytes were used, and the event.
    ///
    /// `None`: give more input, with the unused rest in front. Only whole frames are used, except `DATA`, so `input` must
    /// be able to grow to `max_frame + 9`. Afterwards look at [`Connection::next_writable`] and write `out`.
    pub fn next<'a>(
        &mut self,
        input: &'a [u8],
        scratch: &'a mut Scratch,
    ) -> Result<(usize, Option<Event<'a>>), ConnectionError> {
        let _ = (input, scratch, &self.config);
        Ok((0, None))
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
        let _ = (token, head, extra, end);
        Err(Refused::Leaving)
    }

    /// Server: sends a response head, final or informational (1xx, which never ends the stream; 101 is not sent).
    /// Returns false if the stream is gone.
    pub fn send_response(&mut self, id: u32, head: &Response<'_>, extra: &[Field<'_>], end: bool) -> bool {
        let _ = (id, head, extra, end);
        false
    }

    /// Sends body bytes and returns how many were accepted: limited by both windows and by [`super::OUT_CAP`].
    /// `end` counts only if all were accepted. After a short or zero acceptance the stream appears in
    /// [`Connection::next_writable`] once there is room. A stream that is gone accepts everything and sends nothing.
    pub fn send_data(&mut self, id: u32, bytes: &[u8], end: bool) -> usize {
        let _ = (id, end);
        bytes.len()
    }

    /// Ends the stream with trailers (and `extra`). Not flow-controlled. Returns false if the stream is gone.
    pub fn send_trailers(&mut self, id: u32, fields: &Fields<'_>, extra: &[Field<'_>]) -> bool {
        let _ = (id, fields, extra);
        false
    }

    /// Abandons a stream; no further event for it. A server that has sent a whole response and does not want the rest
    /// of the request says `NO_ERROR`.
    pub fn reset(&mut self, id: u32, reason: Reason) {
        let _ = (id, reason);
    }

    /// The application side took `n` body bytes of this stream: gives the credit back to the peer. Credit of streams that are
    /// gone was given back when they went.
    pub fn release(&mut self, id: u32, n: usize) {
        let _ = (id, n);
    }

    /// Gives a stream its owner's number, which later events carry.
    pub fn set_token(&mut self, id: u32, token: u32) {
        let _ = (id, token);
    }

    /// The next stream that was refused room and has some now, oldest first. Call until `None` after `next` has said `None` and
    /// after `out` was written.
    pub fn next_writable(&mut self) -> Option<crate::event::Stream> {
        None
    }

    /// How much `send_data` would accept now.
    pub fn room(&self, id: u32) -> usize {
        let _ = id;
        0
    }

    /// Client: whether a stream could be opened now.
    pub fn can_open(&self) -> Result<(), Refused> {
        Err(Refused::Leaving)
    }

    /// Streams that are open in any way.
    pub fn streams(&self) -> usize {
        0
    }

    /// Ids and tokens of all open streams, in no order: to fail them when the connection breaks.
    pub fn open_streams(&self) -> impl Iterator<Item = crate::event::Stream> + '_ {
        std::iter::empty()
    }

    /// Says that no new stream of the peer's will be accepted; streams already open go on. With `NO_ERROR`, a server drains:
    /// the first call announces (last id 2^31-1), the second, at least one round trip later, is final.
    pub fn goaway(&mut self, reason: Reason) {
        let _ = reason;
    }

    /// Both sides are done: GOAWAY was sent or received and no stream is open.
    pub fn is_finished(&self) -> bool {
        false
    }

    /// Sends a PING; the answer is [`Event::Pong`].
    pub fn ping(&mut self, data: u64) {
        let _ = data;
    }

    /// Once a second while anything happened: gives back half of the spent abuse credits.
    pub fn calm(&mut self) {}

    /// Frees memory that is not needed now. Cheap; for a connection that has been idle for a while.
    pub fn shrink(&mut self) {}
}
