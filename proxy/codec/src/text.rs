//! Character classes and comparisons of HTTP text (RFC 9110 5.6.2, 5.5).

use crate::head::Known;

const TOKEN: u8 = 1;
const UPPER: u8 = 2;
const VALUE: u8 = 4;
const TARGET: u8 = 8;
const HOST: u8 = 16;

/// What each byte may be part of.
const CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut b = 0;
    while b < 256 {
        let c = b as u8;
        let alnum = c.is_ascii_alphanumeric();
        let mark = matches!(
            c,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        );
        if alnum || mark {
            table[b] |= TOKEN;
        }
        if c.is_ascii_uppercase() {
            table[b] |= UPPER;
        }
        if c == b'\t' || (c >= 0x20 && c != 0x7f) {
            table[b] |= VALUE;
        }
        if c > 0x20 && c != 0x7f {
            table[b] |= TARGET;
        }
        if alnum || matches!(c, b'-' | b'.' | b'_' | b'~') {
            table[b] |= HOST;
        }
        b += 1;
    }
    table
}

#[inline]
pub fn is_token(byte: u8) -> bool {
    CLASS[byte as usize] & TOKEN != 0
}

/// A character of a lower-case field name, as HTTP/2 demands.
#[inline]
pub fn is_lower_token(byte: u8) -> bool {
    CLASS[byte as usize] & (TOKEN | UPPER) == TOKEN
}

/// Length of the token at the front.
#[inline]
pub fn token(bytes: &[u8]) -> usize {
    bytes.iter().position(|b| !is_token(*b)).unwrap_or(bytes.len())
}

/// A character of a host name: letters, digits and the marks seen in names (`_` in service names too). No
/// percent-encoding: nobody needs it.
#[inline]
pub fn is_host(byte: u8) -> bool {
    CLASS[byte as usize] & HOST != 0
}

/// Visible characters, space, tab and bytes from 0x80 (obs-text).
#[inline]
pub fn is_value(byte: u8) -> bool {
    CLASS[byte as usize] & VALUE != 0
}

/// Anything visible, and bytes from 0x80, which are forwarded as they are.
#[inline]
pub fn is_target(byte: u8) -> bool {
    CLASS[byte as usize] & TARGET != 0
}

/// Index of the first byte from `at` on that cannot be in a field value, or the length. Eight bytes at a time.
#[inline]
pub fn end_of_value(bytes: &[u8], mut at: usize) -> usize {
    while let Some(Ok(word)) = bytes.get(at..at + 8).map(<[u8; 8]>::try_from) {
        let stops = stops(u64::from_le_bytes(word), 0x20);
        if stops != 0 {
            at += (stops.trailing_zeros() / 8) as usize;
            if bytes[at] != b'\t' {
                return at;
            }
            at += 1;
        } else {
            at += 8;
        }
    }
    bytes[at..].iter().position(|b| !is_value(*b)).map_or(bytes.len(), |more| at + more)
}

/// No byte that cannot be in a field value. Eight bytes at a time, the last eight again instead of what is left over.
#[inline]
pub fn is_value_text(bytes: &[u8]) -> bool {
    let clean = |at: usize| match bytes.get(at..at + 8).map(<[u8; 8]>::try_from) {
        Some(Ok(word)) => stops(u64::from_le_bytes(word), 0x20) == 0,
        _ => false,
    };
    let Some(last) = bytes.len().checked_sub(8) else { return bytes.iter().all(|b| is_value(*b)) };
    let all = (0..last).step_by(8).chain([last]).all(clean);
    // A tab stops the words too.
    all || bytes.iter().all(|b| is_value(*b))
}

/// Index of the first byte from `at` on that cannot be in a request target, or the length.
#[inline]
pub fn end_of_target(bytes: &[u8], mut at: usize) -> usize {
    while let Some(Ok(word)) = bytes.get(at..at + 8).map(<[u8; 8]>::try_from) {
        let stops = stops(u64::from_le_bytes(word), 0x21);
        if stops != 0 {
            return at + (stops.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    bytes[at..].iter().position(|b| !is_target(*b)).map_or(bytes.len(), |more| at + more)
}

/// The top bit of the first byte that is below `low` or 0x7f is set; bits after it mean nothing.
#[inline]
fn stops(word: u64, low: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let deletes = word ^ (ONES * 0x7f);
    (word.wrapping_sub(ONES * low) & !word & TOPS) | (deletes.wrapping_sub(ONES) & !deletes & TOPS)
}

#[inline]
pub fn eq_ignore_case(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.eq_ignore_ascii_case(b)
}

/// Removes spaces and tabs at both ends.
pub fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The non-empty elements of a comma list.
pub fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(trim).filter(|element| !element.is_empty())
}

/// Digits only, no sign, no overflow.
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |sum, b| {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Whether a token is `lower` in any case. `lower` has only letters, digits and hyphens, which are told apart from every
/// other character of a token when the case bit is set in both.
#[inline]
pub fn token_is(token: &[u8], lower: &[u8]) -> bool {
    const CASE: u64 = 0x2020_2020_2020_2020;
    if token.len() != lower.len() {
        return false;
    }
    let (mut a, mut b) = (token.chunks_exact(8), lower.chunks_exact(8));
    let words = a.by_ref().zip(b.by_ref()).all(|(a, b)| match (<[u8; 8]>::try_from(a), <[u8; 8]>::try_from(b)) {
        (Ok(a), Ok(b)) => u64::from_ne_bytes(a) | CASE == u64::from_ne_bytes(b),
        _ => false,
    });
    words && a.remainder().iter().zip(b.remainder()).all(|(a, b)| a | 0x20 == *b)
}

/// Appends a token in lower case.
#[inline]
pub fn push_lower(out: &mut Vec<u8>, token: &[u8]) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let start = out.len();
    out.extend_from_slice(token);
    let mut words = out[start..].chunks_exact_mut(8);
    for word in words.by_ref() {
        if let Ok(bytes) = <[u8; 8]>::try_from(&*word) {
            // Tokens have no byte above 0x7f, so no sum overflows into the next byte.
            let word64 = u64::from_ne_bytes(bytes);
            let from_a = word64.wrapping_add(ONES * (0x80 - b'A' as u64));
            let after_z = word64.wrapping_add(ONES * (0x7f - b'Z' as u64));
            let upper = (from_a ^ after_z) & TOPS;
            word.copy_from_slice(&(word64 | upper >> 2).to_ne_bytes());
        }
    }
    words.into_remainder().make_ascii_lowercase();
}

/// What the codec knows about a field name, a token in any case.
#[inline]
pub fn known(name: &[u8]) -> Known {
    let is = |text: &[u8], known: Known| if token_is(name, text) { known } else { Known::Other };
    match (name.len(), name.first().map(|b| b | 0x20)) {
        (2, Some(b't')) => is(b"te", Known::Te),
        (4, Some(b'h')) => is(b"host", Known::Host),
        (6, Some(b'c')) => is(b"cookie", Known::Cookie),
        (6, Some(b'e')) => is(b"expect", Known::Expect),
        (7, Some(b'u')) => is(b"upgrade", Known::Upgrade),
        (10, Some(b'c')) => is(b"connection", Known::Connection),
        (10, Some(b'k')) => is(b"keep-alive", Known::KeepAlive),
        (14, Some(b'c')) => is(b"content-length", Known::ContentLength),
        (14, Some(b'h')) => is(b"http2-settings", Known::Http2Settings),
        (16, Some(b'p')) => is(b"proxy-connection", Known::ProxyConnection),
        (17, Some(b't')) => is(b"transfer-encoding", Known::TransferEncoding),
        (4.., Some(b'l')) if token_is(&name[..4], b"l5d-") => Known::Mesh,
        (16.., Some(b'g')) if token_is(&name[..16], b"gossamer-client-") => Known::Mesh,
        _ => Known::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_are_found_in_any_case() {
        assert_eq!(known(b"HOST"), Known::Host);
        assert_eq!(known(b"Content-Length"), Known::ContentLength);
        assert_eq!(known(b"L5D-Client-Id"), Known::Mesh);
        assert_eq!(known(b"l5d"), Known::Other);
        assert_eq!(known(b"Gossamer-Client-Serial"), Known::Mesh);
        assert_eq!(known(b"gossamer-client"), Known::Other);
        assert_eq!(known(b""), Known::Other);
    }

    #[test]
    fn decimal_refuses_signs_spaces_and_overflow() {
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for bad in [&b""[..], b"+1", b"-1", b" 1", b"1 ", b"0x1", b"18446744073709551616", b"1,1"] {
            assert_eq!(decimal(bad), None, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn scanning_by_words_equals_scanning_by_bytes() {
        for length in 0..20usize {
            for at in 0..length {
                for stop in 0..=255u8 {
                    let mut bytes = vec![b'a'; length];
                    bytes[at] = stop;
                    for from in 0..=length {
                        let value = bytes[from..].iter().position(|b| !is_value(*b)).map_or(length, |more| from + more);
                        assert_eq!(end_of_value(&bytes, from), value);
                        let target =
                            bytes[from..].iter().position(|b| !is_target(*b)).map_or(length, |more| from + more);
                        assert_eq!(end_of_target(&bytes, from), target);
                        assert_eq!(is_value_text(&bytes[from..]), value == length);
                    }
                }
            }
        }
    }

    #[test]
    fn tokens_are_compared_and_lowered_like_ascii() {
        let tokens: Vec<u8> = (0..128).filter(|b| is_token(*b)).collect();
        for lower in [&b"te"[..], b"host", b"keep-alive", b"http2-settings", b"transfer-encoding"] {
            assert!(token_is(&lower.to_ascii_uppercase(), lower));
            for at in 0..lower.len() {
                for byte in &tokens {
                    let mut name = lower.to_vec();
                    name[at] = *byte;
                    assert_eq!(token_is(&name, lower), name.eq_ignore_ascii_case(lower), "{}", name.escape_ascii());
                }
            }
        }
        for length in 0..40 {
            for from in 0..tokens.len() {
                let name: Vec<u8> = tokens.iter().cycle().skip(from).take(length).copied().collect();
                let mut out = vec![b'X'];
                push_lower(&mut out, &name);
                assert_eq!(out[1..], name.to_ascii_lowercase());
            }
        }
    }

    #[test]
    fn trim_and_elements_drop_only_outer_blanks() {
        assert_eq!(trim(b" \ta b\t "), b"a b");
        assert_eq!(elements(b"a, ,b ,").collect::<Vec<_>>(), [b"a", b"b"]);
    }
}
