//! The two tables of HPACK (RFC 7541 2.3 and appendix A).

use std::collections::VecDeque;

use crate::head::Known;

/// Appendix A; index 1 is the first.
#[rustfmt::skip]
pub const STATIC: [(&[u8], &[u8]); 61] = [
    (b":authority", b""), (b":method", b"GET"), (b":method", b"POST"), (b":path", b"/"), (b":path", b"/index.html"),
    (b":scheme", b"http"), (b":scheme", b"https"), (b":status", b"200"), (b":status", b"204"), (b":status", b"206"),
    (b":status", b"304"), (b":status", b"400"), (b":status", b"404"), (b":status", b"500"), (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"), (b"accept-language", b""), (b"accept-ranges", b""), (b"accept", b""),
    (b"access-control-allow-origin", b""), (b"age", b""), (b"allow", b""), (b"authorization", b""), (b"cache-control", b""),
    (b"content-disposition", b""), (b"content-encoding", b""), (b"content-language", b""), (b"content-length", b""),
    (b"content-location", b""), (b"content-range", b""), (b"content-type", b""), (b"cookie", b""), (b"date", b""),
    (b"etag", b""), (b"expect", b""), (b"expires", b""), (b"from", b""), (b"host", b""), (b"if-match", b""),
    (b"if-modified-since", b""), (b"if-none-match", b""), (b"if-range", b""), (b"if-unmodified-since", b""),
    (b"last-modified", b""), (b"link", b""), (b"location", b""), (b"max-forwards", b""), (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""), (b"range", b""), (b"referer", b""), (b"refresh", b""), (b"retry-after", b""),
    (b"server", b""), (b"set-cookie", b""), (b"strict-transport-security", b""), (b"transfer-encoding", b""),
    (b"user-agent", b""), (b"vary", b""), (b"via", b""), (b"www-authenticate", b""),
];

/// What is known of a static name without looking at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// Not from the static table: anything.
    Text,
    /// The pseudo-field at this place of [`PSEUDO`].
    Pseudo(usize),
    /// A valid field name.
    Field(Known),
}

pub const PSEUDO: [&[u8]; 6] = [b":method", b":scheme", b":authority", b":path", b":status", b":protocol"];

/// The name of a static entry.
pub fn static_name(index: usize) -> Name {
    match index {
        1 => Name::Pseudo(2),
        2 | 3 => Name::Pseudo(0),
        4 | 5 => Name::Pseudo(3),
        6 | 7 => Name::Pseudo(1),
        8..=14 => Name::Pseudo(4),
        28 => Name::Field(Known::ContentLength),
        32 => Name::Field(Known::Cookie),
        35 => Name::Field(Known::Expect),
        38 => Name::Field(Known::Host),
        57 => Name::Field(Known::TransferEncoding),
        15..=61 => Name::Field(Known::Other),
        _ => Name::Text,
    }
}

/// Where something is in the text of a decoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    pub start: u32,
    pub length: u32,
}

impl Part {
    #[inline]
    pub fn new(start: usize, length: usize) -> Self {
        Part { start: start as u32, length: length as u32 }
    }

    pub fn end(self) -> u32 {
        self.start + self.length
    }

    #[inline]
    pub fn of(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize..self.end() as usize]
    }
}

/// The text of the static table, one entry after the other: the beginning of every decoder's text.
pub static TEXT: [u8; TEXT_LENGTH] = text();

pub const TEXT_LENGTH: usize = {
    let (mut sum, mut at) = (0, 0);
    while at < STATIC.len() {
        sum += STATIC[at].0.len() + STATIC[at].1.len();
        at += 1;
    }
    sum
};

const fn text() -> [u8; TEXT_LENGTH] {
    let mut text = [0; TEXT_LENGTH];
    let (mut at, mut entry) = (0, 0);
    while entry < STATIC.len() {
        let (name, value) = STATIC[entry];
        let mut i = 0;
        while i < name.len() + value.len() {
            text[at] = if i < name.len() { name[i] } else { value[i - name.len()] };
            at += 1;
            i += 1;
        }
        entry += 1;
    }
    text
}

/// Where each entry is in [`TEXT`].
static PARTS: [(Part, Part); STATIC.len()] = parts();

const fn parts() -> [(Part, Part); STATIC.len()] {
    let none = Part { start: 0, length: 0 };
    let mut parts = [(none, none); STATIC.len()];
    let (mut at, mut entry) = (0, 0);
    while entry < STATIC.len() {
        let (name, value) = (STATIC[entry].0.len() as u32, STATIC[entry].1.len() as u32);
        parts[entry] = (Part { start: at, length: name }, Part { start: at + name, length: value });
        at += name + value;
        entry += 1;
    }
    parts
}

/// The name and value of a static entry.
#[inline]
pub fn static_parts(index: usize) -> Option<(Part, Part)> {
    PARTS.get(index.wrapping_sub(1)).copied()
}

/// What an entry costs beyond its text (RFC 7541 4.1).
pub const OVERHEAD: usize = 32;

/// The dynamic table: text in one buffer, oldest first; no memory until something is put in.
#[derive(Debug)]
pub struct Dynamic {
    bytes: Vec<u8>,
    /// Newest first.
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
}

#[derive(Debug)]
struct Entry {
    at: u32,
    name: u32,
    value: u32,
}

impl Entry {
    fn size(&self) -> usize {
        (self.name + self.value) as usize + OVERHEAD
    }
}

impl Dynamic {
    pub fn new(limit: usize) -> Self {
        Dynamic { bytes: Vec::new(), entries: VecDeque::new(), size: 0, limit }
    }

    /// The entry `index` places after the newest.
    pub fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let entry = self.entries.get(index)?;
        let (at, name, value) = (entry.at as usize, entry.name as usize, entry.value as usize);
        Some((&self.bytes[at..at + name], &self.bytes[at + name..at + name + value]))
    }

    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.evict(0);
        if self.entries.is_empty() {
            self.bytes = Vec::new();
            self.entries = VecDeque::new();
        }
    }

    /// Adds an entry, making room; one larger than the table only empties it.
    pub fn insert(&mut self, name: &[u8], value: &[u8]) {
        let size = name.len() + value.len() + OVERHEAD;
        self.evict(size);
        if size > self.limit {
            return;
        }
        let text = name.len() + value.len();
        if self.bytes.len() + text > 2 * self.limit {
            self.compact();
        }
        let at = self.bytes.len() as u32;
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.entries.push_front(Entry { at, name: name.len() as u32, value: value.len() as u32 });
        self.size += size;
    }

    fn evict(&mut self, room: usize) {
        while self.size + room > self.limit {
            let Some(oldest) = self.entries.pop_back() else { break };
            self.size -= oldest.size();
        }
    }

    /// Moves the text of the living to the front.
    fn compact(&mut self) {
        let start = self.entries.back().map_or(self.bytes.len(), |oldest| oldest.at as usize);
        self.bytes.copy_within(start.., 0);
        self.bytes.truncate(self.bytes.len() - start);
        for entry in &mut self.entries {
            entry.at -= start as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_names_are_known_without_looking() {
        for (at, (name, _)) in STATIC.iter().enumerate() {
            let expected = match PSEUDO.iter().position(|pseudo| pseudo == name) {
                Some(which) => Name::Pseudo(which),
                None => Name::Field(crate::text::known(name)),
            };
            assert_eq!(static_name(at + 1), expected);
            let (n, v) = static_parts(at + 1).unwrap();
            assert_eq!((n.of(&TEXT), v.of(&TEXT)), STATIC[at]);
        }
        assert_eq!((static_name(0), static_name(62)), (Name::Text, Name::Text));
    }

    #[test]
    fn the_table_behaves_like_a_list_that_forgets() {
        let mut table = Dynamic::new(200);
        let mut model: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for i in 0..2_000usize {
            let name = vec![b'n'; i % 7 + 1];
            let value = format!("{}{i}", "v".repeat(i % 41)).into_bytes();
            table.insert(&name, &value);
            model.insert(0, (name, value));
            while model.iter().map(|(n, v)| n.len() + v.len() + 32).sum::<usize>() > 200 {
                model.pop();
            }
            for (index, (name, value)) in model.iter().enumerate() {
                assert_eq!(table.get(index), Some((&name[..], &value[..])));
            }
            assert_eq!(table.get(model.len()), None);
            assert!(table.bytes.len() <= 400);
        }
        table.insert(&[b'x'; 300], b"");
        assert_eq!(table.get(0), None);
        table.set_limit(0);
        table.insert(b"a", b"b");
        assert_eq!((table.get(0), table.bytes.capacity()), (None, 0));
    }
}
