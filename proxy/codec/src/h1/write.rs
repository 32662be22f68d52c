//! Heads, body bytes and trailers of HTTP/1, appended to a buffer.
//!
//! Fields keep their order, and their case if they came from HTTP/1. `Host` is always the canonical authority; framing
//! and `Connection` are always ours; fields of `extra` come last and replace nothing: remove first what they replace.
//! (Only a `content-length` in the `extra` of a response is taken instead of our own.)

use super::Answer;
use crate::head::{Body, Field, Fields, Form, Known, Request, Response, Version};
use crate::text::token_is;

/// How the body that follows a head must be written. Given by [`request`] and [`response`], used by [`data`] and [`end`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Framing {
    /// No body may follow; `data` writes nothing.
    #[default]
    None,
    /// Bytes as they are: as many as were promised, or a tunnel.
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
    /// What the response answers.
    pub answer: Answer,
    /// We keep this connection open.
    pub persistent: bool,
}

/// Writes a request head. Without `persistent`, `Connection: close` is sent.
///
/// A body of unknown length is chunked. `Expect`, `TE: trailers` and an upgrade are sent as the head has them.
pub fn request(out: &mut Vec<u8>, head: &Request<'_>, extra: &[Field<'_>], persistent: bool) -> Framing {
    let chunked = matches!(head.body, Body::Chunked | Body::UntilClose);
    let old = head.version == Version::Http10 && !chunked;
    request_line(out, head, old);
    let mut host = false;
    let mut length = None;
    let mut coding = false;
    let mut cookies = false;
    // Only HTTP/2 may split a cookie (RFC 9113 8.2.3).
    let join = head.version == Version::Http2;
    for (known, (name, value)) in head.fields.tagged() {
        match known {
            Known::Host if !host => {
                host = true;
                field(out, name, head.authority);
            }
            Known::ContentLength => match head.body {
                Body::Length(n) if length.is_none() => {
                    length = Some(n);
                    number_field(out, name, n);
                }
                _ => {}
            },
            Known::TransferEncoding if chunked && !coding => {
                coding = true;
                field(out, name, b"chunked");
            }
            Known::Cookie if join && cookies => {}
            Known::Cookie if join => {
                cookies = true;
                joined(out, name, head.fields.get_all(b"cookie"));
            }
            Known::Cookie | Known::Expect | Known::Mesh | Known::Other => field(out, name, value),
            _ => {}
        }
    }
    if !host && (!head.authority.is_empty() || !old) {
        field(out, b"host", head.authority);
    }
    let framing = match head.body {
        Body::Length(n) => {
            if length.is_none() {
                number_field(out, b"content-length", n);
            }
            Framing::Plain
        }
        Body::None => {
            // Without this some servers wait for a body (RFC 9110 8.6); HTTP/2 clients do not say it.
            if head.version == Version::Http2 && matches!(head.method, b"POST" | b"PUT" | b"PATCH") {
                number_field(out, b"content-length", 0);
            }
            Framing::None
        }
        Body::Chunked | Body::UntilClose => {
            if !coding {
                field(out, b"transfer-encoding", b"chunked");
            }
            Framing::Chunked
        }
    };
    let te = head.te_trailers && !old;
    let keep: &[u8] = match (persistent, old) {
        (false, _) => b"close",
        (true, true) => b"keep-alive",
        (true, false) => b"",
    };
    connection(out, [keep, if te { b"TE" } else { b"" }, if head.upgrade.is_empty() { b"" } else { b"Upgrade" }]);
    if te {
        field(out, b"TE", b"trailers");
    }
    if !head.upgrade.is_empty() {
        field(out, b"Upgrade", head.upgrade);
    }
    finish(out, extra);
    framing
}

/// Writes a response head; an informational one has `Framing::None`.
///
/// A body of unknown length is chunked, or ends with the connection if the client or the origin speaks HTTP/1.0.
pub fn response(out: &mut Vec<u8>, head: &Response<'_>, extra: &[Field<'_>], to: To) -> Framing {
    let old_client = to.version == Version::Http10;
    let old = head.version == Version::Http10 || (head.version == Version::Http2 && old_client);
    status_line(out, head, old);
    let tunnel = head.status == 101 || (to.answer == Answer::Connect && (200..300).contains(&head.status));
    let bodiless = tunnel || (100..200).contains(&head.status) || head.status == 204;
    // The framing fields of these describe a body that is not sent.
    let described = to.answer == Answer::Head || head.status == 304;
    let unknown = matches!(head.body, Body::Chunked | Body::UntilClose) && !bodiless && !described;
    let chunked = unknown && !old && !old_client;
    let mut length = extra.iter().any(|(name, _)| token_is(name, b"content-length"));
    let mut coding = false;
    for (known, (name, value)) in head.fields.tagged() {
        match (known, head.body) {
            (Known::Host | Known::Cookie | Known::Expect | Known::Mesh | Known::Other, _) => field(out, name, value),
            (Known::ContentLength, _) if described && !length => {
                length = true;
                field(out, name, value);
            }
            (Known::ContentLength, Body::Length(n)) if !bodiless && !length => {
                length = true;
                number_field(out, name, n);
            }
            (Known::TransferEncoding, _) if (chunked || (described && !old_client)) && !coding => {
                coding = true;
                field(out, name, b"chunked");
            }
            _ => {}
        }
    }
    let framing = match head.body {
        _ if tunnel => Framing::Plain,
        _ if bodiless || described => Framing::None,
        Body::Length(n) => {
            if !length {
                number_field(out, b"content-length", n);
            }
            Framing::Plain
        }
        Body::None => {
            if !length {
                number_field(out, b"content-length", 0);
            }
            Framing::None
        }
        Body::Chunked | Body::UntilClose if chunked => {
            if !coding {
                field(out, b"transfer-encoding", b"chunked");
            }
            Framing::Chunked
        }
        Body::Chunked | Body::UntilClose => Framing::UntilClose,
    };
    let keep: &[u8] = match () {
        _ if tunnel || head.is_informational() => b"",
        _ if !to.persistent || framing == Framing::UntilClose => b"close",
        _ if old || old_client => b"keep-alive",
        _ => b"",
    };
    connection(out, [keep, if head.upgrade.is_empty() { b"" } else { b"Upgrade" }, b""]);
    if !head.upgrade.is_empty() {
        field(out, b"Upgrade", head.upgrade);
    }
    finish(out, extra);
    framing
}

/// Writes body bytes; an empty slice writes nothing.
pub fn data(out: &mut Vec<u8>, framing: Framing, bytes: &[u8]) {
    match framing {
        _ if bytes.is_empty() => {}
        Framing::None => {}
        Framing::Plain | Framing::UntilClose => out.extend_from_slice(bytes),
        Framing::Chunked => {
            hexadecimal(out, bytes.len());
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Most bytes that [`data`] adds to a slice.
pub const DATA_OVERHEAD: usize = 16 + 4;

/// Ends the body, with trailers where the framing has a place for them (chunked only; dropped elsewhere).
///
/// Framing, routing and mesh fields in trailers are dropped (RFC 9110 6.5.1, security A-35).
pub fn end(out: &mut Vec<u8>, framing: Framing, trailers: Option<&Fields<'_>>) {
    if framing != Framing::Chunked {
        return;
    }
    out.extend_from_slice(b"0\r\n");
    for (known, (name, value)) in trailers.iter().flat_map(|fields| fields.tagged()) {
        if known == Known::Other {
            field(out, name, value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn request_line(out: &mut Vec<u8>, head: &Request<'_>, old: bool) {
    out.extend_from_slice(head.method);
    out.push(b' ');
    match head.form {
        Form::Absolute if head.path != b"*" => {
            out.extend_from_slice(head.scheme);
            out.extend_from_slice(b"://");
            out.extend_from_slice(head.authority);
            out.extend_from_slice(head.path);
        }
        Form::Absolute => {
            out.extend_from_slice(head.scheme);
            out.extend_from_slice(b"://");
            out.extend_from_slice(head.authority);
        }
        Form::Authority => out.extend_from_slice(head.authority),
        Form::Origin | Form::Asterisk => out.extend_from_slice(head.path),
    }
    out.extend_from_slice(if old { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" });
}

fn status_line(out: &mut Vec<u8>, head: &Response<'_>, old: bool) {
    out.extend_from_slice(if old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    decimal(out, head.status.into());
    out.push(b' ');
    let reason = if head.reason.is_empty() { phrase(head.status) } else { head.reason };
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn number_field(out: &mut Vec<u8>, name: &[u8], value: u64) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    decimal(out, value);
    out.extend_from_slice(b"\r\n");
}

fn joined<'a>(out: &mut Vec<u8>, name: &[u8], values: impl Iterator<Item = &'a [u8]>) {
    out.extend_from_slice(name);
    let mut between: &[u8] = b": ";
    for value in values {
        out.extend_from_slice(between);
        out.extend_from_slice(value);
        between = b"; ";
    }
    out.extend_from_slice(b"\r\n");
}

fn connection(out: &mut Vec<u8>, tokens: [&[u8]; 3]) {
    let mut tokens = tokens.into_iter().filter(|token| !token.is_empty()).peekable();
    if tokens.peek().is_some() {
        out.extend_from_slice(b"Connection: ");
        while let Some(token) = tokens.next() {
            out.extend_from_slice(token);
            out.extend_from_slice(if tokens.peek().is_some() { b", " } else { b"\r\n" });
        }
    }
}

fn finish(out: &mut Vec<u8>, extra: &[Field<'_>]) {
    for (name, value) in extra {
        field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn hexadecimal(out: &mut Vec<u8>, value: usize) {
    let digits = (usize::BITS - value.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[value >> (digit * 4) & 15]);
    }
}

/// The usual phrase of a status, for responses that came without one: HTTP/2 has none.
pub fn phrase(status: u16) -> &'static [u8] {
    match status {
        100 => b"Continue",
        101 => b"Switching Protocols",
        103 => b"Early Hints",
        200 => b"OK",
        201 => b"Created",
        202 => b"Accepted",
        204 => b"No Content",
        206 => b"Partial Content",
        301 => b"Moved Permanently",
        302 => b"Found",
        303 => b"See Other",
        304 => b"Not Modified",
        307 => b"Temporary Redirect",
        308 => b"Permanent Redirect",
        400 => b"Bad Request",
        401 => b"Unauthorized",
        403 => b"Forbidden",
        404 => b"Not Found",
        405 => b"Method Not Allowed",
        408 => b"Request Timeout",
        409 => b"Conflict",
        410 => b"Gone",
        413 => b"Content Too Large",
        415 => b"Unsupported Media Type",
        416 => b"Range Not Satisfiable",
        417 => b"Expectation Failed",
        421 => b"Misdirected Request",
        422 => b"Unprocessable Content",
        426 => b"Upgrade Required",
        429 => b"Too Many Requests",
        431 => b"Request Header Fields Too Large",
        500 => b"Internal Server Error",
        501 => b"Not Implemented",
        502 => b"Bad Gateway",
        503 => b"Service Unavailable",
        504 => b"Gateway Timeout",
        505 => b"HTTP Version Not Supported",
        508 => b"Loop Detected",
        _ => b"",
    }
}
