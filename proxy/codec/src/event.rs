//! What a connection says, whatever its protocol. One vocabulary, so that any source connects to any destination.
//!
//! Two ways to listen. *Pull*: call `next` until it says `None`; between calls the connection is not borrowed, so the
//! handler may send on the same connection. *Push*: implement [`Sink`] and call `receive`. `receive` is a loop over `next`.

use crate::head::{Fields, Request, Response, Span};

/// A stream of an HTTP/2 connection with the number its owner gave it; both are 0 on HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stream {
    pub id: u32,
    /// Set by `send_request` or `set_token`; 0 on a stream that has just been opened by the peer.
    pub token: u32,
}

/// One thing that arrived. Slices live as long as the input and the scratch given to `next`.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// With `end`, the request has no body.
    Request { stream: Stream, head: Request<'a>, end: bool },
    /// A final response, or the `101` of HTTP/1 (then every later byte of the reader is `Data`).
    Response { stream: Stream, head: Response<'a>, end: bool },
    /// A 1xx head other than 101; the final one is still to come.
    Informational { stream: Stream, head: Response<'a> },
    /// Body bytes. `bytes` is empty only when `end` is set. On HTTP/1 the destination may take fewer: see
    /// [`crate::h1::Reader::unread`]. On HTTP/2 all are taken, and given back to the peer by `release`.
    Data { stream: Stream, bytes: &'a [u8], end: bool },
    /// The message ends with these trailers (there is no other end event).
    Trailers { stream: Stream, fields: Fields<'a> },
    /// HTTP/2: the stream is gone, by the peer (`remote`) or because it broke the rules on it (then the reset is
    /// already in `out`). No event of this stream follows and sending on it does nothing.
    Reset { stream: Stream, reason: crate::h2::Reason, remote: bool },
    /// HTTP/2: the peer will not process streams above `last`. Those opened by us above it are reported with `Reset`
    /// (`REFUSED_STREAM`: safe to send again) right after this event.
    GoAway { last: u32, reason: crate::h2::Reason },
    /// HTTP/2: the peer's settings changed; ask `can_open` again. The first one is the peer's preface.
    Settings,
    /// HTTP/2: the answer to our `ping`.
    Pong { data: u64 },
}

/// What a [`Sink`] wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Continue,
    /// Return from `receive` with the bytes used so far.
    Pause,
}

/// Receives events in order.
pub trait Sink {
    fn event(&mut self, event: Event<'_>) -> Flow;
}

impl<F: FnMut(Event<'_>) -> Flow> Sink for F {
    fn event(&mut self, event: Event<'_>) -> Flow {
        self(event)
    }
}

/// Working memory for decoding heads: one per event loop, lent to each `next`. Grows to the largest head seen and stays.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) spans: Vec<Span>,
}
