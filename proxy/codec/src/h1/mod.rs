//! HTTP/1.0 and HTTP/1.1 (RFC 9110, RFC 9112), strict: whatever two parsers could read differently is refused.
//!
//! [`Reader`] turns one direction of a connection into events; [`write`] turns heads, body bytes and trailers into
//! bytes. Neither keeps a buffer: unread bytes stay with the caller.

mod chunk;
mod parse;
mod reader;
pub mod write;

pub use reader::{Answer, Reader, State};
pub use write::{Framing, To};

/// Why a message was refused. The connection cannot be used any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Request or status line is not what RFC 9112 says.
    Line,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    Version,
    /// A control character, a bare LF, an obs-fold, blank before the colon, an empty or impossible field name.
    Field,
    /// Missing, repeated or impossible `Host`, or one that disagrees with an absolute target (security A-24).
    Host,
    /// `Content-Length` and `Transfer-Encoding` together, differing or impossible lengths, a coding on HTTP/1.0
    /// (security A-20).
    Framing,
    /// A transfer coding other than exactly `chunked`.
    Coding,
    /// Chunk size, extension or end that is not what RFC 9112 7.1 says (security A-23).
    Chunk,
    /// More than 64 KiB of head or of trailers, or of chunk extensions in one message.
    TooLarge,
    /// More than 100 fields.
    TooMany,
    /// The connection ended inside a message.
    Truncated,
    /// Bytes where no message is expected (a response nobody asked for).
    Unexpected,
}

impl Error {
    /// Status to answer a bad request with. A bad response is always the origin's fault: answer 502 instead.
    pub fn status(self) -> u16 {
        match self {
            Error::Version => 505,
            Error::Coding => 501,
            Error::TooLarge | Error::TooMany => 431,
            _ => 400,
        }
    }

    /// A few words for `l5d-proxy-error` and the log.
    pub fn text(self) -> &'static str {
        match self {
            Error::Line => "malformed start line",
            Error::Version => "unsupported HTTP version",
            Error::Field => "malformed field",
            Error::Host => "missing, repeated or contradictory host",
            Error::Framing => "contradictory message length",
            Error::Coding => "unsupported transfer coding",
            Error::Chunk => "malformed chunk",
            Error::TooLarge => "head too large",
            Error::TooMany => "too many fields",
            Error::Truncated => "connection ended inside a message",
            Error::Unexpected => "unexpected bytes between messages",
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Error {}
