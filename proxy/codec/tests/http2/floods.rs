//! What a peer may cost us, and what an honest one may do (security ).

use codec::h2::{Config, Reason};
use codec::{Body, Request};

use crate::script::*;

#[test]
fn rapid_resets_end_the_connection_at_the_limit() {
    let mut s = Fed::server();
    let mut id = 1;
    while s.feed(&[headers(id, true, &GET), reset(id)].concat()) {
        id += 2;
    }
    assert_eq!((s.reason(), s.requests), (Some(Reason::ENHANCE_YOUR_CALM), 101));
}

#[test]
fn deadlines_that_pass_are_not_an_attack() {
    let mut s = Fed::server();
    s.keep = false;
    let mut id = 1;
    for _ in 0..20 {
        // A second of a client with 1,000 calls per second, none of which is answered in time.
        for _ in 0..10 {
            let calls: Vec<u8> = (0..100).flat_map(|n| headers(id + 2 * n, true, &GET)).collect();
            assert!(s.feed(&calls));
            let cancels: Vec<u8> = (0..100).flat_map(|n| reset(id + 2 * n)).collect();
            assert!(s.feed(&cancels));
            id += 200;
        }
        s.connection.calm();
    }
    let mut more = 0;
    while s.feed(&headers(id, true, &GET)) && s.feed(&reset(id)) {
        more += 1;
        id += 2;
    }
    assert!(s.reason() == Some(Reason::ENHANCE_YOUR_CALM) && (1_000..2_000).contains(&more), "{more}");
}

#[test]
fn resets_of_a_few_do_not_hurt_the_many() {
    let mut s = Fed::new(Config::mesh_server());
    s.keep = false;
    let mut id = 1;
    for second in 0..60 {
        for _ in 0..2_000 {
            assert!(s.feed(&[headers(id, true, &GET), reset(id)].concat()), "{second}");
            id += 2;
        }
        s.connection.calm();
        s.connection.out.clear();
    }
}

#[test]
fn answered_streams_give_reset_credit_back() {
    let mut s = Fed::server();
    s.keep = false;
    for n in 0..1_000 {
        let (a, b) = (4 * n + 1, 4 * n + 3);
        assert!(s.feed(&[headers(a, true, &GET), headers(b, true, &GET), reset(a)].concat()));
        s.connection.send_response(b, &ok(), &[], true);
        s.connection.out.clear();
    }
}

#[test]
fn provoked_resets_end_the_connection_at_the_limit() {
    for provoke in [frame(8, 0, 1, &[0; 4]), frame(8, 0, 1, &[0x7f, 0xff, 0xff, 0xff]), frame(2, 0, 1, &[0; 3])] {
        let mut s = Fed::server();
        let mut id = 1;
        loop {
            let mut provoke = provoke.clone();
            provoke[5..9].copy_from_slice(&u32::to_be_bytes(id));
            if !s.feed(&[headers(id, false, &POST), provoke].concat()) {
                break;
            }
            assert_eq!(s.connection.streams(), 0);
            id += 2;
        }
        assert_eq!((s.reason(), s.requests), (Some(Reason::ENHANCE_YOUR_CALM), 101));
    }
}

#[test]
fn continuation_floods_end_at_the_limit() {
    for part in [&b""[..], &[0x82; 100]] {
        let mut s = Fed::server();
        let mut count = 0;
        s.feed(&frame(1, 0, 1, b""));
        while s.feed(&frame(9, 0, 1, part)) {
            count += 1;
        }
        assert_eq!((s.reason(), count), (Some(Reason::ENHANCE_YOUR_CALM), 16));
    }
    let mut s = Fed::server();
    let mut bytes = 0;
    s.feed(&frame(1, 0, 1, b""));
    while s.feed(&frame(9, 0, 1, &[0; 8_192])) {
        bytes += 8_192;
    }
    assert_eq!((s.reason(), bytes), (Some(Reason::ENHANCE_YOUR_CALM), 32_768));
}

/// `field` repeated `n` times after GET, as one or more frames.
fn large(n: usize, field: (&str, &str)) -> Vec<u8> {
    let mut fields = GET.to_vec();
    fields.extend(vec![field; n]);
    let bytes = block(&fields);
    let mut parts = bytes.chunks(16_384).peekable();
    let mut out = Vec::new();
    let mut kind = 1;
    while let Some(part) = parts.next() {
        let end = if parts.peek().is_none() { END_HEADERS } else { 0 };
        out.extend(frame(kind, end | if kind == 1 { END_STREAM } else { 0 }, 1, part));
        kind = 9;
    }
    out
}

#[test]
fn the_size_of_a_head_is_limited_exactly() {
    // Pseudo-fields of GET: 7+3, 7+4, 5+1, 10+3 and 32 each.
    let pseudo = 10 + 11 + 6 + 13 + 4 * 32;
    let value = |size: usize| "v".repeat(16_384 - pseudo - 32 - 1 - 1 + size);
    let mut s = Fed::server();
    s.feed(&large(1, ("a", &value(1))));
    assert_eq!((s.requests, s.written().len()), (1, 0));
    let mut s = Fed::server();
    s.feed(&large(1, ("a", &value(2))));
    assert_eq!(s.requests, 0);
    let frames = s.written();
    assert_eq!((frames.len(), frames[0].0, frames[0].1), (1, 1, END_STREAM | END_HEADERS));
    assert!(frames[0].3.ends_with(b"431"));
    let mut s = Fed::server();
    s.feed(&large(100, ("cookie", "a")));
    assert_eq!(s.requests, 1);
    let mut s = Fed::server();
    s.feed(&large(101, ("cookie", "a")));
    assert_eq!((s.requests, s.error), (0, None));
    for name in [":path", ":authority", "cookie"] {
        let mut fields: Vec<(&str, &str)> = GET.iter().copied().filter(|(n, _)| *n != name).collect();
        let long = format!("/{}", "a".repeat(17_000));
        fields.push((name, &long));
        let bytes = block(&fields);
        let mut s = Fed::server();
        s.feed(&[frame(1, 0, 1, &bytes[..16_000]), frame(9, END_HEADERS, 1, &bytes[16_000..])].concat());
        assert_eq!(s.requests, 0);
        assert!(s.written()[0].3.ends_with(b"431"), "{name}");
    }
}

#[test]
fn a_small_block_cannot_become_a_large_head() {
    let mut s = Fed::server();
    // One 4,000-byte value in the table, then 12,000 references to it, a thousand times.
    let mut bomb = block(&GET);
    bomb.extend(b"\x40\x01a\x7f\xa1\x1e");
    bomb.extend([b'x'; 4_000]);
    bomb.extend([0xbe; 12_000]);
    for n in 0..90 {
        s.feed(&frame(1, END_HEADERS, 2 * n + 1, &bomb));
        s.connection.out.clear();
    }
    assert_eq!((s.requests, s.error), (0, None));
    let debug = format!("{:?}", s.scratch);
    assert!(debug.len() < 400_000, "{}", debug.len());
}

#[test]
fn floods_of_frames_without_content_end_the_connection() {
    let open = headers(1, false, &POST);
    for flood in [
        frame(0, 0, 1, b""),
        frame(0, PADDED, 1, b"\x01\0"),
        frame(2, 0, 1, &[0, 0, 0, 0, 0]),
        frame(4, 0, 0, &[]),
        frame(4, 1, 0, &[]),
        frame(6, 0, 0, &[0; 8]),
        frame(6, 1, 0, &[0; 8]),
        frame(7, 0, 0, &[0; 8]),
        frame(8, 0, 0, &[0, 0, 0, 1]),
        frame(8, 0, 1, &[0, 0, 0, 1]),
        frame(77, 0, 0, &[]),
    ] {
        let mut s = Fed::server();
        s.keep = false;
        s.feed(&open);
        let mut count = 0;
        while s.feed(&flood) {
            count += 1;
        }
        assert_eq!(s.reason(), Some(Reason::ENHANCE_YOUR_CALM));
        assert!((990..1_010).contains(&count), "{count} {}", flood.escape_ascii());
        assert!(s.connection.out.len() < 20_000);
    }
}

#[test]
fn a_peer_that_pings_for_every_message_is_no_flood() {
    let mut c = Fed::new(Config::client());
    c.feed(&[frame(4, 0, 0, &[0, 4, 0x7f, 0, 0, 0]), frame(8, 0, 0, &[0x7f, 0, 0, 0])].concat());
    let post = Request { method: b"POST", body: Body::Chunked, ..get() };
    let id = c.connection.send_request(1, &post, &[], false).unwrap();
    for _ in 0..20_000 {
        assert_eq!(c.connection.send_data(id, b"small", false), 5);
        let answer = [frame(6, 0, 0, &[0; 8]), frame(8, 0, 0, &[0, 0, 0, 5]), frame(8, 0, id, &[0, 0, 0, 5])].concat();
        assert!(c.feed(&answer));
        c.connection.out.clear();
    }
}

/// A field's name is held with 16 bits of length: 65,536 more bytes must not make it another name, which HTTP/1 obeys.
#[test]
fn a_name_too_long_to_hold_is_too_large_and_never_another_name() {
    for name in ["transfer-encoding", "connection", "content-length", "l5d-client-id", "host", "a"] {
        let long = name.to_owned() + &"x".repeat(65_536);
        let mut fields = POST.to_vec();
        fields.push((&long, "chunked"));
        let bytes = block(&fields);
        let pieces: Vec<&[u8]> = bytes.chunks(16_000).collect();
        let mut s = Fed::new(Config::mesh_server());
        for (at, piece) in pieces.iter().enumerate() {
            let last = if at + 1 == pieces.len() { END_HEADERS } else { 0 };
            s.feed(&frame(if at == 0 { 1 } else { 9 }, last, 1, piece));
        }
        assert_eq!((s.requests, s.error), (0, None), "{:?}", s.events);
        assert!(s.written()[0].3.ends_with(b"431"), "{name}");
    }
}
