//! The little DER that certificate requests need to be written and certificates to be looked into.
//!
//! Signatures and chains are webpki's business; this only finds fields in certificates webpki has accepted.

pub const INTEGER: u8 = 0x02;
pub const BIT_STRING: u8 = 0x03;
pub const OCTET_STRING: u8 = 0x04;
pub const OID: u8 = 0x06;
pub const UTC_TIME: u8 = 0x17;
pub const GENERALIZED_TIME: u8 = 0x18;
pub const SEQUENCE: u8 = 0x30;
pub const SET: u8 = 0x31;
/// `[n]`, constructed.
pub const fn context(n: u8) -> u8 {
    0xa0 | n
}
/// `[n] IMPLICIT` of a string.
pub const fn context_string(n: u8) -> u8 {
    0x80 | n
}

/// One element: tag, length, content (X.690 §8.1, definite form).
pub fn element(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let length: usize = content.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    match length {
        0..=0x7f => out.push(length as u8),
        0x80..=0xff => out.extend([0x81, length as u8]),
        0x100..=0xffff => out.extend([0x82, (length >> 8) as u8, length as u8]),
        _ => out.extend([0x83, (length >> 16) as u8, (length >> 8) as u8, length as u8]),
    }
    content.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// Reads elements one after the other. Every method returns `None` at the first byte that is not strict DER.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element's tag and content.
    pub fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let [tag, first, rest @ ..] = self.0 else { return None };
        let (length, rest) = match *first {
            short @ 0..=0x7f => (usize::from(short), rest),
            long @ 0x81..=0x83 => {
                let count = usize::from(long & 0x7f);
                let (digits, rest) = rest.split_at_checked(count)?;
                let length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
                let least = if count == 1 { 0x80 } else { 1 << (8 * (count - 1)) };
                (length >= least).then_some((length, rest))?
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    /// The next element's content, if it has this tag.
    pub fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let (found, content) = ahead.any()?;
        (found == tag).then(|| *self = ahead)?;
        Some(content)
    }

    /// Like [`Reader::expect`], entered.
    pub fn enter(&mut self, tag: u8) -> Option<Reader<'a>> {
        self.expect(tag).map(Reader)
    }
}

/// Sequences one after the other, each whole with its tag and length; `None` at the first byte that is none, or for more
/// than `limit`.
pub fn elements(bytes: &[u8], limit: usize) -> Option<Vec<&[u8]>> {
    let (mut reader, mut found) = (Reader::new(bytes), Vec::new());
    while !reader.is_empty() {
        let before = reader.0;
        let (tag, _) = reader.any()?;
        (tag == SEQUENCE && found.len() < limit).then_some(())?;
        found.push(&before[..before.len() - reader.0.len()]);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_form_reads_back() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x10000] {
            let content = vec![7; length];
            let written = element(OCTET_STRING, &[&content]);
            let mut reader = Reader::new(&written);
            assert_eq!(reader.expect(OCTET_STRING), Some(&content[..]), "{length}");
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn long_forms_of_short_lengths_indefinite_lengths_and_short_inputs_are_refused() {
        for bytes in
            [&[4, 0x81, 1, 0][..], &[4, 0x80, 0, 0], &[4, 2, 0], &[4], &[4, 0x82, 0, 1, 0], &[4, 0x84, 0, 0, 0, 0]]
        {
            assert_eq!(Reader::new(bytes).any(), None, "{bytes:?}");
        }
    }
}
