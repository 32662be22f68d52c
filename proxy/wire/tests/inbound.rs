//! A port's policy as the control plane sends it.

#![allow(clippy::unwrap_used)]

mod samples;

use std::collections::HashMap;
use std::time::Duration;

use rules::inbound::{Authentication, Filter, Protocol};
use rules::meta::Meta;
use rules::route::{HeaderModifier, HostMatch, PathMatch, RedirectPath, ValueMatch};
use samples::inbound::{authenticated, authz, default_meta, labels, message, route};
use wire::inbound::server;
use wire::linkerd::inbound::{
    self as proto, Authn, Authz, ProxyProtocol, Server, authn, http_route,
    proxy_protocol::{self, Kind},
};
use wire::linkerd::{grpc_route, http_route as routes, http_types, meta};
use wire::{Message, Why};

fn detect(message: &mut Server) -> &mut proxy_protocol::Detect {
    match message.protocol.as_mut().unwrap().kind.as_mut().unwrap() {
        Kind::Detect(detect) => detect,
        other => panic!("{other:?}"),
    }
}

fn rule(message: &mut Server) -> &mut http_route::Rule {
    &mut detect(message).http_routes[0].rules[0]
}

#[test]
fn a_server_is_read_whole() {
    let message = Server::decode(message().encode_to_vec().as_slice()).unwrap();
    let policy = server(&message).unwrap();
    assert_eq!(policy.meta.name(), "web-http");
    let Protocol::Detect { timeout, http } = &policy.protocol else { panic!("{policy:?}") };
    assert_eq!(*timeout, Duration::new(10, 5));
    assert_eq!(*http[0].meta, Meta::Default("route".into()));
    assert_eq!(http[0].hosts, [HostMatch::Exact("web.example".into()), HostMatch::Suffix(".example.com".into())]);
    let rule = &http[0].rules[0];
    let matching = &rule.matches[0];
    assert_eq!(matching.method.as_deref(), Some("DELETE"));
    assert_eq!(matching.path, Some(PathMatch::Prefix("/a".into())));
    assert_eq!(&*matching.headers[0].name, "x-a");
    assert!(matches!(&matching.headers[0].value, ValueMatch::Regex(pattern) if pattern.matches(b"42")));
    let pair = |name: &str| (name.into(), b"v"[..].into());
    let modifier = HeaderModifier { add: vec![pair("x-add")], set: vec![pair("x-set")], remove: vec!["x-rm".into()] };
    assert_eq!(rule.filters[0], Filter::RequestHeaders(modifier));
    let Filter::Redirect(redirect) = &rule.filters[1] else { panic!("{rule:?}") };
    assert_eq!((redirect.status, redirect.port), (301, None));
    assert_eq!(redirect.path, Some(RedirectPath::ReplacePrefix("/b".into())));
    let fail = Filter::Fail { status: 418, message: "notea".into(), numerator: 1, denominator: 1 };
    assert_eq!(rule.filters[2], fail);
    for authorization in [&policy.authorizations[0], &http[0].authorizations[0]] {
        let authentication = Authentication::TlsAuthenticated {
            identities: vec!["a.example".into()],
            suffixes: vec![".b.example".into(), "".into()],
        };
        assert_eq!(authorization.authentication, authentication);
        assert_eq!(authorization.networks[0].net.to_string(), "10.0.0.0/8");
        assert_eq!(authorization.networks[0].except[0].to_string(), "10.1.0.0/16");
        assert_eq!(authorization.meta.name(), "clients");
    }
}

#[test]
fn the_other_protocols_are_read() {
    let of =
        |kind| server(&Server { protocol: Some(ProxyProtocol { kind: Some(kind) }), ..message() }).unwrap().protocol;
    assert!(matches!(of(Kind::Opaque(proxy_protocol::Opaque {})), Protocol::Opaque));
    assert!(matches!(of(Kind::Tls(proxy_protocol::Tls {})), Protocol::Tls));
    let http1 = proxy_protocol::Http1 { routes: vec![route()], local_rate_limit: None };
    assert!(matches!(of(Kind::Http1(http1)), Protocol::Http1(routes) if routes.len() == 1));
    let http2 = proxy_protocol::Http2 { routes: vec![], local_rate_limit: None };
    assert!(matches!(of(Kind::Http2(http2)), Protocol::Http2(routes) if routes.is_empty()));
    let fail = grpc_route::GrpcFailureInjector { code: 14, message: "later".into(), ratio: None };
    let rule = proto::grpc_route::Rule {
        matches: vec![grpc_route::GrpcRouteMatch {
            rpc: Some(grpc_route::GrpcRpcMatch { service: "pkg.Svc".into(), method: "".into() }),
            headers: vec![],
        }],
        filters: vec![proto::grpc_route::Filter { kind: Some(proto::grpc_route::filter::Kind::FailureInjector(fail)) }],
    };
    let route =
        proto::GrpcRoute { metadata: default_meta("g"), hosts: vec![], authorizations: vec![], rules: vec![rule] };
    let Protocol::Grpc(routes) = of(Kind::Grpc(proxy_protocol::Grpc { routes: vec![route] })) else { panic!() };
    assert_eq!(&*routes[0].rules[0].matches[0].service, "pkg.Svc");
    let fail = Filter::FailGrpc { code: 14, message: "later".into(), numerator: 1, denominator: 1 };
    assert_eq!(routes[0].rules[0].filters, [fail]);
}

#[test]
fn where_a_default_comes_from_is_read_from_labels_or_metadata() {
    let named = |labels| server(&Server { labels, ..message() }).unwrap().meta;
    assert_eq!(*named(labels("default", "deny")), Meta::Default("deny".into()));
    assert_eq!(*named(HashMap::new()), Meta::Default("unknown".into()));
    let audit = Authz { metadata: default_meta("audit"), ..authz() };
    let policy = server(&Server { authorizations: vec![audit], ..message() }).unwrap();
    assert!(policy.authorizations[0].is_audit());
}

#[test]
fn an_authorization_without_networks_admits_nobody() {
    let policy = server(&Server { authorizations: vec![Authz { networks: vec![], ..authz() }], ..message() }).unwrap();
    assert!(policy.authorizations.iter().all(|authorization| authorization.networks.is_empty()));
}

type Spoil = fn(&mut Server);

#[test]
fn what_is_missing_or_unknown_is_named_and_never_ignored() {
    const ROUTE: &str = "protocol.http_routes[0]";
    let rule_field = |rest: &str| format!("{ROUTE}.rules[0].{rest}");
    let authn = "authorizations[0].authentication";
    let cases: Vec<(Spoil, String)> = vec![
        (|m| m.protocol = None, "protocol".into()),
        (|m| m.protocol = Some(ProxyProtocol { kind: None }), "protocol.kind".into()),
        (|m| detect(m).timeout = None, "protocol.detect.timeout".into()),
        (|m| m.authorizations[0].authentication = None, authn.into()),
        (|m| m.authorizations[0].authentication = Some(Authn { permit: None }), format!("{authn}.permit")),
        (
            |m| {
                let permit = Some(authn::Permit::MeshTls(authn::PermitMeshTls { clients: None }));
                m.authorizations[0].authentication = Some(Authn { permit });
            },
            format!("{authn}.meshTLS.clients"),
        ),
        (|m| m.authorizations[0].networks[0].net = None, "authorizations[0].networks[0].net".into()),
        (
            |m| m.authorizations[0].metadata = Some(meta::Metadata { kind: None }),
            "authorizations[0].metadata.kind".into(),
        ),
        (|m| detect(m).http_routes[0].metadata = None, format!("{ROUTE}.metadata")),
        (|m| detect(m).http_routes[0].hosts[1].r#match = None, format!("{ROUTE}.hosts[1].match")),
        (|m| rule(m).filters[1].kind = None, rule_field("filters[1].kind")),
        (|m| rule(m).matches[0].path = Some(routes::PathMatch { kind: None }), rule_field("matches[0].path.kind")),
        (|m| rule(m).matches[0].headers[0].value = None, rule_field("matches[0].headers[0].value")),
        (
            |m| rule(m).matches[0].method = Some(http_types::HttpMethod { r#type: None }),
            rule_field("matches[0].method.type"),
        ),
        (
            |m| {
                let unknown = http_types::http_method::Type::Registered(99);
                rule(m).matches[0].method = Some(http_types::HttpMethod { r#type: Some(unknown) });
            },
            rule_field("matches[0].method.registered"),
        ),
    ];
    for (spoil, field) in cases {
        let mut message = message();
        spoil(&mut message);
        let invalid = server(&message).unwrap_err();
        assert_eq!((invalid.field.as_str(), invalid.why), (field.as_str(), Why::Missing));
    }
}

#[test]
fn what_is_out_of_bounds_is_named() {
    let cases: Vec<(Spoil, &str, Why)> = vec![
        (
            |m| m.authorizations[0].networks[0].net.as_mut().unwrap().prefix_len = 33,
            "authorizations[0].networks[0].net.prefix_len",
            Why::OutOfRange,
        ),
        (
            |m| m.authorizations[0].authentication = Some(authenticated(&["a b"], &[])),
            "authorizations[0].authentication.identities[0].name",
            Why::Malformed,
        ),
        (
            |m| m.authorizations[0].authentication = Some(authenticated(&[], &[&["a", ""]])),
            "authorizations[0].authentication.suffixes[0].parts",
            Why::Malformed,
        ),
        (
            |m| detect(m).timeout = Some(prost_types::Duration { seconds: -1, nanos: 0 }),
            "protocol.detect.timeout.seconds",
            Why::OutOfRange,
        ),
        (
            |m| {
                rule(m).matches[0].path =
                    Some(routes::PathMatch { kind: Some(routes::path_match::Kind::Exact("a".into())) })
            },
            "protocol.http_routes[0].rules[0].matches[0].path.exact",
            Why::Malformed,
        ),
        (
            |m| rule(m).matches[0].headers[0].name = "a b".into(),
            "protocol.http_routes[0].rules[0].matches[0].headers[0].name",
            Why::Malformed,
        ),
        (|m| detect(m).http_routes = vec![route(); 1_001], "protocol.http_routes", Why::TooMany(1_000)),
        (
            |m| rule(m).matches[0].headers[0].value = Some(routes::header_match::Value::Regex("(".into())),
            "protocol.http_routes[0].rules[0].matches[0].headers[0].regex",
            Why::Pattern(rules::pattern::InvalidPattern::Syntax),
        ),
    ];
    for (spoil, field, why) in cases {
        let mut message = message();
        spoil(&mut message);
        let invalid = server(&message).unwrap_err();
        assert_eq!((invalid.field.as_str(), invalid.why), (field, why));
    }
}

#[test]
fn patterns_of_one_policy_are_bounded_together() {
    let mut message = message();
    detect(&mut message).http_routes = vec![route(); 129];
    let invalid = server(&message).unwrap_err();
    assert_eq!(invalid.field, "protocol.http_routes[128].rules[0].matches[0].headers[0].regex");
    assert_eq!(invalid.why, Why::TooMany(128));
}

#[test]
fn a_header_value_that_would_split_a_message_is_refused() {
    let mut message = message();
    let filters = &mut rule(&mut message).filters;
    let Some(http_route::filter::Kind::RequestHeaderModifier(modifier)) = &mut filters[0].kind else { panic!() };
    modifier.set.as_mut().unwrap().headers[0].value = b"a\r\nb: c".to_vec();
    let invalid = server(&message).unwrap_err();
    assert_eq!(invalid.to_string(), "protocol.http_routes[0].rules[0].filters[0].set[0].value is malformed");
}
