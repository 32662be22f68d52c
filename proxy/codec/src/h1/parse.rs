//! Heads: bytes to [`Request`] and [`Response`]. Reads a whole head or says that it is not whole; keeps nothing.

use super::{Answer, Error};
use crate::head::{Body, Fields, Form, Known, MAX_FIELDS, MAX_HEAD, Request, Response, Span, Version};
use crate::text::{decimal, elements, end_of_target, end_of_value, eq_ignore_case, is_token, known, token, trim};
use crate::translate::{is_authority, same_authority, split_authority};

/// `None`: not whole yet.
type Parsed<T> = Result<Option<T>, Error>;

/// Longest method.
const MAX_METHOD: usize = 64;

/// A request head at the front of `input`, and its length.
pub fn request<'a>(input: &'a [u8], spans: &'a mut Vec<Span>) -> Parsed<(usize, Request<'a>)> {
    let Some((line, at)) = request_line(input)? else { return Ok(None) };
    let Some((length, facts)) = fields(input, at, spans, line.version)? else { return Ok(None) };
    let body = match facts.framing()? {
        // What follows a CONNECT is not a body (RFC 9110 9.3.6).
        Some(_) if line.form == Form::Authority => return Err(Error::Framing),
        Some(body) => body,
        None => Body::None,
    };
    let fields = Fields::new(input, spans, facts.removed(input, spans));
    let (authority, path) = match line.form {
        Form::Origin | Form::Asterisk => (facts.host(line.version)?.unwrap_or_default(), line.path),
        Form::Absolute | Form::Authority => {
            let host = facts.host(line.version)?;
            if host.is_some_and(|host| !same_authority(host, line.authority)) {
                return Err(Error::Host);
            }
            (line.authority, line.path)
        }
    };
    let modern = line.version == Version::Http11;
    let head = Request {
        method: line.method,
        scheme: line.scheme,
        authority,
        path,
        form: line.form,
        version: line.version,
        fields,
        body,
        persistent: facts.persistent(line.version),
        upgrade: if modern { facts.upgrade() } else { b"" },
        protocol: b"",
        expect_continue: modern && facts.expect_continue,
        te_trailers: modern && facts.te_trailers,
    };
    Ok(Some((length, head)))
}

/// A response head at the front of `input`, and its length.
pub fn response<'a>(input: &'a [u8], spans: &'a mut Vec<Span>, answer: Answer) -> Parsed<(usize, Response<'a>)> {
    let Some((status, reason, version, at)) = status_line(input)? else { return Ok(None) };
    let Some((length, facts)) = fields(input, at, spans, version)? else { return Ok(None) };
    let framing = facts.framing()?;
    let (body, framed) = match (status, answer) {
        (101, Answer::Upgrade) => (Body::UntilClose, false),
        (101, _) => return Err(Error::Unexpected),
        (100..200 | 204, _) => (Body::None, false),
        (200..300, Answer::Connect) => (Body::UntilClose, false),
        (304, _) | (_, Answer::Head) => (Body::None, true),
        _ => (framing.unwrap_or(Body::UntilClose), true),
    };
    let mut fields = Fields::new(input, spans, facts.removed(input, spans));
    if !framed {
        fields.remove_where(|known, _| matches!(known, Known::ContentLength | Known::TransferEncoding));
    }
    let upgrade = if matches!(status, 101 | 426) { facts.upgrade() } else { b"" };
    let persistent = facts.persistent(version);
    Ok(Some((length, Response { status, reason, version, fields, body, persistent, upgrade })))
}

/// The fields of a trailer section at the front of `input`, which ends with an empty line, and its length.
///
/// Framing, routing and mesh fields have no meaning there and are left out (RFC 9110 6.5.1, security A-35).
pub fn trailers<'a>(input: &'a [u8], spans: &'a mut Vec<Span>) -> Parsed<(usize, Fields<'a>)> {
    let Some((length, _)) = fields(input, 0, spans, Version::Http11)? else { return Ok(None) };
    let mut fields = Fields::new(input, spans, 0);
    fields.remove_where(|known, _| known != Known::Other);
    Ok(Some((length, fields)))
}

struct Line<'a> {
    method: &'a [u8],
    scheme: &'a [u8],
    authority: &'a [u8],
    path: &'a [u8],
    form: Form,
    version: Version,
}

fn request_line(input: &[u8]) -> Parsed<(Line<'_>, usize)> {
    let method = input.iter().take(MAX_METHOD + 1).take_while(|b| is_token(**b)).count();
    match input.get(method) {
        _ if method > MAX_METHOD => return Err(Error::Line),
        None => return Ok(None),
        Some(b' ') if method > 0 => {}
        Some(_) => return Err(Error::Line),
    }
    let end = end_of_target(input, method + 1);
    match input.get(end) {
        None => return Ok(None),
        Some(b' ') if end > method + 1 => {}
        Some(_) => return Err(Error::Line),
    }
    let Some((version, used)) = version(&input[end + 1..])? else { return Ok(None) };
    let at = end + 1 + used;
    let Some(at) = line_end(input, at)? else { return Ok(None) };
    let line = target(&input[..method], &input[method + 1..end], version)?;
    Ok(Some((line, at)))
}

fn target<'a>(method: &'a [u8], target: &'a [u8], version: Version) -> Result<Line<'a>, Error> {
    let line = |form, authority, path| Line { method, scheme: b"http", authority, path, form, version };
    if method == b"CONNECT" {
        let fits = is_authority(target) && split_authority(target).1.is_some();
        return if fits { Ok(line(Form::Authority, target, b"")) } else { Err(Error::Line) };
    }
    if target[0] == b'/' {
        return Ok(line(Form::Origin, b"", target));
    }
    if target == b"*" {
        return if method == b"OPTIONS" { Ok(line(Form::Asterisk, b"", target)) } else { Err(Error::Line) };
    }
    let scheme: &[u8] = match target {
        _ if target.len() > 7 && eq_ignore_case(&target[..7], b"http://") => b"http",
        _ if target.len() > 8 && eq_ignore_case(&target[..8], b"https://") => b"https",
        _ => return Err(Error::Line),
    };
    let rest = &target[scheme.len() + 3..];
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path: &[u8] = match path {
        [] if method == b"OPTIONS" => b"*",
        [] => b"/",
        [b'/', ..] => path,
        _ => return Err(Error::Line),
    };
    if !is_authority(authority) {
        return Err(Error::Host);
    }
    Ok(Line { scheme, ..line(Form::Absolute, authority, path) })
}

fn status_line(input: &[u8]) -> Parsed<(u16, &[u8], Version, usize)> {
    let Some((version, used)) = version(input)? else { return Ok(None) };
    let rest = &input[used..];
    let code = match rest {
        [b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', ..] => {
            u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
        }
        _ if rest.len() >= 4 => return Err(Error::Line),
        _ => return Ok(None),
    };
    let start = used + 4;
    let end = match input.get(start) {
        None => return Ok(None),
        Some(b' ') => end_of_value(input, start + 1),
        Some(_) => start,
    };
    let reason = input.get(start + 1..end).unwrap_or_default();
    Ok(line_end(input, end)?.map(|at| (code, reason, version, at)))
}

/// `HTTP/1.0` or `HTTP/1.1`, and its length.
fn version(input: &[u8]) -> Parsed<(Version, usize)> {
    const NAME: &[u8; 5] = b"HTTP/";
    let front = input.len().min(NAME.len());
    if input[..front] != NAME[..front] {
        return Err(Error::Line);
    }
    match &input[front..] {
        [b'1', b'.', b'1', ..] => Ok(Some((Version::Http11, 8))),
        [b'1', b'.', b'0', ..] => Ok(Some((Version::Http10, 8))),
        [b'0'..=b'9', b'.', b'0'..=b'9', ..] => Err(Error::Version),
        [_, _, _, ..] => Err(Error::Line),
        _ => Ok(None),
    }
}

/// CRLF at `at`, and where the next line starts.
#[inline]
fn line_end(input: &[u8], at: usize) -> Parsed<usize> {
    match input.get(at..) {
        Some([b'\r', b'\n', ..]) => Ok(Some(at + 2)),
        Some([] | [b'\r']) | None => Ok(None),
        Some(_) => Err(Error::Line),
    }
}

/// What the fields said that has to be known.
struct Facts<'a> {
    input: &'a [u8],
    version: Version,
    host: Option<(usize, usize)>,
    hosts: u8,
    length: Option<u64>,
    coding: bool,
    /// A later field that repeats `Content-Length`.
    repeated: u128,
    close: bool,
    keep_alive: bool,
    upgrade_nominated: bool,
    /// How much `Connection` says, and whether that is more than `close` and `keep-alive`.
    nominations: usize,
    nominates: bool,
    upgrade: Option<(usize, usize)>,
    expect_continue: bool,
    te_trailers: bool,
    hop_by_hop: u128,
}

/// Fills `spans` from the field lines at `at`; returns where the empty line ends.
fn fields<'a>(input: &'a [u8], mut at: usize, spans: &mut Vec<Span>, version: Version) -> Parsed<(usize, Facts<'a>)> {
    spans.clear();
    let mut facts = Facts::new(input, version);
    // What is longer than a head may be cannot be whole.
    let bytes = &input[..input.len().min(MAX_HEAD)];
    loop {
        let start = at;
        at += token(bytes.get(at..).unwrap_or_default());
        match bytes.get(at) {
            None => return Ok(None),
            Some(b':') if at > start => {}
            Some(b'\r') if at == start => {
                let end = line_end(bytes, at).map_err(|_| Error::Field)?;
                return Ok(end.map(|end| (end, facts)));
            }
            Some(_) => return Err(Error::Field),
        }
        let name_end = at;
        at += 1;
        while let Some(b' ' | b'\t') = bytes.get(at) {
            at += 1;
        }
        let value = at;
        let end = end_of_value(bytes, at);
        let Some(next) = line_end(bytes, end).map_err(|_| Error::Field)? else { return Ok(None) };
        let mut value_end = end;
        while value_end > value && matches!(bytes[value_end - 1], b' ' | b'\t') {
            value_end -= 1;
        }
        if spans.len() == MAX_FIELDS {
            return Err(Error::TooMany);
        }
        let known = known(&bytes[start..name_end]);
        if known != Known::Other {
            facts.note(known, spans.len(), value, value_end)?;
        }
        spans.push(Span {
            name: start as u32,
            value: value as u32,
            value_len: (value_end - value) as u32,
            name_len: (name_end - start) as u16,
            known,
        });
        at = next;
    }
}

impl<'a> Facts<'a> {
    fn new(input: &'a [u8], version: Version) -> Self {
        Facts {
            input,
            version,
            host: None,
            hosts: 0,
            length: None,
            coding: false,
            repeated: 0,
            close: false,
            keep_alive: false,
            upgrade_nominated: false,
            nominations: 0,
            nominates: false,
            upgrade: None,
            expect_continue: false,
            te_trailers: false,
            hop_by_hop: 0,
        }
    }

    fn note(&mut self, known: Known, index: usize, start: usize, end: usize) -> Result<(), Error> {
        let value = &self.input[start..end];
        match known {
            Known::Host => {
                self.hosts = self.hosts.saturating_add(1);
                self.host = Some((start, end));
            }
            Known::ContentLength => match (decimal(value), self.length) {
                (None, _) => return Err(Error::Framing),
                (Some(length), Some(before)) if length != before => return Err(Error::Framing),
                (length, before) => {
                    self.repeated |= u128::from(before.is_some()) << index;
                    self.length = length;
                }
            },
            Known::TransferEncoding => {
                if self.version == Version::Http10 || self.coding || value.is_empty() {
                    return Err(Error::Framing);
                }
                if !eq_ignore_case(value, b"chunked") {
                    let odd =
                        value.split(|b| *b == b',').any(|e| trim(e).is_empty() || eq_ignore_case(trim(e), b"chunked"));
                    return Err(if odd { Error::Framing } else { Error::Coding });
                }
                self.coding = true;
            }
            Known::Connection => {
                self.hop_by_hop |= 1 << index;
                for token in elements(value) {
                    // Each is looked for among all fields: more than there can be are an attack.
                    self.nominations += 1;
                    if self.nominations > MAX_FIELDS {
                        return Err(Error::TooMany);
                    }
                    match token {
                        _ if eq_ignore_case(token, b"close") => self.close = true,
                        _ if eq_ignore_case(token, b"keep-alive") => self.keep_alive = true,
                        _ if eq_ignore_case(token, b"upgrade") => self.upgrade_nominated = true,
                        _ => self.nominates = true,
                    }
                }
            }
            Known::KeepAlive | Known::ProxyConnection | Known::Http2Settings => self.hop_by_hop |= 1 << index,
            Known::Te => {
                self.hop_by_hop |= 1 << index;
                self.te_trailers |= elements(value).any(|element| eq_ignore_case(element, b"trailers"));
            }
            Known::Upgrade => {
                self.hop_by_hop |= 1 << index;
                // Several fields cannot be said as one slice; nobody sends them.
                self.upgrade = if self.upgrade.is_none() { Some((start, end)) } else { Some((start, start)) };
            }
            Known::Expect => self.expect_continue |= eq_ignore_case(value, b"100-continue"),
            Known::Cookie | Known::Mesh | Known::Other => {}
        }
        Ok(())
    }

    /// The body that the framing fields promise (RFC 9112 6.3); `None` when they say nothing.
    fn framing(&self) -> Result<Option<Body>, Error> {
        match (self.coding, self.length) {
            (true, Some(_)) => Err(Error::Framing),
            (true, None) => Ok(Some(Body::Chunked)),
            (false, length) => Ok(length.map(Body::Length)),
        }
    }

    fn host(&self, version: Version) -> Result<Option<&'a [u8]>, Error> {
        let Some((start, end)) = self.host else {
            return if version == Version::Http11 { Err(Error::Host) } else { Ok(None) };
        };
        let host = &self.input[start..end];
        if self.hosts > 1 || !is_authority(host) {
            return Err(Error::Host);
        }
        Ok(Some(host))
    }

    fn persistent(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }

    /// The protocols asked for, unless `Connection` does not say so or one of them is h2c (seams 27).
    fn upgrade(&self) -> &'a [u8] {
        match self.upgrade {
            Some((start, end)) if self.upgrade_nominated => {
                let value = &self.input[start..end];
                let h2c = elements(value).any(|protocol| eq_ignore_case(protocol, b"h2c"));
                if h2c { &[] } else { value }
            }
            _ => &[],
        }
    }

    /// Fields that end at this hop: the known ones, and those that `Connection` names (security A-25).
    fn removed(&self, input: &[u8], spans: &[Span]) -> u128 {
        let mut removed = self.hop_by_hop | self.repeated;
        if !self.nominates {
            return removed;
        }
        let text = |start: u32, length: usize| &input[start as usize..start as usize + length];
        let connections = spans.iter().filter(|span| span.known == Known::Connection);
        for token in connections.flat_map(|span| elements(text(span.value, span.value_len as usize))) {
            for (index, span) in spans.iter().enumerate() {
                if eq_ignore_case(text(span.name, span.name_len.into()), token) {
                    removed |= 1 << index;
                }
            }
        }
        removed
    }
}
