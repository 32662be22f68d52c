//! `/metrics` word for word: names and labels are an interface.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use rules::identity::Identity;
use rules::meta::Meta;
use telemetry::prometheus::{Process, render};
use telemetry::{Author, Direction, Dst, EdgeKey, Protocol, Reason, Registry, Response, Tls};

fn resource(group: &str, kind: &str, name: &str, port: u16) -> Option<Arc<Meta>> {
    let meta = Meta::Resource {
        group: group.into(),
        kind: kind.into(),
        namespace: "default".into(),
        name: name.into(),
        section: "".into(),
        port,
    };
    Some(Arc::new(meta))
}

fn inbound() -> EdgeKey {
    let address = "127.64.1.2:8080".parse().unwrap();
    EdgeKey {
        peer: Some(Identity::Dns("client.default.serviceaccount.identity.gossamer.cluster.local".into())),
        target: Some(address),
        server: resource("policy.linkerd.io", "server", "web-http", 0),
        route: Some(Arc::new(Meta::Default("default".into()))),
        authorization: resource("policy.linkerd.io", "authorizationpolicy", "web-clients", 0),
        ..EdgeKey::new(Direction::Inbound, Protocol::Http1, Tls::Mesh, Dst::Address(address))
    }
}

fn outbound() -> EdgeKey {
    let dst = Dst::Service { namespace: "default".into(), service: "web".into(), port: 80 };
    let labels = BTreeMap::from([("namespace", "default"), ("pod", "we\"b-0"), ("not a label", "x")]);
    EdgeKey {
        peer: Some(Identity::Dns("web.default.serviceaccount.identity.gossamer.cluster.local".into())),
        target: Some("127.64.1.2:8080".parse().unwrap()),
        server: resource("core", "Service", "web", 80),
        route: resource("gateway.networking.k8s.io", "HTTPRoute", "web", 0),
        labels: Arc::new(labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()),
        ..EdgeKey::new(Direction::Outbound, Protocol::Grpc, Tls::Mesh, dst)
    }
}

fn ok() -> Response {
    Response { status: 200, grpc_status: None, latency_us: 900, failure: None }
}

/// Less what differs from one process or version to the next.
fn lasting(text: &str) -> String {
    let about = |line: &&str| !line.contains("process_") && !line.starts_with("proxy_build_info{");
    text.lines().filter(about).map(|line| format!("{line}\n")).collect()
}

fn exercised() -> Arc<Registry> {
    let registry = Registry::new(1_000);
    let edge = registry.edge(inbound());
    edge.open();
    edge.read(10);
    edge.written(20);
    edge.request();
    edge.response(ok());
    edge.close();
    let edge = registry.edge(EdgeKey { authorization: None, ..inbound() });
    edge.denied(Reason::Unauthorized);
    let edge = registry.edge(EdgeKey { authorization: None, route: None, ..inbound() });
    edge.denied(Reason::NoRoute);
    let edge = registry.edge(EdgeKey { tls: Tls::Plain, peer: None, protocol: Protocol::Tcp, ..inbound() });
    edge.open();
    let edge = registry.edge(outbound());
    edge.request();
    edge.response(Response { grpc_status: Some(14), latency_us: 31_000_000, ..ok() });
    edge.request();
    let failure = Some((Author::ControlPlane, Reason::NoPolicy));
    edge.response(Response { status: 504, failure, latency_us: 99_000_000, ..ok() });
    let control = registry.control("policy", "127.64.9.9:8443");
    control.request();
    control.response(true, 1_500);
    registry.identity.refreshed(1_000, 87_400);
    registry.identity.trusts(7);
    registry.identity.failed();
    registry
}

#[test]
fn the_text_is_word_for_word_what_it_was() {
    let process = Process {
        started: 990,
        cluster_domain: "cluster.local".into(),
        tls_suites: "TLS13_AES_128_GCM_SHA256".into(),
        tls_groups: "X25519MLKEM768,X25519".into(),
    };
    let text = render(&exercised(), &process, 1_000);
    let golden = include_str!("metrics.txt");
    let text = lasting(&text);
    if std::env::var_os("GOLDEN").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/metrics.txt"), &text).unwrap();
    }
    assert_eq!(text, golden, "run with GOLDEN=1 to accept");
}

#[test]
fn every_line_is_a_comment_or_a_sample() {
    let text = render(&exercised(), &Process::default(), 1_000);
    assert!(text.ends_with("\n# EOF\n"));
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(!series.contains('{') || series.ends_with('}'), "{line}");
    }
    let mut types: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let before = types.len();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), before, "a metric has one type line");
}

#[test]
fn a_million_names_make_a_bounded_text() {
    let registry = Registry::new(0);
    for n in 0..20_000_u32 {
        let dst = Dst::Service { namespace: "default".into(), service: format!("s{n}").into(), port: 80 };
        let edge = registry.edge(EdgeKey::new(Direction::Outbound, Protocol::Http1, Tls::Plain, dst));
        edge.request();
        edge.response(Response { status: 200 + (n % 300) as u16, ..ok() });
    }
    let text = render(&registry, &Process::default(), 0);
    for name in ["request_total{", "response_total{", "response_latency_ms_count{"] {
        let series = text.lines().filter(|line| line.starts_with(name)).count();
        assert!(series <= 2_002, "{name} {series}");
    }
    let total: u64 = text
        .lines()
        .filter(|line| line.starts_with("request_total{"))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum();
    assert_eq!(total, 20_000, "nothing is lost, only joined");
}

#[test]
fn failures_do_not_fall_when_an_edge_is_dropped() {
    let registry = exercised();
    let failures = |text: &str| {
        text.lines().filter(|line| line.starts_with("gossamer_failures_total{")).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = failures(&render(&registry, &Process::default(), 0));
    registry.tick(2_000);
    registry.tick(3_000);
    let text = render(&registry, &Process::default(), 0);
    assert!(!text.contains("\nrequest_total{"));
    assert_eq!(failures(&text), before);
}
