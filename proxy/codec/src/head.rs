//! The neutral message head: one request type and one response type for HTTP/1 and HTTP/2.
//!
//! A head is a view: all slices point into the caller's input (HTTP/1) or into the loop's `Scratch` (HTTP/2). Fields are
//! removed by clearing a bit and added by the writer's `extra` list; nothing here copies or edits bytes.

use crate::text::{eq_ignore_case, known};

/// Name and value. A pair, so that a list of fields can be handed to `rules` as it is.
pub type Field<'a> = (&'a [u8], &'a [u8]);

/// Most fields of one head or one trailer section that an application may send (security A-06).
pub const MAX_FIELDS: usize = 100;

/// Room in a [`Fields`] list: what an application may send and what two sidecars add.
pub const FIELD_ROOM: usize = 128;

/// Largest head in bytes, request line and empty line included.
pub const MAX_HEAD: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Version {
    Http10,
    #[default]
    Http11,
    Http2,
}

/// How the length of a message body is known.
///
/// From HTTP/2, `Chunked` means "not known in advance": the end is the end of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Body {
    #[default]
    None,
    Length(u64),
    Chunked,
    /// Until the connection closes: only responses, only HTTP/1. Also what follows a `101` or a successful `CONNECT`.
    UntilClose,
}

/// Form of an HTTP/1 request target (RFC 9112 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Form {
    #[default]
    Origin,
    /// `http://authority/path`; the path and authority of the [`Request`] come from it.
    Absolute,
    /// `CONNECT host:port`.
    Authority,
    /// `OPTIONS *`.
    Asterisk,
}

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

/// A request head. HTTP/1 hop-by-hop fields and the fields nominated by `Connection` are already removed from `fields`;
/// what they said is in the members. `fields` still holds `Host`, `Content-Length` and `Transfer-Encoding` of HTTP/1 so
/// that their place and case survive; writers know what to do with them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    pub method: &'a [u8],
    /// `http`, `https` or what HTTP/2 said. HTTP/1 in origin form says `http`.
    pub scheme: &'a [u8],
    /// The one canonical authority (security A-24): of an absolute target, else `:authority`, else `Host`. May be empty
    /// only for HTTP/1.0 without `Host` and for HTTP/2 with neither.
    pub authority: &'a [u8],
    /// Path with query as received, `*`, or empty for `CONNECT`.
    pub path: &'a [u8],
    pub form: Form,
    pub version: Version,
    pub fields: Fields<'a>,
    pub body: Body,
    /// The sender keeps its connection open after this exchange. Always true for HTTP/2.
    pub persistent: bool,
    /// Value of `Upgrade` when the sender really asks for one (HTTP/1.1, nominated, without `h2c`), else empty.
    /// With an upgrade asked for, the reader of the request side holds every later byte (security A-21).
    pub upgrade: &'a [u8],
    /// `:protocol` of an extended CONNECT (RFC 8441), else empty.
    pub protocol: &'a [u8],
    /// `Expect: 100-continue`, HTTP/1.1 or HTTP/2 only. The field itself stays in `fields`.
    pub expect_continue: bool,
    /// `TE` contains `trailers`.
    pub te_trailers: bool,
}

impl<'a> Request<'a> {
    /// Path without query, and query without `?` (empty when there is none).
    pub fn path_and_query(&self) -> (&'a [u8], &'a [u8]) {
        match self.path.iter().position(|b| *b == b'?') {
            Some(at) => (&self.path[..at], &self.path[at + 1..]),
            None => (self.path, &[]),
        }
    }

    /// Host of the authority without port and without brackets.
    pub fn host(&self) -> &'a [u8] {
        crate::translate::split_authority(self.authority).0
    }

    /// Port of the authority, if it has one.
    pub fn port(&self) -> Option<u16> {
        crate::translate::split_authority(self.authority).1
    }

    /// `content-type` starts with `application/grpc`.
    pub fn is_grpc(&self) -> bool {
        is_grpc(&self.fields)
    }
}

/// A response head, informational ones (1xx) included.
#[derive(Clone, Copy, Debug, Default)]
pub struct Response<'a> {
    pub status: u16,
    /// Reason phrase of HTTP/1 as received; may be empty.
    pub reason: &'a [u8],
    pub version: Version,
    pub fields: Fields<'a>,
    pub body: Body,
    /// The sender keeps its connection open after this exchange. Always true for HTTP/2.
    pub persistent: bool,
    /// Value of `Upgrade` on a `101` (and on a `426`, where it is advice), else empty.
    pub upgrade: &'a [u8],
}

impl Response<'_> {
    /// 1xx other than 101: another head follows.
    pub fn is_informational(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// `content-type` starts with `application/grpc`.
    pub fn is_grpc(&self) -> bool {
        is_grpc(&self.fields)
    }
}

fn is_grpc(fields: &Fields<'_>) -> bool {
    fields
        .get(b"content-type")
        .is_some_and(|value| value.len() >= 16 && eq_ignore_case(&value[..16], b"application/grpc"))
}

/// An owned request head, for requests that are parked or may be sent again. Reuse one to reuse its memory.
#[derive(Clone, Debug, Default)]
pub struct StoredRequest {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    /// Ends of method, scheme, authority, path, upgrade, protocol in `bytes`.
    ends: [u32; 6],
    plain: Request<'static>,
}

impl StoredRequest {
    /// Bytes and offsets held, for limits on parked memory.
    pub fn size(&self) -> usize {
        self.bytes.capacity() + self.spans.capacity() * size_of::<Span>()
    }

    /// Replaces what is stored by `head` with the fields it still has, plus `extra`.
    pub fn store(&mut self, head: &Request<'_>, extra: &[Field<'_>]) {
        self.bytes.clear();
        let parts = [head.method, head.scheme, head.authority, head.path, head.upgrade, head.protocol];
        for (part, end) in parts.into_iter().zip(&mut self.ends) {
            self.bytes.extend_from_slice(part);
            *end = self.bytes.len() as u32;
        }
        store_fields(&mut self.bytes, &mut self.spans, &head.fields, extra);
        self.plain = Request {
            method: b"",
            scheme: b"",
            authority: b"",
            path: b"",
            upgrade: b"",
            protocol: b"",
            fields: Fields::default(),
            form: head.form,
            version: head.version,
            body: head.body,
            persistent: head.persistent,
            expect_continue: head.expect_continue,
            te_trailers: head.te_trailers,
        };
    }

    /// The head as it was stored.
    pub fn view(&self) -> Request<'_> {
        let [method, scheme, authority, path, upgrade, protocol] = self.ends.map(|end| end as usize);
        let bytes = &self.bytes;
        Request {
            method: &bytes[..method],
            scheme: &bytes[method..scheme],
            authority: &bytes[scheme..authority],
            path: &bytes[authority..path],
            upgrade: &bytes[path..upgrade],
            protocol: &bytes[upgrade..protocol],
            fields: Fields::new(bytes, &self.spans, 0),
            ..self.plain
        }
    }
}

/// An owned list of fields: trailers that wait, or fields made by the engine itself.
#[derive(Clone, Debug, Default)]
pub struct StoredFields {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl StoredFields {
    pub fn store(&mut self, fields: &Fields<'_>, extra: &[Field<'_>]) {
        self.bytes.clear();
        store_fields(&mut self.bytes, &mut self.spans, fields, extra);
    }

    pub fn view(&self) -> Fields<'_> {
        Fields::new(&self.bytes, &self.spans, 0)
    }
}

/// At most [`FIELD_ROOM`] fields are kept; a list never holds more.
fn store_fields(bytes: &mut Vec<u8>, spans: &mut Vec<Span>, fields: &Fields<'_>, extra: &[Field<'_>]) {
    spans.clear();
    for (name, value) in fields.iter().chain(extra.iter().copied()).take(FIELD_ROOM) {
        let at = bytes.len() as u32;
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(value);
        spans.push(Span {
            name: at,
            value: at + name.len() as u32,
            value_len: value.len() as u32,
            name_len: name.len() as u16,
            known: known(name),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request_with<'a>(fields: Fields<'a>) -> Request<'a> {
        Request { method: b"GET", authority: b"web:80", path: b"/a?b", fields, persistent: true, ..Request::default() }
    }

    #[test]
    fn a_stored_request_reads_as_the_one_that_was_stored() {
        let mut stored = StoredFields::default();
        stored.store(&Fields::default(), &[(b"A", b"1"), (b"Host", b"web:80"), (b"a", b"2")]);
        let mut head = request_with(stored.view());
        head.fields.remove(b"host");
        let mut kept = StoredRequest::default();
        kept.store(&head, &[(b"x", b"y")]);
        let view = kept.view();
        assert_eq!(
            (view.method, view.authority, view.path, view.upgrade),
            (head.method, head.authority, head.path, head.upgrade)
        );
        let fields: Vec<_> = view.fields.iter().collect();
        assert_eq!(fields, [(&b"A"[..], &b"1"[..]), (b"a", b"2"), (b"x", b"y")]);
        assert_eq!(view.fields.get_all(b"A").count(), 2);
    }

    #[test]
    fn removing_counts_only_what_was_there() {
        let mut stored = StoredFields::default();
        stored.store(&Fields::default(), &[(b"A", b"1"), (b"b", b"2"), (b"l5d-client-id", b"x")]);
        let mut fields = stored.view();
        assert!(fields.remove(b"a") && !fields.remove(b"a"));
        assert!(fields.remove_known(Known::Mesh));
        assert_eq!(fields.len(), 1);
        assert_eq!(fields.get(b"B"), Some(&b"2"[..]));
    }
}
