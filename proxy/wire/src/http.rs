//! What routes of both directions are made of: hosts, matches, header edits, redirects, injected failures.

use std::sync::Arc;

use linkerd2_proxy_api::http_types::{self, http_method, scheme};
use linkerd2_proxy_api::{grpc_route, http_route};
use rules::pattern::Pattern;
use rules::route::{
    GrpcMatch, HeaderMatch, HeaderModifier, HostMatch, HttpMatch, PathMatch, QueryMatch, Redirect, RedirectPath,
    ValueMatch,
};

use crate::invalid::{Invalid, Why, check, each, optional, required, within};
use crate::net;

pub(crate) const MAX_ROUTES: usize = 1_000;
pub(crate) const MAX_RULES: usize = 256;
pub(crate) const MAX_MATCHES: usize = 256;
pub(crate) const MAX_FILTERS: usize = 64;
const MAX_HOSTS: usize = 256;
const MAX_CONDITIONS: usize = 64;
/// Regular expressions of one policy.
const MAX_PATTERNS: usize = 128;
const MAX_TEXT: usize = 8_192;

/// What one policy may still use up.
#[derive(Debug)]
pub(crate) struct Budget {
    patterns: usize,
}

impl Budget {
    pub fn new() -> Budget {
        Budget { patterns: MAX_PATTERNS }
    }

    fn pattern(&mut self, text: &str) -> Result<Pattern, Invalid> {
        self.patterns =
            self.patterns.checked_sub(1).ok_or_else(|| Invalid::new("regex", Why::TooMany(MAX_PATTERNS)))?;
        Pattern::compile(text).map_err(|why| Invalid::new("regex", Why::Pattern(why)))
    }
}

pub(crate) fn hosts(hosts: &[http_route::HostMatch]) -> Result<Vec<HostMatch>, Invalid> {
    each("hosts", hosts, MAX_HOSTS, |host| match required("match", &host.r#match)? {
        http_route::host_match::Match::Exact(name) => exact_host(name),
        http_route::host_match::Match::Suffix(suffix) => host_suffix(&suffix.reverse_labels),
    })
}

pub(crate) fn exact_host(name: &str) -> Result<HostMatch, Invalid> {
    let valid = is_text(name) && !name.contains('*');
    check("exact", HostMatch::Exact(name.strip_suffix('.').unwrap_or(name).into()), Why::Malformed, valid)
}

/// `[com, example]` is `*.example.com`.
pub(crate) fn host_suffix(reverse_labels: &[String]) -> Result<HostMatch, Invalid> {
    let valid = |label: &String| is_text(label) && !label.contains(['.', '*']);
    if reverse_labels.is_empty() || reverse_labels.len() > 127 || !reverse_labels.iter().all(valid) {
        return Err(Invalid::new("suffix.reverse_labels", Why::Malformed));
    }
    let suffix: String = reverse_labels.iter().rev().flat_map(|label| [".", label]).collect();
    Ok(HostMatch::Suffix(suffix.into()))
}

pub(crate) fn http_match(proto: &http_route::HttpRouteMatch, budget: &mut Budget) -> Result<HttpMatch, Invalid> {
    Ok(HttpMatch {
        path: optional("path", &proto.path, |path| path_match(path, budget))?,
        headers: headers(&proto.headers, budget)?,
        query: each("query_params", &proto.query_params, MAX_CONDITIONS, |query| query_match(query, budget))?,
        method: optional("method", &proto.method, method)?,
    })
}

pub(crate) fn grpc_match(proto: &grpc_route::GrpcRouteMatch, budget: &mut Budget) -> Result<GrpcMatch, Invalid> {
    let (service, method) = proto.rpc.as_ref().map_or(("", ""), |rpc| (&rpc.service, &rpc.method));
    let valid = |name: &str| !name.contains('/') && (name.is_empty() || is_text(name));
    Ok(GrpcMatch {
        service: check("rpc.service", service.into(), Why::Malformed, valid(service))?,
        method: check("rpc.method", method.into(), Why::Malformed, valid(method))?,
        headers: headers(&proto.headers, budget)?,
    })
}

fn path_match(proto: &http_route::PathMatch, budget: &mut Budget) -> Result<PathMatch, Invalid> {
    use http_route::path_match::Kind;
    let absolute =
        |field, path: &str| check(field, Arc::from(path), Why::Malformed, path.starts_with('/') && is_text(path));
    Ok(match required("kind", &proto.kind)? {
        Kind::Exact(path) => PathMatch::Exact(absolute("exact", path)?),
        Kind::Prefix(path) => PathMatch::Prefix(absolute("prefix", path)?),
        Kind::Regex(text) => PathMatch::Regex(budget.pattern(text)?),
    })
}

fn headers(protos: &[http_route::HeaderMatch], budget: &mut Budget) -> Result<Vec<HeaderMatch>, Invalid> {
    use http_route::header_match::Value;
    each("headers", protos, MAX_CONDITIONS, |proto| {
        let value = match required("value", &proto.value)? {
            Value::Exact(bytes) => ValueMatch::Exact(bytes.as_slice().into()),
            Value::Regex(text) => ValueMatch::Regex(budget.pattern(text)?),
        };
        Ok(HeaderMatch { name: header_name(&proto.name)?, value })
    })
}

fn query_match(proto: &http_route::QueryParamMatch, budget: &mut Budget) -> Result<QueryMatch, Invalid> {
    use http_route::query_param_match::Value;
    let value = match required("value", &proto.value)? {
        Value::Exact(text) => ValueMatch::Exact(text.as_bytes().into()),
        Value::Regex(text) => ValueMatch::Regex(budget.pattern(text)?),
    };
    let valid = !proto.name.is_empty() && proto.name.len() <= 1_024;
    Ok(QueryMatch { name: check("name", proto.name.as_str().into(), Why::Malformed, valid)?, value })
}

fn method(proto: &http_types::HttpMethod) -> Result<Arc<str>, Invalid> {
    match required("type", &proto.r#type)? {
        http_method::Type::Registered(code) => match http_method::Registered::try_from(*code) {
            Ok(registered) => Ok(registered.as_str_name().into()),
            Err(_) => Err(Invalid::new("registered", Why::Missing)),
        },
        http_method::Type::Unregistered(name) => {
            check("unregistered", name.as_str().into(), Why::Malformed, is_token(name))
        }
    }
}

pub(crate) fn request_headers(proto: &http_route::RequestHeaderModifier) -> Result<HeaderModifier, Invalid> {
    header_modifier(&proto.add, &proto.set, &proto.remove)
}

pub(crate) fn response_headers(proto: &http_route::ResponseHeaderModifier) -> Result<HeaderModifier, Invalid> {
    header_modifier(&proto.add, &proto.set, &proto.remove)
}

fn header_modifier(
    add: &Option<http_types::Headers>,
    set: &Option<http_types::Headers>,
    remove: &[String],
) -> Result<HeaderModifier, Invalid> {
    let fields = |field: &str, headers: &Option<http_types::Headers>| match headers {
        None => Ok(vec![]),
        Some(headers) => each(field, &headers.headers, MAX_CONDITIONS, |header| {
            let valid = header.value.len() <= MAX_TEXT && !header.value.iter().any(|byte| b"\r\n\0".contains(byte));
            let value = check("value", header.value.as_slice().into(), Why::Malformed, valid)?;
            Ok((header_name(&header.name)?, value))
        }),
    };
    Ok(HeaderModifier {
        add: fields("add", add)?,
        set: fields("set", set)?,
        remove: each("remove", remove, MAX_CONDITIONS, |name| header_name(name))?,
    })
}

pub(crate) fn redirect(proto: &http_route::RequestRedirect) -> Result<Redirect, Invalid> {
    let scheme = optional("scheme", &proto.scheme, |scheme| match required("type", &scheme.r#type)? {
        scheme::Type::Registered(code) => match scheme::Registered::try_from(*code) {
            Ok(scheme::Registered::Http) => Ok(Arc::from("http")),
            Ok(scheme::Registered::Https) => Ok(Arc::from("https")),
            Err(_) => Err(Invalid::new("registered", Why::Missing)),
        },
        scheme::Type::Unregistered(name) => check("unregistered", name.as_str().into(), Why::Malformed, is_token(name)),
    })?;
    let path = optional("path", &proto.path, |path| match required("replace", &path.replace)? {
        http_route::path_modifier::Replace::Full(full) => Ok(RedirectPath::Full(text("full", full)?)),
        http_route::path_modifier::Replace::Prefix(prefix) => Ok(RedirectPath::ReplacePrefix(text("prefix", prefix)?)),
    })?;
    let status = if proto.status == 0 { 301 } else { proto.status };
    Ok(Redirect {
        scheme,
        host: if proto.host.is_empty() { None } else { Some(text("host", &proto.host)?) },
        port: net::optional_port("port", proto.port)?,
        path,
        status: check("status", status as u16, Why::OutOfRange, (300..400).contains(&status))?,
    })
}

/// Status, message, numerator, denominator.
pub(crate) fn http_failure(proto: &http_route::HttpFailureInjector) -> Result<(u16, Arc<str>, u32, u32), Invalid> {
    let status = check("status", proto.status as u16, Why::OutOfRange, (100..1_000).contains(&proto.status))?;
    let (numerator, denominator) = ratio(&proto.ratio)?;
    Ok((status, message(&proto.message), numerator, denominator))
}

/// gRPC status, message, numerator, denominator.
pub(crate) fn grpc_failure(proto: &grpc_route::GrpcFailureInjector) -> Result<(u8, Arc<str>, u32, u32), Invalid> {
    // Linkerd's control plane says 500 of a backend that does not exist; what is no code is UNKNOWN to clients.
    let code = if proto.code <= 16 { proto.code as u8 } else { 2 };
    let (numerator, denominator) = ratio(&proto.ratio)?;
    Ok((code, message(&proto.message), numerator, denominator))
}

fn ratio(proto: &Option<http_route::Ratio>) -> Result<(u32, u32), Invalid> {
    let ratio = proto.as_ref().map_or((1, 1), |ratio| (ratio.numerator, ratio.denominator));
    check("ratio", ratio, Why::OutOfRange, ratio.1 > 0 && ratio.0 <= ratio.1)
}

/// It becomes a header's value: what a header cannot carry is left out.
pub(crate) fn message(text: &str) -> Arc<str> {
    text.chars().filter(|c| !c.is_control()).take(256).collect::<String>().into()
}

fn text(field: &str, value: &str) -> Result<Arc<str>, Invalid> {
    check(field, value.into(), Why::Malformed, is_text(value))
}

fn header_name(name: &str) -> Result<Arc<str>, Invalid> {
    check("name", name.to_ascii_lowercase().into(), Why::Malformed, is_token(name))
}

/// What a request line or header may hold: not empty, no controls, no spaces.
pub(crate) fn is_text(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_TEXT && !text.bytes().any(|byte| byte <= b' ' || byte == 0x7f)
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.len() <= 256 && text.bytes().all(is_tchar)
}

pub(crate) fn required_duration(
    field: &str,
    value: &Option<prost_types::Duration>,
) -> Result<std::time::Duration, Invalid> {
    within(field, value, net::duration)
}
