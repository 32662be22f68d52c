//! Two connections of ours, one at each end: windows, sizes, requests taken back.

use codec::h2::{Config, Connection, Reason, Refused};
use codec::head::StoredFields;
use codec::{Body, Event, Fields, Request, Response, Scratch};

use crate::script::*;

#[test]
fn the_connection_window_survives_every_way_to_abandon_a_body() {
    let mut s = Fed::server();
    s.keep = false;
    for n in 0..10_000u32 {
        let id = 2 * n + 1;
        let body = frame(0, PADDED, id, &[&[9][..], &[7; 4_000]].concat());
        s.feed(&[headers(id, false, &POST), body.clone()].concat());
        match n % 5 {
            0 => s.connection.reset(id, Reason::CANCEL),
            1 => {
                s.feed(&reset(id));
            }
            2 => {
                s.connection.release(id, 100);
                s.feed(&frame(0, END_STREAM, id, b""));
                s.connection.send_response(id, &ok(), &[], true);
            }
            3 => {
                s.connection.reset(id, Reason::CANCEL);
                s.feed(&body);
            }
            _ => {
                // Reset in the middle of a frame.
                s.feed(&body[..2_000]);
                s.connection.reset(id, Reason::CANCEL);
                s.feed(&body[2_000..]);
            }
        }
        assert_eq!(s.error, None, "{n}");
        s.connection.calm();
        s.connection.out.clear();
    }
    assert_eq!(s.connection.streams(), 0);
    s.feed(&headers(30_001, false, &POST));
    for _ in 0..6_400 {
        assert!(s.feed(&frame(0, 0, 30_001, &[7; 16_384])));
        s.connection.release(30_001, 16_384);
        s.connection.out.clear();
    }
}

/// Two connections; bytes travel in pieces of a size chosen by a small generator.
struct Pair {
    client: Connection,
    server: Connection,
    to_client: Vec<u8>,
    to_server: Vec<u8>,
    /// Taken from the client and the server, and not yet carried.
    sent: [Vec<u8>; 2],
    scratch: Scratch,
    state: u64,
}

#[derive(Default)]
struct Exchange {
    id: u32,
    sent: usize,
    got: Vec<u8>,
    back: usize,
    returned: Vec<u8>,
    trailers: String,
}

impl Pair {
    fn random(&mut self, below: usize) -> usize {
        self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.state >> 33) as usize % below
    }

    fn carry(&mut self) {
        for _ in 0..2 {
            let (side, limit) = (self.random(2), self.random(40_000));
            let (from, to) = match side {
                0 => (&mut self.client, &mut self.to_server),
                _ => (&mut self.server, &mut self.to_client),
            };
            let sent = &mut self.sent[side];
            if sent.is_empty() {
                std::mem::swap(sent, &mut from.out);
            }
            to.extend(sent.drain(..limit.min(sent.len())));
        }
    }
}

fn pattern(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 + seed * 7 + i / 251) as u8).collect()
}

#[test]
fn many_bodies_cross_both_ways_whatever_the_pieces() {
    for seed in 0..6 {
        let mut pair = Pair {
            client: Connection::new(Config::mesh_client()),
            server: Connection::new(Config::mesh_server()),
            to_client: Vec::new(),
            to_server: Vec::new(),
            sent: [Vec::new(), Vec::new()],
            scratch: Scratch::default(),
            state: seed * 77 + 1,
        };
        let count = 60;
        let up: Vec<Vec<u8>> =
            (0..count).map(|i| pattern(i, [0, 1, 100, 16_384, 70_000, 300_000][pair.random(6)])).collect();
        let down: Vec<Vec<u8>> =
            (0..count).map(|i| pattern(i + 1_000, [0, 5, 5_000, 65_536, 200_000][pair.random(5)])).collect();
        let mut exchanges: Vec<Exchange> = (0..count).map(|_| Exchange::default()).collect();
        let (mut started, mut finished, mut turns) = (0, 0, 0);
        while finished < count {
            turns += 1;
            assert!(turns < 200_000, "stuck with {finished} of {count}");
            if started < count && pair.client.can_open().is_ok() {
                let head = Request { method: b"POST", body: Body::Chunked, ..get() };
                let text = started.to_string();
                let none = up[started].is_empty() && started % 2 == 0;
                let id = pair.client.send_request(started as u32, &head, &[(b"x-n", text.as_bytes())], none).unwrap();
                exchanges[started].id = id;
                exchanges[started].sent = if none { usize::MAX } else { 0 };
                started += 1;
            }
            // Client: send what fits, in odd pieces; retry only when told so, except the first time.
            let again: Vec<u32> = std::iter::from_fn(|| pair.client.next_writable()).map(|s| s.token).collect();
            for (n, exchange) in exchanges.iter_mut().enumerate().take(started) {
                let fresh = exchange.sent == 0 && n + 1 == started;
                if exchange.sent != usize::MAX && (fresh || again.contains(&(n as u32))) {
                    let rest = &up[n][exchange.sent..];
                    let taken = pair.client.send_data(exchange.id, rest, true);
                    exchange.sent = if taken == rest.len() { usize::MAX } else { exchange.sent + taken };
                }
            }
            let again: Vec<u32> = std::iter::from_fn(|| pair.server.next_writable()).map(|s| s.token).collect();
            for n in again {
                send_back(&mut pair.server, &mut exchanges[n as usize], &down[n as usize]);
            }
            pair.carry();
            // Server: echo nothing, answer when the request has ended.
            let input = std::mem::take(&mut pair.to_server);
            let mut at = 0;
            let mut ended = Vec::new();
            loop {
                let (used, event) = pair.server.next(&input[at..], &mut pair.scratch).unwrap();
                at += used;
                match event {
                    None => break,
                    Some(Event::Request { stream, head, end }) => {
                        let n: u32 = std::str::from_utf8(head.fields.get(b"x-n").unwrap()).unwrap().parse().unwrap();
                        pair.server.set_token(stream.id, n);
                        if end {
                            ended.push((stream.id, n));
                        }
                    }
                    Some(Event::Data { stream, bytes, end }) => {
                        exchanges[stream.token as usize].got.extend_from_slice(bytes);
                        pair.server.release(stream.id, bytes.len());
                        if end {
                            ended.push((stream.id, stream.token));
                        }
                    }
                    Some(Event::Settings) => {}
                    Some(other) => panic!("{}", show(&other)),
                }
            }
            pair.to_server = input[at..].to_vec();
            for (id, n) in ended {
                let early = Response { status: 103, ..ok() };
                assert!(pair.server.send_response(id, &early, &[(b"link", b"</a>")], false));
                assert!(pair.server.send_response(id, &ok(), &[(b"x-id", n.to_string().as_bytes())], false));
                send_back(&mut pair.server, &mut exchanges[n as usize], &down[n as usize]);
            }
            let input = std::mem::take(&mut pair.to_client);
            let mut at = 0;
            loop {
                let (used, event) = pair.client.next(&input[at..], &mut pair.scratch).unwrap();
                at += used;
                match event {
                    None => break,
                    Some(Event::Response { stream, head, .. }) => {
                        assert_eq!(head.fields.get(b"x-id"), Some(stream.token.to_string().as_bytes()));
                    }
                    Some(Event::Informational { head, .. }) => assert_eq!(head.status, 103),
                    Some(Event::Data { stream, bytes, end }) => {
                        assert!(!end);
                        exchanges[stream.token as usize].returned.extend_from_slice(bytes);
                        pair.client.release(stream.id, bytes.len());
                    }
                    Some(Event::Trailers { stream, fields }) => {
                        exchanges[stream.token as usize].trailers = show(&Event::Trailers { stream, fields });
                        finished += 1;
                    }
                    Some(Event::Settings) => {}
                    Some(other) => panic!("{}", show(&other)),
                }
            }
            pair.to_client = input[at..].to_vec();
        }
        for (n, exchange) in exchanges.iter().enumerate() {
            assert!(exchange.got == up[n] && exchange.returned == down[n], "{n}");
            assert!(exchange.trailers.ends_with("trailers grpc-status=0"));
        }
        assert_eq!((pair.client.streams(), pair.server.streams()), (0, 0));
    }
}

#[test]
fn a_request_that_never_left_is_taken_back() {
    let mut state = 3u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    for _ in 0..60 {
        let mut c = Fed::new(Config::mesh_client());
        let mut s = Fed::new(Config::mesh_server());
        let (mut window, mut unheard) = (0, std::collections::BTreeSet::new());
        let mut open: Vec<u32> = Vec::new();
        let mut cancelled = std::collections::BTreeSet::new();
        for step in 0..200 {
            match random(8) {
                0..3 if c.connection.can_open().is_ok() => {
                    let post = Request { method: b"POST", body: Body::Chunked, ..get() };
                    let long = vec![b'v'; if random(10) == 0 { 40_000 } else { 3 }];
                    let id = c.connection.send_request(step, &post, &[(b"x", &long)], false).unwrap();
                    unheard.insert(id);
                    open.push(id);
                }
                3 | 4 if !open.is_empty() => {
                    let id = open[random(open.len())];
                    c.connection.send_data(id, &vec![id as u8; random(3_000)], false);
                }
                5 if !open.is_empty() => {
                    let id = open.swap_remove(random(open.len()));
                    c.connection.reset(id, Reason::CANCEL);
                    cancelled.insert(id);
                }
                6 if !open.is_empty() => {
                    let id = open.swap_remove(random(open.len()));
                    let mut trailers = StoredFields::default();
                    trailers.store(&Fields::default(), &[(b"t", b"1")]);
                    c.connection.send_trailers(id, &trailers.view(), &[]);
                    if random(2) == 0 {
                        c.connection.reset(id, Reason::CANCEL);
                    }
                }
                7 => {
                    let before = s.events.len();
                    let out = std::mem::take(&mut c.connection.out);
                    assert!(s.feed(&out), "{:?}", s.error);
                    for event in &s.events[before..] {
                        let id: u32 = event.split(' ').next().unwrap().parse().unwrap();
                        assert!(!(unheard.contains(&id) && cancelled.contains(&id)), "{event}");
                        if let Some(data) = event.strip_prefix(&format!("{id} data ")) {
                            window += data.len().min(1);
                        }
                    }
                    unheard.clear();
                    cancelled.clear();
                    let back = std::mem::take(&mut s.connection.out);
                    assert!(c.feed(&back));
                }
                _ => {}
            }
        }
        assert!(window > 0);
    }
    let mut c = Fed::new(Config::client());
    let post = Request { method: b"POST", body: Body::Chunked, ..get() };
    for _ in 0..100 {
        let id = c.connection.send_request(1, &post, &[], false).unwrap();
        assert_eq!(c.connection.send_data(id, &[7; 60_000], false), 60_000);
        c.connection.reset(id, Reason::CANCEL);
        assert_eq!((c.connection.out.len(), c.connection.streams()), (0, 0));
    }
    let id = c.connection.send_request(1, &post, &[], false).unwrap();
    c.connection.out.clear();
    c.connection.reset(id, Reason::CANCEL);
    assert_eq!(c.only_reset(), (id, Reason::CANCEL));
}

/// Sends what fits of the response body, and the trailers after it.
fn send_back(server: &mut Connection, exchange: &mut Exchange, body: &[u8]) {
    let taken = server.send_data(exchange.id, &body[exchange.back..], false);
    exchange.back += taken;
    if exchange.back == body.len() {
        let mut trailers = StoredFields::default();
        trailers.store(&Fields::default(), &[(b"Grpc-Status", b"0")]);
        assert!(server.send_trailers(exchange.id, &trailers.view(), &[]));
    }
}

#[test]
fn a_large_head_crosses_in_continuations() {
    let mut client = Connection::new(Config::mesh_client());
    let mut server = Connection::new(Config::mesh_server());
    let mut scratch = Scratch::default();
    let value = vec![b'v'; 60_000];
    server.next(&client.out, &mut scratch).unwrap();
    let mut wire = std::mem::take(&mut client.out);
    client.send_request(1, &get(), &[(b"x", &value)], true).unwrap();
    wire.append(&mut client.out);
    let mut server = Connection::new(Config::mesh_server());
    let mut at = 0;
    loop {
        let (used, event) = server.next(&wire[at..], &mut scratch).unwrap();
        at += used;
        match event {
            Some(Event::Request { head, .. }) => {
                assert_eq!(head.fields.get(b"x"), Some(&value[..]));
                break;
            }
            Some(_) => {}
            None => panic!(),
        }
    }
    let mut fed = Fed::new(Config::client());
    fed.feed(&frame(4, 0, 0, &[0, 6, 0, 0, 0x10, 0]));
    assert_eq!(fed.connection.send_request(1, &get(), &[(b"x", &value)], true), Err(Refused::TooLarge));
    assert!(fed.connection.send_request(1, &get(), &[(b"x", &value[..3_000])], true).is_ok());
}

#[test]
fn the_peers_limits_are_kept() {
    let mut c = Fed::new(Config::client());
    c.feed(&frame(4, 0, 0, &[0, 3, 0, 0, 0, 2, 0, 4, 0, 0, 0, 10]));
    let post = Request { method: b"POST", body: Body::Chunked, ..get() };
    let a = c.connection.send_request(1, &post, &[], false).unwrap();
    let b = c.connection.send_request(2, &post, &[], false).unwrap();
    assert_eq!(c.connection.send_request(3, &post, &[], false), Err(Refused::Full));
    assert_eq!((c.connection.send_data(a, &[0; 30], true), c.connection.room(a)), (10, 0));
    assert_eq!(c.connection.send_data(b, &[0; 30], true), 10);
    assert_eq!(c.connection.next_writable(), None);
    c.feed(&frame(8, 0, b, &[0, 0, 0, 5]));
    assert_eq!(c.connection.next_writable().map(|s| (s.id, s.token)), Some((b, 2)));
    assert_eq!(c.connection.send_data(b, &[0; 20], true), 5);
    c.feed(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 12]));
    assert_eq!(c.connection.next_writable().map(|s| s.id), Some(a).filter(|_| true));
    assert_eq!(c.connection.send_data(a, &[0; 20], true), 2);
    assert_eq!(c.connection.next_writable().map(|s| s.id), Some(b));
    assert_eq!(c.connection.send_data(b, &[0; 15], true), 2);
    c.feed(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]));
    assert_eq!((c.connection.room(a), c.connection.next_writable()), (0, None));
}

#[test]
fn one_body_cannot_fill_the_output() {
    let mut c = Fed::new(Config::client());
    c.feed(&[frame(4, 0, 0, &[0, 4, 0x7f, 0, 0, 0]), frame(8, 0, 0, &[0x7f, 0, 0, 0])].concat());
    c.connection.out.clear();
    let post = Request { method: b"POST", body: Body::Chunked, ..get() };
    let a = c.connection.send_request(1, &post, &[], false).unwrap();
    let b = c.connection.send_request(2, &post, &[], false).unwrap();
    let body = vec![0; 1 << 20];
    let taken = c.connection.send_data(a, &body, true);
    assert!((60_000..=65_536).contains(&taken));
    assert_eq!((c.connection.send_data(b, &body, true), c.connection.next_writable()), (0, None));
    c.connection.out.clear();
    assert_eq!(c.connection.next_writable().map(|s| s.id), Some(a));
    assert!(c.connection.send_data(a, &body[..1_000], false) == 1_000);
    assert_eq!(c.connection.next_writable().map(|s| s.id), Some(b));
    assert_eq!(c.connection.next_writable(), None);
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Connection>() <= 640, "{}", size_of::<Connection>());
    let mut s = Fed::server();
    s.feed(&headers(1, true, &GET));
    s.connection.send_response(1, &ok(), &[], true);
    s.connection.out.clear();
    s.connection.shrink();
    assert_eq!(s.connection.out.capacity(), 0);
}
