//! Which protocol the first bytes of a connection are.

use crate::h2::PREFACE;
use crate::text::{eq_ignore_case, is_token};

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
/// HTTP/1 is a common method and a path, or any line whose third word begins with `HTTP/`. Words may be parted by what
/// only careless servers take for a space: such a line is for the parser to refuse, because carried as it is it could
/// bring such a server fields that only sidecars set (security A-35).
pub fn detect(input: &[u8]) -> Detected {
    let common = input.len().min(PREFACE.len());
    if input[..common] == PREFACE[..common] {
        return if common == PREFACE.len() { Detected::Http2 } else { Detected::More };
    }
    let full = input.len() >= MAX_LINE;
    let input = &input[..input.len().min(MAX_LINE)];
    match line(input) {
        Detected::More if full => Detected::Opaque,
        verdict => verdict,
    }
}

fn line(input: &[u8]) -> Detected {
    // An empty line before the request is allowed by RFC 9112 2.2.
    let start = input.iter().take_while(|b| is_blank(**b) || matches!(b, b'\r' | b'\n')).count();
    let method = input[start..].iter().take(MAX_METHOD + 1).take_while(|b| is_token(**b)).count();
    if method > MAX_METHOD {
        return Detected::Opaque;
    }
    let target = match word(input, start + method) {
        Ok(target) if method > 0 => target,
        Ok(_) => return Detected::Opaque,
        Err(verdict) => return verdict,
    };
    if input[target] == b'/' && COMMON.contains(&&input[start..start + method]) {
        return Detected::Http1;
    }
    let end = input[target..].iter().take_while(|b| !is_blank(**b) && !matches!(b, b'\r' | b'\n')).count();
    let version = match word(input, target + end) {
        Ok(version) => &input[version..],
        Err(verdict) => return verdict,
    };
    const NAME: &[u8; 5] = b"HTTP/";
    let known = version.len().min(NAME.len());
    match eq_ignore_case(&version[..known], &NAME[..known]) {
        true if known == NAME.len() => Detected::Http1,
        true => Detected::More,
        false => Detected::Opaque,
    }
}

/// Where the next word of the line begins, behind the blanks at `at`. `Err`: not known yet, or there are none.
fn word(input: &[u8], at: usize) -> Result<usize, Detected> {
    let mut next = at;
    loop {
        match &input[next..] {
            [] | [b'\r'] => return Err(Detected::More),
            [b'\n', ..] | [b'\r', b'\n', ..] => return Err(Detected::Opaque),
            [byte, ..] if *byte == b'\r' || is_blank(*byte) => next += 1,
            _ if next == at => return Err(Detected::Opaque),
            _ => return Ok(next),
        }
    }
}

/// What some server takes for white space inside a line.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c | 0x1c..=0x1f | 0x85 | 0xa0)
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
    fn other_methods_need_a_version() {
        assert_eq!(detect(b"PROPFIND /x HTTP"), Detected::More);
        assert_eq!(detect(b"PROPFIND /x HTTP/1.1\r\n"), Detected::Http1);
        assert_eq!(detect(b"GET http://a/ HTTP/1.0\r\n"), Detected::Http1);
        assert_eq!(detect(b"CONNECT a:1 HTTP/1.1\r\n"), Detected::Http1);
        assert_eq!(detect(b"EHLO example.com\r\n"), Detected::Opaque);
        assert_eq!(detect(b"PING\r\n"), Detected::Opaque);
        assert_eq!(detect(b"X y SIP/2.0\r\n"), Detected::Opaque);
        assert_eq!(detect(b"get key\r\n"), Detected::Opaque);
    }

    #[test]
    fn what_a_careless_server_would_take_for_http_is_for_the_parser_to_refuse() {
        for line in [
            &b"GET\t/x HTTP/1.1"[..],
            b" GET /x HTTP/1.1",
            b"\nGET /x HTTP/1.1",
            b"GET  /x HTTP/1.1",
            b"GET\r/x\rHTTP/1.1",
            b"ANY\x0b/x\xa0HTTP/1.1",
            b"ANY /\xff http/1.1",
            b"ANY /x HTTP/2.0",
            b"GET\t/x\r\n",
        ] {
            assert_eq!(detect(line), Detected::Http1, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn binary_protocols_are_opaque_at_once() {
        for bytes in [
            &b"\x16\x03\x01"[..],
            b"\0\0\0\x08",
            b"*1\r\n$4\r\nPING\r\n",
            b"SSH-2.0-OpenSSH_9\r\n",
            b"{",
            b" {",
            b"\x1f\x8b\x08",
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
        assert_eq!(detect(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"), Detected::Http1);
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
