//! Trust that moves under open connections: who is cut off, who is replaced, and that nobody else notices.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::h1::*;
use common::*;
use control::handover::News;
use control::identity::Trust;
use control::testing::{Authority, LeafOptions, again, authority, credentials_under, identity, revocation, trust};

const OTHER: &str = "other.default.serviceaccount.identity.gossamer.cluster.local";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: web\r\n\r\n";
/// Within which a revocation is to be felt.
const SOON: Duration = Duration::from_secs(1);
const FAR: u64 = 1 << 40;

/// Answers `/slow` never, and everything else at once.
fn slow() -> std::net::SocketAddr {
    origin(|request, stream| {
        if request.path() == "/slow" {
            std::thread::sleep(Duration::from_secs(30));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        true
    })
}

/// The same certificates' authority, and these names revoked.
fn revoking(names: &[&str]) -> Arc<Trust> {
    trust(2, &[authority()], names.iter().map(|name| revocation(name, FAR)).collect())
}

fn certify(sidecar: &Sidecar, authority: &Authority, trust: &Arc<Trust>) {
    sidecar.tell(News::Credentials(credentials_under(&sidecar.name, authority, trust)));
}

fn two_clients(program: std::net::SocketAddr) -> (Sidecar, Sidecar, Sidecar) {
    let server = Sidecar::start(SERVER, World::default());
    let start = |name: &str| {
        let policy = to(server.endpoint(program));
        Sidecar::start(name, World { outbound: [(service(1), policy)].into(), ..World::default() })
    };
    let (client, other) = (start(CLIENT), start(OTHER));
    (client, other, server)
}

#[test]
fn a_revoked_client_is_answered_and_cut_off_within_a_second_and_others_go_on() {
    let (client, other, server) = two_clients(slow());
    let (mut waiting, mut unharmed) = (Client::new(client.connect(service(1))), Client::new(other.connect(service(1))));
    assert_eq!(unharmed.ask(GET).status(), 200);
    assert_eq!(Client::new(client.connect(service(1))).ask(GET).status(), 200);
    waiting.send(b"GET /slow HTTP/1.1\r\nHost: web\r\n\r\n");
    std::thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    certify(&server, authority(), &revoking(&[CLIENT]));
    let answer = waiting.receive().expect("an answer");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!(answer.status(), 403);
    assert!(answer.get("l5d-proxy-error").unwrap().starts_with("inbound: revoked"), "{answer:?}");
    // Nothing new either, and it says so.
    let refused = Client::new(client.connect(service(1))).ask(GET);
    assert_eq!(refused.status(), 502, "{refused:?}");
    assert_eq!(unharmed.ask(GET).status(), 200);
}

#[test]
fn a_revoked_server_fails_what_waits_for_it_and_is_called_no_more() {
    let (client, _server) = pair(slow(), |policy| policy);
    let mut waiting = Client::new(client.connect(service(1)));
    waiting.send(b"GET /slow HTTP/1.1\r\nHost: web\r\n\r\n");
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    certify(&client, authority(), &revoking(&[SERVER]));
    let answer = waiting.receive().expect("an answer");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!(answer.status(), 502);
    assert!(answer.get("l5d-proxy-error").unwrap().starts_with("outbound: revoked"), "{answer:?}");
    let refused = Client::new(client.connect(service(1))).ask(GET);
    assert!(refused.status() >= 500, "{refused:?}");
}

#[test]
fn bytes_of_a_revoked_peer_end_in_a_reset() {
    for revoked in [CLIENT, SERVER] {
        let (client, server) = pair(echo(), opaque);
        let mut stream = client.connect(service(1));
        stream.write_all(b"ping").unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
        let began = Instant::now();
        let judge = if revoked == CLIENT { &server } else { &client };
        certify(judge, authority(), &revoking(&[revoked]));
        let ended = stream.read(&mut [0; 4]);
        assert!(matches!(ended, Err(_) | Ok(0)), "{ended:?}");
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    }
}

#[test]
fn a_rotation_of_the_anchor_fails_no_request_and_cuts_no_bytes() {
    let program = slow();
    let (client, other, server) = two_clients(program);
    let bytes = echo();
    let world = World { outbound: [(service(1), opaque(to(server.endpoint(bytes))))].into(), ..World::default() };
    let third = Sidecar::start("third.default.serviceaccount.identity.gossamer.cluster.local", world);
    let mut opened = third.connect(service(1));
    let mut speak = move || {
        opened.write_all(b"ping").unwrap();
        opened.read_exact(&mut [0; 4]).unwrap();
    };
    speak();
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = [&client, &other]
        .map(|sidecar| {
            let (mut caller, stop) = (Client::new(sidecar.connect(service(1))), stop.clone());
            std::thread::spawn(move || {
                let mut asked = 0;
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(caller.ask(GET).status(), 200, "request {asked}");
                    asked += 1;
                }
                asked
            })
        })
        .into();
    let all = [&client, &other, &server, &third];
    let mut old = Authority::new("same name");
    // From the authority of the tests to another, and on to others yet.
    let mut generation = 2;
    let mut before: &Authority = authority();
    for round in 0..4 {
        let new: &'static Authority = Box::leak(Box::new(std::mem::replace(&mut old, Authority::new("same name"))));
        let both = trust(generation, &[before, new], vec![]);
        let only = trust(generation + 1, &[new], vec![]);
        generation += 2;
        for (authority, trust) in [(before, &both), (new, &both), (new, &only)] {
            // One after the other, each time in another order: in between they differ.
            for at in 0..all.len() {
                certify(all[(at + round) % all.len()], authority, trust);
                std::thread::sleep(Duration::from_millis(30));
            }
            speak();
        }
        before = new;
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        assert!(caller.join().unwrap() > 20);
    }
}

#[test]
fn new_trust_alone_opens_no_new_link() {
    let (client, server) = pair(slow(), |policy| policy);
    let issued = [&client, &server].map(|sidecar| authority().issue(LeafOptions::of(&identity(&sidecar.name))));
    let move_on = |generation| {
        // Something is taken back each time, so every connection is judged.
        let trust = trust(generation, &[authority()], vec![revocation("nobody", generation)]);
        for (sidecar, issued) in [&client, &server].into_iter().zip(&issued) {
            sidecar.tell(News::Credentials(again(&sidecar.name, issued, &trust)));
        }
    };
    move_on(2);
    let mut caller = Client::new(client.connect(service(1)));
    assert_eq!(caller.ask(GET).status(), 200);
    let links = established(server.inbound);
    for generation in 3..20 {
        move_on(generation);
        assert_eq!(caller.ask(GET).status(), 200);
    }
    assert!(links.len() == 1 && established(server.inbound) == links, "{links:?}");
}

/// Local ports of this machine's open connections to an address.
fn established(to: std::net::SocketAddr) -> Vec<String> {
    let remote = format!("0100007F:{:04X}", to.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut ports: Vec<String> = rows
        .filter(|row| row.get(2) == Some(&remote.as_str()) && row.get(3) == Some(&"01"))
        .map(|row| row[1].to_owned())
        .collect();
    ports.sort();
    ports
}

#[test]
fn without_a_certificate_nothing_begins_and_with_one_everything_does() {
    let (client, server) = pair(slow(), |policy| policy);
    assert_eq!(Client::new(client.connect(service(1))).ask(GET).status(), 200);
    let foreign = Authority::new("foreign");
    client.tell(News::Withdrawn(trust(2, &[&foreign], vec![])));
    std::thread::sleep(Duration::from_millis(100));
    for _ in 0..8 {
        let refused = Client::new(client.connect(service(1))).ask(GET);
        assert_eq!(refused.status(), 502);
        let why = refused.get("l5d-proxy-error").unwrap();
        assert_eq!(why, "outbound: tls: no valid certificate of our own", "every time, and no endpoint is blamed");
    }
    certify(&client, authority(), &trust(3, &[authority()], vec![]));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(Client::new(client.connect(service(1))).ask(GET).status(), 200);
    server.tell(News::Withdrawn(trust(2, &[&foreign], vec![])));
    std::thread::sleep(Duration::from_millis(100));
    assert!(Client::new(client.connect(service(1))).ask(GET).status() >= 500);
}
