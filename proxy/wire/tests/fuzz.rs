//! A short run of the fuzz entries over damaged messages; `GOSSAMER_FUZZ_RUNS` makes it a long one.

#![allow(clippy::unwrap_used)]

mod samples;

use std::collections::HashMap;

use wire::linkerd::{destination, inbound, outbound};
use wire::{EndpointTable, Message, fuzz, v1};

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut x = *state;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A few bytes of `seed` changed, removed, doubled or swapped for others.
fn damage(seed: &[u8], state: &mut u64) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=next(state) % 4 {
        let at = (next(state) % (bytes.len() as u64 + 1)) as usize;
        match next(state) % 8 {
            0..=4 if at < bytes.len() => {
                bytes[at] = [next(state) as u8, bytes[at] ^ 1, bytes[at].wrapping_add(8)][next(state) as usize % 3]
            }
            5 if at < bytes.len() => drop(bytes.remove(at)),
            6 => bytes.insert(at, next(state) as u8),
            _ => {
                let end = (at + (next(state) % 16) as usize).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
        }
    }
    bytes
}

fn seeds() -> Vec<Vec<u8>> {
    let address = destination::WeightedAddr {
        addr: Some(std::net::SocketAddr::from(([10, 0, 0, 1], 80)).into()),
        ..Default::default()
    };
    let set = destination::WeightedAddrSet { addrs: vec![address.clone()], metric_labels: HashMap::new() };
    let update = destination::Update { update: Some(destination::update::Update::Add(set)) }.encode_to_vec();
    let stream: Vec<u8> = [&[update.len() as u8], &update[..], &[update.len() as u8], &update[..]].concat();
    let profile = destination::DestinationProfile { endpoint: Some(address), ..Default::default() };
    let names = v1::NamesTable {
        names: vec![v1::Name { name: "web.default".into(), addresses: vec!["10.0.0.1".into(), "::1".into()] }],
        zones: vec!["svc.cluster.local".into()],
        search: vec![],
        services: vec![v1::ServiceName {
            name: "_http._tcp.web.default".into(),
            targets: vec![v1::ServiceTarget { name: "web.default".into(), port: 80 }],
        }],
    };
    let trust = v1::TrustBundle {
        generation: 7,
        trust_domain: "cluster.local".into(),
        anchors: vec![vec![0x30, 3, 1, 1, 0]],
        active_anchor: vec![7; 32],
        renew_within_s: 30,
        revoked: vec![v1::Revocation { identity: "web".into(), issued_before: 9, serials: vec![vec![1, 2]] }],
    };
    let (server, policy) = (samples::inbound::message(), samples::outbound::message());
    let rest = [profile.encode_to_vec(), names.encode_to_vec(), trust.encode_to_vec()];
    [vec![server.encode_to_vec(), policy.encode_to_vec(), stream], rest.into()].concat()
}

type Entry = (fn(&[u8]), fn(&[u8]) -> bool);

/// The entries, and whether each would understand a message: a run over nothing but rubbish shows nothing.
fn entries() -> [Entry; 6] {
    [
        (fuzz::server, |bytes| inbound::Server::decode(bytes).is_ok_and(|it| wire::inbound::server(&it).is_ok())),
        (fuzz::policy, |bytes| {
            outbound::OutboundPolicy::decode(bytes).is_ok_and(|it| wire::outbound::policy(&it).is_ok())
        }),
        (fuzz::endpoints, |bytes| {
            let first = bytes.get(1..=usize::from(bytes.first().copied().unwrap_or(0))).unwrap_or_default();
            destination::Update::decode(first).is_ok_and(|it| EndpointTable::new().apply(&it).is_ok())
        }),
        (fuzz::profile, |bytes| {
            destination::DestinationProfile::decode(bytes).is_ok_and(|it| wire::destination::profile(&it).is_ok())
        }),
        (fuzz::names, |bytes| v1::NamesTable::decode(bytes).is_ok_and(|it| wire::names::table(&it).is_ok())),
        (fuzz::trust, |bytes| v1::TrustBundle::decode(bytes).is_ok_and(|it| wire::trust::bundle(&it).is_ok())),
    ]
}

#[test]
fn damaged_messages_never_panic() {
    let runs = std::env::var("GOSSAMER_FUZZ_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(20_000_usize);
    for ((entry, understands), seed) in entries().into_iter().zip(seeds()) {
        assert!(understands(&seed));
        entry(&seed);
        let mut understood = 0;
        let mut state = 1;
        let mut kept = seed.clone();
        for run in 0..runs {
            // Damage piles up for a while, then begins anew.
            kept = damage(if run % 4 == 0 { &seed } else { &kept }, &mut state);
            entry(&kept);
            understood += usize::from(understands(&kept));
        }
        assert!(understood > runs / 50, "too few messages were whole: {understood} of {runs}");
    }
}

#[test]
fn a_name_outside_what_zones_hold_is_refused() {
    let table = |name: &str, address: &str| {
        let names = vec![v1::Name { name: name.into(), addresses: vec![address.into()] }];
        wire::names::table(&v1::NamesTable { names, ..Default::default() })
    };
    let read = table("web.default.svc.cluster.local", "198.19.0.1").unwrap();
    assert_eq!(read.addresses.len(), 1);
    for name in ["", "Web", "web.", "a..b", "a b", &"x".repeat(64), &"x.".repeat(200)] {
        assert!(table(name, "198.19.0.1").is_err(), "{name}");
    }
    assert_eq!(table("web", "10.0.0").unwrap_err().field, "names[0].addresses[0].address");
}
