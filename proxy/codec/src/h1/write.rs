//! Heads, body bytes and trailers of HTTP/1, appended to a buffer.
//!
//! Fields keep their order, and their case if they came from HTTP/1. `Host` is always the canonical authority; framing
//! and `Connection` are always ours; fields of `extra` come last and replace nothing: remove first what they replace.

use crate::head::{Field, Fields, Request, Response, Version};

/// How the body that follows a head must be written. Given by [`request`] and [`response`], used by [`data`] and [`end`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Framing {
    /// No body may follow; `data` writes nothing.
    #[default]
    None,
    /// Bytes as they are.
    Plain,
    Chunked,
    /// Bytes as they are, and the connection must be closed after [`end`].
    UntilClose,
}

/// Whom a response goes to.
#[derive(Clone, Copy, Debug)]
pub struct To {
    /// Version of the request.
    pub version: Version,
    /// The request was a `HEAD`.
    pub head: bool,
    /// We keep this connection open.
    pub persistent: bool,
}

/// Writes a request head. Without `persistent`, `Connection: close` is sent.
///
/// A body of unknown length is chunked. `Expect`, `TE: trailers` and an upgrade are sent as the head has them.
/// HTTP/1.0 heads are sent as HTTP/1.0 (without a chunked body: the caller must know the length).
pub fn request(out: &mut Vec<u8>, head: &Request<'_>, extra: &[Field<'_>], persistent: bool) -> Framing {
    let _ = (out, head, extra, persistent);
    Framing::None
}

/// Writes a response head; an informational one has `Framing::None`.
///
/// A body of unknown length is chunked for HTTP/1.1 and ends with the connection for HTTP/1.0.
pub fn response(out: &mut Vec<u8>, head: &Response<'_>, extra: &[Field<'_>], to: To) -> Framing {
    let _ = (out, head, extra, to);
    Framing::None
}

/// Writes body bytes; an empty slice writes nothing.
pub fn data(out: &mut Vec<u8>, framing: Framing, bytes: &[u8]) {
    let _ = (out, framing, bytes);
}

/// Ends the body, with trailers where the framing has a place for them (chunked only; dropped elsewhere).
///
/// Framing, routing and mesh fields in trailers are dropped (RFC 9110 6.5.1, security A-35).
pub fn end(out: &mut Vec<u8>, framing: Framing, trailers: Option<&Fields<'_>>) {
    let _ = (out, framing, trailers);
}
