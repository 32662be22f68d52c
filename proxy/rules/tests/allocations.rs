//! What is done for every request allocates nothing.

#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel::count::allocations;
use rules::balance::{Balancer, Pick};
use rules::identity::Identity;
use rules::inbound::{
    Authentication, Authorization, Client, ClientTls, HttpRoute, Network, Protocol, Rule, ServerPolicy,
    authorize_request,
};
use rules::meta::Meta;
use rules::outbound::{Ewma, as_addressed, forward};
use rules::route::{HeaderMatch, Headers, HttpMatch, Path, PathMatch, Pattern, Request, ValueMatch, find};

fn meta(name: &str) -> Arc<Meta> {
    Arc::new(Meta::Default(name.into()))
}

fn policy() -> ServerPolicy {
    let authorization = |name: String| Authorization {
        meta: meta(&name),
        networks: vec![Network { net: "0.0.0.0/0".parse().unwrap(), except: vec!["10.9.0.0/16".parse().unwrap()] }],
        authentication: Authentication::TlsAuthenticated {
            identities: vec![name.as_str().into()],
            suffixes: vec![".nobody.example".into()],
        },
    };
    let route = |n: usize| HttpRoute {
        meta: meta("route"),
        hosts: vec![],
        authorizations: Arc::new([]),
        rules: vec![Rule {
            matches: vec![HttpMatch {
                path: Some(PathMatch::Prefix(format!("/r{n}").as_str().into())),
                headers: vec![HeaderMatch { name: "x-a".into(), value: ValueMatch::Exact(b"1"[..].into()) }],
                query: vec![],
                method: Some("GET".into()),
            }],
            filters: vec![],
        }],
    };
    ServerPolicy {
        meta: meta("server"),
        protocol: Protocol::Http2((0..20).map(route).collect()),
        authorizations: (0..20).map(|n| authorization(format!("client-{n}.example"))).collect(),
    }
}

/// Allocations of one call, and its nanoseconds printed, among many, after a first that may warm something up.
fn measure(what: &str, mut call: impl FnMut()) -> u64 {
    const CALLS: u32 = 10_000;
    call();
    let (before, _) = allocations();
    let started = Instant::now();
    (0..CALLS).for_each(|_| call());
    let took = started.elapsed() / CALLS;
    let (after, _) = allocations();
    println!("{what}: {} ns a call", took.as_nanos());
    // The counter is of the whole process, and the test runner has a thread of its own: what a call does shows CALLS times.
    (after - before) / u64::from(CALLS)
}

// One test: the counter is of the whole process.
#[test]
fn what_is_done_for_every_request_allocates_nothing() {
    let policy = policy();
    let client =
        |name: &str| Client { address: [10, 0, 0, 1].into(), tls: ClientTls::Mesh(Some(Identity::Dns(name.into()))) };
    let (friend, stranger) = (client("client-19.example"), client("stranger.example"));
    let pairs: &[(&[u8], &[u8])] = &[(b"host", b"web"), (b"X-A", b"1"), (b"accept", b"*/*")];
    let headers: &dyn Headers = &pairs;
    let request = |target: &'static str| Request {
        method: b"GET",
        host: b"web",
        path: Path::parse(target.as_bytes()),
        grpc: false,
        headers,
    };
    let admitted = measure("a request that is admitted", || {
        black_box(authorize_request(&policy, black_box(&friend), &request("/r19/x?y=z")).unwrap());
    });
    let refused = measure("a request that is refused", || {
        black_box(authorize_request(&policy, black_box(&stranger), &request("/r19/x")).unwrap_err());
    });
    let lost = measure("a request without a route", || {
        black_box(authorize_request(&policy, black_box(&friend), &request("/nowhere")).unwrap_err());
    });

    let outbound = forward(Meta::Default("x".into()), as_addressed(([10, 0, 0, 2], 80).into()), Duration::ZERO);
    let rules::outbound::Protocol::Detect { http1, .. } = &outbound.protocol else { panic!("{outbound:?}") };
    let routed = measure("an outbound route and its backend", || {
        let found = find(&http1.routes, &request("/x")).unwrap();
        black_box(found.rule.backends.pick(7, |_| true).unwrap());
    });

    let mut balancer = Balancer::new(Ewma::default(), 0);
    let set: Vec<_> = (1..100).map(|port| as_addressed(([10, 0, 0, 3], port).into())).collect();
    balancer.update(&set, 0);
    let mut now = 0_u64;
    let balanced = measure("a pick, its start and its end", || {
        now += 1_000;
        let Pick::Endpoint(id) = balancer.pick(now, now.wrapping_mul(0x9e37_79b9_7f4a_7c15)) else { panic!("nobody") };
        balancer.start(id);
        balancer.measured(id, now, 1_000_000);
        balancer.finish(id);
    });

    let pattern = Pattern::compile("/r[0-9]+/x").unwrap();
    let matched = measure("a regular expression", || assert!(pattern.matches(black_box(b"/r19/x"))));
    assert_eq!([admitted, refused, lost, routed, balanced, matched], [0; 6]);
}
