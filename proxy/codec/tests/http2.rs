//! HTTP/2 as a whole: two connections talking, and peers that break every rule (security ).

#![allow(clippy::unwrap_used)]

use codec::h2::{Config, Connection, ConnectionError, PREFACE, Reason, Refused, Role};
use codec::head::StoredFields;
use codec::{Body, Event, Fields, Flow, Form, Request, Response, Scratch, Version};

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// Literal fields without indexing.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            if text.len() < 127 {
                out.push(text.len() as u8);
            } else {
                out.push(127);
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    out.push(rest as u8 | 128);
                    rest >>= 7;
                }
                out.push(rest as u8);
            }
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "web")];
const POST: [(&str, &str); 4] = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "web")];

fn headers(stream: u32, end: bool, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(1, END_HEADERS | u8::from(end), stream, &block(fields))
}

fn reset(stream: u32) -> Vec<u8> {
    frame(3, 0, stream, &[0, 0, 0, 8])
}

/// What a connection said, as text.
fn show(event: &Event<'_>) -> String {
    let list = |fields: &Fields<'_>| {
        fields.iter().map(|(n, v)| format!(" {}={}", n.escape_ascii(), v.escape_ascii())).collect::<String>()
    };
    match event {
        Event::Request { stream, head: h, end } => format!(
            "{} {} {} {} {:?} end={end}{}",
            stream.id,
            h.method.escape_ascii(),
            h.authority.escape_ascii(),
            h.path.escape_ascii(),
            h.body,
            list(&h.fields)
        ),
        Event::Response { stream, head, end } => {
            format!("{} {} {:?} end={end}{}", stream.id, head.status, head.body, list(&head.fields))
        }
        Event::Informational { stream, head } => format!("{} {}{}", stream.id, head.status, list(&head.fields)),
        Event::Data { stream, bytes, end } => format!("{} data {} end={end}", stream.id, bytes.escape_ascii()),
        Event::Trailers { stream, fields } => format!("{} trailers{}", stream.id, list(fields)),
        Event::Reset { stream, reason, remote } => format!("{} reset {} remote={remote}", stream.id, reason.text()),
        Event::GoAway { last, reason } => format!("goaway {last} {}", reason.text()),
        Event::Settings => "settings".into(),
        Event::Pong { data } => format!("pong {data}"),
    }
}

/// A connection fed by hand.
struct Fed {
    connection: Connection,
    scratch: Scratch,
    events: Vec<String>,
    requests: usize,
    error: Option<ConnectionError>,
    keep: bool,
    rest: Vec<u8>,
}

impl Fed {
    fn new(config: Config) -> Self {
        let mut fed = Fed {
            connection: Connection::new(config),
            scratch: Scratch::default(),
            events: Vec::new(),
            requests: 0,
            error: None,
            keep: true,
            rest: Vec::new(),
        };
        if config.role == Role::Server {
            fed.feed(PREFACE);
        }
        fed.feed(&frame(4, 0, 0, &[]));
        fed.feed(&frame(4, 1, 0, &[]));
        fed.events.clear();
        fed.connection.out.clear();
        fed
    }

    fn server() -> Self {
        Fed::new(Config::server())
    }

    /// A client with `n` open GET streams.
    fn client(n: u32) -> Self {
        let mut fed = Fed::new(Config::client());
        for token in 0..n {
            fed.connection.send_request(token, &get(), &[], true).unwrap();
        }
        fed.connection.out.clear();
        fed
    }

    fn feed(&mut self, bytes: &[u8]) -> bool {
        self.rest.extend_from_slice(bytes);
        let mut at = 0;
        while self.error.is_none() {
            match self.connection.next(&self.rest[at..], &mut self.scratch) {
                Err(error) => self.error = Some(error),
                Ok((used, event)) => {
                    at += used;
                    let Some(event) = event else { break };
                    self.requests += usize::from(matches!(event, Event::Request { .. }));
                    if self.keep {
                        self.events.push(show(&event));
                    }
                }
            }
        }
        self.rest.drain(..at);
        self.error.is_none()
    }

    fn reason(&self) -> Option<Reason> {
        self.error.map(|error| error.reason)
    }

    /// Frames written: kind, flags, stream, payload.
    fn written(&mut self) -> Vec<(u8, u8, u32, Vec<u8>)> {
        let out = std::mem::take(&mut self.connection.out);
        let mut rest = &out[..];
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
            let stream = u32::from_be_bytes([rest[5], rest[6], rest[7], rest[8]]);
            frames.push((rest[3], rest[4], stream, rest[9..9 + length].to_vec()));
            rest = &rest[9 + length..];
        }
        frames
    }

    /// Reason of the only frame written, an RST_STREAM.
    fn only_reset(&mut self) -> (u32, Reason) {
        let frames = self.written();
        let [(3, 0, stream, payload)] = &frames[..] else { panic!("{frames:?} {:?}", self.error) };
        (*stream, Reason(u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]])))
    }
}

fn get() -> Request<'static> {
    Request {
        method: b"GET",
        scheme: b"http",
        authority: b"web",
        path: b"/",
        version: Version::Http2,
        persistent: true,
        ..Request::default()
    }
}

fn ok() -> Response<'static> {
    Response { status: 200, version: Version::Http2, body: Body::Chunked, persistent: true, ..Response::default() }
}

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
fn a_server_that_leaves_finishes_what_it_has() {
    let mut s = Fed::server();
    s.feed(&headers(1, true, &GET));
    s.connection.goaway(Reason::NO_ERROR);
    assert_eq!(s.written()[0].3[..4], [0x7f, 0xff, 0xff, 0xff]);
    s.feed(&headers(3, true, &GET));
    s.connection.goaway(Reason::NO_ERROR);
    assert_eq!(s.written()[0].3[..4], [0, 0, 0, 3]);
    s.feed(&headers(5, true, &GET));
    assert_eq!((s.only_reset(), s.requests), ((5, Reason::REFUSED_STREAM), 2));
    assert!(!s.connection.is_finished());
    for id in [1, 3] {
        assert!(s.connection.send_response(id, &ok(), &[], true));
    }
    assert!(s.connection.is_finished());
}

#[test]
fn a_client_hears_which_streams_a_leaving_server_will_not_process() {
    let mut c = Fed::client(4);
    c.feed(&frame(7, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]));
    c.events.sort();
    assert_eq!(
        c.events,
        ["5 reset REFUSED_STREAM remote=true", "7 reset REFUSED_STREAM remote=true", "goaway 3 NO_ERROR"]
    );
    assert_eq!(c.connection.can_open(), Err(Refused::Leaving));
    c.feed(&[headers(1, true, &[(":status", "200")]), headers(3, true, &[(":status", "200")])].concat());
    assert!(c.connection.is_finished() && c.error.is_none());
}

#[test]
fn a_goaway_ends_thousands_of_streams() {
    let mut c = Fed::new(Config::mesh_client());
    c.feed(&frame(4, 0, 0, &[0, 3, 0, 0, 0xff, 0xff]));
    for token in 0..20_000 {
        c.connection.send_request(token, &get(), &[], true).unwrap();
    }
    c.connection.out.clear();
    c.feed(&frame(7, 0, 0, &[0, 0, 0, 9, 0, 0, 0, 0]));
    assert_eq!((c.events.len(), c.connection.streams()), (19_995 + 2, 5));
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
