//! `outbound.OutboundPolicy` → where traffic to one destination goes.

use std::sync::Arc;

use linkerd2_proxy_api::outbound::{self as proto, proxy_protocol as kinds};
use linkerd2_proxy_api::{http_route as types, tls_route};
use rules::outbound::{
    Filter, GrpcPolicy, HttpPolicy, OpaqueRoute, OutboundPolicy, Protocol, Retry, Route, Rule, Timeouts,
};
use rules::route::{GrpcMatch, HostMatch, HttpMatch};

use crate::backend::{self, distribution};
use crate::http::{self, Budget, MAX_FILTERS, MAX_MATCHES, MAX_ROUTES, MAX_RULES};
use crate::invalid::{Invalid, Why, check, each, optional, required, within};
use crate::{meta, net};

const MAX_SNIS: usize = 256;
const MAX_STATUS_RANGES: usize = 64;

/// One message of `OutboundPolicies.Watch`.
pub fn policy(policy: &proto::OutboundPolicy) -> Result<OutboundPolicy, Invalid> {
    Ok(OutboundPolicy {
        meta: within("metadata", &policy.metadata, meta::meta)?,
        protocol: within("protocol", &policy.protocol, protocol)?,
    })
}

fn protocol(protocol: &proto::ProxyProtocol) -> Result<Protocol, Invalid> {
    use kinds::Kind;
    let budget = &mut Budget::new();
    Ok(match required("kind", &protocol.kind)? {
        Kind::Detect(detect) => Protocol::Detect {
            timeout: http::required_duration("detect.timeout", &detect.timeout)?,
            opaque: within("detect.opaque", &detect.opaque, opaque)?,
            http1: within("detect.http1", &detect.http1, |http1| {
                http_policy(&http1.routes, &http1.failure_accrual, budget)
            })?,
            http2: within("detect.http2", &detect.http2, |http2| {
                http_policy(&http2.routes, &http2.failure_accrual, budget)
            })?,
        },
        Kind::Opaque(routes) => Protocol::Opaque(opaque(routes).map_err(|it| it.within("opaque"))?),
        Kind::Http1(http1) => Protocol::Http1(
            http_policy(&http1.routes, &http1.failure_accrual, budget).map_err(|it| it.within("http1"))?,
        ),
        Kind::Http2(http2) => Protocol::Http2(
            http_policy(&http2.routes, &http2.failure_accrual, budget).map_err(|it| it.within("http2"))?,
        ),
        Kind::Grpc(grpc) => Protocol::Grpc(grpc_policy(grpc, budget).map_err(|it| it.within("grpc"))?),
        Kind::Tls(tls) => Protocol::Tls(each("tls.routes", &tls.routes, MAX_ROUTES, tls_route)?.into()),
    })
}

fn http_policy(
    routes: &[proto::HttpRoute],
    accrual: &Option<proto::FailureAccrual>,
    budget: &mut Budget,
) -> Result<HttpPolicy, Invalid> {
    Ok(HttpPolicy {
        routes: each("routes", routes, MAX_ROUTES, |route| http_route(route, budget))?.into(),
        accrual: optional("failure_accrual", accrual, backend::accrual)?,
    })
}

fn grpc_policy(grpc: &kinds::Grpc, budget: &mut Budget) -> Result<GrpcPolicy, Invalid> {
    Ok(GrpcPolicy {
        routes: each("routes", &grpc.routes, MAX_ROUTES, |route| grpc_route(route, budget))?.into(),
        accrual: optional("failure_accrual", &grpc.failure_accrual, backend::accrual)?,
    })
}

fn http_route(route: &proto::HttpRoute, budget: &mut Budget) -> Result<Route<HttpMatch>, Invalid> {
    let rules = each("rules", &route.rules, MAX_RULES, |rule| {
        Ok(Rule {
            matches: each("matches", &rule.matches, MAX_MATCHES, |matching| http::http_match(matching, budget))?,
            filters: each("filters", &rule.filters, MAX_FILTERS, http_filter)?.into(),
            backends: within("backends", &rule.backends, http_distribution)?,
            timeouts: optional("timeouts", &rule.timeouts, timeouts)?.unwrap_or_default(),
            retry: optional("retry", &rule.retry, http_retry)?.map(Arc::new),
        })
    })?;
    Ok(Route { meta: within("metadata", &route.metadata, meta::meta)?, hosts: http::hosts(&route.hosts)?, rules })
}

fn grpc_route(route: &proto::GrpcRoute, budget: &mut Budget) -> Result<Route<GrpcMatch>, Invalid> {
    let rules = each("rules", &route.rules, MAX_RULES, |rule| {
        Ok(Rule {
            matches: each("matches", &rule.matches, MAX_MATCHES, |matching| http::grpc_match(matching, budget))?,
            filters: each("filters", &rule.filters, MAX_FILTERS, grpc_filter)?.into(),
            backends: within("backends", &rule.backends, grpc_distribution)?,
            timeouts: optional("timeouts", &rule.timeouts, timeouts)?.unwrap_or_default(),
            retry: optional("retry", &rule.retry, grpc_retry)?.map(Arc::new),
        })
    })?;
    Ok(Route { meta: within("metadata", &route.metadata, meta::meta)?, hosts: http::hosts(&route.hosts)?, rules })
}

fn timeouts(timeouts: &types::Timeouts) -> Result<Timeouts, Invalid> {
    Ok(Timeouts {
        request: optional("request", &timeouts.request, net::duration)?,
        response: optional("response", &timeouts.response, net::duration)?,
        idle: optional("idle", &timeouts.idle, net::duration)?,
    })
}

fn http_retry(retry: &proto::http_route::Retry) -> Result<Retry, Invalid> {
    let conditions = required("conditions", &retry.conditions)?;
    let range = |range: &proto::http_route::retry::conditions::StatusRange| {
        let (start, end) = (range.start, range.end);
        let valid = (100..=999).contains(&start) && (start..=999).contains(&end);
        check("start", (start as u16, end as u16), Why::OutOfRange, valid)
    };
    Ok(Retry {
        max_retries: retry.max_retries,
        max_request_bytes: retry.max_request_bytes,
        status_ranges: each("conditions.status_ranges", &conditions.status_ranges, MAX_STATUS_RANGES, range)?,
        grpc_codes: vec![],
        timeout: optional("timeout", &retry.timeout, net::duration)?,
        backoff: optional("backoff", &retry.backoff, backend::backoff)?,
    })
}

fn grpc_retry(retry: &proto::grpc_route::Retry) -> Result<Retry, Invalid> {
    let conditions = required("conditions", &retry.conditions)?;
    let codes = [
        (conditions.cancelled, 1),
        (conditions.deadine_exceeded, 4),
        (conditions.resource_exhausted, 8),
        (conditions.internal, 13),
        (conditions.unavailable, 14),
    ];
    Ok(Retry {
        max_retries: retry.max_retries,
        max_request_bytes: retry.max_request_bytes,
        status_ranges: vec![],
        grpc_codes: codes.into_iter().filter(|(wanted, _)| *wanted).map(|(_, code)| code).collect(),
        timeout: optional("timeout", &retry.timeout, net::duration)?,
        backoff: optional("backoff", &retry.backoff, backend::backoff)?,
    })
}

fn http_filter(filter: &proto::http_route::Filter) -> Result<Filter, Invalid> {
    use proto::http_route::filter::Kind;
    Ok(match required("kind", &filter.kind)? {
        Kind::FailureInjector(failure) => {
            let (status, message, numerator, denominator) = http::http_failure(failure)?;
            Filter::Fail { status, message, numerator, denominator }
        }
        Kind::RequestHeaderModifier(modifier) => Filter::RequestHeaders(http::request_headers(modifier)?),
        Kind::ResponseHeaderModifier(modifier) => Filter::ResponseHeaders(http::response_headers(modifier)?),
        Kind::Redirect(redirect) => Filter::Redirect(http::redirect(redirect)?),
    })
}

fn grpc_filter(filter: &proto::grpc_route::Filter) -> Result<Filter, Invalid> {
    use proto::grpc_route::filter::Kind;
    Ok(match required("kind", &filter.kind)? {
        Kind::FailureInjector(failure) => {
            let (code, message, numerator, denominator) = http::grpc_failure(failure)?;
            Filter::FailGrpc { code, message, numerator, denominator }
        }
        Kind::RequestHeaderModifier(modifier) => Filter::RequestHeaders(http::request_headers(modifier)?),
    })
}

fn opaque(opaque: &kinds::Opaque) -> Result<Arc<[OpaqueRoute]>, Invalid> {
    Ok(each("routes", &opaque.routes, MAX_ROUTES, opaque_route)?.into())
}

/// There is one rule per route; more would never be reached.
fn opaque_route(route: &proto::OpaqueRoute) -> Result<OpaqueRoute, Invalid> {
    let rule = route.rules.first().ok_or_else(|| Invalid::new("rules", Why::Missing))?;
    let filters = each("rules[0].filters", &rule.filters, MAX_FILTERS, opaque_filter)?;
    Ok(OpaqueRoute {
        meta: within("metadata", &route.metadata, meta::meta)?,
        snis: vec![],
        backends: within("rules[0].backends", &rule.backends, opaque_distribution)?,
        forbidden: why_forbidden(filters),
    })
}

fn tls_route(route: &proto::TlsRoute) -> Result<OpaqueRoute, Invalid> {
    let rule = route.rules.first().ok_or_else(|| Invalid::new("rules", Why::Missing))?;
    let filters = each("rules[0].filters", &rule.filters, MAX_FILTERS, tls_filter)?;
    Ok(OpaqueRoute {
        meta: within("metadata", &route.metadata, meta::meta)?,
        snis: each("snis", &route.snis, MAX_SNIS, sni)?,
        backends: within("rules[0].backends", &rule.backends, tls_distribution)?,
        forbidden: why_forbidden(filters),
    })
}

fn sni(sni: &tls_route::SniMatch) -> Result<HostMatch, Invalid> {
    match required("match", &sni.r#match)? {
        tls_route::sni_match::Match::Exact(name) => http::exact_host(name),
        tls_route::sni_match::Match::Suffix(suffix) => http::host_suffix(&suffix.reverse_labels),
    }
}

/// Bytes have only filters that refuse; on a backend they read as a failure of every connection.
fn opaque_filter(filter: &proto::opaque_route::Filter) -> Result<Filter, Invalid> {
    use proto::opaque_route::filter::Kind;
    Ok(match required("kind", &filter.kind)? {
        Kind::Invalid(invalid) => refuse(500, &invalid.message),
        Kind::Forbidden(_) => refuse(403, "forbidden"),
    })
}

fn tls_filter(filter: &proto::tls_route::Filter) -> Result<Filter, Invalid> {
    use proto::tls_route::filter::Kind;
    Ok(match required("kind", &filter.kind)? {
        Kind::Invalid(invalid) => refuse(500, &invalid.message),
        Kind::Forbidden(_) => refuse(403, "forbidden"),
    })
}

fn refuse(status: u16, message: &str) -> Filter {
    Filter::Fail { status, message: http::message(message), numerator: 1, denominator: 1 }
}

fn why_forbidden(filters: Vec<Filter>) -> Option<Arc<str>> {
    filters.into_iter().find_map(|filter| match filter {
        Filter::Fail { message, .. } => Some(message),
        _ => None,
    })
}

distribution!(http_distribution, http_route, http_filter);
distribution!(grpc_distribution, grpc_route, grpc_filter);
distribution!(opaque_distribution, opaque_route, opaque_filter);
distribution!(tls_distribution, tls_route, tls_filter);
