//! Heads and fields with bytes of their own: for a request that is parked or may be sent again, for trailers that wait.

use super::{FIELD_ROOM, Field, Fields, Request, Span};
use crate::text::known;

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
    use crate::head::Known;

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
