//! Many connections at once with bodies of every kind, compared byte for byte (by a hash), some of them read slowly.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::hash::{DefaultHasher, Hasher};
use std::io::Write;
use std::time::Duration;

use common::h1::*;
use common::*;

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn body(length: usize, seed: usize) -> Vec<u8> {
    let mut state = seed as u64 ^ 0x9e37_79b9_7f4a_7c15;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 56) as u8
        })
        .collect()
}

/// `/length/seed/coding` answers with that body, and says the hash of what it received.
fn origin() -> std::net::SocketAddr {
    common::h1::origin(|request, stream| {
        let mut parts = request.path().split('/').skip(1);
        let (length, seed): (usize, usize) =
            (parts.next().unwrap().parse().unwrap(), parts.next().unwrap().parse().unwrap());
        let chunked = parts.next() == Some("chunked");
        let body = body(length, seed);
        let framing =
            if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {length}") };
        let head = format!("HTTP/1.1 200 OK\r\nX-Received: {}\r\n{framing}\r\n\r\n", hash(&request.body));
        stream.write_all(head.as_bytes()).unwrap();
        if !chunked {
            return stream.write_all(&body).is_ok();
        }
        for piece in body.chunks(7_001) {
            stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).unwrap();
            stream.write_all(piece).unwrap();
            stream.write_all(b"\r\n").unwrap();
        }
        stream.write_all(b"0\r\n\r\n").is_ok()
    })
}

fn converse(client: &mut Client, connection: usize, turn: usize) {
    let sizes = [0, 1_000, 300_000, 20_000];
    let (up, down) = (sizes[(connection + turn) % 4], sizes[(connection / 4 + turn) % 4]);
    let seed = connection * 100 + turn;
    let sent = body(up, seed + 1);
    let coding = if turn % 3 == 0 { "chunked" } else { "length" };
    let mut request = format!("POST /{down}/{seed}/{coding} HTTP/1.1\r\nHost: app\r\n").into_bytes();
    if turn % 2 == 0 {
        request.extend(format!("Content-Length: {up}\r\n\r\n").bytes());
        request.extend(&sent);
    } else {
        request.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        for piece in sent.chunks(9_999) {
            request.extend(format!("{:x}\r\n", piece.len()).bytes());
            request.extend(piece);
            request.extend(b"\r\n");
        }
        request.extend(b"0\r\n\r\n");
    }
    client.send(&request);
    if connection % 10 == 3 {
        // A slow reader: everything behind it has to wait without growing.
        std::thread::sleep(Duration::from_millis(30));
    }
    let response = client.receive().unwrap_or_else(|| panic!("connection {connection}, request {turn}: no response"));
    assert_eq!(response.status(), 200, "connection {connection}, request {turn}: {response:?}");
    assert_eq!(response.get("x-received").unwrap(), hash(&sent).to_string(), "connection {connection}, request {turn}");
    assert_eq!(hash(&response.body), hash(&body(down, seed)), "connection {connection}, request {turn}");
}

#[test]
fn mixed_bodies_on_two_hundred_connections_arrive_whole() {
    let (client, _server) = pair(origin(), |policy| policy);
    let threads: Vec<_> = (0..200)
        .map(|connection| {
            let mut client = Client::new(client.connect(service(1)));
            std::thread::spawn(move || (0..8).for_each(|turn| converse(&mut client, connection, turn)))
        })
        .collect();
    let failed = threads.into_iter().map(|thread| thread.join()).filter(|result| result.is_err()).count();
    assert_eq!(failed, 0, "connections that failed");
}
