//! Fields to header blocks (RFC 7541 5 and 6).
//!
//! No state is kept: common pairs and names go by the static table, the rest as text that no later hop may index, because what
//! passes through us may be secret (7.1.3).

use super::table::STATIC;
use crate::head::Known;
use crate::text::{push_lower, token_is};

/// Appends an instruction that empties the table, for a peer that wants a smaller one (4.2).
pub fn encode_empty_table(out: &mut Vec<u8>) {
    out.push(0x20);
}

/// Whether a block begins with that instruction.
pub fn empties_table(block: &[u8]) -> bool {
    block.first() == Some(&0x20)
}

pub fn encode_method(out: &mut Vec<u8>, method: &[u8]) {
    match method {
        b"GET" => out.push(0x82),
        b"POST" => out.push(0x83),
        _ => encode_indexed_name(out, 2, method),
    }
}

pub fn encode_scheme(out: &mut Vec<u8>, scheme: &[u8]) {
    match scheme {
        b"http" | b"" => out.push(0x86),
        b"https" => out.push(0x87),
        _ => encode_indexed_name(out, 6, scheme),
    }
}

pub fn encode_authority(out: &mut Vec<u8>, authority: &[u8]) {
    encode_indexed_name(out, 1, authority);
}

pub fn encode_path(out: &mut Vec<u8>, path: &[u8]) {
    match path {
        b"/" => out.push(0x84),
        _ => encode_indexed_name(out, 4, path),
    }
}

pub fn encode_status(out: &mut Vec<u8>, status: u16) {
    match status {
        200 => out.push(0x88),
        204 => out.push(0x89),
        206 => out.push(0x8a),
        304 => out.push(0x8b),
        400 => out.push(0x8c),
        404 => out.push(0x8d),
        500 => out.push(0x8e),
        _ => {
            let digit = |n: u16| b'0' + (n % 10) as u8;
            encode_indexed_name(out, 8, &[digit(status / 100), digit(status / 10), digit(status)]);
        }
    }
}

/// Appends a field; its name is lower-cased.
#[inline]
pub fn encode_field(out: &mut Vec<u8>, known: Known, name: &[u8], value: &[u8]) {
    match static_name(known, name) {
        Some(index) => encode_indexed_name(out, index, value),
        None => {
            if name.len() < 127 {
                out.extend_from_slice(&[0x10, name.len() as u8]);
            } else {
                out.push(0x10);
                encode_integer(out, 0, 7, name.len());
            }
            push_lower(out, name);
            encode_string(out, value);
        }
    }
}

#[inline]
fn encode_indexed_name(out: &mut Vec<u8>, index: usize, value: &[u8]) {
    match index {
        15..143 if value.len() < 127 => {
            out.extend_from_slice(&[0x1f, (index - 15) as u8, value.len() as u8]);
            out.extend_from_slice(value);
        }
        _ => {
            encode_integer(out, 0x10, 4, index);
            encode_string(out, value);
        }
    }
}

#[inline]
pub(super) fn encode_string(out: &mut Vec<u8>, text: &[u8]) {
    encode_integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

#[inline]
pub(super) fn encode_integer(out: &mut Vec<u8>, first: u8, bits: u32, value: usize) {
    let mask = (1usize << bits) - 1;
    if value < mask {
        out.push(first | value as u8);
        return;
    }
    out.push(first | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The static index of the names that are sent most.
fn static_name(known: Known, name: &[u8]) -> Option<usize> {
    let index = match (known, name.len(), name.first().map(|b| b | 0x20)) {
        (Known::ContentLength, ..) => return Some(28),
        (Known::Cookie, ..) => return Some(32),
        (Known::Mesh, ..) => return None,
        (_, 4, Some(b'd')) => 33,
        (_, 4, Some(b'e')) => 34,
        (_, 4, Some(b'v')) => 59,
        (_, 6, Some(b'a')) => 19,
        (_, 6, Some(b's')) => 54,
        (_, 8, Some(b'l')) => 46,
        (_, 10, Some(b'u')) => 58,
        (_, 10, Some(b's')) => 55,
        (_, 12, Some(b'c')) => 31,
        (_, 13, Some(b'a')) => 23,
        (_, 13, Some(b'c')) => 24,
        (_, 13, Some(b'l')) => 44,
        (_, 15, Some(b'a')) => 16,
        (_, 16, Some(b'c')) => 26,
        _ => return None,
    };
    token_is(name, STATIC[index - 1].0).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::super::Decoder;
    use super::super::decode::tests::decode;
    use super::*;

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        let mut out = Vec::new();
        encode_method(&mut out, b"PATCH");
        encode_scheme(&mut out, b"http");
        encode_authority(&mut out, b"web:80");
        encode_path(&mut out, b"/a?b");
        for status in [200, 204, 206, 304, 400, 404, 500, 503, 999] {
            encode_status(&mut out, status);
        }
        let long = "v".repeat(70_000);
        for (name, value) in STATIC.iter().filter(|(name, _)| name[0] != b':') {
            encode_field(&mut out, crate::text::known(name), &name.to_ascii_uppercase(), value);
        }
        encode_field(&mut out, Known::Other, b"X-Long", &long.as_bytes()[..30_000]);
        encode_field(&mut out, Known::Mesh, b"L5d-X", b"");
        let seen = decode(&mut Decoder::new(0), &out).unwrap();
        let mut expected: Vec<(String, String)> = Vec::new();
        for (name, value) in [(":method", "PATCH"), (":scheme", "http"), (":authority", "web:80"), (":path", "/a?b")] {
            expected.push((name.into(), value.into()));
        }
        for status in ["200", "204", "206", "304", "400", "404", "500", "503", "999"] {
            expected.push((":status".into(), status.into()));
        }
        for (name, value) in STATIC.iter().filter(|(name, _)| name[0] != b':') {
            expected.push((String::from_utf8_lossy(name).into(), String::from_utf8_lossy(value).into()));
        }
        expected.push(("x-long".into(), long[..30_000].into()));
        expected.push(("l5d-x".into(), "".into()));
        assert_eq!(seen.fields, expected);
    }
}
