//! Frames that break a rule of the connection or of one stream (RFC 9113 3.4, 5 and 6).

use codec::h2::{Config, Connection, PREFACE, Reason};
use codec::{Event, Flow, Scratch};

use crate::script::*;

#[test]
fn frames_that_break_the_connection() {
    use frame as f;
    let open = headers(1, false, &POST);
    let with = |after: Vec<u8>| [open.clone(), after].concat();
    let ended = |after: Vec<u8>| [headers(1, true, &GET), reset(1), after].concat();
    let table = [
        (f(0, 0, 0, b"x"), Reason::PROTOCOL_ERROR),
        (f(0, 0, 1, b"x"), Reason::PROTOCOL_ERROR),
        (with(f(0, PADDED, 1, b"\x05abcd")), Reason::PROTOCOL_ERROR),
        (with(f(0, PADDED, 1, b"")), Reason::FRAME_SIZE_ERROR),
        (headers(0, true, &GET), Reason::PROTOCOL_ERROR),
        (headers(2, true, &GET), Reason::PROTOCOL_ERROR),
        ([headers(5, true, &GET), headers(3, true, &GET)].concat(), Reason::PROTOCOL_ERROR),
        (ended(headers(1, true, &GET)), Reason::STREAM_CLOSED),
        (f(1, END_HEADERS | PADDED, 1, b"\x05abcd"), Reason::PROTOCOL_ERROR),
        (f(1, END_HEADERS | 0x20, 1, b"abcd"), Reason::FRAME_SIZE_ERROR),
        (f(1, END_HEADERS, 1, b"\xbe"), Reason::COMPRESSION_ERROR),
        (f(2, 0, 0, &[0; 5]), Reason::PROTOCOL_ERROR),
        (f(2, 0, 3, &[0, 0, 0, 3, 0]), Reason::PROTOCOL_ERROR),
        (f(3, 0, 0, &[0; 4]), Reason::PROTOCOL_ERROR),
        (f(3, 0, 1, &[0; 4]), Reason::PROTOCOL_ERROR),
        (with(f(3, 0, 1, &[0; 3])), Reason::FRAME_SIZE_ERROR),
        (f(4, 0, 1, &[]), Reason::PROTOCOL_ERROR),
        (f(4, 1, 0, &[0; 6]), Reason::FRAME_SIZE_ERROR),
        (f(4, 0, 0, &[0; 5]), Reason::FRAME_SIZE_ERROR),
        (f(4, 0, 0, &[0, 2, 0, 0, 0, 2]), Reason::PROTOCOL_ERROR),
        (f(4, 0, 0, &[0, 4, 0x80, 0, 0, 0]), Reason::FLOW_CONTROL_ERROR),
        (f(4, 0, 0, &[0, 5, 0, 0, 0x3f, 0xff]), Reason::PROTOCOL_ERROR),
        (f(4, 0, 0, &[0, 5, 1, 0, 0, 0]), Reason::PROTOCOL_ERROR),
        (f(4, 0, 0, &[0, 8, 0, 0, 0, 2]), Reason::PROTOCOL_ERROR),
        (
            with([f(8, 0, 1, &[0x7f, 0xff, 0, 0]), f(4, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff])].concat()),
            Reason::FLOW_CONTROL_ERROR,
        ),
        (f(5, 0, 1, &[0; 4]), Reason::PROTOCOL_ERROR),
        (f(6, 0, 1, &[0; 8]), Reason::PROTOCOL_ERROR),
        (f(6, 0, 0, &[0; 7]), Reason::FRAME_SIZE_ERROR),
        (f(7, 0, 1, &[0; 8]), Reason::PROTOCOL_ERROR),
        (f(7, 0, 0, &[0; 7]), Reason::FRAME_SIZE_ERROR),
        (f(8, 0, 0, &[0; 4]), Reason::PROTOCOL_ERROR),
        (f(8, 0, 0, &[0; 3]), Reason::FRAME_SIZE_ERROR),
        (f(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), Reason::FLOW_CONTROL_ERROR),
        (f(8, 0, 9, &[0, 0, 0, 1]), Reason::PROTOCOL_ERROR),
        (f(9, END_HEADERS, 1, b""), Reason::PROTOCOL_ERROR),
        ([f(1, 0, 1, b""), f(6, 0, 0, &[0; 8])].concat(), Reason::PROTOCOL_ERROR),
        ([f(1, 0, 1, b""), f(9, END_HEADERS, 3, b"")].concat(), Reason::PROTOCOL_ERROR),
        ([f(1, 0, 1, b""), f(77, 0, 1, b"")].concat(), Reason::PROTOCOL_ERROR),
        (f(0, 0, 1, &[0; 16_385]), Reason::FRAME_SIZE_ERROR),
        (f(77, 0, 0, &[0; 16_385]), Reason::FRAME_SIZE_ERROR),
    ];
    for (bytes, reason) in table {
        let mut s = Fed::server();
        s.feed(&bytes);
        assert_eq!(s.reason(), Some(reason), "{} {:?}", bytes[..bytes.len().min(60)].escape_ascii(), s.events);
        let last = s.written().pop().unwrap();
        assert_eq!((last.0, &last.3[4..8]), (7, &reason.0.to_be_bytes()[..]));
    }
}

#[test]
fn the_opening_must_be_a_preface_and_settings() {
    let mut c = Connection::new(Config::server());
    let mut scratch = Scratch::default();
    assert!(c.next(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", &mut scratch).is_err());
    let mut c = Connection::new(Config::server());
    let bytes = [&PREFACE[..], &frame(6, 0, 0, &[0; 8])].concat();
    assert_eq!(c.next(&bytes, &mut scratch).unwrap_err().reason, Reason::PROTOCOL_ERROR);
    assert!(c.is_finished() && c.next(&bytes, &mut scratch).is_err());
    let mut c = Connection::new(Config::client());
    assert!(c.out.starts_with(PREFACE));
    assert!(c.next(&frame(4, 1, 0, &[]), &mut scratch).is_err());
}

#[test]
fn frames_that_break_one_stream() {
    let open = headers(1, false, &POST);
    let mut exclusive = vec![0, 0, 0, 1, 16];
    exclusive.extend(block(&GET));
    let table = [
        (frame(8, 0, 1, &[0; 4]), Reason::PROTOCOL_ERROR),
        (frame(8, 0, 1, &[0x7f, 0xff, 0xff, 0xff]), Reason::FLOW_CONTROL_ERROR),
        (frame(2, 0, 1, &[0, 0, 0, 1, 0]), Reason::PROTOCOL_ERROR),
        (frame(2, 0, 1, &[0; 4]), Reason::FRAME_SIZE_ERROR),
        (headers(1, false, &[("a", "b")]), Reason::PROTOCOL_ERROR),
        (headers(1, true, &[(":status", "200")]), Reason::PROTOCOL_ERROR),
        (headers(1, true, &[(":path", "/")]), Reason::PROTOCOL_ERROR),
        (headers(1, true, &[("connection", "close")]), Reason::PROTOCOL_ERROR),
        ([frame(0, END_STREAM, 1, b""), frame(0, 0, 1, b"x")].concat(), Reason::STREAM_CLOSED),
        ([frame(0, END_STREAM, 1, b""), headers(1, true, &[("a", "b")])].concat(), Reason::STREAM_CLOSED),
        (vec![frame(0, 0, 1, &[0; 16_384]); 5].concat(), Reason::FLOW_CONTROL_ERROR),
    ];
    for (bytes, reason) in table {
        let mut s = Fed::server();
        s.feed(&open);
        s.feed(&bytes);
        assert_eq!(s.only_reset(), (1, reason), "{:?}", s.events);
        assert_eq!(s.events.last().unwrap(), &format!("1 reset {} remote=false", reason.text()));
        assert_eq!((s.error, s.connection.streams()), (None, 0));
    }
    let mut s = Fed::server();
    s.feed(&frame(1, END_HEADERS | END_STREAM | 0x20, 1, &exclusive));
    assert_eq!((s.only_reset(), s.events.len()), ((1, Reason::PROTOCOL_ERROR), 0));
}

#[test]
fn more_streams_than_allowed_are_refused() {
    let mut s = Fed::server();
    for n in 0..250 {
        s.feed(&headers(2 * n + 1, false, &POST));
    }
    assert_eq!((s.requests, s.written().len()), (250, 0));
    s.feed(&headers(501, false, &POST));
    assert_eq!((s.only_reset(), s.requests), ((501, Reason::REFUSED_STREAM), 250));
    s.feed(&reset(1));
    s.feed(&headers(503, false, &POST));
    assert_eq!((s.requests, s.connection.streams()), (251, 250));
    // Before it can know.
    let mut eager = Connection::new(Config::server());
    let mut input = [&PREFACE[..], &frame(4, 0, 0, &[])].concat();
    (0..1_001).for_each(|n| input.extend(headers(2 * n + 1, true, &GET)));
    let mut requests = 0;
    let mut count = |event: Event<'_>| {
        requests += usize::from(matches!(event, Event::Request { .. }));
        Flow::Continue
    };
    eager.receive(&input, &mut Scratch::default(), &mut count).unwrap();
    assert_eq!((requests, eager.streams()), (1_000, 1_000));
}

#[test]
fn data_behind_a_reset_is_ignored() {
    let mut s = Fed::server();
    s.feed(&[headers(1, false, &POST), reset(1), frame(0, 0, 1, b"late"), headers(3, true, &GET)].concat());
    assert_eq!(s.only_reset(), (1, Reason::STREAM_CLOSED));
    assert_eq!(s.events, ["1 POST web / Chunked end=false", "1 reset CANCEL remote=true", "3 GET web / None end=true"]);
    let mut s = Fed::server();
    s.feed(&headers(1, false, &POST));
    s.connection.reset(1, Reason::CANCEL);
    s.connection.out.clear();
    s.feed(
        &[frame(0, 0, 1, b"late"), headers(1, true, &[("a", "b")]), reset(1), frame(8, 0, 1, &[0, 0, 0, 1])].concat(),
    );
    assert_eq!((s.events.len(), s.error, s.connection.out.len()), (1, None, 0));
}

#[test]
fn a_peer_that_wants_a_smaller_table_is_told_that_ours_is_empty() {
    let mut s = Fed::server();
    s.feed(&[frame(4, 0, 0, &[0, 1, 0, 0, 0, 0]), headers(1, true, &GET), headers(3, true, &GET)].concat());
    s.connection.out.clear();
    for id in [1, 3] {
        s.connection.send_response(id, &ok(), &[], true);
    }
    let frames = s.written();
    assert_eq!((&frames[0].3[..], &frames[1].3[..]), (&[0x20, 0x88][..], &[0x88][..]));
}
