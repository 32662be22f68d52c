//! The Huffman code of HPACK (RFC 7541 5.2 and appendix B).
//!
//! The code is canonical: symbols sorted by (length, symbol) have consecutive codes. So the lengths say everything, and
//! all tables are made from them at compile time.

/// Bits of each symbol's code; the last one is EOS.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

const MAX_BITS: usize = 30;

/// Codes of at most this many bits are found by one look-up.
const FAST_BITS: u32 = 9;

struct Tables {
    /// Code of each symbol, in its low bits.
    codes: [u32; 257],
    /// Symbols in the order of their codes.
    sorted: [u16; 257],
    /// First code of each length, and its place in `sorted`.
    first: [u32; MAX_BITS + 2],
    place: [u16; MAX_BITS + 2],
    count: [u16; MAX_BITS + 2],
    /// By the next bits: symbol and length, or length 0 for a longer code.
    fast: [(u8, u8); 1 << FAST_BITS],
}

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut t = Tables {
        codes: [0; 257],
        sorted: [0; 257],
        first: [0; MAX_BITS + 2],
        place: [0; MAX_BITS + 2],
        count: [0; MAX_BITS + 2],
        fast: [(0, 0); 1 << FAST_BITS],
    };
    let (mut code, mut place, mut bits) = (0u32, 0usize, 1usize);
    while bits <= MAX_BITS {
        t.first[bits] = code;
        t.place[bits] = place as u16;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == bits {
                t.codes[symbol] = code;
                t.sorted[place] = symbol as u16;
                if bits <= FAST_BITS as usize {
                    let spare = FAST_BITS as usize - bits;
                    let mut low = 0;
                    while low < 1 << spare {
                        t.fast[((code as usize) << spare) + low] = (symbol as u8, bits as u8);
                        low += 1;
                    }
                }
                code += 1;
                place += 1;
                t.count[bits] += 1;
            }
            symbol += 1;
        }
        code <<= 1;
        bits += 1;
    }
    t
}

/// Appends the text of `input`; `None` if it contains EOS or its padding is not up to seven ones.
pub fn decode(input: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = input.iter();
    // The next bits are at the top of `bits`; below them zeros.
    let (mut bits, mut have) = (0u64, 0u32);
    loop {
        while have <= 56 {
            let Some(byte) = rest.next() else { break };
            bits |= u64::from(*byte) << (56 - have);
            have += 8;
        }
        let (symbol, length) = match TABLES.fast[(bits >> (64 - FAST_BITS)) as usize] {
            (_, 0) => long(bits),
            (symbol, length) => (u16::from(symbol), u32::from(length)),
        };
        if length > have {
            let padding = bits.leading_ones() >= have && have < 8;
            return padding.then_some(());
        }
        out.push(u8::try_from(symbol).ok()?);
        bits <<= length;
        have -= length;
    }
}

/// Symbol and length of a code longer than the fast table knows. The code is complete: some length always fits.
#[cold]
fn long(bits: u64) -> (u16, u32) {
    for length in FAST_BITS + 1..=MAX_BITS as u32 {
        let index = length as usize;
        let code = (bits >> (64 - length)) as u32;
        let above = code.wrapping_sub(TABLES.first[index]);
        if above < u32::from(TABLES.count[index]) {
            return (TABLES.sorted[(u32::from(TABLES.place[index]) + above) as usize], length);
        }
    }
    (256, MAX_BITS as u32)
}

/// Appends the code of `text`. We send text as it is, which costs less time.
#[cfg(test)]
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut have) = (0u64, 0u32);
    for byte in text {
        let length = u32::from(LENGTHS[*byte as usize]);
        bits = bits << length | u64::from(TABLES.codes[*byte as usize]);
        have += length;
        while have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
        }
    }
    if have > 0 {
        out.push((bits << (8 - have)) as u8 | (0xff >> have));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_rfc() {
        for (symbol, code) in [
            (b'0', 0x0u32),
            (b't', 0x9),
            (b' ', 0x14),
            (b':', 0x5c),
            (b'X', 0xfc),
            (b'\\', 0x7fff0),
            (0x16, 0x3ffffffe),
            (0xff, 0x3ffffee),
        ] {
            assert_eq!(TABLES.codes[symbol as usize], code);
        }
        assert_eq!(TABLES.codes[256], 0x3fffffff);
    }

    #[test]
    fn every_text_survives() {
        let all: Vec<u8> = (0..=255).collect();
        let mut state = 1u64;
        for length in 0..600usize {
            let text: Vec<u8> = (0..length)
                .map(|i| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    if length < 256 { all[length.wrapping_add(i) % 256] } else { (state >> 56) as u8 }
                })
                .collect();
            let (mut coded, mut back) = (Vec::new(), Vec::new());
            encode(&text, &mut coded);
            assert_eq!(decode(&coded, &mut back), Some(()));
            assert_eq!(back, text);
        }
    }

    #[test]
    fn padding_must_be_short_and_all_ones() {
        let decoded = |bytes: &[u8]| {
            let mut out = Vec::new();
            decode(bytes, &mut out).map(|()| out)
        };
        assert_eq!(decoded(b""), Some(vec![]));
        assert_eq!(decoded(&[0b0000_0111]), Some(b"0".to_vec()));
        assert_eq!(decoded(&[0b0000_0110]), None);
        assert_eq!(decoded(&[0b0000_0000]), None);
        assert_eq!(decoded(&[0xff]), None);
        assert_eq!(decoded(&[0b0000_0111, 0xff]), None);
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xfc]), None);
    }
}
