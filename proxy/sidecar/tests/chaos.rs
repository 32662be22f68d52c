//! Clients and applications that break off at any point: others notice nothing, and nothing is left behind, which a
//! drain proves by ending at once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::h1::*;
use common::*;
use control::handover::News;

fn random(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*state >> 33) as usize
}

/// Answers, or breaks off: before the head, within the body, by reset or by close.
fn moody() -> SocketAddr {
    common::h1::origin(|request, stream| {
        let mood: usize = request.path().trim_start_matches('/').parse().unwrap_or(0);
        let body = vec![b'x'; 50_000];
        let reset = |stream: &mut std::net::TcpStream| {
            rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO)).unwrap();
            false
        };
        match mood % 6 {
            0 => return reset(stream),
            1 => return false,
            2 => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\npart").unwrap_or_default();
                return reset(stream);
            }
            3 => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")
                    .unwrap_or_default();
                return false;
            }
            4 => std::thread::sleep(Duration::from_millis(20)),
            _ => {}
        }
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes()).is_ok()
            && stream.write_all(&body).is_ok()
    })
}

/// One client's life: some requests, broken off somewhere.
fn careless(sidecar: &Sidecar, seed: u64) {
    let mut state = seed;
    let mut stream = sidecar.connect(service(1));
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let body = vec![b'y'; random(&mut state) % 40_000];
    let mut request =
        format!("POST /{} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", random(&mut state), body.len())
            .into_bytes();
    request.extend(&body);
    let cut = match random(&mut state) % 3 {
        0 => random(&mut state) % request.len(),
        _ => request.len(),
    };
    for piece in request[..cut].chunks(1 + random(&mut state) % 9_000) {
        if stream.write_all(piece).is_err() {
            return;
        }
    }
    let mut buffer = vec![0; 1 + random(&mut state) % 30_000];
    for _ in 0..random(&mut state) % 4 {
        if cut < request.len() || stream.read(&mut buffer).unwrap_or(0) == 0 {
            break;
        }
    }
    if random(&mut state) % 2 == 0 {
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    }
}

fn ends_soon(sidecar: Sidecar) {
    let started = Instant::now();
    sidecar.tell(News::Drain);
    while !sidecar.engine.is_finished() {
        assert!(started.elapsed() < Duration::from_secs(10), "{} holds on to something", sidecar.name);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn whoever_breaks_off_harms_nobody_and_leaves_nothing() {
    let (client, server) = pair(moody(), |policy| policy);
    let client = std::sync::Arc::new(client);
    let threads: Vec<_> = (0..8u64)
        .map(|thread| {
            let client = client.clone();
            std::thread::spawn(move || (0..60).for_each(|turn| careless(&client, thread * 1000 + turn)))
        })
        .collect();
    let mut good = Client::new(client.connect(service(1)));
    for _ in 0..50 {
        let response = good.ask(b"GET /5 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((response.status(), response.body.len()), (200, 50_000));
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    drop(good);
    ends_soon(std::sync::Arc::into_inner(client).unwrap());
    ends_soon(server);
}

#[test]
fn opaque_connections_that_break_off_leave_nothing() {
    let (client, server) = pair(echo(), opaque);
    let mut state = 7;
    for _ in 0..200 {
        let mut stream = client.connect(service(1));
        let bytes = vec![1; random(&mut state) % 100_000];
        stream.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
        stream.write_all(&bytes).unwrap_or_default();
        if random(&mut state) % 2 == 0 {
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        }
    }
    ends_soon(client);
    ends_soon(server);
}

#[test]
fn a_request_may_arrive_byte_by_byte() {
    let (client, _server) = pair(mirror(), |policy| policy);
    let mut connection = Client::new(client.connect(service(1)));
    let request =
        b"POST /slow HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n";
    for _ in 0..2 {
        for byte in request {
            connection.send(&[*byte]);
            std::thread::sleep(Duration::from_micros(300));
        }
        assert!(connection.receive().unwrap().text().to_lowercase().ends_with("\n\nabc\nx-t: 1"));
    }
}

#[test]
fn a_peer_sidecar_that_dies_is_replaced_and_only_its_calls_fail() {
    let program = mirror();
    let first = Sidecar::start(SERVER, World::default());
    let second = Sidecar::start(SERVER, World::default());
    let world = World {
        outbound: [(service(1), balanced("web"))].into(),
        endpoints: [("web".to_owned(), vec![first.endpoint(program)])].into(),
        ..World::default()
    };
    let client = Sidecar::start(CLIENT, world);
    let mut connection = Client::new(client.connect(service(1)));
    for turn in 0..40 {
        if turn == 20 {
            client.tell(News::Endpoints("web".into(), Ok([second.endpoint(program)].into())));
            first.tell(News::Drain);
        }
        assert_eq!(connection.ask(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").status(), 200, "request {turn}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a peer might begin with, and then anything.
fn garbage(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let beginnings: [&[u8]; 8] = [
        b"",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ];
    let mut bytes = beginnings[random(&mut state) % beginnings.len()].to_vec();
    let texts: [&[u8]; 4] = [
        b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"0\r\n\r\n",
        b"\0\0\x05\x01\x05\0\0\0\x01\x82\x84\x86\x41\x01",
    ];
    for _ in 0..random(&mut state) % 40 {
        match random(&mut state) % 3 {
            0 => bytes.extend(texts[random(&mut state) % texts.len()]),
            _ => (0..random(&mut state) % 50).for_each(|_| bytes.push(random(&mut state) as u8)),
        }
    }
    bytes
}

#[test]
fn nothing_a_stranger_says_ends_the_sidecar() {
    let program = echo();
    let mut open = World::default();
    open.inbound.insert(program.port(), default_policy("all-unauthenticated"));
    let server = Sidecar::start(SERVER, open);
    let garbled = program_of_garbage();
    let world = World { outbound: [(service(1), to(server.endpoint(program)))].into(), ..World::default() };
    let client = Sidecar::start(CLIENT, world);
    for seed in 0..600u64 {
        let mut stream = match seed % 5 {
            0 => client.connect(service(1)),
            1 => client.connect(garbled),
            2 => server.connect_at(server.inbound, program),
            3 => std::net::TcpStream::connect(server.inbound).unwrap(),
            _ => client.connect(program),
        };
        stream.set_read_timeout(Some(Duration::from_millis(3))).unwrap();
        for piece in garbage(seed + 1).chunks(1 + seed as usize % 700) {
            stream.write_all(piece).unwrap_or_default();
        }
        stream.read(&mut [0; 4096]).unwrap_or_default();
    }
    let alive = mirror();
    for sidecar in [&client, &server] {
        let response = Client::new(sidecar.connect(alive)).ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(response.status(), 200);
    }
    ends_soon(client);
    ends_soon(server);
}

/// An application that answers whatever comes with anything.
fn program_of_garbage() -> SocketAddr {
    let seed = std::sync::atomic::AtomicU64::new(1_000_000);
    program(move |mut stream| {
        let mut buffer = [0; 4096];
        if stream.read(&mut buffer).unwrap_or(0) > 0 {
            let answer = garbage(seed.fetch_add(1, std::sync::atomic::Ordering::SeqCst));
            let mut reply = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec();
            reply.truncate(answer.len() % 60);
            stream.write_all(&reply).unwrap_or_default();
            stream.write_all(&answer).unwrap_or_default();
        }
    })
}
