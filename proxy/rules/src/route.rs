//! Matching of requests: hosts, paths, methods, headers, and the edits a route makes.
//!
//! Nothing here allocates, except a regular expression the first time a thread uses it.

use std::sync::Arc;

pub use crate::path::Path;
pub use crate::pattern::Pattern;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMatch {
    Exact(Arc<str>),
    /// `*.example.com` is kept as `.example.com`.
    Suffix(Arc<str>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct HttpMatch {
    pub path: Option<PathMatch>,
    pub headers: Vec<HeaderMatch>,
    pub query: Vec<QueryMatch>,
    pub method: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum PathMatch {
    Exact(Arc<str>),
    /// Whole segments: `/a` matches `/a` and `/a/b`, not `/ab`.
    Prefix(Arc<str>),
    Regex(Pattern),
}

#[derive(Clone, Debug, PartialEq)]
pub struct HeaderMatch {
    /// Lower case.
    pub name: Arc<str>,
    pub value: ValueMatch,
}

#[derive(Clone, Debug, PartialEq)]
pub struct QueryMatch {
    pub name: Arc<str>,
    pub value: ValueMatch,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ValueMatch {
    Exact(Arc<[u8]>),
    Regex(Pattern),
}

/// Empty service or method matches any.
#[derive(Clone, Debug, PartialEq)]
pub struct GrpcMatch {
    pub service: Arc<str>,
    pub method: Arc<str>,
    pub headers: Vec<HeaderMatch>,
}

/// Header edits in the order add, set, remove (`http_route.proto`). Names are lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderModifier {
    pub set: Vec<(Arc<str>, Arc<[u8]>)>,
    pub add: Vec<(Arc<str>, Arc<[u8]>)>,
    pub remove: Vec<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    pub scheme: Option<Arc<str>>,
    pub host: Option<Arc<str>>,
    pub port: Option<u16>,
    pub path: Option<RedirectPath>,
    pub status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectPath {
    Full(Arc<str>),
    ReplacePrefix(Arc<str>),
}

/// A request as the rules see it. Slices point into the connection's buffer.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a [u8],
    /// Host without port, as written.
    pub host: &'a [u8],
    pub path: Path<'a>,
    /// Its `content-type` is gRPC's: the path must be `/service/method`.
    pub grpc: bool,
    pub headers: &'a dyn Headers,
}

/// The header fields of a request, in whatever form the connection keeps them.
pub trait Headers {
    /// Calls `each` with every value of the fields called `name` (lower case; fields compare without case), in order.
    fn values(&self, name: &str, each: &mut dyn FnMut(&[u8]));
}

/// Pairs of name and value.
impl Headers for &[(&[u8], &[u8])] {
    fn values(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        self.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).for_each(|(_, value)| each(value));
    }
}

/// No header at all.
impl Headers for () {
    fn values(&self, _: &str, _: &mut dyn FnMut(&[u8])) {}
}

/// Something with hosts and rules: a route of either direction, for HTTP or gRPC.
pub trait Route {
    type Match: Match;
    type Rule;
    fn hosts(&self) -> &[HostMatch];
    fn rules(&self) -> &[Self::Rule];
    /// None at all match every request.
    fn matches(rule: &Self::Rule) -> &[Self::Match];
}

/// A rule's condition.
pub trait Match {
    /// How closely it matches the request; `None` when it does not.
    fn closeness(&self, request: &Request<'_>) -> Option<Closeness>;
}

/// Orders matches as the Gateway API does: path (exact, then regular expression, then the longer prefix), method,
/// number of headers, number of query parameters. For gRPC: service, method, number of headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Closeness {
    kind: u8,
    length: usize,
    method: bool,
    headers: usize,
    query: usize,
}

/// The rule that a request falls under.
#[derive(Debug)]
pub struct Found<'r, R: Route> {
    pub route: &'r R,
    pub rule: &'r R::Rule,
    /// The match that decided; `None` when the rule has none. A redirect that replaces a prefix needs it.
    pub matched: Option<&'r R::Match>,
}

/// The route and rule with the closest host, then the closest match; of equals the first.
pub fn find<'r, R: Route>(routes: &'r [R], request: &Request<'_>) -> Option<Found<'r, R>> {
    let mut best: Option<(Option<HostCloseness>, Closeness, Found<'r, R>)> = None;
    for route in routes {
        let Some(host) = match_hosts(route.hosts(), request.host) else { continue };
        for rule in route.rules() {
            let Some((closeness, matched)) = match_rule(R::matches(rule), request) else { continue };
            if best.as_ref().is_none_or(|(h, c, _)| (host, closeness) > (*h, *c)) {
                best = Some((host, closeness, Found { route, rule, matched }));
            }
        }
    }
    best.map(|(_, _, found)| found)
}

fn match_rule<'r, M: Match>(matches: &'r [M], request: &Request<'_>) -> Option<(Closeness, Option<&'r M>)> {
    if matches.is_empty() {
        return Some((Closeness::default(), None));
    }
    let mut best: Option<(Closeness, &M)> = None;
    for candidate in matches {
        if let Some(closeness) = candidate.closeness(request)
            && best.is_none_or(|(other, _)| closeness > other)
        {
            best = Some((closeness, candidate));
        }
    }
    best.map(|(closeness, matched)| (closeness, Some(matched)))
}

/// Exact is closer than a suffix, a longer suffix than a shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostCloseness {
    exact: bool,
    length: usize,
}

/// `Some(None)`: there are no hosts, so any matches.
fn match_hosts(hosts: &[HostMatch], host: &[u8]) -> Option<Option<HostCloseness>> {
    if hosts.is_empty() {
        return Some(None);
    }
    hosts.iter().filter_map(|candidate| candidate.closeness(host)).max().map(Some)
}

impl HostMatch {
    /// Hosts compare without case; a dot at the end says nothing.
    pub(crate) fn closeness(&self, host: &[u8]) -> Option<HostCloseness> {
        let host = host.strip_suffix(b".").unwrap_or(host);
        match self {
            HostMatch::Exact(name) => {
                host.eq_ignore_ascii_case(name.as_bytes()).then_some(HostCloseness { exact: true, length: name.len() })
            }
            HostMatch::Suffix(suffix) => {
                let at = host.len().checked_sub(suffix.len()).filter(|at| *at > 0)?;
                host[at..]
                    .eq_ignore_ascii_case(suffix.as_bytes())
                    .then_some(HostCloseness { exact: false, length: suffix.len() })
            }
        }
    }
}

impl Match for HttpMatch {
    fn closeness(&self, request: &Request<'_>) -> Option<Closeness> {
        let (kind, length) = match &self.path {
            None => (0, 0),
            Some(path) => path.closeness(request.path.path())?,
        };
        if self.method.as_ref().is_some_and(|method| method.as_bytes() != request.method) {
            return None;
        }
        let matched =
            match_headers(&self.headers, request) && self.query.iter().all(|rule| rule.matches(request.path.query()));
        matched.then_some(Closeness {
            kind,
            length,
            method: self.method.is_some(),
            headers: self.headers.len(),
            query: self.query.len(),
        })
    }
}

impl Match for GrpcMatch {
    fn closeness(&self, request: &Request<'_>) -> Option<Closeness> {
        let (service, method) = request.path.grpc()?;
        let matched = (self.service.is_empty() || self.service.as_bytes() == service)
            && (self.method.is_empty() || self.method.as_bytes() == method)
            && match_headers(&self.headers, request);
        matched.then_some(Closeness {
            kind: 0,
            length: self.service.len(),
            method: !self.method.is_empty(),
            headers: self.headers.len(),
            query: 0,
        })
    }
}

impl PathMatch {
    fn closeness(&self, path: &[u8]) -> Option<(u8, usize)> {
        match self {
            PathMatch::Exact(exact) => (exact.as_bytes() == path).then_some((3, exact.len())),
            PathMatch::Regex(pattern) => pattern.matches(path).then_some((2, pattern.text.len())),
            PathMatch::Prefix(prefix) => {
                let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
                let rest = path.strip_prefix(prefix.as_bytes())?;
                // `/` matches every request, also one for `*`.
                (prefix.is_empty() || matches!(rest, [] | [b'/', ..])).then_some((1, prefix.len()))
            }
        }
    }

    /// Whether it tells paths apart: the prefix `/` does not.
    pub(crate) fn discriminates(&self) -> bool {
        !matches!(self, PathMatch::Prefix(prefix) if &**prefix == "/" || prefix.is_empty())
    }
}

/// A field that occurs several times matches when every value does: a second value never gets a request into a route
/// that the first would not (security A-32).
fn match_headers(rules: &[HeaderMatch], request: &Request<'_>) -> bool {
    rules.iter().all(|rule| {
        let (mut seen, mut all) = (false, true);
        request.headers.values(&rule.name, &mut |value| {
            seen = true;
            all &= rule.value.matches(value);
        });
        seen && all
    })
}

impl ValueMatch {
    fn matches(&self, value: &[u8]) -> bool {
        match self {
            ValueMatch::Exact(exact) => **exact == *value,
            ValueMatch::Regex(pattern) => pattern.matches(value),
        }
    }
}

/// Bytes of a decoded query value that rules look at; a longer one matches nothing.
const MAX_QUERY_VALUE: usize = 1_024;

impl QueryMatch {
    /// The first parameter of the name decides (Gateway API); names and values are decoded (`+`, `%41`).
    fn matches(&self, query: &[u8]) -> bool {
        let (mut name, mut value) = ([0; MAX_QUERY_VALUE], [0; MAX_QUERY_VALUE]);
        for pair in query.split(|byte| *byte == b'&') {
            let at = pair.iter().position(|byte| *byte == b'=');
            let (raw_name, raw_value) = at.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]));
            if decode(raw_name, &mut name) == Some(self.name.as_bytes()) {
                return decode(raw_value, &mut value).is_some_and(|value| self.value.matches(value));
            }
        }
        false
    }
}

/// `application/x-www-form-urlencoded` into `room`; `None` when it does not fit.
fn decode<'b>(raw: &[u8], room: &'b mut [u8]) -> Option<&'b [u8]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (mut rest, mut length) = (raw, 0);
    while let [byte, tail @ ..] = rest {
        let (decoded, tail) = match (byte, tail) {
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (b'%', tail),
            },
            (b'+', tail) => (b' ', tail),
            (byte, tail) => (*byte, tail),
        };
        *room.get_mut(length)? = decoded;
        (length, rest) = (length + 1, tail);
    }
    Some(&room[..length])
}
