//! An outbound policy that uses every field.

use wire::linkerd::outbound::{
    self as proto, Backend, ExponentialBackoff, FailureAccrual, HttpRoute, OpaqueRoute, OutboundPolicy, ProxyProtocol,
    backend, failure_accrual, http_route, opaque_route, proxy_protocol as kinds,
};
use wire::linkerd::{http_route as routes, meta, net};

pub fn named(name: &str) -> Option<meta::Metadata> {
    let resource = meta::Resource {
        group: "core".into(),
        kind: "Service".into(),
        name: name.into(),
        namespace: "default".into(),
        section: "".into(),
        port: 80,
    };
    Some(meta::Metadata { kind: Some(meta::metadata::Kind::Resource(resource)) })
}

pub fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

pub fn balanced() -> Backend {
    let dst = backend::endpoint_discovery::DestinationGet { path: "web.default.svc.cluster.local:80".into() };
    let discovery = Some(backend::EndpointDiscovery { kind: Some(backend::endpoint_discovery::Kind::Dst(dst)) });
    let ewma = backend::balance_p2c::PeakEwma { default_rtt: seconds(1), decay: seconds(10) };
    let load = Some(backend::balance_p2c::Load::PeakEwma(ewma));
    Backend {
        metadata: named("web"),
        kind: Some(backend::Kind::Balancer(backend::BalanceP2c { discovery, load })),
        queue: Some(proto::Queue { capacity: 7, failfast_timeout: seconds(3) }),
    }
}

pub fn forward() -> Backend {
    let address = net::TcpAddress::from(std::net::SocketAddr::from(([10, 0, 0, 1], 80)));
    let endpoint = wire::linkerd::destination::WeightedAddr { addr: Some(address), ..Default::default() };
    Backend { kind: Some(backend::Kind::Forward(endpoint)), queue: None, ..balanced() }
}

pub fn http() -> HttpRoute {
    let one = |backend| http_route::RouteBackend { backend: Some(backend), ..Default::default() };
    let weighted = |backend, weight| http_route::WeightedRouteBackend { backend: Some(one(backend)), weight };
    let random =
        http_route::distribution::RandomAvailable { backends: vec![weighted(balanced(), 9), weighted(forward(), 1)] };
    HttpRoute {
        metadata: named("web"),
        hosts: vec![],
        rules: vec![http_route::Rule {
            backends: Some(http_route::Distribution {
                kind: Some(http_route::distribution::Kind::RandomAvailable(random)),
            }),
            timeouts: Some(routes::Timeouts { request: seconds(5), response: None, idle: None }),
            retry: Some(http_route::Retry {
                max_retries: 2,
                max_request_bytes: 1_024,
                conditions: Some(http_route::retry::Conditions {
                    status_ranges: vec![http_route::retry::conditions::StatusRange { start: 500, end: 599 }],
                }),
                timeout: None,
                backoff: backoff(),
            }),
            ..Default::default()
        }],
    }
}

pub fn backoff() -> Option<ExponentialBackoff> {
    Some(ExponentialBackoff {
        min_backoff: seconds(1),
        max_backoff: seconds(60),
        jitter_ratio: 0.5,
        ..Default::default()
    })
}

pub fn opaque_rule() -> opaque_route::Rule {
    let one = opaque_route::RouteBackend { backend: Some(forward()), filters: vec![] };
    let first = opaque_route::distribution::FirstAvailable { backends: vec![one] };
    opaque_route::Rule {
        backends: Some(opaque_route::Distribution {
            kind: Some(opaque_route::distribution::Kind::FirstAvailable(first)),
        }),
        filters: vec![],
    }
}

pub fn opaque() -> kinds::Opaque {
    kinds::Opaque { routes: vec![OpaqueRoute { metadata: named("web"), rules: vec![opaque_rule()] }] }
}

pub fn message() -> OutboundPolicy {
    let accrual = FailureAccrual {
        kind: Some(failure_accrual::Kind::ConsecutiveFailures(failure_accrual::ConsecutiveFailures {
            max_failures: 7,
            backoff: backoff(),
        })),
        ejection: None,
    };
    let detect = kinds::Detect {
        timeout: seconds(10),
        opaque: Some(opaque()),
        http1: Some(kinds::Http1 { routes: vec![http()], failure_accrual: Some(accrual) }),
        http2: Some(kinds::Http2 { routes: vec![http()], failure_accrual: None }),
    };
    OutboundPolicy { protocol: Some(ProxyProtocol { kind: Some(kinds::Kind::Detect(detect)) }), metadata: named("web") }
}
