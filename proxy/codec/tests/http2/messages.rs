//! Requests, responses and trailers: what gets through, and what never does (RFC 9113 8).

use codec::h2::{Config, Connection, PREFACE, Reason};
use codec::{Body, Event, Flow, Form, Request, Response, Scratch, Version};

use crate::script::*;

#[test]
fn a_whole_exchange_is_told_in_order() {
    let mut s = Fed::server();
    let mut post = POST.to_vec();
    post.extend([
        ("content-length", "5"),
        ("te", "trailers"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("expect", "100-continue"),
    ]);
    s.feed(&headers(1, false, &post));
    s.feed(&frame(0, PADDED, 1, b"\x02hel\0\0"));
    s.feed(&frame(0, 0, 1, b"lo"));
    s.feed(&headers(1, true, &[("x-sum", "9"), ("l5d-client-id", "forged"), ("content-length", "1")]));
    assert_eq!(
        s.events,
        [
            "1 POST web / Length(5) end=false content-length=5 te=trailers cookie=a=1 cookie=b=2 expect=100-continue",
            "1 data hel end=false",
            "1 data lo end=false",
            "1 trailers x-sum=9",
        ]
    );
    assert_eq!(s.error, None);
}

#[test]
fn where_the_input_is_cut_never_matters() {
    let mut script = PREFACE.to_vec();
    script.extend(frame(4, 0, 0, &[0, 4, 0, 1, 0, 0]));
    script.extend(headers(1, false, &POST));
    script.extend(frame(0, PADDED, 1, b"\x03some\0\0\0"));
    script.extend(frame(6, 0, 0, b"12345678"));
    let get = block(&GET);
    script.extend(frame(1, END_STREAM, 3, &get[..7]));
    script.extend(frame(9, 0, 3, &get[7..9]));
    script.extend(frame(9, END_HEADERS, 3, &get[9..]));
    script.extend(frame(0, PADDED | END_STREAM, 1, b"\x02body\0\0"));
    script.extend(frame(99, 255, 7, b"what"));
    script.extend(frame(7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0, 1]));
    let run = |pieces: &[&[u8]]| {
        let mut connection = Connection::new(Config::server());
        let (mut scratch, mut buffer) = (Scratch::default(), Vec::new());
        let (mut events, mut body) = (Vec::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                let (used, event) = connection.next(&buffer, &mut scratch).unwrap();
                let more = event.is_some();
                match event {
                    Some(Event::Data { bytes, end, .. }) => {
                        body.extend_from_slice(bytes);
                        events.extend(end.then(|| "end".to_owned()));
                    }
                    Some(event) => events.push(show(&event)),
                    None => {}
                }
                buffer.drain(..used);
                if !more {
                    break;
                }
            }
        }
        (events, body, connection.out)
    };
    let whole = run(&[&script]);
    assert_eq!(whole.1, b"somebody");
    assert_eq!(
        whole.0,
        ["settings", "1 POST web / Chunked end=false", "3 GET web / None end=true", "end", "goaway 0 NO_ERROR"]
    );
    for cut in 0..=script.len() {
        assert_eq!(run(&[&script[..cut], &script[cut..]]), whole, "{cut}");
    }
    assert_eq!(run(&script.chunks(1).collect::<Vec<_>>()), whole);
}

#[test]
fn malformed_requests_never_get_through() {
    let bad: &[&[(&str, &str)]] = &[
        &[(":method", "GET"), (":scheme", "http"), (":path", "/a\r\nb")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "/a b")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "a")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "*")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "http://a/")],
        &[(":method", "G T"), (":scheme", "http"), (":path", "/")],
        &[(":method", ""), (":scheme", "http"), (":path", "/")],
        &[(":method", "GET"), (":scheme", ""), (":path", "/")],
        &[(":method", "GET"), (":scheme", "ht tp"), (":path", "/")],
        &[(":method", "GET"), (":scheme", "http")],
        &[(":method", "GET"), (":path", "/")],
        &[(":scheme", "http"), (":path", "/")],
        &[(":method", "GET"), (":method", "GET"), (":scheme", "http"), (":path", "/")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":status", "200")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":other", "x")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":protocol", "websocket")],
        &[(":method", "CONNECT"), (":scheme", "http"), (":path", "/"), (":authority", "a:1")],
        &[(":method", "CONNECT")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "u@a")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a b")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a/b")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a"), ("host", "b")],
        &[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "a"), ("host", "a")],
        &[(":method", "GET"), (":scheme", "http"), ("a", "b"), (":path", "/")],
    ];
    let fields: &[(&str, &str)] = &[
        ("", "x"),
        ("A", "x"),
        ("a b", "x"),
        ("a:", "x"),
        ("a\r\nb", "x"),
        ("a\0", "x"),
        ("\u{e9}", "x"),
        ("a", "x\r\ny: z"),
        ("a", "x\ny"),
        ("a", "x\ry"),
        ("a", "x\0y"),
        ("a", "\x1b"),
        ("a", "\x7f"),
        ("a", " x"),
        ("a", "x\t"),
        ("connection", "close"),
        ("keep-alive", "5"),
        ("proxy-connection", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
        ("content-length", "-1"),
        ("content-length", "1, 1"),
        ("content-length", "5"),
    ];
    let more = fields.iter().map(|field| [&GET[..], &[*field]].concat());
    for fields in bad.iter().map(|fields| fields.to_vec()).chain(more) {
        let mut s = Fed::server();
        s.feed(&headers(1, true, &fields));
        assert_eq!((s.only_reset(), s.events.len()), ((1, Reason::PROTOCOL_ERROR), 0), "{fields:?}");
        s.feed(&headers(3, true, &GET));
        assert_eq!(s.events.len(), 1);
    }
}

/// The head of the first request among `fields`, given to `check`; false when it was refused.
fn understood(config: Config, end: bool, fields: &[(&str, &str)], check: impl Fn(&Request<'_>)) -> bool {
    let mut s = Fed::new(config);
    match s.connection.next(&headers(1, end, fields), &mut s.scratch).unwrap().1 {
        Some(Event::Request { head, .. }) => check(&head),
        Some(other) => panic!("{}", show(&other)),
        None => return false,
    }
    true
}

#[test]
fn everything_a_request_says_is_understood() {
    let server = Config::server();
    let base = [(":scheme", "https"), (":path", "/a?b"), (":method", "PUT")];
    let with = |more: &[(&'static str, &'static str)]| [&base[..], more].concat();
    let ok = understood(
        server,
        false,
        &with(&[("host", "web:81"), ("te", "trailers"), ("expect", "100-Continue")]),
        |head| {
            assert_eq!(
                (head.method, head.scheme, head.authority, head.path),
                (&b"PUT"[..], &b"https"[..], &b"web:81"[..], &b"/a?b"[..])
            );
            assert!(
                head.te_trailers && head.expect_continue && head.form == Form::Origin && head.body == Body::Chunked
            );
            assert_eq!(
                (head.host(), head.port(), head.path_and_query()),
                (&b"web"[..], Some(81), (&b"/a"[..], &b"b"[..]))
            );
        },
    );
    assert!(ok);
    assert!(understood(server, true, &with(&[("expect", "other")]), |head| {
        assert!(!head.te_trailers && !head.expect_continue && head.body == Body::None && head.authority.is_empty());
    }));
    assert!(understood(
        server,
        true,
        &with(&[("content-length", "0"), ("content-type", "application/grpc+proto")]),
        |head| {
            assert!(head.body == Body::Length(0) && head.is_grpc());
        }
    ));
    assert!(!understood(server, true, &with(&[("content-length", "1")]), |_| ()));
    assert!(understood(server, false, &with(&[(":authority", "a"), ("host", "A"), ("content-length", "1")]), |head| {
        assert_eq!((head.authority, head.body), (&b"a"[..], Body::Length(1)));
    }));
    assert!(understood(server, true, &[(":method", "OPTIONS"), (":scheme", "http"), (":path", "*")], |head| {
        assert_eq!((head.form, head.path), (Form::Asterisk, &b"*"[..]));
    }));
    let connect = [(":method", "CONNECT"), (":authority", "a:443")];
    assert!(understood(server, false, &connect, |head| {
        assert_eq!(
            (head.form, head.scheme, head.path, head.authority),
            (Form::Authority, &b"http"[..], &b""[..], &b"a:443"[..])
        );
    }));
    for more in [("content-length", "1"), (":path", "/"), (":scheme", "http")] {
        let mut fields = vec![connect[0], connect[1]];
        fields.insert(if more.0 == "content-length" { 2 } else { 0 }, more);
        assert!(!understood(server, false, &fields, |_| ()), "{more:?}");
    }
    assert!(!understood(server, false, &[(":method", "CONNECT"), (":authority", "a")], |_| ()));
}

#[test]
fn extended_connect_is_for_those_who_allow_it() {
    let fields = |method, protocol| {
        [(":method", method), (":scheme", "http"), (":path", "/ws"), (":authority", "a"), (":protocol", protocol)]
    };
    let open = Config { extended_connect: true, ..Config::server() };
    assert!(Connection::new(open).out.windows(6).any(|w| w == [0, 8, 0, 0, 0, 1]));
    assert!(understood(open, false, &fields("CONNECT", "websocket"), |head| {
        assert_eq!((head.protocol, head.path, head.form), (&b"websocket"[..], &b"/ws"[..], Form::Origin));
    }));
    assert!(understood(open, false, &fields("CONNECT", "a/b"), |_| ()));
    for (config, method, protocol) in [
        (open, "GET", "websocket"),
        (open, "CONNECT", ""),
        (open, "CONNECT", "a b"),
        (Config::server(), "CONNECT", "websocket"),
    ] {
        assert!(!understood(config, false, &fields(method, protocol), |_| ()), "{method} {protocol}");
    }
    let mut c = Fed::new(Config::client());
    let head = Request { method: b"CONNECT", protocol: b"websocket", ..get() };
    c.connection.send_request(1, &head, &[], false).unwrap();
    let mut s = Fed::new(open);
    s.feed(&c.connection.out);
    assert_eq!(s.requests, 1);
}

#[test]
fn bodies_must_have_the_length_that_was_promised() {
    let mut post = POST.to_vec();
    post.push(("content-length", "3"));
    for (frames, heard) in [
        (vec![frame(0, 0, 1, b"abcd")], 1),
        (vec![frame(0, END_STREAM, 1, b"ab")], 1),
        (vec![frame(0, 0, 1, b"ab"), frame(0, END_STREAM, 1, b"cd")], 2),
        (vec![frame(0, 0, 1, b"ab"), headers(1, true, &[("a", "b")])], 2),
    ] {
        let mut s = Fed::server();
        s.feed(&headers(1, false, &post));
        s.feed(&frames.concat());
        assert_eq!(s.only_reset(), (1, Reason::PROTOCOL_ERROR));
        assert_eq!(s.events.len(), heard + 1);
        assert_eq!(s.events.last().unwrap(), "1 reset PROTOCOL_ERROR remote=false");
        assert_eq!(s.connection.streams(), 0);
    }
    post.push(("content-length", "4"));
    let mut s = Fed::server();
    s.feed(&headers(1, false, &post));
    assert_eq!(s.only_reset(), (1, Reason::PROTOCOL_ERROR));
}

#[test]
fn responses_are_checked_like_requests() {
    for fields in [
        &[("a", "b")][..],
        &[(":status", "20")],
        &[(":status", "2000")],
        &[(":status", "099")],
        &[(":status", "101")],
        &[(":status", "100")],
        &[(":status", "200"), (":status", "200")],
        &[(":status", "200"), (":path", "/")],
        &[(":status", "200"), ("connection", "close")],
        &[(":status", "200"), ("Upper", "x")],
        &[(":status", "200"), ("content-length", "5")],
    ] {
        let mut c = Fed::client(1);
        c.feed(&headers(1, true, fields));
        assert_eq!(c.only_reset(), (1, Reason::PROTOCOL_ERROR), "{fields:?}");
        assert_eq!(c.events, ["1 reset PROTOCOL_ERROR remote=false"]);
    }
    let mut c = Fed::client(1);
    c.feed(&frame(0, 0, 1, b"early"));
    assert_eq!(c.only_reset(), (1, Reason::PROTOCOL_ERROR));
    for frame in [
        headers(3, true, &[(":status", "200")]),
        headers(2, true, &[(":status", "200")]),
        frame(5, 4, 1, &[0, 0, 0, 2, 0x82]),
        frame(4, 0, 0, &[0, 2, 0, 0, 0, 1]),
    ] {
        let mut c = Fed::client(1);
        c.feed(&frame);
        assert_eq!(c.reason(), Some(Reason::PROTOCOL_ERROR));
    }
}

#[test]
fn every_status_crosses_both_protocols() {
    for status in (200..1_000u16).chain([103, 199]) {
        let mut s = Fed::server();
        s.feed(&headers(1, true, &GET));
        s.connection.out.clear();
        assert!(s.connection.send_response(1, &Response { status, ..ok() }, &[], true));
        let mut c = Fed::client(1);
        let end = status >= 200;
        match c.connection.next(&s.connection.out, &mut c.scratch).unwrap().1.unwrap() {
            Event::Response { head, end: true, .. } if end => assert!(head.status == status && head.persistent),
            Event::Informational { head, .. } if !end => assert_eq!(head.status, status),
            other => panic!("{}", show(&other)),
        }
        let mut out = Vec::new();
        let to = codec::h1::To { version: Version::Http11, answer: codec::h1::Answer::Other, persistent: true };
        codec::h1::write::response(&mut out, &Response { status, body: Body::None, ..ok() }, &[], to);
        let mut reader = codec::h1::Reader::responses();
        reader.answer(codec::h1::Answer::Other);
        match reader.next(&out, &mut c.scratch).unwrap().1.unwrap() {
            Event::Response { head, end: true, .. } if end => assert_eq!(head.status, status),
            Event::Informational { head, .. } if !end => assert_eq!(head.status, status),
            other => panic!("{}", show(&other)),
        }
    }
}

#[test]
fn informational_responses_and_bodiless_ones() {
    let mut c = Fed::client(2);
    c.feed(
        &[
            headers(1, false, &[(":status", "103"), ("link", "x")]),
            headers(1, true, &[(":status", "204"), ("content-length", "0")]),
        ]
        .concat(),
    );
    assert_eq!(c.events, ["1 103 link=x", "1 204 None end=true content-length=0"]);
    let head = Request { method: b"HEAD", ..get() };
    let id = c.connection.send_request(9, &head, &[], true).unwrap();
    c.feed(&headers(id, true, &[(":status", "200"), ("content-length", "500")]));
    assert_eq!(c.events.last().unwrap(), &format!("{id} 200 None end=true content-length=500"));
    let id = c.connection.send_request(9, &head, &[], true).unwrap();
    c.connection.out.clear();
    c.feed(&[headers(id, false, &[(":status", "200")]), frame(0, 0, id, b"x")].concat());
    assert_eq!(c.only_reset(), (id, Reason::PROTOCOL_ERROR));
}

#[test]
fn a_sink_hears_the_same_and_may_pause() {
    let mut s = Fed::server();
    let input = [headers(1, false, &POST), frame(0, END_STREAM, 1, b"hello"), headers(3, true, &GET)].concat();
    let mut heard = Vec::new();
    let first = s
        .connection
        .receive(&input, &mut s.scratch, &mut |event: Event<'_>| {
            heard.push(show(&event));
            if heard.len() == 2 { Flow::Pause } else { Flow::Continue }
        })
        .unwrap();
    assert_eq!(first, input.len() - headers(3, true, &GET).len());
    let mut rest = |event: Event<'_>| {
        heard.push(show(&event));
        Flow::Continue
    };
    assert_eq!(s.connection.receive(&input[first..], &mut s.scratch, &mut rest).unwrap(), input.len() - first);
    assert_eq!(heard, ["1 POST web / Chunked end=false", "1 data hello end=true", "3 GET web / None end=true"]);
}
