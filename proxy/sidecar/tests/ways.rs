//! The other ways in: published ports, ports that are redirected as Linkerd does, a front before a control plane; and
//! what happens when a peer is slow, silent or too many.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use common::h1::*;
use common::*;
use sidecar::options::Options;

fn open(port: u16) -> World {
    World { inbound: [(port, default_policy("all-unauthenticated"))].into(), ..World::default() }
}

#[test]
fn a_published_port_serves_plain_clients_under_its_policy() {
    let program = mirror();
    for (world, expected) in [(open(program.port()), 200), (World::default(), 403)] {
        let server = Sidecar::with(SERVER, world, Options::default(), Some(program.port()));
        let mut client = Client::new(TcpStream::connect(server.published.unwrap()).unwrap());
        let response = client.ask(b"GET / HTTP/1.1\r\nHost: web\r\nl5d-client-id: forged\r\n\r\n");
        assert_eq!(response.status(), expected);
        assert!(!response.text().to_lowercase().contains("l5d-client-id"), "{}", response.text());
    }
}

/// A connection that was going to `to` and was redirected to the inbound listener.
fn redirected(sidecar: &Sidecar, to: SocketAddr) -> TcpStream {
    sidecar.connect_at(sidecar.inbound, to)
}

#[test]
fn a_redirected_plain_connection_is_served_under_its_policy() {
    let program = mirror();
    let server = Sidecar::start(SERVER, open(program.port()));
    let response = Client::new(redirected(&server, program)).ask(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    assert_eq!(response.status(), 200);
    let server = Sidecar::start(SERVER, World::default());
    let response = Client::new(redirected(&server, program)).ask(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    assert_eq!(response.status(), 403);
}

#[test]
fn tls_for_another_name_passes_untouched_when_the_policy_lets_it() {
    let program = echo();
    let hello = client_hello("elsewhere.example");
    let server = Sidecar::start(SERVER, open(program.port()));
    let mut stream = redirected(&server, program);
    stream.write_all(&hello).unwrap();
    let mut back = vec![0; hello.len()];
    stream.read_exact(&mut back).unwrap();
    assert!(back == hello);
    let server = Sidecar::start(SERVER, World::default());
    let mut stream = redirected(&server, program);
    stream.write_all(&hello).unwrap();
    assert!(matches!(stream.read(&mut back), Err(_) | Ok(0)));
}

/// What rustls says first.
fn client_hello(name: &str) -> Vec<u8> {
    let credentials = control::testing::credentials(CLIENT);
    let config = credentials.client.expecting(&control::testing::identity(name), control::handover::Alpn::None);
    let mut session = sidecar::tls::client(config, name).unwrap();
    let (mut plain, mut wire) = (Vec::new(), Vec::new());
    session.receive(&mut [], &mut plain, &mut wire).unwrap();
    wire
}

#[test]
fn the_direct_port_refuses_whoever_shows_no_certificate() {
    let server = Sidecar::start(SERVER, open(80));
    for first in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"\x16\x03\x01\x00\x05hello"] {
        let mut stream = TcpStream::connect(server.inbound).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(first).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap_or_default();
        assert!(!all.starts_with(b"HTTP"), "{all:?}");
    }
}

#[test]
fn a_head_that_never_ends_does_not_stop_others() {
    let program = mirror();
    let client = Sidecar::start(CLIENT, World::default());
    let slow: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = client.connect(program);
            stream.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
            stream
        })
        .collect();
    let started = Instant::now();
    let response = Client::new(client.connect(program)).ask(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    assert_eq!(response.status(), 200);
    assert!(started.elapsed() < Duration::from_secs(8));
    drop(slow);
}

#[test]
fn requests_beyond_the_limit_are_shed() {
    let slow = origin(|_, stream| {
        std::thread::sleep(Duration::from_millis(500));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_ok()
    });
    let mut options = Options::default();
    options.outbound_side.in_flight = 2;
    let client = Sidecar::with(CLIENT, World::default(), options, None);
    let mut clients: Vec<_> = (0..3).map(|_| Client::new(client.connect(slow))).collect();
    for client in &mut clients {
        client.send(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n");
        std::thread::sleep(Duration::from_millis(50));
    }
    let statuses: Vec<u16> = clients.iter_mut().map(|client| client.receive().unwrap().status()).collect();
    assert_eq!(statuses, [200, 200, 503]);
}

#[test]
fn a_drained_sidecar_closes_idle_connections_and_ends() {
    let program = mirror();
    let client = Sidecar::start(CLIENT, World::default());
    let mut connection = Client::new(client.connect(program));
    assert_eq!(connection.ask(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").status(), 200);
    client.tell(control::handover::News::Drain);
    let response = connection.ask(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    assert_eq!((response.status(), response.get("connection")), (200, Some("close")));
    assert_eq!(connection.rest(), b"");
    client.engine.join().unwrap().unwrap();
}

#[test]
fn an_endpoint_that_comes_back_gets_the_request_that_waited() {
    let listener = listen();
    let program = listener.local_addr().unwrap();
    drop(listener);
    let server = Sidecar::start(SERVER, World::default());
    let mut endpoint = server.endpoint(program);
    let direct = server.inbound;
    endpoint.inbound_port = Some(direct.port());
    let world = World {
        outbound: [(service(1), balanced("web"))].into(),
        endpoints: [("web".to_owned(), vec![])].into(),
        ..World::default()
    };
    let client = Sidecar::start(CLIENT, world);
    let mut connection = Client::new(client.connect(service(1)));
    connection.send(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    std::thread::sleep(Duration::from_millis(200));
    let mut alive = server.endpoint(mirror());
    alive.inbound_port = Some(direct.port());
    client.tell(control::handover::News::Endpoints("web".into(), Ok([alive].into())));
    assert_eq!(connection.receive().unwrap().status(), 200);
}
