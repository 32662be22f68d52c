//! A destination's policy as the control plane sends it.

#![allow(clippy::unwrap_used)]

mod samples;

use std::time::Duration;

use rules::outbound::{Accrual, Distribution, Filter, Protocol, Target, Timeouts};
use samples::outbound::{backoff, forward, message, named, opaque_rule, seconds};
use wire::linkerd::outbound::{
    Backend, ExponentialBackoff, FailureAccrual, OpaqueRoute, OutboundPolicy, ProxyProtocol, TlsRoute, backend,
    failure_accrual, http_route, opaque_route, proxy_protocol as kinds, tls_route,
};
use wire::linkerd::{meta, opaque_route as forbid, tls_route as sni};
use wire::outbound::policy;
use wire::{Message, Why};

fn of(kind: kinds::Kind) -> Result<Protocol, wire::Invalid> {
    policy(&OutboundPolicy { protocol: Some(ProxyProtocol { kind: Some(kind) }), ..message() }).map(|it| it.protocol)
}

fn detect(message: &mut OutboundPolicy) -> &mut kinds::Detect {
    match message.protocol.as_mut().unwrap().kind.as_mut().unwrap() {
        kinds::Kind::Detect(detect) => detect,
        other => panic!("{other:?}"),
    }
}

fn rule(message: &mut OutboundPolicy) -> &mut http_route::Rule {
    &mut detect(message).http1.as_mut().unwrap().routes[0].rules[0]
}

#[test]
fn a_policy_is_read_whole() {
    let message = OutboundPolicy::decode(message().encode_to_vec().as_slice()).unwrap();
    let read = policy(&message).unwrap();
    assert_eq!(read.meta.name(), "web");
    let Protocol::Detect { timeout, opaque, http1, http2 } = &read.protocol else { panic!("{read:?}") };
    assert_eq!(*timeout, Duration::from_secs(10));
    assert!(opaque[0].forbidden.is_none());
    assert!(matches!(&opaque[0].backends, Distribution::FirstAvailable(backends) if backends.len() == 1));
    assert!(matches!(http1.accrual, Some(Accrual::Consecutive { max_failures: 7, .. })));
    assert!(http2.accrual.is_none());
    let rule = &http1.routes[0].rules[0];
    assert_eq!(rule.timeouts, Timeouts { request: Some(Duration::from_secs(5)), ..Default::default() });
    let retry = rule.retry.as_ref().unwrap();
    assert_eq!((retry.max_retries, &retry.status_ranges[..]), (2, &[(500, 599)][..]));
    let Distribution::Random(backends) = &rule.backends else { panic!("{rule:?}") };
    assert_eq!((backends[0].0, backends[1].0), (9, 1));
    let (first, second) = (&backends[0].1.backend, &backends[1].1.backend);
    assert_eq!((first.queue.capacity, first.queue.failfast), (7, Duration::from_secs(3)));
    assert!(matches!(&first.target, Target::Balance { authority, ewma }
        if &**authority == "web.default.svc.cluster.local:80" && ewma.default_rtt == Duration::from_secs(1)));
    assert!(
        matches!(&second.target, Target::Forward(endpoint) if endpoint.address.port() == 80 && endpoint.tls.is_none())
    );
}

#[test]
fn what_is_forbidden_says_why() {
    let filter = |kind| opaque_route::Filter { kind: Some(kind) };
    let with = |rule: opaque_route::Rule| {
        let routes = vec![OpaqueRoute { metadata: named("web"), rules: vec![rule] }];
        match of(kinds::Kind::Opaque(kinds::Opaque { routes })).unwrap() {
            Protocol::Opaque(routes) => routes[0].clone(),
            other => panic!("{other:?}"),
        }
    };
    let forbidden = filter(opaque_route::filter::Kind::Forbidden(forbid::Forbidden {}));
    let on_route = with(opaque_route::Rule { filters: vec![forbidden], ..opaque_rule() });
    assert_eq!(on_route.forbidden.as_deref(), Some("forbidden"));
    let invalid = filter(opaque_route::filter::Kind::Invalid(forbid::Invalid { message: "no such port".into() }));
    let one = opaque_route::RouteBackend { backend: Some(forward()), filters: vec![invalid] };
    let first = opaque_route::distribution::FirstAvailable { backends: vec![one] };
    let backends =
        Some(opaque_route::Distribution { kind: Some(opaque_route::distribution::Kind::FirstAvailable(first)) });
    let on_backend = with(opaque_route::Rule { backends, filters: vec![] });
    let Distribution::FirstAvailable(backends) = &on_backend.backends else { panic!("{on_backend:?}") };
    assert!(matches!(&backends[0].filters[..], [Filter::Fail { message, .. }] if &**message == "no such port"));
}

#[test]
fn a_backend_that_is_nobody_fails_its_share_and_not_the_policy() {
    let mut message = message();
    first(&mut message).kind = None;
    let Protocol::Detect { http1, .. } = policy(&message).unwrap().protocol else { panic!() };
    let Distribution::Random(backends) = &http1.routes[0].rules[0].backends else { panic!() };
    assert_eq!(backends[0].1.backend.target, Target::Fail("the backend web cannot be used".into()));
}

#[test]
fn tls_routes_are_read() {
    let route = TlsRoute {
        metadata: named("web"),
        snis: vec![sni::SniMatch { r#match: Some(sni::sni_match::Match::Exact("a.example".into())) }],
        rules: vec![tls_route::Rule {
            backends: Some(tls_route::Distribution {
                kind: Some(tls_route::distribution::Kind::Empty(tls_route::distribution::Empty {})),
            }),
            filters: vec![],
        }],
    };
    let protocol = of(kinds::Kind::Tls(kinds::Tls { routes: vec![route] })).unwrap();
    assert!(
        matches!(protocol, Protocol::Tls(routes) if routes[0].snis.len() == 1 && routes[0].backends == Distribution::Empty)
    );
}

type Spoil = fn(&mut OutboundPolicy);

fn first(message: &mut OutboundPolicy) -> &mut Backend {
    match rule(message).backends.as_mut().unwrap().kind.as_mut().unwrap() {
        http_route::distribution::Kind::RandomAvailable(random) => {
            random.backends[0].backend.as_mut().unwrap().backend.as_mut().unwrap()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_missing_or_unknown_is_named_and_never_ignored() {
    const RULE: &str = "protocol.detect.http1.routes[0].rules[0]";
    const BACKEND: &str = "backends.random_available.backends[0].backend.backend";
    let cases: Vec<(Spoil, String)> = vec![
        (|m| m.protocol = None, "protocol".into()),
        (|m| m.metadata = None, "metadata".into()),
        (|m| m.metadata = Some(meta::Metadata { kind: None }), "metadata.kind".into()),
        (|m| m.protocol = Some(ProxyProtocol { kind: None }), "protocol.kind".into()),
        (|m| detect(m).timeout = None, "protocol.detect.timeout".into()),
        (|m| detect(m).opaque = None, "protocol.detect.opaque".into()),
        (|m| detect(m).http2 = None, "protocol.detect.http2".into()),
        (
            |m| detect(m).opaque.as_mut().unwrap().routes[0].rules.clear(),
            "protocol.detect.opaque.routes[0].rules".into(),
        ),
        (|m| rule(m).backends = None, format!("{RULE}.backends")),
        (|m| rule(m).backends = Some(http_route::Distribution { kind: None }), format!("{RULE}.backends.kind")),
        (|m| rule(m).retry.as_mut().unwrap().conditions = None, format!("{RULE}.retry.conditions")),
        (|m| rule(m).filters = vec![http_route::Filter { kind: None }], format!("{RULE}.filters[0].kind")),
        (|m| first(m).metadata = None, format!("{RULE}.{BACKEND}.metadata")),
        (
            |m| first(m).kind = Some(backend::Kind::Balancer(backend::BalanceP2c::default())),
            format!("{RULE}.{BACKEND}.balancer.discovery"),
        ),
        (
            |m| detect(m).http1.as_mut().unwrap().failure_accrual = Some(FailureAccrual::default()),
            "protocol.detect.http1.failure_accrual.kind".into(),
        ),
    ];
    for (spoil, field) in cases {
        let mut message = message();
        spoil(&mut message);
        let invalid = policy(&message).unwrap_err();
        assert_eq!((invalid.field.as_str(), invalid.why), (field.as_str(), Why::Missing));
    }
}

#[test]
fn accrual_out_of_range_makes_the_whole_policy_invalid() {
    let unified = |success_rate_threshold, decay, min_requests, backoff| {
        failure_accrual::Kind::Unified(failure_accrual::Unified {
            success_rate_threshold,
            decay,
            min_requests,
            max_consecutive_failures: 7,
            backoff,
        })
    };
    let with = |kind| {
        let mut message = message();
        let accrual = FailureAccrual { kind: Some(kind), ejection: None };
        detect(&mut message).http1.as_mut().unwrap().failure_accrual = Some(accrual);
        policy(&message).map(|_| ()).map_err(|invalid| invalid.field.rsplit_once('.').unwrap().1.to_owned())
    };
    assert_eq!(with(unified(0.8, seconds(10), 5, backoff())), Ok(()));
    assert_eq!(with(unified(1.1, seconds(10), 5, backoff())), Err("success_rate_threshold".into()));
    assert_eq!(with(unified(f64::NAN, seconds(10), 5, backoff())), Err("success_rate_threshold".into()));
    assert_eq!(with(unified(0.8, seconds(0), 5, backoff())), Err("decay".into()));
    assert_eq!(with(unified(0.8, seconds(10), 1_000_001, backoff())), Err("min_requests".into()));
    assert_eq!(with(unified(0.8, seconds(10), 5, None)), Err("backoff".into()));
    let inverted = ExponentialBackoff { min_backoff: seconds(2), max_backoff: seconds(1), ..Default::default() };
    assert_eq!(with(unified(0.8, seconds(10), 5, Some(inverted))), Err("max_backoff".into()));
}
