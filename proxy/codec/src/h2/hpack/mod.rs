//! HPACK (RFC 7541): header blocks to fields and back.
//!
//! The decoder copies what it reads into the loop's scratch. The encoder keeps no state: common pairs and names by the
//! static table, the rest as text that no later hop may index, because what passes through us may be secret (RFC 7541
//! 7.1.3).

mod huffman;
mod table;

use crate::head::Known;
use crate::text::{push_lower, token_is};
use table::{Dynamic, STATIC};
pub use table::{Name, OVERHEAD, PSEUDO};

/// A block that cannot be decoded: the connection's state is lost.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken;

/// Receives the fields of a block in order.
pub trait Fields {
    /// A field in `bytes`: `name..value` and `value..bytes.len()`. Returns whether it is to be kept there.
    fn field(&mut self, bytes: &[u8], name: usize, value: usize, known: Name) -> bool;
    /// A field did not fit: it and all later ones are missing.
    fn too_large(&mut self);
}

#[derive(Debug)]
pub struct Decoder {
    table: Dynamic,
    /// Largest table that the peer may choose.
    allowed: usize,
}

impl Decoder {
    pub fn new(allowed: u32) -> Self {
        Decoder { table: Dynamic::new(4_096), allowed: allowed.max(4_096) as usize }
    }

    /// The peer has acknowledged our setting.
    pub fn settle(&mut self, allowed: u32) {
        self.allowed = allowed as usize;
        self.table.set_limit(self.allowed.min(4_096));
    }

    /// Decodes a whole block; appends text to `bytes`. `limit` bounds names + values + 32 each; past it nothing is stored,
    /// but the block is read to its end, so that the next one can be understood.
    pub fn decode(
        &mut self,
        block: &[u8],
        bytes: &mut Vec<u8>,
        limit: usize,
        fields: &mut impl Fields,
    ) -> Result<(), Broken> {
        let mut rest = block;
        let mut size = 0;
        let mut started = false;
        while let Some(first) = rest.first().copied() {
            let name = bytes.len();
            let mut known = Name::Text;
            let value = match first {
                0x80.. => {
                    let index = integer(&mut rest, 7)?;
                    known = table::static_name(index);
                    let (n, v) = self.entry(index)?;
                    if size + n.len() + v.len() + OVERHEAD <= limit {
                        bytes.extend_from_slice(n);
                        bytes.extend_from_slice(v);
                        name + n.len()
                    } else {
                        size = limit;
                        name
                    }
                }
                0x20..0x40 => {
                    let limit = integer(&mut rest, 5)?;
                    if started || limit > self.allowed {
                        return Err(Broken);
                    }
                    self.table.set_limit(limit);
                    continue;
                }
                _ => {
                    let indexed = first & 0x40 != 0;
                    match integer(&mut rest, if indexed { 6 } else { 4 })? {
                        0 => string(&mut rest, bytes)?,
                        index => {
                            known = table::static_name(index);
                            bytes.extend_from_slice(self.entry(index)?.0);
                        }
                    }
                    let value = bytes.len();
                    string(&mut rest, bytes)?;
                    if indexed {
                        self.table.insert(&bytes[name..value], &bytes[value..]);
                    }
                    value
                }
            };
            started = true;
            size += bytes.len() - name + OVERHEAD;
            if size > limit {
                fields.too_large();
                bytes.truncate(name);
            } else if !fields.field(bytes, name, value, known) {
                bytes.truncate(name);
            }
        }
        Ok(())
    }

    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), Broken> {
        match STATIC.get(index.wrapping_sub(1)) {
            Some(entry) => Ok(*entry),
            None if index == 0 => Err(Broken),
            None => self.table.get(index - 1 - STATIC.len()).ok_or(Broken),
        }
    }
}

/// An integer with a prefix of `bits` bits (RFC 7541 5.1), at most 2^28.
fn integer(rest: &mut &[u8], bits: u32) -> Result<usize, Broken> {
    let (first, mut after) = rest.split_first().ok_or(Broken)?;
    let mask = (1usize << bits) - 1;
    let mut value = usize::from(*first) & mask;
    if value == mask {
        for shift in (0..28).step_by(7) {
            let (byte, next) = after.split_first().ok_or(Broken)?;
            after = next;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                *rest = after;
                return Ok(value);
            }
        }
        return Err(Broken);
    }
    *rest = after;
    Ok(value)
}

/// Appends a string literal (RFC 7541 5.2).
fn string(rest: &mut &[u8], bytes: &mut Vec<u8>) -> Result<(), Broken> {
    let coded = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(rest, 7)?;
    let (text, after) = rest.split_at_checked(length).ok_or(Broken)?;
    *rest = after;
    if coded {
        return huffman::decode(text, bytes).ok_or(Broken);
    }
    bytes.extend_from_slice(text);
    Ok(())
}

/// Appends an instruction that empties the table, for a peer that wants a smaller one (RFC 7541 4.2).
pub fn encode_empty_table(out: &mut Vec<u8>) {
    out.push(0x20);
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
fn encode_string(out: &mut Vec<u8>, text: &[u8]) {
    encode_integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

#[inline]
fn encode_integer(out: &mut Vec<u8>, first: u8, bits: u32, value: usize) {
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
    use super::*;

    #[derive(Default)]
    struct Seen {
        fields: Vec<(String, String)>,
        too_large: bool,
    }

    impl Fields for Seen {
        fn field(&mut self, bytes: &[u8], name: usize, value: usize, _: Name) -> bool {
            let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
            self.fields.push((text(&bytes[name..value]), text(&bytes[value..])));
            true
        }

        fn too_large(&mut self) {
            self.too_large = true;
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Seen, Broken> {
        let (mut seen, mut bytes) = (Seen::default(), Vec::new());
        decoder.decode(block, &mut bytes, 65_536, &mut seen)?;
        Ok(seen)
    }

    fn pairs(decoder: &mut Decoder, block: &str) -> String {
        let seen = decode(decoder, &hex(block)).unwrap();
        seen.fields.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" ")
    }

    const GET: &str = ":method=GET :scheme=http :path=/ :authority=www.example.com";

    #[test]
    fn single_fields_of_appendix_c2() {
        let new = || Decoder::new(4_096);
        assert_eq!(
            pairs(&mut new(), "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572"),
            "custom-key=custom-header"
        );
        assert_eq!(pairs(&mut new(), "040c 2f73 616d 706c 652f 7061 7468"), ":path=/sample/path");
        assert_eq!(pairs(&mut new(), "1008 7061 7373 776f 7264 0673 6563 7265 74"), "password=secret");
        assert_eq!(pairs(&mut new(), "82"), ":method=GET");
    }

    #[test]
    fn requests_of_appendix_c3_and_c4() {
        for blocks in [
            [
                "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                "8286 84be 5808 6e6f 2d63 6163 6865",
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
            ],
            [
                "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
                "8286 84be 5886 a8eb 1064 9cbf",
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
            ],
        ] {
            let mut decoder = Decoder::new(4_096);
            assert_eq!(pairs(&mut decoder, blocks[0]), GET);
            assert_eq!(pairs(&mut decoder, blocks[1]), format!("{GET} cache-control=no-cache"));
            assert_eq!(
                pairs(&mut decoder, blocks[2]),
                ":method=GET :scheme=https :path=/index.html :authority=www.example.com custom-key=custom-value"
            );
        }
    }

    #[test]
    fn responses_of_appendix_c5_and_c6_with_eviction() {
        for blocks in [
            [
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                "4803 3330 37c1 c0bf",
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
            ],
            [
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                "4883 640e ffc1 c0bf",
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
            ],
        ] {
            let mut decoder = Decoder::new(4_096);
            decoder.table.set_limit(256);
            let rest = "cache-control=private date=Mon, 21 Oct 2013 20:13:21 GMT location=https://www.example.com";
            assert_eq!(pairs(&mut decoder, blocks[0]), format!(":status=302 {rest}"));
            assert_eq!(pairs(&mut decoder, blocks[1]), format!(":status=307 {rest}"));
            assert_eq!(
                pairs(&mut decoder, blocks[2]),
                ":status=200 cache-control=private date=Mon, 21 Oct 2013 20:13:22 GMT location=https://www.example.com \
                 content-encoding=gzip set-cookie=foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
            );
            assert_eq!(decoder.table.get(0).unwrap().0, b"set-cookie");
            assert_eq!(decoder.table.get(3), None);
        }
    }

    #[test]
    fn integers_of_appendix_c1() {
        let read = |bytes: &[u8], bits| integer(&mut &bytes[..], bits);
        assert_eq!(read(&[0x0a], 5), Ok(10));
        assert_eq!(read(&[0x1f, 0x9a, 0x0a], 5), Ok(1337));
        assert_eq!(read(&[42], 8), Ok(42));
        for bad in [&[0x1f][..], &[0x1f, 0x80], &[0x1f, 0xff, 0xff, 0xff, 0xff, 0x01], &[]] {
            assert_eq!(read(bad, 5), Err(Broken));
        }
        for value in [0, 14, 15, 16, 127, 128, 1_000, 1 << 20] {
            for bits in 4..8 {
                let mut out = Vec::new();
                encode_integer(&mut out, 0, bits, value);
                assert_eq!(read(&out, bits), Ok(value));
            }
        }
    }

    #[test]
    fn broken_blocks_are_refused() {
        for block in [
            "80",
            "be",
            "ff80",
            "40",
            "4001",
            "400161",
            "40016182",
            "0085",
            "3fe21f",
            "8220",
            "10 83 ff ff ff",
            "00 81 ff 00",
        ] {
            assert!(decode(&mut Decoder::new(4_096), &hex(block)).is_err(), "{block}");
        }
        assert!(decode(&mut Decoder::new(4_096), &hex("3fe11f 20 3fe11f 82")).is_ok());
    }

    #[test]
    fn a_block_that_is_too_large_is_read_to_its_end() {
        let mut decoder = Decoder::new(4_096);
        let mut block = hex("400161");
        encode_string(&mut block, &[b'x'; 1_000]);
        block.extend([0xbe; 5_000]);
        block.extend(hex("400162 0163"));
        let (mut seen, mut bytes) = (Seen::default(), Vec::new());
        decoder.decode(&block, &mut bytes, 4_000, &mut seen).unwrap();
        assert!(seen.too_large && bytes.capacity() < 20_000);
        assert_eq!(seen.fields.len(), 3);
        assert_eq!(decoder.table.get(0), Some((&b"b"[..], &b"c"[..])));
    }

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
