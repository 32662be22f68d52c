//! Which protocol the first bytes of a connection are.

use crate::h2::PREFACE;
use crate::text::{is_target, is_token};

/// What is known so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detected {
    /// Not enough bytes to say. After a deadline without more, treat it as `Opaque`.
    More,
    Http1,
    /// The whole HTTP/2 preface is there.
    Http2,
    Opaque,
}

/// Longest method that is waited for.
const MAX_METHOD: usize = 24;

/// Longest request line that is waited for.
const MAX_LINE: usize = 8 * 1024;

/// Methods after which ` /` is enough to know: no other protocol begins so.
const COMMON: [&[u8]; 8] = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"];

/// Looks at the first bytes without using any. Never asks for more than 8 KiB.
///
/// HTTP/1 is a common method and a path, or any whole line that ends in ` HTTP/1.` and a digit.
pub fn detect(input: &[u8]) -> Detected {
    let common = input.len().min(PREFACE.len());
    if input[..common] == PREFACE[..common] {
        return if common == PREFACE.len() { Detected::Http2 } else { Detected::More };
    }
    // An empty line before the request is allowed by RFC 9112 2.2.
    let input = match input {
        [b'\r', b'\n', rest @ ..] => rest,
        [b'\r'] => return Detected::More,
        _ => input,
    };
    let method = input.iter().take(MAX_METHOD + 1).take_while(|b| is_token(**b)).count();
    match input.get(method) {
        _ if method > MAX_METHOD => Detected::Opaque,
        None => Detected::More,
        Some(b' ') if method > 0 => line(input, method),
        Some(_) => Detected::Opaque,
    }
}

/// `input` starts with a method and a space.
fn line(input: &[u8], method: usize) -> Detected {
    if input.get(method + 1) == Some(&b'/') && COMMON.contains(&&input[..method]) {
        return Detected::Http1;
    }
    let rest = &input[method + 1..input.len().min(MAX_LINE)];
    let target = rest.iter().take_while(|b| is_target(**b)).count();
    let version = &rest[target..];
    const TAIL: &[u8; 8] = b" HTTP/1.";
    let known = version.len().min(TAIL.len());
    if version[..known] != TAIL[..known] || (target == 0 && !version.is_empty()) {
        return Detected::Opaque;
    }
    match version.get(TAIL.len()..) {
        None | Some([] | [_] | [_, b'\r']) if input.len() >= MAX_LINE => Detected::Opaque,
        Some([b'0'..=b'9', b'\r', b'\n', ..] | [b'0'..=b'9', b'\n', ..]) => Detected::Http1,
        None | Some([] | [b'0'..=b'9'] | [b'0'..=b'9', b'\r']) => Detected::More,
        Some(_) => Detected::Opaque,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_requests_are_known_early() {
        assert_eq!(detect(b"GET /"), Detected::Http1);
        assert_eq!(detect(b"\r\nPOST /x"), Detected::Http1);
        assert_eq!(detect(b"GET"), Detected::More);
        assert_eq!(detect(b"GET "), Detected::More);
        assert_eq!(detect(b""), Detected::More);
    }

    #[test]
    fn other_methods_need_a_whole_line() {
        assert_eq!(detect(b"PROPFIND /x HTTP/1.1"), Detected::More);
        assert_eq!(detect(b"PROPFIND /x HTTP/1.1\r\n"), Detected::Http1);
        assert_eq!(detect(b"GET http://a/ HTTP/1.0\r\n"), Detected::Http1);
        assert_eq!(detect(b"CONNECT a:1 HTTP/1.1\r\n"), Detected::Http1);
        assert_eq!(detect(b"EHLO example.com\r\n"), Detected::Opaque);
        assert_eq!(detect(b"PING\r\n"), Detected::Opaque);
        assert_eq!(detect(b"X y HTTP/2.0\r\n"), Detected::Opaque);
    }

    #[test]
    fn binary_protocols_are_opaque_at_once() {
        for bytes in [
            &b"\x16\x03\x01"[..],
            b"\0\0\0\x08",
            b"*1\r\n$4\r\nPING\r\n",
            b" ",
            b"SSH-2.0-OpenSSH_9\r\n",
            b"{",
            b"GET\t/",
        ] {
            assert_eq!(detect(bytes), Detected::Opaque, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn the_http2_preface_must_be_whole() {
        for cut in 0..PREFACE.len() {
            assert_eq!(detect(&PREFACE[..cut]), Detected::More);
        }
        assert_eq!(detect(PREFACE), Detected::Http2);
        assert_eq!(detect(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"), Detected::Opaque);
    }

    #[test]
    fn a_verdict_never_changes_with_more_bytes() {
        let inputs: [&[u8]; 5] = [
            b"PROPFIND /x HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /x HTTP/1.1\r\n\r\n",
            b"HELO a b c\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0",
            b"POST 1 2 3",
        ];
        for input in inputs {
            let mut last = Detected::More;
            for cut in 0..=input.len() {
                let now = detect(&input[..cut]);
                assert!(last == Detected::More || last == now, "{} at {cut}", input.escape_ascii());
                last = now;
            }
        }
    }

    #[test]
    fn a_line_without_an_end_is_opaque_in_the_end() {
        let mut long = b"PROPFIND /".to_vec();
        long.resize(MAX_LINE - 1, b'a');
        assert_eq!(detect(&long), Detected::More);
        long.resize(MAX_LINE, b'a');
        assert_eq!(detect(&long), Detected::Opaque);
        assert_eq!(detect(&[b'A'; 25]), Detected::Opaque);
    }
}
