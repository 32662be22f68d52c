//! Out of descriptors: accepting pauses, costs nothing, and goes on by itself. Alone in its program, because the limit is
//! the whole process's.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::{Duration, Instant};

use common::h1::*;
use common::*;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What this process has used so far, in the kernel's ticks of 10 ms.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    Duration::from_millis((fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10)
}

#[test]
fn a_sidecar_out_of_descriptors_goes_on_when_there_are_some_again() {
    let program = mirror();
    let client = Sidecar::start(CLIENT, World::default());
    assert_eq!(Client::new(client.connect(program)).ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").status(), 200);
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(120), maximum: before.maximum }).unwrap();
    let mut held = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect(client.outbound) {
        held.push(stream);
        std::thread::sleep(Duration::from_millis(1));
    }
    // One descriptor is kept for looking at the clock.
    held.pop();
    let begun = cpu();
    std::thread::sleep(Duration::from_millis(500));
    assert!(cpu() - begun < Duration::from_millis(100), "it spins");
    drop(held);
    setrlimit(Resource::Nofile, before).unwrap();
    let started = Instant::now();
    assert_eq!(Client::new(client.connect(program)).ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").status(), 200);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}
