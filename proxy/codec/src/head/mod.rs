//! The neutral message head: one request type and one response type for HTTP/1 and HTTP/2.
//!
//! A head is a view: all slices point into the caller's input (HTTP/1) or into the loop's `Scratch` (HTTP/2). Fields are
//! removed by clearing a bit and added by the writer's `extra` list; nothing here copies or edits bytes.

mod fields;
mod stored;

pub(crate) use fields::Span;
pub use fields::{FIELD_ROOM, Field, Fields, Known, ROOM};
pub use stored::{StoredFields, StoredRequest};

use crate::text::eq_ignore_case;

/// Most fields of one head or one trailer section that an application may send (security A-06).
pub const MAX_FIELDS: usize = 100;

/// Largest head in bytes, request line and empty line included.
pub const MAX_HEAD: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Version {
    Http10,
    #[default]
    Http11,
    Http2,
}

/// How the length of a message body is known.
///
/// From HTTP/2, `Chunked` means "not known in advance": the end is the end of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Body {
    #[default]
    None,
    Length(u64),
    Chunked,
    /// Until the connection closes: only responses, only HTTP/1. Also what follows a `101` or a successful `CONNECT`.
    UntilClose,
}

/// Form of an HTTP/1 request target (RFC 9112 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Form {
    #[default]
    Origin,
    /// `http://authority/path`; the path and authority of the [`Request`] come from it.
    Absolute,
    /// `CONNECT host:port`.
    Authority,
    /// `OPTIONS *`.
    Asterisk,
}

/// A request head. HTTP/1 hop-by-hop fields and the fields nominated by `Connection` are already removed from `fields`;
/// what they said is in the members. `fields` still holds `Host`, `Content-Length` and `Transfer-Encoding` of HTTP/1 so
/// that their place and case survive; writers know what to do with them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    pub method: &'a [u8],
    /// `http`, `https` or what HTTP/2 said. HTTP/1 in origin form says `http`.
    pub scheme: &'a [u8],
    /// The one canonical authority (security A-24): of an absolute target, else `:authority`, else `Host`. May be empty
    /// only for HTTP/1.0 without `Host` and for HTTP/2 with neither.
    pub authority: &'a [u8],
    /// Path with query as received, `*`, or empty for `CONNECT`.
    pub path: &'a [u8],
    pub form: Form,
    pub version: Version,
    pub fields: Fields<'a>,
    pub body: Body,
    /// The sender keeps its connection open after this exchange. Always true for HTTP/2.
    pub persistent: bool,
    /// Value of `Upgrade` when the sender really asks for one (HTTP/1.1, nominated, without `h2c`), else empty.
    /// With an upgrade asked for, the reader of the request side holds every later byte (security A-21).
    pub upgrade: &'a [u8],
    /// `:protocol` of an extended CONNECT (RFC 8441), else empty.
    pub protocol: &'a [u8],
    /// `Expect: 100-continue`, HTTP/1.1 or HTTP/2 only. The field itself stays in `fields`.
    pub expect_continue: bool,
    /// `TE` contains `trailers`.
    pub te_trailers: bool,
}

impl<'a> Request<'a> {
    /// Path without query, and query without `?` (empty when there is none).
    pub fn path_and_query(&self) -> (&'a [u8], &'a [u8]) {
        match self.path.iter().position(|b| *b == b'?') {
            Some(at) => (&self.path[..at], &self.path[at + 1..]),
            None => (self.path, &[]),
        }
    }

    /// Host of the authority without port and without brackets.
    pub fn host(&self) -> &'a [u8] {
        crate::translate::split_authority(self.authority).0
    }

    /// Port of the authority, if it has one.
    pub fn port(&self) -> Option<u16> {
        crate::translate::split_authority(self.authority).1
    }

    /// `content-type` starts with `application/grpc`.
    pub fn is_grpc(&self) -> bool {
        is_grpc(&self.fields)
    }
}

/// A response head, informational ones (1xx) included.
#[derive(Clone, Copy, Debug, Default)]
pub struct Response<'a> {
    pub status: u16,
    /// Reason phrase of HTTP/1 as received; may be empty.
    pub reason: &'a [u8],
    pub version: Version,
    pub fields: Fields<'a>,
    pub body: Body,
    /// The sender keeps its connection open after this exchange. Always true for HTTP/2.
    pub persistent: bool,
    /// Value of `Upgrade` on a `101` (and on a `426`, where it is advice), else empty.
    pub upgrade: &'a [u8],
}

impl Response<'_> {
    /// 1xx other than 101: another head follows.
    pub fn is_informational(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// `content-type` starts with `application/grpc`.
    pub fn is_grpc(&self) -> bool {
        is_grpc(&self.fields)
    }
}

fn is_grpc(fields: &Fields<'_>) -> bool {
    fields
        .get(b"content-type")
        .is_some_and(|value| value.len() >= 16 && eq_ignore_case(&value[..16], b"application/grpc"))
}
