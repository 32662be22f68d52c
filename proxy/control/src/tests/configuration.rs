//! Watches, names and reports.

use std::net::SocketAddr;

use rules::outbound::{Protocol, Target, Unavailable};
use wire::linkerd::destination::{
    AddrSet, DestinationProfile, Update, WeightedAddr, WeightedAddrSet, update::Update as Kind,
};
use wire::linkerd::inbound as inbound_proto;
use wire::method::*;
use wire::v1;

use super::fake::Script;
use super::*;

const AUTHORITY: &str = "web.default.svc.cluster.local:80";

fn address() -> SocketAddr {
    "127.64.0.9:80".parse().unwrap()
}

fn weighted(address: &str) -> WeightedAddr {
    let address: SocketAddr = address.parse().unwrap();
    WeightedAddr { addr: Some(address.into()), weight: 10_000, ..WeightedAddr::default() }
}

fn add(addresses: &[&str]) -> Update {
    let addrs = addresses.iter().map(|address| weighted(address)).collect();
    Update { update: Some(Kind::Add(WeightedAddrSet { addrs, ..WeightedAddrSet::default() })) }
}

fn remove(address: &str) -> Update {
    Update { update: Some(Kind::Remove(AddrSet { addrs: vec![address.parse::<SocketAddr>().unwrap().into()] })) }
}

fn opaque_server() -> inbound_proto::Server {
    inbound_proto::Server {
        protocol: Some(inbound_proto::ProxyProtocol {
            kind: Some(inbound_proto::proxy_protocol::Kind::Opaque(Default::default())),
        }),
        labels: [("name".to_owned(), "db".to_owned())].into(),
        ..Default::default()
    }
}

async fn endpoints(sidecar: &mut Sidecar) -> Result<Vec<String>, Unavailable> {
    match sidecar.next().await {
        News::Endpoints(authority, set) if &*authority == AUTHORITY => {
            set.map(|set| set.iter().map(|endpoint| endpoint.address.to_string()).collect())
        }
        other => panic!("{other:?}"),
    }
}

fn set(addresses: &[&str]) -> Result<Vec<String>, Unavailable> {
    Ok(addresses.iter().map(|address| (*address).to_owned()).collect())
}

#[test]
fn endpoints_follow_the_stream_survive_the_control_plane_and_are_replaced_by_the_next_one() {
    local(async {
        let (plane, path, mut sidecar) = certified(|_| {}).await;
        plane.messages(DESTINATION_GET, AUTHORITY, &[&add(&["10.0.0.1:80", "10.0.0.2:80"])]);
        sidecar.asks.send(Ask::WatchEndpoints(AUTHORITY.into())).unwrap();
        assert_eq!(endpoints(&mut sidecar).await, set(&["10.0.0.1:80", "10.0.0.2:80"]));
        let messages: [&dyn fake::DynMessage; 2] = [&add(&["10.0.0.1:80", "10.0.0.2:80"]), &remove("10.0.0.1:80")];
        plane.messages(DESTINATION_GET, AUTHORITY, &messages);
        assert_eq!(endpoints(&mut sidecar).await, set(&["10.0.0.2:80"]));
        plane.die();
        sidecar.quiet().await;
        plane.messages(DESTINATION_GET, AUTHORITY, &[&add(&["10.0.0.3:80"])]);
        plane.serve_unix(&path);
        assert_eq!(endpoints(&mut sidecar).await, set(&["10.0.0.3:80"]));
    });
}

#[test]
fn a_watch_that_nobody_answers_says_so_at_once_and_again_when_the_answer_comes() {
    local(async {
        let (plane, path, mut sidecar) = certified(|_| {}).await;
        plane.die();
        sidecar.asks.send(Ask::WatchEndpoints(AUTHORITY.into())).unwrap();
        assert_eq!(endpoints(&mut sidecar).await, Err(Unavailable::NoAnswer));
        plane.messages(DESTINATION_GET, AUTHORITY, &[&add(&["10.0.0.1:80"])]);
        plane.serve_unix(&path);
        assert_eq!(endpoints(&mut sidecar).await, set(&["10.0.0.1:80"]));
    });
}

#[test]
fn a_control_plane_that_hangs_is_no_answer_either() {
    local(async {
        let (plane, _, mut sidecar) = certified(|_| {}).await;
        plane.script(DESTINATION_GET, AUTHORITY, Script::Silence);
        sidecar.asks.send(Ask::WatchEndpoints(AUTHORITY.into())).unwrap();
        assert_eq!(endpoints(&mut sidecar).await, Err(Unavailable::NoAnswer));
    });
}

#[test]
fn what_a_forgotten_watch_knew_helps_while_the_control_plane_is_away() {
    local(async {
        let (plane, _, mut sidecar) = certified(|_| {}).await;
        plane.messages(DESTINATION_GET, AUTHORITY, &[&add(&["10.0.0.1:80"])]);
        sidecar.asks.send(Ask::WatchEndpoints(AUTHORITY.into())).unwrap();
        assert_eq!(endpoints(&mut sidecar).await, set(&["10.0.0.1:80"]));
        sidecar.asks.send(Ask::WatchEndpoints(AUTHORITY.into())).unwrap();
        assert_eq!(endpoints(&mut sidecar).await, set(&["10.0.0.1:80"]), "asked again, said again");
        sidecar.asks.send(Ask::ForgetEndpoints(AUTHORITY.into())).unwrap();
        plane.die();
        sidecar.asks.send(Ask::WatchEndpoints(AUTHORITY.into())).unwrap();
        assert_eq!(endpoints(&mut sidecar).await, set(&["10.0.0.1:80"]));
    });
}

#[test]
fn an_update_that_cannot_be_understood_leaves_the_last_good_one() {
    local(async {
        let (plane, _, mut sidecar) = certified(|_| {}).await;
        plane.messages(DESTINATION_GET, AUTHORITY, &[&add(&["10.0.0.1:80"])]);
        sidecar.asks.send(Ask::WatchEndpoints(AUTHORITY.into())).unwrap();
        assert_eq!(endpoints(&mut sidecar).await, set(&["10.0.0.1:80"]));
        let messages: [&dyn fake::DynMessage; 3] =
            [&add(&["10.0.0.1:80"]), &Update { update: None }, &add(&["10.0.0.2:80"])];
        plane.messages(DESTINATION_GET, AUTHORITY, &messages[..2]);
        sidecar.quiet().await;
        plane.messages(DESTINATION_GET, AUTHORITY, &messages);
        assert_eq!(endpoints(&mut sidecar).await, set(&["10.0.0.1:80", "10.0.0.2:80"]));
    });
}

async fn target(sidecar: &mut Sidecar) -> Result<rules::endpoint::Endpoint, Unavailable> {
    let News::Outbound(asked, answer) = sidecar.next().await else { panic!("not outbound") };
    assert_eq!(asked, address());
    answer.map(|policy| {
        let Protocol::Detect { opaque, .. } = &policy.protocol else { panic!("not detected") };
        let backends = match &opaque[0].backends {
            rules::outbound::Distribution::FirstAvailable(backends) => backends.clone(),
            other => panic!("{other:?}"),
        };
        match &backends[0].backend.target {
            Target::Forward(endpoint) => endpoint.clone(),
            other => panic!("{other:?}"),
        }
    })
}

#[test]
fn an_address_without_policy_is_forwarded_as_addressed_until_it_becomes_an_endpoint() {
    local(async {
        let (plane, _, mut sidecar) = certified(|_| {}).await;
        let key = address().to_string();
        plane.script(OUTBOUND_WATCH, &key, Script::Status(5));
        plane.messages(DESTINATION_GET_PROFILE, &key, &[&DestinationProfile::default()]);
        sidecar.asks.send(Ask::WatchOutbound(address())).unwrap();
        assert_eq!(target(&mut sidecar).await.unwrap(), rules::outbound::as_addressed(address()));
        let asked = plane.count(OUTBOUND_WATCH);
        let known = DestinationProfile { endpoint: Some(weighted("127.64.0.9:8080")), ..Default::default() };
        plane.messages(DESTINATION_GET_PROFILE, &key, &[&DestinationProfile::default(), &known]);
        assert_eq!(target(&mut sidecar).await.unwrap().address.port(), 8080);
        until(|| plane.count(OUTBOUND_WATCH) > asked).await;
    });
}

#[test]
fn a_destination_is_refused_while_the_policy_cannot_be_had() {
    local(async {
        let (plane, _, mut sidecar) = certified(|_| {}).await;
        let key = address().to_string();
        plane.script(OUTBOUND_WATCH, &key, Script::Status(14));
        plane.messages(DESTINATION_GET_PROFILE, &key, &[&DestinationProfile::default()]);
        sidecar.asks.send(Ask::WatchOutbound(address())).unwrap();
        assert_eq!(target(&mut sidecar).await, Err(Unavailable::NoAnswer));
        plane.script(OUTBOUND_WATCH, &key, Script::Status(5));
        assert!(target(&mut sidecar).await.is_ok());
    });
}

#[test]
fn ports_named_in_the_settings_are_watched_from_the_start_and_unknown_ones_get_the_default() {
    local(async {
        let (plane, path) = (Plane::new(), socket());
        plane.serve_unix(&path);
        plane.messages(INBOUND_WATCH_PORT, "5432", &[&opaque_server()]);
        plane.script(INBOUND_WATCH_PORT, "9999", Script::Status(5));
        let mut env = Env::new(&plane, &format!("unix:{}", path.display()));
        env.set("LINKERD2_PROXY_INBOUND_PORTS", "5432");
        env.set("LINKERD2_PROXY_INBOUND_DEFAULT_POLICY", "deny");
        let mut sidecar = Sidecar::start(env).await;
        sidecar.certified().await;
        let News::Inbound(5432, Ok(policy)) = sidecar.next().await else { panic!() };
        assert_eq!(policy.protocol, rules::inbound::Protocol::Opaque);
        sidecar.asks.send(Ask::ForgetInbound(5432)).unwrap();
        sidecar.asks.send(Ask::WatchInbound(5432)).unwrap();
        let News::Inbound(5432, Ok(_)) = sidecar.next().await else { panic!() };
        assert_eq!(plane.count(INBOUND_WATCH_PORT), 1);
        sidecar.asks.send(Ask::WatchInbound(9999)).unwrap();
        let News::Inbound(9999, Ok(policy)) = sidecar.next().await else { panic!() };
        assert_eq!((policy.meta.name(), policy.authorizations.len()), ("deny", 0));
    });
}

#[test]
fn names_are_followed_and_stay_when_the_control_plane_goes() {
    local(async {
        let (plane, _, mut sidecar) = certified(|_| {}).await;
        let name = v1::Name { name: "web.default.svc.cluster.local".into(), addresses: vec!["198.19.0.1".into()] };
        let table = v1::NamesTable { names: vec![name], zones: vec!["svc.cluster.local".into()], ..Default::default() };
        plane.messages(NAMES_WATCH, "", &[&table]);
        sidecar.names.changed().await.unwrap();
        plane.die();
        sidecar.quiet().await;
        let names = sidecar.names.borrow();
        assert_eq!(
            names.addresses["web.default.svc.cluster.local"],
            ["198.19.0.1".parse::<std::net::IpAddr>().unwrap()]
        );
    });
}

#[test]
fn reports_are_sent_when_something_changed_and_repeated_to_a_new_control_plane() {
    use telemetry::{Direction, Dst, EdgeKey, Protocol as Read, Tls};
    local(async {
        let (plane, path) = (Plane::new(), socket());
        plane.serve_unix(&path);
        plane.script(REPORTS_REPORT, "", Script::Messages(vec![vec![]]));
        let mut sidecar = Sidecar::start(Env::new(&plane, &format!("unix:{}", path.display()))).await;
        sidecar.certified().await;
        until(|| plane.count(REPORTS_REPORT) == 1).await;
        let first: v1::ReportRequest = plane.last(REPORTS_REPORT);
        assert_eq!(first.identity.unwrap().identity, WEB);
        let dst = Dst::Service { namespace: "default".into(), service: "db".into(), port: 5432 };
        let edge = sidecar.registry.edge(EdgeKey::new(Direction::Outbound, Read::Tcp, Tls::Mesh, dst));
        edge.open();
        until(|| plane.count(REPORTS_REPORT) == 2).await;
        let second: v1::ReportRequest = plane.last(REPORTS_REPORT);
        assert_eq!((second.edges[0].dst_service.as_str(), second.edges[0].tcp_open), ("db", 1));
        assert_eq!(second.instance, first.instance);
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(plane.count(REPORTS_REPORT), 2, "nothing changed, nothing sent");
        plane.die();
        plane.serve_unix(&path);
        until(|| plane.count(REPORTS_REPORT) == 3).await;
        assert_eq!(plane.last::<v1::ReportRequest>(REPORTS_REPORT).edges.len(), 1);
    });
}

#[test]
fn a_connection_that_takes_no_more_calls_is_replaced_while_its_streams_live_on() {
    local(async {
        let (plane, _, mut sidecar) = certified(|_| {}).await;
        plane.messages(DESTINATION_GET, AUTHORITY, &[&add(&["10.0.0.1:80"])]);
        sidecar.asks.send(Ask::WatchEndpoints(AUTHORITY.into())).unwrap();
        assert_eq!(endpoints(&mut sidecar).await, set(&["10.0.0.1:80"]));
        plane.go_away();
        tokio::time::sleep(Duration::from_millis(50)).await;
        plane.messages(INBOUND_WATCH_PORT, "5432", &[&opaque_server()]);
        sidecar.asks.send(Ask::WatchInbound(5432)).unwrap();
        loop {
            match sidecar.next().await {
                News::Inbound(5432, Ok(_)) => break,
                News::Inbound(5432, Err(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    });
}
