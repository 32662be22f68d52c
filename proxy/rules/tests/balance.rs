//! The balancer under simulated traffic, and its laws.

#![allow(clippy::unwrap_used)]

mod chance;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use chance::Chance;
use rules::balance::{Balancer, Id, Pick};
use rules::endpoint::{Endpoint, Hint};
use rules::outbound::{Ewma, Queue, as_addressed};

const MS: u64 = 1_000_000;

fn endpoint(port: u16) -> Endpoint {
    as_addressed(SocketAddr::from(([10, 0, 0, 1], port)))
}

fn balancer(ports: impl IntoIterator<Item = u16>) -> Balancer {
    let set: Vec<_> = ports.into_iter().map(endpoint).collect();
    let mut balancer = Balancer::new(Ewma::default(), 0);
    balancer.update(&set, 0);
    balancer
}

fn picked(balancer: &mut Balancer, now: u64, rng: u64) -> Option<Id> {
    match balancer.pick(now, rng) {
        Pick::Endpoint(id) => Some(id),
        Pick::Unavailable { .. } | Pick::Empty { .. } => None,
    }
}

/// One request every `every` ns for `count`, each taking what `rtt` says; the number served by port.
fn simulate(balancer: &mut Balancer, count: u64, every: u64, rtt: impl Fn(u16) -> u64) -> BTreeMap<u16, u64> {
    let mut chance = Chance::new(7);
    let mut shares = BTreeMap::new();
    let mut running: BTreeSet<(u64, u64, Id, u64)> = BTreeSet::new();
    for n in 0..count {
        let now = n * every;
        while let Some(first) = running.first().copied().filter(|(end, ..)| *end <= now) {
            running.remove(&first);
            balancer.measured(first.2, first.0, first.3);
            balancer.finish(first.2);
        }
        let id = picked(balancer, now, chance.next()).unwrap();
        let port = balancer.endpoint(id).unwrap().address.port();
        balancer.start(id);
        running.insert((now + rtt(port), n, id, rtt(port)));
        *shares.entry(port).or_default() += 1;
    }
    shares
}

#[test]
fn a_slow_endpoint_gets_a_small_share() {
    let shares = simulate(&mut balancer([1, 2, 3]), 10_000, MS, |port| if port == 3 { 100 * MS } else { 2 * MS });
    assert!(shares[&3] < 500, "{shares:?}");
    assert!(shares[&1] > 4_000 && shares[&2] > 4_000, "{shares:?}");
}

#[test]
fn equal_endpoints_get_equal_shares() {
    let shares = simulate(&mut balancer(1..=5), 10_000, MS, |_| 5 * MS);
    assert!(shares.values().all(|share| (1_600..2_400).contains(share)), "{shares:?}");
}

#[test]
fn a_slow_endpoint_that_recovers_is_found_out() {
    let mut balancer = balancer([1, 2, 3]);
    simulate(&mut balancer, 3_000, MS, |port| if port == 3 { 300 * MS } else { 2 * MS });
    // Two minutes later, in the balancer's time.
    let mut chance = Chance::new(1);
    let mut share = 0;
    for n in 0..120_000 {
        let now = 10_000 * MS + n * MS;
        let id = picked(&mut balancer, now, chance.next()).unwrap();
        share += u32::from(balancer.endpoint(id).unwrap().address.port() == 3);
        balancer.start(id);
        balancer.measured(id, now, 2 * MS);
        balancer.finish(id);
    }
    assert!(share > 20_000, "{share}");
}

#[test]
fn weights_are_respected_among_equals() {
    let weighted: Vec<_> =
        [(1, 9_000), (2, 1_000)].map(|(port, weight)| Endpoint { weight, ..endpoint(port) }).to_vec();
    let mut balancer = Balancer::new(Ewma::default(), 0);
    balancer.update(&weighted, 0);
    let mut chance = Chance::new(3);
    let heavy = (0..10_000)
        .filter(|_| {
            let id = picked(&mut balancer, 0, chance.next()).unwrap();
            balancer.endpoint(id).unwrap().address.port() == 1
        })
        .count();
    assert!((8_000..10_000).contains(&heavy), "{heavy}");
}

#[test]
fn an_endpoint_of_weight_zero_gets_nothing_while_others_have_weight() {
    let set = [Endpoint { weight: 0, ..endpoint(1) }, endpoint(2), endpoint(3)];
    let mut balancer = Balancer::new(Ewma::default(), 0);
    balancer.update(&set, 0);
    let mut chance = Chance::new(3);
    for _ in 0..1_000 {
        let id = picked(&mut balancer, 0, chance.next()).unwrap();
        assert_ne!(balancer.endpoint(id).unwrap().address.port(), 1);
    }
}

#[test]
fn a_failing_endpoint_is_left_alone_until_its_backoff_has_passed_and_doubles() {
    let mut balancer = balancer([1, 2]);
    let ids: Vec<Id> = balancer.ids().collect();
    balancer.failed(ids[0], 0, 0);
    assert_eq!(balancer.available(0), 1);
    for rng in 0..100 {
        assert_eq!(picked(&mut balancer, 99 * MS, rng << 56), Some(ids[1]));
    }
    balancer.failed(ids[1], 0, 0);
    assert_eq!(balancer.pick(50 * MS, 0), Pick::Unavailable { retry_at: 100 * MS, since: 50 * MS });
    assert!(picked(&mut balancer, 100 * MS, 0).is_some());
    balancer.failed(ids[0], 100 * MS, 0);
    balancer.failed(ids[0], 101 * MS, 0);
    balancer.failed(ids[1], 100 * MS, 0);
    assert_eq!(balancer.pick(200 * MS, 0), Pick::Unavailable { retry_at: 300 * MS, since: 50 * MS });
    balancer.connected(ids[1]);
    assert_eq!((picked(&mut balancer, 200 * MS, 0), balancer.available(200 * MS)), (Some(ids[1]), 1));
}

#[test]
fn nobody_for_longer_than_the_queue_allows_is_failfast() {
    let queue = Queue { capacity: 10, failfast: Duration::from_secs(3) };
    let mut balancer = balancer([1]);
    let id = balancer.ids().next().unwrap();
    assert!(!balancer.is_failfast(0, &queue));
    balancer.failed(id, 0, 0);
    assert!(matches!(balancer.pick(MS, 0), Pick::Unavailable { since: MS, .. }));
    assert!(!balancer.is_failfast(3_000 * MS, &queue) && balancer.is_failfast(3_001 * MS, &queue));
    balancer.update(&[endpoint(2)], 3_001 * MS);
    assert!(!balancer.is_failfast(3_001 * MS, &queue), "somebody new may be tried");
    balancer.update(&[], 4_000 * MS);
    assert_eq!(balancer.pick(5_000 * MS, 0), Pick::Empty { since: 4_000 * MS });
    assert!(balancer.is_failfast(7_000 * MS, &queue));
}

#[test]
fn trying_again_in_vain_does_not_restart_the_time_until_failfast() {
    let queue = Queue { capacity: 10, failfast: Duration::from_secs(3) };
    let mut balancer = balancer([1]);
    let id = balancer.ids().next().unwrap();
    let mut tries = 0;
    for now in (0..6_000).map(|ms| ms * MS) {
        if let Pick::Endpoint(id) = balancer.pick(now, 0) {
            balancer.failed(id, now, 0);
            tries += 1;
        }
        assert_eq!(balancer.is_failfast(now, &queue), now >= 3_001 * MS, "{now}");
    }
    assert_eq!(tries, 6, "at 0, 0.1, 0.3, 0.7, 1.5 and 3.1 s");
    balancer.connected(id);
    assert!(!balancer.is_failfast(6_000 * MS, &queue));
}

#[test]
fn who_stays_keeps_what_was_learnt_and_a_changed_name_is_another_endpoint() {
    let mut balancer = balancer([1, 2, 3]);
    let ids: Vec<Id> = balancer.ids().collect();
    balancer.measured(ids[0], MS, 500 * MS);
    balancer.start(ids[0]);
    let heavier = Endpoint { weight: 20_000, ..endpoint(1) };
    let renamed = Endpoint { hint: Hint::H2, ..endpoint(2) };
    let changes = balancer.update(&[heavier, renamed, endpoint(4)], 2 * MS);
    assert_eq!((changes.added.len(), changes.removed.len()), (2, 2));
    assert!(changes.removed.contains(&ids[1]) && changes.removed.contains(&ids[2]));
    assert!(balancer.estimate(ids[0], 2 * MS).unwrap() > 490 * MS);
    assert_eq!(balancer.endpoint(ids[0]).unwrap().weight, 20_000);
    assert_eq!(balancer.endpoint(ids[1]), None);
    balancer.finish(ids[1]);
    balancer.failed(ids[2], 2 * MS, 0);
    assert_eq!(balancer.available(2 * MS), 3, "what is said of those who left is forgotten");
}

#[test]
fn law_the_pick_is_of_the_current_set_whatever_happened_before() {
    for seed in 0..300 {
        let mut chance = Chance::new(seed);
        let mut balancer = Balancer::new(Ewma::default(), 0);
        let (mut set, mut known): (Vec<Endpoint>, Vec<Id>) = (vec![], vec![]);
        let mut now = 0;
        for _ in 0..200 {
            now += chance.below(50) * MS;
            match chance.below(8) {
                0 => {
                    let mut ports: Vec<u16> = (0..chance.below(6)).map(|_| 1 + chance.below(8) as u16).collect();
                    ports.dedup();
                    set = ports.into_iter().map(endpoint).collect();
                    for one in &mut set {
                        one.weight = [10_000, 10_000, 0, 70_000][chance.below(4) as usize];
                    }
                    known.extend(balancer.update(&set, now).added);
                }
                1 => {
                    if let Some(id) = chance.one_of(&known) {
                        balancer.failed(id, now, chance.next());
                    }
                }
                2 => {
                    if let Some(id) = chance.one_of(&known) {
                        balancer.measured(id, now, chance.below(1_000) * MS);
                    }
                }
                3 => {
                    if let Some(id) = chance.one_of(&known) {
                        balancer.finish(id);
                    }
                }
                _ => {
                    let distinct: BTreeSet<_> = set.iter().map(|endpoint| endpoint.address).collect();
                    assert_eq!(balancer.len(), distinct.len());
                    match balancer.pick(now, chance.next()) {
                        Pick::Endpoint(id) => {
                            let address = balancer.endpoint(id).unwrap().address;
                            assert!(distinct.contains(&address), "seed {seed}");
                            balancer.start(id);
                        }
                        Pick::Unavailable { retry_at, since } => {
                            assert!(retry_at > now && since <= now && balancer.available(now) == 0, "seed {seed}");
                        }
                        Pick::Empty { .. } => assert!(set.is_empty(), "seed {seed}"),
                    }
                }
            }
        }
    }
}

#[test]
fn law_the_estimate_never_exceeds_the_worst_observation_or_the_default() {
    for seed in 0..300 {
        let mut chance = Chance::new(seed);
        let mut balancer = balancer([1]);
        let id = balancer.ids().next().unwrap();
        let (mut now, mut worst) = (0, 30 * MS);
        for _ in 0..100 {
            now += chance.below(3_000) * MS;
            let rtt = chance.below(10_000) * MS / 10;
            worst = worst.max(rtt);
            balancer.measured(id, now, rtt);
            let estimate = balancer.estimate(id, now).unwrap();
            assert!(estimate >= rtt.min(estimate) && estimate <= worst, "seed {seed}");
            assert!(estimate + 1 >= rtt, "a peak counts at once: seed {seed}");
            let later = balancer.estimate(id, now + 1_000 * MS).unwrap();
            assert!(later <= estimate, "it only falls while nothing is observed: seed {seed}");
        }
    }
}

#[test]
fn a_request_that_failed_goes_to_somebody_else_where_there_is_anybody() {
    let mut balancer = balancer([1, 2, 3]);
    let ids: Vec<_> = balancer.ids().collect();
    let mut chance = Chance::new(5);
    balancer.measured(ids[0], 0, 1);
    for _ in 0..1_000 {
        assert_ne!(balancer.pick_other(ids[0], 0, chance.next()), Pick::Endpoint(ids[0]));
    }
    balancer.failed(ids[1], 0, 0);
    assert_eq!(balancer.pick_other(ids[0], 0, chance.next()), Pick::Endpoint(ids[2]));
    balancer.failed(ids[2], 0, 0);
    assert_eq!(balancer.pick_other(ids[0], 0, chance.next()), Pick::Endpoint(ids[0]), "better than nobody");
}
