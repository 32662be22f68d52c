//! Endpoints and profiles as the control plane sends them.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::SocketAddr;

use rules::endpoint::Hint;
use rules::identity::Identity;
use wire::destination::{MAX_ENDPOINTS, endpoint, profile};
use wire::linkerd::destination::{
    AddrSet, AuthorityOverride, DestinationProfile, NoEndpoints, ProtocolHint, TlsIdentity, Update, WeightedAddr,
    WeightedAddrSet, WeightedDst, protocol_hint, tls_identity, update,
};
use wire::linkerd::net::TcpAddress;
use wire::{EndpointTable, Message, Why};

fn address(n: u32) -> TcpAddress {
    TcpAddress::from(SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0a00_0000 + n), 8080)))
}

fn weighted(n: u32) -> WeightedAddr {
    WeightedAddr { addr: Some(address(n)), weight: 10_000, ..Default::default() }
}

fn add(addrs: Vec<WeightedAddr>) -> Update {
    let metric_labels = HashMap::from([("service".to_owned(), "web".to_owned())]);
    Update { update: Some(update::Update::Add(WeightedAddrSet { addrs, metric_labels })) }
}

fn remove(addrs: Vec<TcpAddress>) -> Update {
    Update { update: Some(update::Update::Remove(AddrSet { addrs })) }
}

fn dns(name: &str) -> Option<tls_identity::Strategy> {
    Some(tls_identity::Strategy::DnsLikeIdentity(tls_identity::DnsLikeIdentity { name: name.into() }))
}

#[test]
fn edits_fold_into_whole_sets() {
    let mut table = EndpointTable::new();
    let hosts = |applied: wire::Applied| -> Vec<String> {
        assert_eq!(applied.rejected, []);
        applied.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect()
    };
    assert_eq!(hosts(table.apply(&add(vec![weighted(2), weighted(1)])).unwrap()), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    assert_eq!(hosts(table.apply(&add(vec![weighted(3)])).unwrap()).len(), 3);
    assert_eq!(hosts(table.apply(&remove(vec![address(2), address(9)])).unwrap()), ["10.0.0.1:8080", "10.0.0.3:8080"]);
    let heavier = WeightedAddr { weight: 7, ..weighted(1) };
    assert_eq!(table.apply(&add(vec![heavier])).unwrap().endpoints[0].weight, 7);
    let none = Update { update: Some(update::Update::NoEndpoints(NoEndpoints { exists: true })) };
    assert_eq!(hosts(table.apply(&none).unwrap()).len(), 0);
}

#[test]
fn workloads_that_share_an_address_are_told_apart_by_their_inbound_ports() {
    let behind = |inbound_port| WeightedAddr {
        protocol_hint: Some(ProtocolHint {
            protocol: None,
            opaque_transport: Some(protocol_hint::OpaqueTransport { inbound_port }),
        }),
        ..weighted(1)
    };
    let ports = |applied: wire::Applied| -> Vec<Option<u16>> {
        applied.endpoints.iter().map(|endpoint| endpoint.inbound_port).collect()
    };
    let mut table = EndpointTable::new();
    let both = add(vec![behind(4143), behind(24001)]);
    assert_eq!(ports(table.apply(&both).unwrap()), [Some(4143), Some(24001)]);
    // What is said of an address replaces what was said of it before.
    assert_eq!(ports(table.apply(&add(vec![behind(24002)])).unwrap()), [Some(24002)]);
    assert_eq!(ports(table.apply(&add(vec![weighted(1)])).unwrap()), [None]);
    assert_eq!(ports(table.apply(&both).unwrap()), [Some(4143), Some(24001)]);
    assert_eq!(ports(table.apply(&remove(vec![address(1)])).unwrap()), []);
}

#[test]
fn an_endpoint_is_read_whole() {
    let message = WeightedAddr {
        metric_labels: HashMap::from([("pod".to_owned(), "web-0".to_owned())]),
        tls_identity: Some(TlsIdentity { strategy: dns("web.example"), server_name: None }),
        protocol_hint: Some(ProtocolHint {
            protocol: Some(protocol_hint::Protocol::H2(protocol_hint::H2 {})),
            opaque_transport: Some(protocol_hint::OpaqueTransport { inbound_port: 4143 }),
        }),
        authority_override: Some(AuthorityOverride { authority_override: "web.other:80".into() }),
        ..weighted(1)
    };
    let message = WeightedAddr::decode(message.encode_to_vec().as_slice()).unwrap();
    let mut table = EndpointTable::new();
    let read = table.apply(&add(vec![message])).unwrap().endpoints[0].clone();
    let tls = read.tls.clone().unwrap();
    assert_eq!((tls.identity, &*tls.server_name), (Identity::Dns("web.example".into()), "web.example"));
    assert_eq!((read.hint, read.inbound_port), (Hint::H2, Some(4143)));
    assert_eq!(read.dial().to_string(), "10.0.0.1:4143");
    assert_eq!(read.authority_override.as_deref(), Some("web.other:80"));
    let labels: Vec<_> = read.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(labels, ["pod=web-0", "service=web"]);
}

#[test]
fn an_identity_that_cannot_be_checked_makes_the_endpoint_invalid() {
    let uri = |server_name: Option<&str>| TlsIdentity {
        strategy: Some(tls_identity::Strategy::UriLikeIdentity(tls_identity::UriLikeIdentity {
            uri: "spiffe://td/web".into(),
        })),
        server_name: server_name.map(|name| tls_identity::DnsLikeIdentity { name: name.into() }),
    };
    let with = |tls| endpoint(&WeightedAddr { tls_identity: Some(tls), ..weighted(1) });
    assert_eq!(with(uri(Some("web"))).unwrap().tls.unwrap().identity, Identity::Uri("spiffe://td/web".into()));
    assert_eq!(with(uri(None)).unwrap_err().field, "tls_identity.server_name");
    let unknown = TlsIdentity { strategy: None, server_name: None };
    assert_eq!(
        with(unknown).unwrap_err().to_string(),
        "tls_identity.strategy is missing or of a kind this version does not know"
    );
    assert_eq!(with(TlsIdentity { strategy: dns(""), server_name: None }).unwrap_err().why, Why::Malformed);
}

#[test]
fn a_bad_endpoint_is_reported_and_does_not_spoil_the_others() {
    let mut table = EndpointTable::new();
    table.apply(&add(vec![WeightedAddr { weight: 1, ..weighted(1) }])).unwrap();
    let unknown = Some(TlsIdentity { strategy: None, server_name: None });
    let bad = WeightedAddr { tls_identity: unknown, ..weighted(1) };
    let port = WeightedAddr { addr: Some(TcpAddress { port: 70_000, ..address(5) }), ..weighted(5) };
    let applied = table.apply(&add(vec![bad, port, weighted(2)])).unwrap();
    let fields: Vec<_> = applied.rejected.iter().map(|invalid| invalid.field.as_str()).collect();
    assert_eq!(fields, ["add.addrs[0].tls_identity.strategy", "add.addrs[1].addr.port"]);
    assert_eq!(applied.endpoints.len(), 2);
    assert_eq!(applied.endpoints[0].weight, 1, "the last good one stays");
}

#[test]
fn an_unknown_update_changes_nothing() {
    let mut table = EndpointTable::new();
    table.apply(&add(vec![weighted(1)])).unwrap();
    assert_eq!(table.apply(&Update { update: None }).unwrap_err().field, "update");
    assert_eq!(table.apply(&remove(vec![])).unwrap().endpoints.len(), 1);
}

#[test]
fn a_set_is_bounded_and_keeps_what_it_had() {
    let mut table = EndpointTable::new();
    let all = |range: std::ops::Range<u32>| add(range.map(weighted).collect());
    assert_eq!(table.apply(&all(0..MAX_ENDPOINTS as u32)).unwrap().endpoints.len(), MAX_ENDPOINTS);
    let invalid = table.apply(&all(5..MAX_ENDPOINTS as u32 + 1)).unwrap_err();
    assert_eq!(invalid.why, Why::TooMany(MAX_ENDPOINTS));
    assert_eq!(table.apply(&all(0..MAX_ENDPOINTS as u32)).unwrap().endpoints.len(), MAX_ENDPOINTS);
    table.apply(&remove(vec![address(0)])).unwrap();
    assert!(table.apply(&add(vec![weighted(20_000)])).is_ok());
}

#[test]
fn a_profile_is_read_whole() {
    let message = DestinationProfile {
        fully_qualified_name: "web.default.svc.cluster.local".into(),
        opaque_protocol: true,
        dst_overrides: vec![WeightedDst { authority: "a:80".into(), weight: 3, backend_ref: None }],
        endpoint: Some(weighted(1)),
        ..Default::default()
    };
    let read = profile(&message).unwrap();
    assert_eq!(read.name.as_deref(), Some("web.default.svc.cluster.local"));
    assert!(read.opaque && !read.has_routes);
    assert_eq!(read.overrides, [("a:80".into(), 3)]);
    assert_eq!(read.endpoint.unwrap().address.to_string(), "10.0.0.1:8080");
    assert_eq!(profile(&DestinationProfile::default()).unwrap(), wire::Profile::default());
    let nameless = DestinationProfile { endpoint: Some(WeightedAddr::default()), ..Default::default() };
    assert_eq!(profile(&nameless).unwrap_err().field, "endpoint.addr");
}
