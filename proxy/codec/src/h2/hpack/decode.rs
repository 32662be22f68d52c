//! Header blocks to fields (RFC 7541 3, 5 and 6).
//!
//! A block is copied as it is into the loop's scratch, and fields point into it. What does not fit the limit of a head is not
//! kept, but still read: the table that later blocks build on must stay right.

use super::huffman;
use super::table::{self, Dynamic, Name, OVERHEAD, Part, STATIC, TEXT};

/// A block that cannot be decoded: the connection's state is lost.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken;

/// A decoded field: where its parts are in the decoder's text.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub name: Part,
    pub value: Part,
    pub known: Name,
}

/// Receives the fields of a block in order.
pub trait Fields {
    fn field(&mut self, text: &[u8], found: Found);
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

    /// Decodes a whole block. `text` then holds the static table, the block, and what had to be decoded or came from the
    /// dynamic table; most fields are only pointed at. `limit` bounds names + values + 32 each; past it nothing is
    /// reported, but the block is read to its end, so that the next one can be understood.
    pub fn decode(
        &mut self,
        block: &[u8],
        text: &mut Vec<u8>,
        limit: usize,
        fields: &mut impl Fields,
    ) -> Result<(), Broken> {
        if text.len() < TEXT.len() {
            text.clear();
            text.extend_from_slice(&TEXT);
        }
        text.truncate(TEXT.len());
        text.extend_from_slice(block);
        let mut input = Input { block, at: 0 };
        let mut room = limit;
        let mut started = false;
        while let Some(first) = block.get(input.at).copied() {
            let before = text.len();
            let found = match first {
                0x80.. => {
                    let index = input.integer(7)?;
                    match table::static_parts(index) {
                        Some((name, value)) => Found { name, value, known: table::static_name(index) },
                        None => self.dynamic(index, text, room)?,
                    }
                }
                0x20..0x40 => {
                    let limit = input.integer(5)?;
                    if started || limit > self.allowed {
                        return Err(Broken);
                    }
                    self.table.set_limit(limit);
                    continue;
                }
                _ => self.literal(first & 0x40 != 0, &mut input, text, room)?,
            };
            started = true;
            let size = found.name.length as usize + found.value.length as usize + OVERHEAD;
            match room.checked_sub(size) {
                Some(rest) => {
                    room = rest;
                    fields.field(text, found);
                }
                None => {
                    room = 0;
                    // Two bytes can point at a name of thousands: what nobody gets is not kept (security A-06).
                    text.truncate(before);
                    fields.too_large();
                }
            }
        }
        Ok(())
    }

    /// A field whose value is written out. A name of the dynamic table is copied if it fits or has to be kept.
    #[inline]
    fn literal(
        &mut self,
        indexed: bool,
        input: &mut Input<'_>,
        text: &mut Vec<u8>,
        room: usize,
    ) -> Result<Found, Broken> {
        let index = input.integer(if indexed { 6 } else { 4 })?;
        let (name, known) = match table::static_parts(index) {
            Some((name, _)) => (name, table::static_name(index)),
            None if index == 0 => (input.string(text)?, Name::Text),
            None => {
                let start = text.len();
                let name = self.entry(index)?.0;
                if indexed || name.len() <= room {
                    text.extend_from_slice(name);
                }
                (Part::new(start, name.len()), Name::Text)
            }
        };
        let value = input.string(text)?;
        if indexed {
            self.table.insert(name.of(text), value.of(text));
        }
        Ok(Found { name, value, known })
    }

    /// An entry of the dynamic table, copied if it fits.
    fn dynamic(&self, index: usize, text: &mut Vec<u8>, room: usize) -> Result<Found, Broken> {
        let (name, value) = self.entry(index)?;
        let start = text.len();
        if name.len() + value.len() + OVERHEAD <= room {
            text.extend_from_slice(name);
            text.extend_from_slice(value);
        }
        let (name, value) = (Part::new(start, name.len()), Part::new(start + name.len(), value.len()));
        Ok(Found { name, value, known: Name::Text })
    }

    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), Broken> {
        let index = index.checked_sub(1 + STATIC.len()).ok_or(Broken)?;
        self.table.get(index).ok_or(Broken)
    }
}

/// A block being read. What is at `at` here is at `TEXT.len() + at` in the text.
struct Input<'a> {
    block: &'a [u8],
    at: usize,
}

impl Input<'_> {
    /// An integer with a prefix of `bits` bits (RFC 7541 5.1), at most 2^28.
    #[inline]
    fn integer(&mut self, bits: u32) -> Result<usize, Broken> {
        let mask = (1usize << bits) - 1;
        let value = usize::from(*self.block.get(self.at).ok_or(Broken)?) & mask;
        self.at += 1;
        if value < mask { Ok(value) } else { self.long_integer(mask) }
    }

    fn long_integer(&mut self, mask: usize) -> Result<usize, Broken> {
        let mut value = mask;
        for shift in (0..28).step_by(7) {
            let byte = *self.block.get(self.at).ok_or(Broken)?;
            self.at += 1;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Broken)
    }

    /// A string literal (RFC 7541 5.2): where it stands, or where its Huffman code was decoded to.
    #[inline]
    fn string(&mut self, text: &mut Vec<u8>) -> Result<Part, Broken> {
        let coded = self.block.get(self.at).is_some_and(|first| first & 0x80 != 0);
        let length = self.integer(7)?;
        let start = self.at;
        if length > self.block.len() - start {
            return Err(Broken);
        }
        self.at += length;
        if !coded {
            return Ok(Part::new(TEXT.len() + start, length));
        }
        let from = text.len();
        huffman::decode(&self.block[start..self.at], text).ok_or(Broken)?;
        Ok(Part::new(from, text.len() - from))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::encode::{encode_integer, encode_string};
    use super::*;

    #[derive(Default)]
    pub struct Seen {
        pub fields: Vec<(String, String)>,
        too_large: bool,
    }

    impl Fields for Seen {
        fn field(&mut self, text: &[u8], found: Found) {
            let show = |part: Part| String::from_utf8_lossy(part.of(text)).into_owned();
            self.fields.push((show(found.name), show(found.value)));
        }

        fn too_large(&mut self) {
            self.too_large = true;
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    pub fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Seen, Broken> {
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
        let read = |bytes: &[u8], bits| Input { block: bytes, at: 0 }.integer(bits);
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
    fn a_name_that_is_pointed_at_again_and_again_does_not_fill_the_memory() {
        for again in ["0f2f 00", "7e 00"] {
            let (mut seen, mut bytes) = (Seen::default(), Vec::new());
            let mut block = hex("40");
            encode_string(&mut block, &[b'x'; 4_000]);
            block.push(0);
            block.extend(hex(again).repeat(10_000));
            Decoder::new(4_096).decode(&block, &mut bytes, 16_384, &mut seen).unwrap();
            assert_eq!((seen.too_large, seen.fields.len()), (true, 4));
            assert!(bytes.capacity() < 200_000, "{} bytes for a block of {}", bytes.capacity(), block.len());
        }
    }
}
