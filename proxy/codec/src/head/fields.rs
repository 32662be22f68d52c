//! The fields of a head: where they are in its bytes, and which of them are gone.
//!
//! Nothing here edits or copies bytes: a field is removed by clearing a bit, added by the writer.

/// Name and value. A pair, so that a list of fields can be handed to `rules` as it is.
pub type Field<'a> = (&'a [u8], &'a [u8]);

/// Room in a [`Fields`] list: what an application may send and what two sidecars add.
pub const FIELD_ROOM: usize = 128;

/// Fields that the codec itself understands; found once while parsing, so that later questions are one comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Known {
    Other = 0,
    Connection,
    ContentLength,
    Cookie,
    Expect,
    Host,
    Http2Settings,
    KeepAlive,
    ProxyConnection,
    Te,
    TransferEncoding,
    Upgrade,
    /// `l5d-*`, every name that only sidecars may speak.
    Mesh,
}

/// One field as offsets. Made by this crate only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub name: u32,
    pub value: u32,
    pub value_len: u32,
    pub name_len: u16,
    pub known: Known,
}

/// The fields of a head in their order, with names as received. Copying it copies no field.
#[derive(Clone, Copy, Default)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
    /// Bit `i` set: field `i` is gone.
    removed: u128,
}

impl std::fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|(n, v)| (n.escape_ascii().to_string(), v.escape_ascii().to_string())))
            .finish()
    }
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8], spans: &'a [Span], removed: u128) -> Self {
        Fields { bytes, spans, removed }
    }

    /// Fields that are still there, in order.
    pub fn iter(&self) -> impl Iterator<Item = Field<'a>> + '_ {
        self.tagged().map(|(_, field)| field)
    }

    /// Like [`Fields::iter`], with what the codec knows about each name.
    pub fn tagged(&self) -> impl Iterator<Item = (Known, Field<'a>)> + '_ {
        self.kept().map(|span| (span.known, self.field(span)))
    }

    /// The first value of `name` (any case).
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.get_all(name).next()
    }

    /// Every value of `name` (any case), in order.
    pub fn get_all<'s>(&'s self, name: &'s [u8]) -> impl Iterator<Item = &'a [u8]> + 's {
        self.kept().filter(move |span| self.is_called(span, name)).map(|span| self.field(span).1)
    }

    /// The first value of a known field.
    pub fn known(&self, which: Known) -> Option<&'a [u8]> {
        self.kept().find(|span| span.known == which).map(|span| self.field(span).1)
    }

    /// Removes every field called `name` (any case) and says whether there was one.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let before = self.removed;
        for (index, span) in self.spans.iter().enumerate() {
            if self.is_called(span, name) {
                self.removed |= 1u128 << index;
            }
        }
        self.removed != before
    }

    /// Removes every field of a known kind.
    pub fn remove_known(&mut self, which: Known) -> bool {
        self.remove_where(|known, _| known == which)
    }

    /// Removes every field for which `gone` says so, and says whether there was one.
    pub fn remove_where(&mut self, mut gone: impl FnMut(Known, Field<'a>) -> bool) -> bool {
        let before = self.removed;
        for (index, span) in self.spans.iter().enumerate() {
            let here = before >> index & 1 == 0;
            if here && gone(span.known, self.field(span)) {
                self.removed |= 1u128 << index;
            }
        }
        self.removed != before
    }

    pub fn len(&self) -> usize {
        self.spans.len() - (self.removed.count_ones() as usize)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The fields as one slice in `room`, for functions that want a slice (`rules::route::Request::headers`).
    pub fn list<'s>(&self, room: &'s mut [Field<'a>; FIELD_ROOM]) -> &'s [Field<'a>] {
        let mut used = 0;
        for (slot, field) in room.iter_mut().zip(self.iter()) {
            *slot = field;
            used += 1;
        }
        &room[..used]
    }

    #[inline]
    fn kept(&self) -> impl Iterator<Item = &'a Span> + use<'a> {
        let mut removed = self.removed;
        self.spans.iter().filter(move |_| {
            let kept = removed & 1 == 0;
            removed >>= 1;
            kept
        })
    }

    /// Most names differ in length already, which costs no look at the bytes.
    #[inline]
    fn is_called(&self, span: &Span, name: &[u8]) -> bool {
        let start = span.name as usize;
        span.name_len as usize == name.len() && self.bytes[start..start + name.len()].eq_ignore_ascii_case(name)
    }

    #[inline]
    fn field(&self, span: &Span) -> Field<'a> {
        let (name, value) = (span.name as usize, span.value as usize);
        (&self.bytes[name..name + span.name_len as usize], &self.bytes[value..value + span.value_len as usize])
    }
}

/// An empty room for [`Fields::list`].
pub const ROOM: [Field<'static>; FIELD_ROOM] = [(&[], &[]); FIELD_ROOM];
