//! What `tests/gates` counts: a pair of sidecars in one process, and a client and an origin in two others.
//!
//!     gauge pair ORIGIN          two sidecars before that address, balanced, authorized and counted; prints where
//!                                programs connect; each line on stdin is answered with what was used so far
//!     gauge origin               answers requests of any path with 1 KiB; prints its address
//!     gauge load ADDRESS CONNECTIONS ROUNDS
//!                                every connection asks, then every connection listens, ROUNDS times
//!     gauge hold ADDRESS CONNECTIONS
//!                                one request on each connection, one after the other; keeps them until stdin ends
//!
//! The client and the origin are processes of their own, so that nothing of theirs is counted. The load is in step,
//! so that a count hardly depends on how fast the machine is. Nothing here measures time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::io::{BufRead, Read, Write, stdin};
use std::net::{SocketAddr, TcpStream};

use common::{CLIENT, ELSEWHERE, SERVER, Sidecar, World, balanced, only, program, service};

const BODY: usize = 1024;
const REQUEST: &[u8] = b"GET /things/7?page=2 HTTP/1.1\r\nHost: things\r\nUser-Agent: gauge\r\nAccept: */*\r\n\r\n";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["pair", origin] => pair(address(origin)),
        ["origin"] => origin(),
        ["load", to, connections, rounds] => load(address(to), number(connections), number(rounds)),
        ["hold", to, connections] => hold(address(to), number(connections)),
        _ => panic!("gauge pair ORIGIN | origin | load ADDRESS CONNECTIONS ROUNDS | hold ADDRESS CONNECTIONS"),
    }
}

fn address(word: &str) -> SocketAddr {
    word.parse().expect("IP:PORT")
}

fn number(word: &str) -> usize {
    word.parse().expect("a number")
}

/// Policy as in a mesh: a balanced service outside, one authorized identity inside, all requests counted by edge.
fn pair(origin: SocketAddr) {
    let inside = World { inbound: [(origin.port(), only(CLIENT))].into(), ..World::default() };
    let server = Sidecar::start(SERVER, inside);
    let outside = World {
        outbound: [(service(1), balanced("things"))].into(),
        endpoints: [("things".to_owned(), vec![server.endpoint(origin)])].into(),
        ..World::default()
    };
    let client = Sidecar::start(CLIENT, outside);
    ELSEWHERE.set((client.outbound, service(1))).unwrap();
    println!("{}", client.outbound);
    for line in stdin().lock().lines() {
        line.unwrap();
        let (allocations, bytes) = kernel::count::allocations();
        println!(
            r#"{{"allocations":{allocations},"allocated_bytes":{bytes},"anonymous_kb":{}}}"#,
            memory("Anonymous:")
        );
    }
}

/// Kilobytes of this process.
fn memory(kind: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = text.lines().find(|line| line.starts_with(kind)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn origin() {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {BODY}\r\n\r\n");
    let answer = [head.as_bytes(), &[b'x'; BODY]].concat();
    let address = program(move |mut stream| {
        stream.set_nodelay(true).unwrap();
        let mut read = vec![0; 16 * 1024];
        let mut kept = 0;
        while let Ok(count @ 1..) = stream.read(&mut read[kept..]) {
            kept += count;
            if read[..kept].ends_with(b"\r\n\r\n") {
                kept = 0;
                if stream.write_all(&answer).is_err() {
                    return;
                }
            }
        }
    });
    println!("{address}");
    stdin().read_to_end(&mut Vec::new()).unwrap();
}

struct Caller(TcpStream);

impl Caller {
    fn new(to: SocketAddr) -> Caller {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        Caller(stream)
    }

    fn ask(&mut self) {
        self.0.write_all(REQUEST).unwrap();
    }

    /// Reads one answer to its end.
    fn listen(&mut self) {
        let mut read = [0; 4096];
        let mut kept = 0;
        loop {
            let count = self.0.read(&mut read[kept..]).unwrap();
            assert_ne!(count, 0, "the connection ended");
            kept += count;
            if let Some(end) = read[..kept].windows(4).position(|window| window == b"\r\n\r\n") {
                assert!(read.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&read[..end]));
                if kept == end + 4 + BODY {
                    return;
                }
            }
        }
    }
}

fn load(to: SocketAddr, connections: usize, rounds: usize) {
    let mut callers: Vec<_> = (0..connections).map(|_| Caller::new(to)).collect();
    for _ in 0..rounds {
        callers.iter_mut().for_each(Caller::ask);
        callers.iter_mut().for_each(Caller::listen);
    }
}

fn hold(to: SocketAddr, connections: usize) {
    let held = (0..connections).map(|_| {
        let mut caller = Caller::new(to);
        caller.ask();
        caller.listen();
        caller
    });
    let held: Vec<_> = held.collect();
    println!("held");
    stdin().read_to_end(&mut Vec::new()).unwrap();
    drop(held);
}
