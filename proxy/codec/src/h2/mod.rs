//! HTTP/2 (RFC 9113) and HPACK (RFC 7541), both roles, without I/O.
//!
//! Each module holds what both sides do about one thing. Begin with `connection` (the state), `receive` (a frame comes) and
//! `send` (a stream is written). Where a rule of RFC 9113 is:
//!
//! | sections | what | module |
//! |---|---|---|
//! | 3.4, 4.1, 4.2 | the preface; which frame may come when, and how large | `receive` |
//! | 5.1, 5.1.1 | streams: opened, closed, used too early or too late | `heads`, `connection`, `streams` |
//! | 5.1.2 | concurrent streams | `heads`, `connection` |
//! | 5.2, 6.9 | windows, WINDOW_UPDATE | `window` |
//! | 5.4 | errors of a connection and of a stream | `connection`, `abuse` |
//! | 6.1 | DATA | `data`, `send` |
//! | 4.3, 6.2, 6.10 | HEADERS, CONTINUATION, header blocks | `heads`, `send` |
//! | 6.3, 6.6, 6.7 | PRIORITY, PUSH_PROMISE, PING | `receive` |
//! | 6.4 | RST_STREAM | `reset` |
//! | 6.5 | SETTINGS | `settings` |
//! | 6.8 | GOAWAY | `goaway` |
//! | 7 | error codes | here |
//! | 8 | fields, pseudo-fields, requests, responses, trailers | `message` |
//! | 10.5 | floods | `abuse` |
//!
//! Nothing here decides what a request means or where it goes.

mod abuse;
mod connection;
mod data;
mod frame;
mod goaway;
mod heads;
pub(crate) mod hpack;
mod message;
mod receive;
mod reset;
mod send;
mod settings;
mod streams;
mod window;

pub use connection::{Connection, Refused};
pub use settings::{Config, Role};

/// The bytes a client begins with (RFC 9113 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Most bytes in [`Connection::out`] before `send_data` accepts no more, so that one body cannot own the link.
pub const OUT_CAP: usize = 64 * 1024;

/// An error code (RFC 9113 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(pub u32);

impl Reason {
    pub const NO_ERROR: Reason = Reason(0);
    pub const PROTOCOL_ERROR: Reason = Reason(1);
    pub const INTERNAL_ERROR: Reason = Reason(2);
    pub const FLOW_CONTROL_ERROR: Reason = Reason(3);
    pub const SETTINGS_TIMEOUT: Reason = Reason(4);
    pub const STREAM_CLOSED: Reason = Reason(5);
    pub const FRAME_SIZE_ERROR: Reason = Reason(6);
    pub const REFUSED_STREAM: Reason = Reason(7);
    pub const CANCEL: Reason = Reason(8);
    pub const COMPRESSION_ERROR: Reason = Reason(9);
    pub const CONNECT_ERROR: Reason = Reason(10);
    pub const ENHANCE_YOUR_CALM: Reason = Reason(11);
    pub const INADEQUATE_SECURITY: Reason = Reason(12);
    pub const HTTP_1_1_REQUIRED: Reason = Reason(13);

    pub fn text(self) -> &'static str {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        NAMES.get(self.0 as usize).copied().unwrap_or("UNKNOWN")
    }
}

/// The peer broke the rules of the connection. A `GOAWAY` is already in `out`: write it, then close.
/// Every stream of the connection is dead; no `Reset` events follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionError {
    pub reason: Reason,
    /// A few words for the log.
    pub text: &'static str,
}

impl std::fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.reason.text(), self.text)
    }
}

impl std::error::Error for ConnectionError {}
