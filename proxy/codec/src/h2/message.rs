//! Decoded fields to heads: the rules of RFC 9113 8 for pseudo-fields, names and values.
//!
//! Whatever is malformed here never reaches another protocol: heads that pass can be written as HTTP/1 (security A-15).

use super::hpack::{self, Found, Name, PSEUDO, Part};
use crate::head::{Body, Fields, Form, Known, Request, Response, Span, Version};
use crate::text::{decimal, end_of_target, eq_ignore_case, is_lower_token, is_token, is_value_text, known};
use crate::translate::{is_authority, split_authority};

/// What the fields of one block said that has to be known; offsets into the scratch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// Each pseudo-field's value, in the order of [`PSEUDO`].
    pseudo: [Option<Part>; PSEUDO.len()],
    host: Option<Part>,
    /// The `content-length`, if there was one.
    pub length: Option<u64>,
    form: Form,
    pub status: u16,
    te_trailers: bool,
    expect_continue: bool,
    malformed: bool,
    pub too_large: bool,
}

/// Gathers and checks the fields of one block.
#[derive(Debug)]
pub struct Block<'s> {
    spans: &'s mut Vec<Span>,
    max_fields: usize,
    pub facts: Facts,
}

const METHOD: usize = 0;
const SCHEME: usize = 1;
const AUTHORITY: usize = 2;
const PATH: usize = 3;
const STATUS: usize = 4;
const PROTOCOL: usize = 5;

impl hpack::Fields for Block<'_> {
    #[inline]
    fn field(&mut self, text: &[u8], found: Found) {
        let value = found.value.of(text);
        let known = match found.known {
            Name::Pseudo(which) => return self.pseudo_field(Some(which), found.value),
            Name::Field(known) => known,
            Name::Text => match found.name.of(text) {
                name @ [b':', ..] => {
                    return self.pseudo_field(PSEUDO.iter().position(|pseudo| *pseudo == name), found.value);
                }
                name if name.is_empty() || !name.iter().all(|b| is_lower_token(*b)) => {
                    self.facts.malformed = true;
                    return;
                }
                name => known(name),
            },
        };
        if !fits_value(value) || (known != Known::Other && !self.note(known, value, found.value)) {
            self.facts.malformed = true;
            return;
        }
        let Ok(name_len) = u16::try_from(found.name.length) else {
            // Cut to 16 bits it would be another name.
            self.facts.too_large = true;
            return;
        };
        if self.spans.len() == self.max_fields {
            self.facts.too_large = true;
            return;
        }
        self.spans.push(Span {
            name: found.name.start,
            value: found.value.start,
            value_len: found.value.length,
            name_len,
            known,
        });
    }

    fn too_large(&mut self) {
        self.facts.too_large = true;
    }
}

/// No control characters, no blank at either end (RFC 9113 8.2.1).
#[inline]
fn fits_value(value: &[u8]) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_value_text(value) && !blank(value.first()) && !blank(value.last())
}

impl<'s> Block<'s> {
    pub fn new(spans: &'s mut Vec<Span>, max_fields: usize) -> Self {
        spans.clear();
        Block { spans, max_fields, facts: Facts::default() }
    }

    fn pseudo_field(&mut self, which: Option<usize>, value: Part) {
        match which {
            Some(which) if self.facts.pseudo[which].is_none() && self.spans.is_empty() => {
                self.facts.pseudo[which] = Some(value);
            }
            _ => self.facts.malformed = true,
        }
    }

    /// Fields that mean something to HTTP itself; false when they must not be here.
    fn note(&mut self, known: Known, value: &[u8], at: Part) -> bool {
        let facts = &mut self.facts;
        match known {
            Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::TransferEncoding
            | Known::Upgrade => return false,
            Known::Te => {
                facts.te_trailers = true;
                return eq_ignore_case(value, b"trailers");
            }
            Known::ContentLength => {
                let length = decimal(value);
                if length.is_none() || (facts.length.is_some() && facts.length != length) {
                    return false;
                }
                facts.length = length;
            }
            Known::Host => {
                if facts.host.is_some() {
                    return false;
                }
                facts.host = Some(at);
            }
            Known::Expect => facts.expect_continue |= eq_ignore_case(value, b"100-continue"),
            Known::Cookie | Known::Http2Settings | Known::Mesh | Known::Other => {}
        }
        true
    }
}

fn text(bytes: &[u8], at: Option<Part>) -> Option<&[u8]> {
    at.map(|part| part.of(bytes))
}

impl Facts {
    fn has_only(&self, allowed: &[usize]) -> bool {
        self.pseudo.iter().enumerate().all(|(which, at)| at.is_none() || allowed.contains(&which))
    }

    /// Whether the block is a request (RFC 9113 8.3.1). Call before [`Facts::request`].
    pub fn is_request(&mut self, bytes: &[u8], end: bool, extended_connect: bool) -> bool {
        self.request_form(bytes, end, extended_connect).map(|form| self.form = form).is_some()
    }

    fn request_form(&self, bytes: &[u8], end: bool, extended_connect: bool) -> Option<Form> {
        if self.malformed || (end && self.length.is_some_and(|length| length > 0)) {
            return None;
        }
        let of = |which: usize| text(bytes, self.pseudo[which]);
        let method = of(METHOD).filter(|m| !m.is_empty() && m.iter().all(|b| is_token(*b)))?;
        let authority = self.authority(bytes)?;
        if !authority.is_empty() && !is_authority(authority) {
            return None;
        }
        let connect = method == b"CONNECT";
        let protocol = of(PROTOCOL);
        if connect && protocol.is_none() {
            let fits =
                self.has_only(&[METHOD, AUTHORITY]) && self.length.is_none() && split_authority(authority).1.is_some();
            return fits.then_some(Form::Authority);
        }
        let named = |p: &[u8]| !p.is_empty() && p.iter().all(|b| is_token(*b) || *b == b'/');
        if self.pseudo[STATUS].is_some() || protocol.is_some_and(|p| !extended_connect || !connect || !named(p)) {
            return None;
        }
        of(SCHEME).filter(|scheme| is_scheme(scheme))?;
        let path = of(PATH)?;
        match path {
            _ if end_of_target(path, 0) != path.len() => None,
            [b'/', ..] => Some(Form::Origin),
            b"*" if method == b"OPTIONS" => Some(Form::Asterisk),
            _ => None,
        }
    }

    /// `:authority`, else `host`, else nothing; `None` if they disagree.
    fn authority<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        match (text(bytes, self.pseudo[AUTHORITY]), text(bytes, self.host)) {
            (Some(authority), Some(host)) if !eq_ignore_case(authority, host) => None,
            (authority, host) => Some(authority.or(host).unwrap_or_default()),
        }
    }

    /// The request, if [`Facts::is_request`].
    pub fn request<'a>(&self, bytes: &'a [u8], spans: &'a [Span], end: bool) -> Request<'a> {
        let of = |which: usize| text(bytes, self.pseudo[which]).unwrap_or_default();
        Request {
            method: of(METHOD),
            scheme: if self.form == Form::Authority { b"http" } else { of(SCHEME) },
            authority: self.authority(bytes).unwrap_or_default(),
            path: of(PATH),
            form: self.form,
            version: Version::Http2,
            body: body(end, self.length),
            persistent: true,
            upgrade: b"",
            protocol: of(PROTOCOL),
            expect_continue: self.expect_continue,
            te_trailers: self.te_trailers,
            fields: Fields::new(bytes, spans, 0),
        }
    }

    /// Whether the block is a response, final or not. `bodiless` says that a length describes something that is not sent.
    pub fn is_response(&mut self, bytes: &[u8], end: bool, bodiless: bool) -> bool {
        let status = text(bytes, self.pseudo[STATUS]).filter(|_| !self.malformed && self.has_only(&[STATUS]));
        let Some([a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9']) = status else { return false };
        self.status = u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0');
        if bodiless || matches!(self.status, 0..200 | 204 | 304) {
            self.length = None;
            return self.status != 101 && (self.status > 199 || !end);
        }
        !end || self.length.is_none_or(|length| length == 0)
    }

    /// The response, if [`Facts::is_response`].
    pub fn response<'a>(&self, bytes: &'a [u8], spans: &'a [Span], end: bool) -> Response<'a> {
        Response {
            status: self.status,
            reason: b"",
            version: Version::Http2,
            body: body(end, self.length),
            persistent: true,
            upgrade: b"",
            fields: Fields::new(bytes, spans, 0),
        }
    }

    /// Whether the block is a trailer section.
    pub fn is_trailers(&self) -> bool {
        !self.malformed && self.has_only(&[])
    }

    /// The trailers, if [`Facts::is_trailers`]. Framing, routing and mesh fields are left out (security A-35).
    pub fn trailers<'a>(&self, bytes: &'a [u8], spans: &'a [Span]) -> Fields<'a> {
        let mut fields = Fields::new(bytes, spans, 0);
        fields.remove_where(|known, _| known != Known::Other);
        fields
    }
}

fn body(end: bool, length: Option<u64>) -> Body {
    match (end, length) {
        (_, Some(length)) => Body::Length(length),
        (true, None) => Body::None,
        (false, None) => Body::Chunked,
    }
}

fn is_scheme(scheme: &[u8]) -> bool {
    let letter = scheme.first().is_some_and(u8::is_ascii_alphabetic);
    letter && scheme.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}
