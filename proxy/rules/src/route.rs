//! Matching of requests: hosts, paths, methods, headers, and the edits a route makes.

use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMatch {
    Exact(Arc<str>),
    /// `*.example.com` is kept as `.example.com`.
    Suffix(Arc<str>),
}

/// A compiled, linear-time pattern of at most 1,024 bytes; equal when its text is equal.
#[derive(Clone, Debug)]
pub struct Pattern {
    pub text: Arc<str>,
    pub regex: Arc<regex_automata::meta::Regex>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
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

/// Header edits in the order set, add, remove. Names are lower case.
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
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: &'a [u8],
    /// Host without port, as written.
    pub host: &'a [u8],
    /// Path without query.
    pub path: &'a [u8],
    /// Query without `?`, or empty.
    pub query: &'a [u8],
    pub headers: &'a [(&'a [u8], &'a [u8])],
}
