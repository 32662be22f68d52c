//! Who may reach what: behaviour, then laws.

#![allow(clippy::unwrap_used)]

mod chance;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chance::Chance;
use rules::identity::Identity;
use rules::inbound::{
    Authentication, Authorization, Client, ClientTls, DEFAULT_POLICIES, GrpcRoute, HttpRoute, Network, Protocol,
    Refusal, Rule, ServerPolicy, authorize_connection, authorize_request, default_policy,
};
use rules::meta::Meta;
use rules::route::{GrpcMatch, HttpMatch, Path, PathMatch, Request};

const CLIENT: &str = "client.default.serviceaccount.identity.gossamer.cluster.local";

fn meta(name: &str) -> Arc<Meta> {
    Arc::new(Meta::Default(name.into()))
}

fn network(cidr: &str) -> Network {
    Network { net: cidr.parse().unwrap(), except: vec![] }
}

fn names(identities: &[&str], suffixes: &[&str]) -> Authentication {
    let own = |list: &[&str]| list.iter().map(|name| Arc::from(*name)).collect();
    Authentication::TlsAuthenticated { identities: own(identities), suffixes: own(suffixes) }
}

fn authorization(name: &str, authentication: Authentication) -> Authorization {
    Authorization { meta: meta(name), networks: vec![network("0.0.0.0/0"), network("::/0")], authentication }
}

fn mesh(identity: &str) -> Client {
    let identity =
        if identity.contains("://") { Identity::Uri(identity.into()) } else { Identity::Dns(identity.into()) };
    Client { address: IpAddr::from([10, 0, 0, 9]), tls: ClientTls::Mesh(Some(identity)) }
}

fn plain() -> Client {
    Client { address: IpAddr::from([10, 0, 0, 9]), tls: ClientTls::Plaintext }
}

fn policy(protocol: Protocol, authorizations: Vec<Authorization>) -> ServerPolicy {
    ServerPolicy { meta: meta("server"), protocol, authorizations: authorizations.into() }
}

fn admits(authentication: Authentication, client: &Client) -> bool {
    authorize_connection(&policy(Protocol::Opaque, vec![authorization("a", authentication)]), client).is_ok()
}

fn route(name: &str, path: Option<PathMatch>, authorizations: Vec<Authorization>) -> HttpRoute {
    let matches = path.map(|path| HttpMatch { path: Some(path), headers: vec![], query: vec![], method: None });
    HttpRoute {
        meta: meta(name),
        hosts: vec![],
        authorizations: authorizations.into(),
        rules: vec![Rule { matches: matches.into_iter().collect(), filters: vec![] }],
    }
}

fn get(target: &str) -> Request<'_> {
    Request { method: b"GET", host: b"web", path: Path::parse(target.as_bytes()), grpc: false, headers: &() }
}

fn call(target: &str) -> Request<'_> {
    Request { method: b"POST", grpc: true, ..get(target) }
}

#[test]
fn a_name_is_admitted_by_itself_by_its_suffix_and_by_the_star() {
    let client = mesh(CLIENT);
    assert!(admits(names(&[CLIENT], &[]), &client));
    assert!(admits(names(&[], &[".default.serviceaccount.identity.gossamer.cluster.local"]), &client));
    assert!(admits(names(&[], &[""]), &client));
    assert!(!admits(names(&[], &[]), &client));
    assert!(!admits(names(&["client.default"], &["lient.default"]), &client));
}

#[test]
fn names_are_compared_byte_for_byte() {
    assert!(!admits(names(&[&CLIENT.to_uppercase()], &[]), &mesh(CLIENT)));
    assert!(!admits(names(&["*", "client.default.*", ".*"], &[]), &mesh(CLIENT)));
    assert!(!admits(names(&[&format!("{CLIENT}.")], &[]), &mesh(CLIENT)));
    assert!(!admits(names(&["a.b"], &[]), &mesh("aXb")));
}

#[test]
fn a_suffix_needs_something_before_it_and_is_of_dns_names_only() {
    let suffix = names(&[], &[".default.example"]);
    assert!(admits(suffix.clone(), &mesh("a.default.example")));
    for other in [".default.example", "default.example", "xdefault.example", "spiffe://evil/x.default.example"] {
        assert!(!admits(suffix.clone(), &mesh(other)), "{other}");
    }
    assert!(!admits(names(&[], &["example"]), &mesh("a.example")), "a suffix begins with its dot");
    assert!(admits(names(&[], &[""]), &mesh("spiffe://td/x")));
    assert!(admits(names(&["spiffe://td/x"], &[]), &mesh("spiffe://td/x")));
}

#[test]
fn each_authentication_admits_what_it_says_of_each_kind_of_connection() {
    let client = |tls| Client { tls, ..plain() };
    let kinds =
        [client(ClientTls::Plaintext), client(ClientTls::Passthrough), client(ClientTls::Mesh(None)), mesh(CLIENT)];
    let verdicts =
        |authentication: Authentication| kinds.each_ref().map(|client| admits(authentication.clone(), client));
    assert_eq!(verdicts(Authentication::Unauthenticated), [true, true, true, true]);
    assert_eq!(verdicts(Authentication::TlsUnauthenticated), [false, false, true, true]);
    assert_eq!(verdicts(names(&[], &[""])), [false, false, false, true]);
}

#[test]
fn the_client_must_be_in_a_network_and_in_none_of_its_exceptions() {
    let mut allowed = authorization("a", Authentication::Unauthenticated);
    allowed.networks =
        vec![Network { net: "10.0.0.0/8".parse().unwrap(), except: vec!["10.0.1.0/24".parse().unwrap()] }];
    let policy = policy(Protocol::Opaque, vec![allowed]);
    let verdict =
        |address: &str| authorize_connection(&policy, &Client { address: address.parse().unwrap(), ..plain() }).is_ok();
    assert!(verdict("10.0.0.1") && verdict("::ffff:10.0.0.1"));
    assert!(!verdict("10.0.1.1") && !verdict("11.0.0.1") && !verdict("::1") && !verdict("::ffff:10.0.1.1"));
}

#[test]
fn the_six_default_policies_do_what_their_names_say() {
    let cluster = ["127.64.0.0/10".parse().unwrap()];
    let inside = |tls| Client { address: "127.64.0.9".parse().unwrap(), tls };
    let outside = |tls| Client { address: "192.0.2.1".parse().unwrap(), tls };
    let tls = || ClientTls::Mesh(Some(Identity::Dns(CLIENT.into())));
    for (name, expected) in [
        ("deny", [false, false, false, false]),
        ("all-authenticated", [true, false, true, false]),
        ("all-unauthenticated", [true, true, true, true]),
        ("cluster-authenticated", [true, false, false, false]),
        ("cluster-unauthenticated", [true, true, false, false]),
        ("audit", [true, true, true, true]),
    ] {
        assert!(DEFAULT_POLICIES.contains(&name));
        let clients = [inside(tls()), inside(ClientTls::Plaintext), outside(tls()), outside(ClientTls::Plaintext)];
        for opaque in [true, false] {
            let policy = default_policy(name, &cluster, opaque, Duration::from_secs(10)).unwrap();
            let verdicts = clients.each_ref().map(|client| {
                let request = authorize_request(&policy, client, &get("/x")).is_ok();
                assert!(!opaque || request == authorize_connection(&policy, client).is_ok());
                request
            });
            assert_eq!(verdicts, expected, "{name}");
        }
    }
    assert_eq!(default_policy("open", &cluster, false, Duration::ZERO), None);
    let none = default_policy("cluster-unauthenticated", &[], false, Duration::ZERO).unwrap();
    assert!(authorize_request(&none, &plain(), &get("/")).is_err(), "no cluster network admits nobody");
}

#[test]
fn audit_lets_through_and_says_so_only_where_nothing_else_would() {
    let authorizations =
        vec![authorization("audit", Authentication::Unauthenticated), authorization("clients", names(&[CLIENT], &[]))];
    let policy = policy(Protocol::Opaque, authorizations);
    let audited = authorize_connection(&policy, &plain()).unwrap();
    assert!(audited.is_audit() && audited.authorization().name() == "audit");
    let permitted = authorize_connection(&policy, &mesh(CLIENT)).unwrap();
    assert!(!permitted.is_audit() && permitted.authorization().name() == "clients");
}

#[test]
fn a_route_extends_the_servers_authorizations_for_its_own_requests() {
    let routes = [
        route(
            "admin",
            Some(PathMatch::Prefix("/admin".into())),
            vec![authorization("r", names(&["admin.example"], &[]))],
        ),
        route("rest", None, vec![]),
    ];
    let policy = policy(Protocol::Http1(routes.into()), vec![authorization("s", names(&[CLIENT], &[]))]);
    let verdict = |client: &Client, target: &str| {
        authorize_request(&policy, client, &get(target))
            .map(|admitted| admitted.permit.authorization().name().to_owned())
    };
    assert_eq!(verdict(&mesh("admin.example"), "/admin/x"), Ok("r".into()));
    assert_eq!(verdict(&mesh(CLIENT), "/admin/x"), Ok("s".into()));
    let refused = Refusal::Unauthorized { server: meta("server"), route: Some(meta("rest")) };
    assert_eq!(verdict(&mesh("admin.example"), "/x"), Err(refused));
}

#[test]
fn a_request_that_no_route_matches_is_refused_whoever_sends_it() {
    let routes = [route("a", Some(PathMatch::Exact("/a".into())), vec![])];
    let policy = policy(Protocol::Http2(routes.into()), vec![authorization("s", Authentication::Unauthenticated)]);
    assert!(authorize_request(&policy, &plain(), &get("/a")).is_ok());
    let refused = authorize_request(&policy, &plain(), &get("/b"));
    assert_eq!(refused, Err(Refusal::NoRoute { server: meta("server") }));
}

#[test]
fn an_ambiguous_path_is_refused_where_a_rule_tells_paths_apart_and_passes_where_none_does() {
    let open = vec![authorization("s", Authentication::Unauthenticated)];
    let guarded = policy(
        Protocol::Http1([route("a", Some(PathMatch::Prefix("/a".into())), vec![]), route("rest", None, vec![])].into()),
        open.clone(),
    );
    let unguarded = policy(Protocol::Http1([route("all", Some(PathMatch::Prefix("/".into())), vec![])].into()), open);
    let bad = Err(Refusal::BadPath { server: meta("server") });
    for target in ["/x/../a", "//a", "/%61", "/a;x", "/a%2Fb", "/a\\b", "/a%00"] {
        assert_eq!(authorize_request(&guarded, &plain(), &get(target)), bad, "{target}");
        assert!(authorize_request(&unguarded, &plain(), &get(target)).is_ok(), "{target}");
    }
    for target in ["a", "", "?x"] {
        assert_eq!(authorize_request(&unguarded, &plain(), &get(target)), bad, "{target}");
    }
    let connect = Request { method: b"CONNECT", ..get("") };
    assert!(authorize_request(&unguarded, &plain(), &connect).is_ok());
    let options = Request { method: b"OPTIONS", ..get("*") };
    assert!(authorize_request(&unguarded, &plain(), &options).is_ok());
}

#[test]
fn a_grpc_request_whose_path_is_not_service_and_method_is_refused_under_any_policy() {
    let open = vec![authorization("s", Authentication::Unauthenticated)];
    let grpc_route = GrpcRoute {
        meta: meta("svc"),
        hosts: vec![],
        authorizations: Arc::new([]),
        rules: vec![Rule {
            matches: vec![GrpcMatch { service: "pkg.Svc".into(), method: "".into(), headers: vec![] }],
            filters: vec![],
        }],
    };
    let policies = [
        policy(Protocol::Grpc([grpc_route].into()), open.clone()),
        policy(Protocol::Grpc([].into()), open.clone()),
        policy(Protocol::Http2([route("all", None, vec![])].into()), open),
    ];
    for policy in &policies {
        assert!(authorize_request(policy, &plain(), &call("/pkg.Svc/M")).is_ok());
        for target in ["pkg.Svc/M", "//pkg.Svc/M", "/pkg.Svc/M/", "/pkg.Svc/M?x", "*", "", "/pkg.Svc", "/pkg.Svc/%4D"] {
            let refused = authorize_request(policy, &plain(), &call(target));
            assert_eq!(refused, Err(Refusal::BadPath { server: meta("server") }), "{target}");
        }
    }
    let other = authorize_request(&policies[0], &plain(), &call("/pkg.Other/M"));
    assert_eq!(other, Err(Refusal::NoRoute { server: meta("server") }));
}

fn random_authorization(chance: &mut Chance) -> Authorization {
    let authentication = match chance.below(5) {
        0 => Authentication::Unauthenticated,
        1 => Authentication::TlsUnauthenticated,
        2 => names(&["a.example"], &[]),
        3 => names(&[], &[".example"]),
        _ => names(&["spiffe://td/x"], &["", ".b.example"][chance.below(2) as usize..][..1]),
    };
    let cidr = ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/24", "::/0"][chance.below(4) as usize];
    let mut network = network(cidr);
    if chance.below(3) == 0 {
        network.except.push("10.0.0.0/28".parse().unwrap());
    }
    let name = ["audit", "one", "two"][chance.below(3) as usize];
    Authorization { meta: meta(name), networks: vec![network; chance.below(3) as usize], authentication }
}

fn random_client(chance: &mut Chance) -> Client {
    let names = ["a.example", "b.example", "c.b.example", "spiffe://td/x", "other"];
    let tls = match chance.below(4) {
        0 => ClientTls::Plaintext,
        1 => ClientTls::Passthrough,
        2 => ClientTls::Mesh(None),
        _ => mesh(names[chance.below(5) as usize]).tls,
    };
    let addresses = ["10.0.0.1", "10.0.0.99", "10.9.9.9", "192.0.2.1", "fd00::1", "::ffff:10.0.0.1"];
    Client { address: addresses[chance.below(6) as usize].parse().unwrap(), tls }
}

/// A policy, and the same with some authorizations taken away.
fn random_policies(chance: &mut Chance) -> (ServerPolicy, ServerPolicy) {
    let less = |all: &[Authorization], chance: &mut Chance| -> Vec<Authorization> {
        all.iter().filter(|_| chance.below(3) > 0).cloned().collect()
    };
    let list = |chance: &mut Chance| -> Vec<Authorization> {
        (0..chance.below(5)).map(|_| random_authorization(chance)).collect()
    };
    let (server, of_a, of_b) = (list(chance), list(chance), list(chance));
    let (less_server, less_a, less_b) = (less(&server, chance), less(&of_a, chance), less(&of_b, chance));
    let make = |server, a, b, opaque: bool| {
        let routes =
            [route("a", Some(PathMatch::Prefix("/a".into())), a), route("b", Some(PathMatch::Exact("/b".into())), b)];
        policy(if opaque { Protocol::Opaque } else { Protocol::Http1(routes.into()) }, server)
    };
    let opaque = chance.below(4) == 0;
    (make(server, of_a, of_b, opaque), make(less_server, less_a, less_b, opaque))
}

#[test]
fn law_removing_an_authorization_never_admits_more() {
    for seed in 0..5_000 {
        let mut chance = Chance::new(seed);
        let (all, fewer) = random_policies(&mut chance);
        let client = random_client(&mut chance);
        for target in ["/a", "/a/x", "/b", "/c", "//a"] {
            let with_fewer = authorize_request(&fewer, &client, &get(target));
            let with_all = authorize_request(&all, &client, &get(target));
            assert!(with_fewer.is_err() || with_all.is_ok(), "seed {seed} {target}");
            if let (Ok(fewer), Ok(all)) = (with_fewer, with_all) {
                assert!(fewer.permit.is_audit() || !all.permit.is_audit(), "seed {seed}: nor audits less");
            }
        }
        assert!(authorize_connection(&fewer, &client).is_err() || authorize_connection(&all, &client).is_ok());
    }
}

#[test]
fn law_the_order_of_authorizations_does_not_matter() {
    for seed in 0..5_000 {
        let mut chance = Chance::new(seed);
        let (ordered, _) = random_policies(&mut chance);
        let mut shuffled = ordered.clone();
        let mut authorizations = ordered.authorizations.to_vec();
        chance.shuffle(&mut authorizations);
        shuffled.authorizations = authorizations.into();
        let client = random_client(&mut chance);
        for target in ["/a", "/b", "/c"] {
            let verdict = |policy| {
                let admitted = authorize_request(policy, &client, &get(target));
                admitted.map(|admitted| admitted.permit.is_audit())
            };
            assert_eq!(verdict(&ordered), verdict(&shuffled), "seed {seed} {target}");
        }
    }
}
