//! Bytes through one and two sidecars, compared.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{Read, Write};
use std::net::Shutdown;

use common::*;

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed).wrapping_add((at >> 8) as u8)).collect()
}

#[test]
fn bytes_to_an_unknown_address_go_there_unchanged() {
    let echo = echo();
    let client = Sidecar::start(CLIENT, World::default());
    let mut stream = client.connect(echo);
    let sent = pattern(300_000, 1);
    let writer = stream.try_clone().unwrap();
    let (mut writer, copy) = (writer, sent.clone());
    std::thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    assert!(read_to_end(&mut stream) == sent);
}

#[test]
fn bytes_between_two_sidecars_arrive_unchanged_in_both_directions() {
    let (client, _server) = pair(echo(), opaque);
    let threads: Vec<_> = (0..20u8)
        .map(|seed| {
            let mut stream = client.connect(service(1));
            std::thread::spawn(move || {
                let sent = pattern(1 + usize::from(seed) * 40_000, seed);
                let mut writer = stream.try_clone().unwrap();
                let copy = sent.clone();
                std::thread::spawn(move || {
                    writer.write_all(&copy).unwrap();
                    writer.shutdown(Shutdown::Write).unwrap();
                });
                assert!(read_to_end(&mut stream) == sent, "connection {seed}");
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_server_may_speak_first_on_an_opaque_port() {
    let greeter = program(|mut stream| {
        stream.write_all(b"220 ready\r\n").unwrap();
        let mut line = [0; 4];
        stream.read_exact(&mut line).unwrap();
        stream.write_all(b"bye").unwrap();
    });
    let (client, _server) = pair(greeter, opaque);
    let started = std::time::Instant::now();
    let mut stream = client.connect(service(1));
    let mut greeting = [0; 11];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 ready\r\n");
    assert!(started.elapsed().as_secs() < 5, "it waited for the client, as long as detection may take");
    stream.write_all(b"QUIT").unwrap();
    assert_eq!(read_to_end(&mut stream), b"bye");
}

#[test]
fn a_silent_connection_is_opaque_after_the_detect_timeout() {
    let greeter = program(|mut stream| stream.write_all(b"hello").unwrap());
    let (client, _server) = pair(greeter, |policy| policy);
    assert_eq!(read_to_end(&mut client.connect(service(1))), b"hello");
}

#[test]
fn a_client_that_is_not_allowed_reaches_nothing() {
    let touched = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = touched.clone();
    let secret = program(move |_| seen.store(true, std::sync::atomic::Ordering::SeqCst));
    let world = World { inbound: [(secret.port(), only("somebody.else"))].into(), ..World::default() };
    let server = Sidecar::start(SERVER, world);
    let world = World { outbound: [(service(1), opaque(to(server.endpoint(secret))))].into(), ..World::default() };
    let client = Sidecar::start(CLIENT, world);
    let mut stream = client.connect(service(1));
    stream.write_all(b"let me in").unwrap_or_default();
    let mut byte = [0];
    assert!(matches!(stream.read(&mut byte), Err(_) | Ok(0)));
    assert!(!touched.load(std::sync::atomic::Ordering::SeqCst));
}

#[test]
fn a_peer_with_another_name_than_expected_gets_nothing() {
    let server = Sidecar::start("impostor.default.serviceaccount.identity.gossamer.cluster.local", World::default());
    let mut endpoint = server.endpoint(echo());
    endpoint.tls =
        Some(rules::endpoint::ServerTls { identity: control::testing::identity(SERVER), server_name: SERVER.into() });
    let world = World { outbound: [(service(1), opaque(to(endpoint)))].into(), ..World::default() };
    let client = Sidecar::start(CLIENT, world);
    let mut stream = client.connect(service(1));
    stream.write_all(b"secret").unwrap_or_default();
    let mut byte = [0];
    assert!(matches!(stream.read(&mut byte), Err(_) | Ok(0)));
}

#[test]
fn an_open_connection_is_closed_when_its_policy_turns() {
    let program = echo();
    let (client, server) = pair(program, opaque);
    let mut stream = client.connect(service(1));
    stream.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    server.tell(control::handover::News::Inbound(program.port(), Ok(only("somebody.else").into())));
    assert!(matches!(stream.read(&mut answer), Err(_) | Ok(0)));
}

#[test]
fn without_a_policy_nothing_is_sent() {
    let client = Sidecar::start(CLIENT, World { dead: true, ..World::default() });
    let mut stream = client.connect(echo());
    stream.write_all(b"\x00\x01binary").unwrap();
    let mut byte = [0];
    assert!(matches!(stream.read(&mut byte), Err(_) | Ok(0)));
}

#[test]
fn the_canary_answers_and_closes() {
    let client = Sidecar::start(CLIENT, World { silent: true, ..World::default() });
    let mut stream = client.connect(([198, 18, 0, 2], 1).into());
    assert_eq!(read_to_end(&mut stream), b"gossamer\n");
}

#[test]
fn a_reset_of_the_server_is_a_reset_for_the_client() {
    let breaker = program(|mut stream| {
        let mut byte = [0; 1];
        stream.read_exact(&mut byte).unwrap();
        rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO)).unwrap();
    });
    let (client, _server) = pair(breaker, opaque);
    let mut stream = client.connect(service(1));
    stream.write_all(b"x").unwrap();
    let mut byte = [0];
    assert_eq!(stream.read(&mut byte).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_connection_to_the_sidecar_itself_is_refused() {
    let client = Sidecar::start(CLIENT, World::default());
    let mut stream = client.connect(client.outbound);
    let mut byte = [0];
    assert!(matches!(stream.read(&mut byte), Err(_) | Ok(0)));
}
