//! Which route a request falls under.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use rules::meta::Meta;
use rules::outbound::{
    Backend, Distribution, OpaqueRoute, Queue, Route, RouteBackend, Rule, Target, Timeouts, as_addressed, find_opaque,
};
use rules::route::{
    GrpcMatch, HeaderMatch, HostMatch, HttpMatch, Path, PathMatch, Pattern, QueryMatch, Request, ValueMatch, find,
};

fn meta(name: &str) -> Arc<Meta> {
    Arc::new(Meta::Default(name.into()))
}

fn route<M>(name: &str, hosts: Vec<HostMatch>, matches: Vec<M>) -> Route<M> {
    let rule = Rule {
        matches,
        filters: Arc::new([]),
        backends: Distribution::Empty,
        timeouts: Timeouts::default(),
        retry: None,
    };
    Route { meta: meta(name), hosts, rules: vec![rule] }
}

fn any() -> HttpMatch {
    HttpMatch { path: None, headers: vec![], query: vec![], method: None }
}

fn exact(path: &str) -> HttpMatch {
    HttpMatch { path: Some(PathMatch::Exact(path.into())), ..any() }
}

fn prefix(path: &str) -> HttpMatch {
    HttpMatch { path: Some(PathMatch::Prefix(path.into())), ..any() }
}

fn regex(text: &str) -> HttpMatch {
    HttpMatch { path: Some(PathMatch::Regex(Pattern::compile(text).unwrap())), ..any() }
}

fn header(name: &str, value: &str) -> HttpMatch {
    let value = ValueMatch::Exact(value.as_bytes().into());
    HttpMatch { headers: vec![HeaderMatch { name: name.into(), value }], ..any() }
}

fn query(name: &str, value: &str) -> HttpMatch {
    let value = ValueMatch::Exact(value.as_bytes().into());
    HttpMatch { query: vec![QueryMatch { name: name.into(), value }], ..any() }
}

fn get(target: &str) -> Request<'_> {
    Request { method: b"GET", host: b"web", path: Path::parse(target.as_bytes()), grpc: false, headers: &() }
}

fn matches(matching: HttpMatch, request: &Request<'_>) -> bool {
    find(&[route("r", vec![], vec![matching])], request).is_some()
}

fn closest(candidates: Vec<(&str, HttpMatch)>, request: &Request<'_>) -> Option<String> {
    let routes: Vec<_> = candidates.into_iter().map(|(name, matching)| route(name, vec![], vec![matching])).collect();
    find(&routes, request).map(|found| found.route.meta.name().to_owned())
}

#[test]
fn a_prefix_matches_whole_segments() {
    for (pattern, target, expected) in [
        ("/a", "/a", true),
        ("/a", "/a/", true),
        ("/a", "/a/b", true),
        ("/a", "/ab", false),
        ("/a/", "/a", true),
        ("/a/", "/ab", false),
        ("/", "/anything", true),
        ("/a", "/A", false),
        ("/a", "/a?x", true),
    ] {
        assert_eq!(matches(prefix(pattern), &get(target)), expected, "{pattern} {target}");
    }
}

#[test]
fn the_closest_match_wins_wherever_it_stands() {
    let all = || {
        vec![
            ("any", any()),
            ("short", prefix("/a")),
            ("long", prefix("/a/b")),
            ("regex", regex("/a/b/.*")),
            ("exact", exact("/a/b/c")),
        ]
    };
    let reversed = || all().into_iter().rev().collect();
    for (target, name) in [("/a/b/c", "exact"), ("/a/b/d", "regex"), ("/a/b", "long"), ("/a/x", "short"), ("/x", "any")]
    {
        assert_eq!(closest(all(), &get(target)).as_deref(), Some(name));
        assert_eq!(closest(reversed(), &get(target)).as_deref(), Some(name));
    }
}

#[test]
fn a_method_is_closer_than_headers_headers_than_query_and_of_equals_the_first_wins() {
    let headers: &[(&[u8], &[u8])] = &[(b"x", b"1"), (b"y", b"2")];
    let request = Request { headers: &headers, ..get("/a?q=1") };
    let by_method = HttpMatch { method: Some("GET".into()), ..any() };
    let candidates = |names: &[&'static str]| -> Vec<(&'static str, HttpMatch)> {
        let all = [
            ("query", query("q", "1")),
            ("header", header("x", "1")),
            ("method", by_method.clone()),
            ("first", prefix("/a")),
            ("second", prefix("/a")),
        ];
        all.into_iter().filter(|(name, _)| names.contains(name)).collect()
    };
    assert_eq!(closest(candidates(&["query", "header", "method"]), &request).as_deref(), Some("method"));
    assert_eq!(closest(candidates(&["query", "header"]), &request).as_deref(), Some("header"));
    assert_eq!(closest(candidates(&["method", "first", "second"]), &request).as_deref(), Some("first"));
}

#[test]
fn a_closer_host_beats_a_closer_path() {
    let host = |text: &str| match text.strip_prefix('*') {
        Some(suffix) => HostMatch::Suffix(suffix.into()),
        None => HostMatch::Exact(text.into()),
    };
    let routes = [
        route("any", vec![], vec![exact("/a")]),
        route("wide", vec![host("*.example")], vec![exact("/a")]),
        route("narrow", vec![host("*.b.example")], vec![any()]),
        route("exact", vec![host("a.b.example"), host("other")], vec![any()]),
    ];
    let name = |host: &str| {
        let request = Request { host: host.as_bytes(), ..get("/a") };
        find(&routes, &request).unwrap().route.meta.name().to_owned()
    };
    assert_eq!(name("a.b.example"), "exact");
    assert_eq!(name("A.B.Example."), "exact");
    assert_eq!(name("x.b.example"), "narrow");
    assert_eq!(name("b.example"), "wide");
    assert_eq!(name(".example"), "any");
    assert_eq!(name("example"), "any");
}

#[test]
fn a_repeated_header_matches_only_when_every_value_does() {
    let rule = || header("x-role", "admin");
    let with = |pairs: &[(&[u8], &[u8])]| matches(rule(), &Request { headers: &pairs, ..get("/") });
    assert!(with(&[(b"X-Role", b"admin")]));
    assert!(with(&[(b"x-role", b"admin"), (b"X-ROLE", b"admin")]));
    assert!(!with(&[(b"x-role", b"admin"), (b"x-role", b"user")]));
    assert!(!with(&[(b"x-role", b"user"), (b"x-role", b"admin")]));
    assert!(!with(&[(b"x-role", b"admin, user")]) && !with(&[]) && !with(&[(b"x-rol", b"admin")]));
}

#[test]
fn a_query_parameter_is_compared_decoded_and_its_first_value_decides() {
    for (target, expected) in [
        ("/?q=a+b", true),
        ("/?q=a%20b&x", true),
        ("/?x=1&%71=a%20b", true),
        ("/?q=a+b&q=c", true),
        ("/?q=c&q=a+b", false),
        ("/?q", false),
        ("/", false),
        ("/?Q=a+b", false),
    ] {
        assert_eq!(matches(query("q", "a b"), &get(target)), expected, "{target}");
    }
    let long = format!("/?q={}", "a".repeat(2_000));
    assert!(!matches(query("q", &"a".repeat(2_000)), &get(&long)), "longer than rules look at");
}

#[test]
fn a_grpc_route_matches_service_and_method() {
    let grpc =
        |service: &str, method: &str| GrpcMatch { service: service.into(), method: method.into(), headers: vec![] };
    let routes = [
        route("any", vec![], vec![grpc("", "")]),
        route("service", vec![], vec![grpc("pkg.Svc", "")]),
        route("method", vec![], vec![grpc("pkg.Svc", "M")]),
        route("unread", vec![], vec![grpc("", "M")]),
    ];
    let name = |target: &str| find(&routes, &get(target)).map(|found| found.route.meta.name().to_owned());
    assert_eq!(name("/pkg.Svc/M").as_deref(), Some("method"));
    assert_eq!(name("/pkg.Svc/N").as_deref(), Some("service"));
    assert_eq!(name("/other.Svc/M").as_deref(), Some("unread"));
    assert_eq!(name("/other.Svc/N").as_deref(), Some("any"));
    assert_eq!(name("/not-grpc"), None);
}

#[test]
fn tls_goes_by_the_closest_server_name() {
    let opaque = |name: &str, snis: Vec<HostMatch>| OpaqueRoute {
        meta: meta(name),
        snis,
        backends: Distribution::Empty,
        forbidden: None,
    };
    let routes = [
        opaque("rest", vec![]),
        opaque("suffix", vec![HostMatch::Suffix(".example".into())]),
        opaque("exact", vec![HostMatch::Exact("a.example".into())]),
    ];
    let name = |sni| find_opaque(&routes, sni).map(|route| route.meta.name().to_owned());
    assert_eq!(name(Some("a.example")).as_deref(), Some("exact"));
    assert_eq!(name(Some("b.example")).as_deref(), Some("suffix"));
    assert_eq!(name(Some("other")).as_deref(), Some("rest"));
    assert_eq!(name(None).as_deref(), Some("rest"));
    assert!(find_opaque(&routes[1..], None).is_none());
}

fn backend(name: &str) -> RouteBackend {
    let target = Target::Forward(as_addressed(([10, 0, 0, 1], 80).into()));
    let backend = Backend { meta: meta(name), target, queue: Queue::default() };
    RouteBackend { backend: Arc::new(backend), filters: Arc::new([]) }
}

#[test]
fn backends_are_picked_by_weight_and_availability() {
    let random = Distribution::Random([(90, backend("a")), (10, backend("b")), (0, backend("never"))].into());
    let count = |distribution: &Distribution, down: &str, name: &str| {
        (0..1_000_u64)
            .filter(|n| {
                let rng = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                distribution.pick(rng, |backend| backend.meta.name() != down).unwrap().backend.meta.name() == name
            })
            .count()
    };
    assert!((870..930).contains(&count(&random, "", "a")));
    assert_eq!(count(&random, "", "never"), 0);
    assert_eq!(count(&random, "a", "b"), 1_000);
    let only_down = Distribution::Random([(1, backend("a"))].into());
    assert_eq!(count(&only_down, "a", "a"), 1_000, "with nobody available the request waits there");
    let first = Distribution::FirstAvailable([backend("a"), backend("b")].into());
    assert_eq!((count(&first, "", "a"), count(&first, "a", "b")), (1_000, 1_000));
    assert!(Distribution::Empty.pick(0, |_| true).is_none());
    assert!(Distribution::Random([(0, backend("a"))].into()).pick(0, |_| true).is_none());
}
