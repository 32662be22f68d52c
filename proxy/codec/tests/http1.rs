//! HTTP/1 as a whole: what is accepted, what is refused, and that the place where input is cut never matters.

#![allow(clippy::unwrap_used)]

use codec::h1::{Answer, Error, Framing, Reader, State, To, write};
use codec::head::{Body, StoredFields};
use codec::{Event, Fields, Flow, Form, Known, Request, Response, Scratch, Version};

/// Everything that was said, body bytes joined.
#[derive(Debug, Default, PartialEq, Clone)]
struct Log {
    heads: Vec<String>,
    body: Vec<u8>,
    trailers: Option<String>,
    ends: usize,
    error: Option<Error>,
    rest: Vec<u8>,
}

fn show(fields: &Fields<'_>) -> String {
    fields.iter().map(|(n, v)| format!("{}={}", n.escape_ascii(), v.escape_ascii())).collect::<Vec<_>>().join("|")
}

impl Log {
    fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::Request { head: h, end, .. } => {
                self.heads.push(format!(
                    "{} {} {} {:?} {:?} {:?} keep={} up={} {}",
                    h.method.escape_ascii(),
                    h.authority.escape_ascii(),
                    h.path.escape_ascii(),
                    h.form,
                    h.version,
                    h.body,
                    h.persistent,
                    h.upgrade.escape_ascii(),
                    show(&h.fields)
                ));
                self.ends += usize::from(*end);
            }
            Event::Response { head: h, end, .. } => {
                self.heads.push(format!(
                    "{} {:?} {:?} keep={} {}",
                    h.status,
                    h.version,
                    h.body,
                    h.persistent,
                    show(&h.fields)
                ));
                self.ends += usize::from(*end);
            }
            Event::Informational { head: h, .. } => self.heads.push(format!("{} {}", h.status, show(&h.fields))),
            Event::Data { bytes, end, .. } => {
                self.body.extend_from_slice(bytes);
                self.ends += usize::from(*end);
            }
            Event::Trailers { fields, .. } => {
                self.trailers = Some(show(fields));
                self.ends += 1;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Feeds `pieces` one after the other; what is unused stays in front of the next piece.
fn read(mut reader: Reader, pieces: &[&[u8]], finish: bool) -> Log {
    let mut log = Log::default();
    let mut scratch = Scratch::default();
    let mut buffer = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let mut ended = false;
            let used = match reader.next(&buffer, &mut scratch) {
                Err(error) => {
                    log.error = Some(error);
                    return log;
                }
                Ok((used, None)) => {
                    buffer.drain(..used);
                    break;
                }
                Ok((used, Some(event))) => {
                    log.note(&event);
                    ended |= reader.state() == State::Done;
                    used
                }
            };
            buffer.drain(..used);
            if ended {
                reader.proceed();
            }
        }
    }
    if finish {
        match reader.finish(buffer.len()) {
            Ok(Some(event)) => log.note(&event),
            Ok(None) => {}
            Err(error) => log.error = Some(error),
        }
    }
    log.rest = buffer;
    log
}

fn requests(input: &[u8]) -> Log {
    read(Reader::requests(), &[input], true)
}

fn responses(answer: Answer, input: &[u8]) -> Log {
    let mut reader = Reader::responses();
    reader.answer(answer);
    read(reader, &[input], true)
}

fn request_error(input: impl AsRef<[u8]>) -> Option<Error> {
    let whole = requests(input.as_ref());
    assert!(whole.heads.len() <= 1, "{}", input.as_ref().escape_ascii());
    if input.as_ref().len() < 1_000 {
        let bytes: Vec<&[u8]> = input.as_ref().chunks(1).collect();
        assert_eq!(read(Reader::requests(), &bytes, true).error, whole.error, "{}", input.as_ref().escape_ascii());
    }
    whole.error
}

/// A request with these field lines.
fn with(lines: &str) -> String {
    format!("POST /x HTTP/1.1\r\n{lines}\r\n")
}

#[test]
fn a_request_keeps_case_order_and_duplicates() {
    let log = requests(b"GET /a?b=%20 HTTP/1.1\r\nHost: web:80\r\nX-A: 1\r\nx-a:\t2 \r\nAccept: */*\r\n\r\n");
    assert_eq!(log.heads, ["GET web:80 /a?b=%20 Origin Http11 None keep=true up= Host=web:80|X-A=1|x-a=2|Accept=*/*"]);
    assert_eq!((log.ends, log.error), (1, None));
}

#[test]
fn every_target_form_is_read() {
    let log = requests(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\nGET HTTP://a:80 HTTP/1.1\r\nHost: A\r\n\r\nCONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    assert_eq!(
        log.heads,
        [
            "OPTIONS a * Asterisk Http11 None keep=true up= Host=a",
            "GET a:80 / Absolute Http11 None keep=true up= Host=A",
            "CONNECT a:443  Authority Http11 None keep=true up= Host=a:443",
        ]
    );
}

#[test]
fn start_lines_that_are_not_http_are_refused() {
    use Error::*;
    let host = "Host: a\r\n\r\n";
    let table = [
        ("GET  / HTTP/1.1\r\n", Line),
        (" GET / HTTP/1.1\r\n", Line),
        ("GET /  HTTP/1.1\r\n", Line),
        ("GET / HTTP/1.1 \r\n", Line),
        ("GET / HTTP/1.1\n", Line),
        ("GET /\tx HTTP/1.1\r\n", Line),
        ("GET /\0 HTTP/1.1\r\n", Line),
        ("GET /\x7f HTTP/1.1\r\n", Line),
        ("G(T / HTTP/1.1\r\n", Line),
        ("GET a HTTP/1.1\r\n", Line),
        ("GET * HTTP/1.1\r\n", Line),
        ("GET ?x HTTP/1.1\r\n", Line),
        ("GET ftp://a/ HTTP/1.1\r\n", Line),
        ("GET http://a?x HTTP/1.1\r\n", Line),
        ("GET http://u@a/ HTTP/1.1\r\n", Host),
        ("GET http:///x HTTP/1.1\r\n", Host),
        ("CONNECT a HTTP/1.1\r\n", Line),
        ("CONNECT /x HTTP/1.1\r\n", Line),
        ("GET / http/1.1\r\n", Line),
        ("GET / HTTP/11\r\n", Line),
        ("GET / HTTP/1.12\r\n", Line),
        ("GET /\r\n", Line),
        ("GET / HTTP/2.0\r\n", Version),
        ("GET / HTTP/0.9\r\n", Version),
        ("GET / HTTP/1.2\r\n", Version),
        ("\r\n\r\nGET / HTTP/1.1\r\n", Line),
    ];
    for (line, error) in table {
        assert_eq!(request_error(format!("{line}{host}")), Some(error), "{line:?}");
    }
    assert_eq!(request_error(format!("{} / HTTP/1.1\r\n{host}", "A".repeat(65))), Some(Line));
    assert_eq!(
        (Line.status(), Version.status(), Coding.status(), TooLarge.status(), TooMany.status()),
        (400, 505, 501, 431, 431)
    );
}

#[test]
fn one_empty_line_before_a_request_is_forgiven() {
    assert_eq!(requests(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n").heads.len(), 2);
}

#[test]
fn field_lines_that_could_be_read_two_ways_are_refused() {
    for lines in [
        "Host : a\r\n",
        "Host: a\r\n x: y\r\n",
        "Host: a\r\n\tfold\r\n",
        "Host: a\nX: y\r\n",
        "Host: a\r\nX: y\n",
        "Host: a\r\nX: a\rb\r\n",
        "Host: a\r\nX: a\0b\r\n",
        "Host: a\r\nX: a\x0bb\r\n",
        "Host: a\r\nX: a\x7fb\r\n",
        "Host: a\r\n: y\r\n",
        "Host: a\r\nX y\r\n",
        "Host: a\r\nX\r\n",
        "Host: a\r\nX@Y: z\r\n",
        "Host: a\r\n\rX: z\r\n",
    ] {
        assert_eq!(request_error(with(lines)), Some(Error::Field), "{lines:?}");
    }
    assert_eq!(request_error(b"GET / HTTP/1.1\r\nHost: a\r\nX\xff: a\r\n\r\n"), Some(Error::Field));
}

#[test]
fn values_with_high_bytes_pass_as_they_are() {
    let log = requests(b"GET /\xff\x80 HTTP/1.1\r\nHost: a\r\nX: \x80\xff\tz\r\nConnection: \xfe\r\n\r\n");
    assert_eq!(log.error, None);
    assert!(log.heads[0].contains("/\\xff\\x80") && log.heads[0].contains("X=\\x80\\xff\\tz"));
}

#[test]
fn contradictory_lengths_are_refused() {
    use Error::*;
    let table = [
        ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", Framing),
        ("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", Framing),
        ("Content-Length: 1\r\nContent-Length: 2\r\n", Framing),
        ("Content-Length: 1, 1\r\n", Framing),
        ("Content-Length: +1\r\n", Framing),
        ("Content-Length: -1\r\n", Framing),
        ("Content-Length: 0x1\r\n", Framing),
        ("Content-Length: 1_0\r\n", Framing),
        ("Content-Length: 1 0\r\n", Framing),
        ("Content-Length: \r\n", Framing),
        ("Content-Length: 18446744073709551616\r\n", Framing),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Framing),
        ("Transfer-Encoding: chunked, chunked\r\n", Framing),
        ("Transfer-Encoding: ,chunked\r\n", Framing),
        ("Transfer-Encoding: chunked,\r\n", Framing),
        ("Transfer-Encoding: chunked, identity\r\n", Framing),
        ("Transfer-Encoding: gzip, chunked\r\n", Framing),
        ("Transfer-Encoding:\r\n", Framing),
        ("Transfer-Encoding: gzip\r\n", Coding),
        ("Transfer-Encoding: identity\r\n", Coding),
        ("Transfer-Encoding: xchunked\r\n", Coding),
        ("Transfer-Encoding: chunked;q=1\r\n", Coding),
        ("Transfer-Encoding: \"chunked\"\r\n", Coding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n", Framing),
    ];
    for (lines, error) in table {
        assert_eq!(request_error(with(&format!("Host: a\r\n{lines}"))), Some(error), "{lines:?}");
        let head = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
        assert_eq!(responses(Answer::Other, head.as_bytes()).error, Some(error), "{lines:?}");
    }
    assert_eq!(request_error("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Some(Framing));
    assert_eq!(request_error("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 3\r\n\r\n"), Some(Framing));
}

#[test]
fn equal_lengths_are_one_length() {
    let log = requests(with("Host: a\r\nContent-Length: 2\r\nContent-Length: 02\r\n").as_bytes());
    assert!(log.heads[0].ends_with("Host=a|Content-Length=2"), "{:?}", log.heads);
}

#[test]
fn hosts_that_could_mean_two_places_are_refused() {
    for lines in [
        "",
        "Host:\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nhost: b\r\n",
        "Host: a, b\r\n",
        "Host: a b\r\n",
        "Host: u@a\r\n",
        "Host: a:b\r\n",
        "Host: a:80:80\r\n",
        "Host: a/b\r\n",
        "Host: a?b\r\n",
        "Host: a#b\r\n",
        "Host: a\\b\r\n",
        "Host: http://a\r\n",
        "Host: [::1\r\n",
        "Host: [fe80::1%25eth0]\r\n",
        "Host: fe80::1%eth0\r\n",
    ] {
        assert_eq!(request_error(with(lines)), Some(Error::Host), "{lines:?}");
    }
    for (target, host) in [("http://a/", "b"), ("http://a:81/", "a"), ("https://a/", "b"), ("http://a/", "a.")] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(request_error(head), Some(Error::Host), "{target} {host}");
    }
    assert_eq!(request_error("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"), Some(Error::Host));
    assert_eq!(request_error("GET / HTTP/1.0\r\n\r\n"), None);
}

#[test]
fn nominated_fields_end_here_and_what_is_ours_survives() {
    let log = requests(
        with("Host: web\r\nConnection: close, x-secret ,HOST, content-length,l5d-client-id\r\nX-Secret: 1\r\nContent-Length: 0\r\nl5d-client-id: me\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip, trailers\r\nUpgrade: h2c, foo\r\nHTTP2-Settings: AAA\r\nB: 2\r\n")
            .as_bytes(),
    );
    assert_eq!(log.heads, ["POST web /x Origin Http11 Length(0) keep=false up= B=2"]);
    let mut scratch = Scratch::default();
    let input = with("Host: web\r\nConnection: host, content-length\r\nContent-Length: 3\r\n");
    let Ok((_, Some(Event::Request { head, .. }))) = Reader::requests().next(input.as_bytes(), &mut scratch) else {
        panic!()
    };
    let mut out = Vec::new();
    write::request(&mut out, &head, &[(b"l5d-client-id", b"verified")], true);
    assert_eq!(out, b"POST /x HTTP/1.1\r\nhost: web\r\ncontent-length: 3\r\nl5d-client-id: verified\r\n\r\n");
}

#[test]
fn what_a_head_says_about_its_connection_is_understood() {
    for (version, lines, persistent, expects, trailers) in [
        ("1.1", "", true, false, false),
        ("1.1", "Connection: keep-alive, Close\r\n", false, false, false),
        ("1.1", "Expect: 100-Continue\r\nConnection: TE\r\nTE: gzip\r\nTE: x, Trailers\r\n", true, true, true),
        ("1.1", "Expect: other\r\nTE: gzip\r\n", true, false, false),
        ("1.0", "Expect: 100-continue\r\nTE: trailers\r\n", false, false, false),
        ("1.0", "Connection: Keep-Alive\r\n", true, false, false),
        ("1.0", "Connection: keep-alive, close\r\n", false, false, false),
    ] {
        let input = format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n");
        let mut scratch = Scratch::default();
        let Ok((_, Some(Event::Request { head, .. }))) = Reader::requests().next(input.as_bytes(), &mut scratch) else {
            panic!("{input}")
        };
        let said = (head.persistent, head.expect_continue, head.te_trailers);
        assert_eq!(said, (persistent, expects, trailers), "{input}");
        let mut reader = Reader::responses();
        reader.answer(Answer::Other);
        let input = format!("HTTP/{version} 200 Very Fine\r\nContent-Length: 0\r\n{lines}\r\n");
        let Ok((_, Some(Event::Response { head, .. }))) = reader.next(input.as_bytes(), &mut scratch) else {
            panic!("{input}")
        };
        assert_eq!((head.persistent, head.reason), (persistent, &b"Very Fine"[..]), "{input}");
    }
    let longest = format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(64));
    assert_eq!(request_error(longest), None);
}

#[test]
fn upgrades_pass_except_to_http2() {
    let head = |value: &str, nominated: &str| {
        let log = requests(with(&format!("Host: a\r\nUpgrade: {value}\r\nConnection: {nominated}\r\n")).as_bytes());
        log.heads[0].clone()
    };
    assert!(head("websocket", "keep-alive, Upgrade").contains("up=websocket "));
    assert!(head("websocket", "close").contains("up= "));
    assert!(head("h2c", "Upgrade, HTTP2-Settings").contains("up= "));
    assert!(head("websocket, H2C", "Upgrade").contains("up= "));
    assert!(requests(b"GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n").heads[0].contains("up= "));
}

#[test]
fn bytes_behind_an_upgrade_wait_for_its_answer() {
    let mut scratch = Scratch::default();
    let mut reader = Reader::requests();
    let input = b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let (used, event) = reader.next(input, &mut scratch).unwrap();
    assert!(matches!(event, Some(Event::Request { .. })) && reader.state() == State::Done);
    assert_eq!(reader.next(&input[used..], &mut scratch).unwrap().0, 0);
    let mut refused = Reader::requests();
    refused.next(input, &mut scratch).unwrap();
    refused.proceed();
    assert!(
        matches!(refused.next(&input[used..], &mut scratch).unwrap().1, Some(Event::Request { head, .. }) if head.path == b"/hidden")
    );
    reader.tunnel();
    assert!(
        matches!(reader.next(&input[used..], &mut scratch).unwrap().1, Some(Event::Data { bytes, end: false, .. }) if bytes == &input[used..])
    );
}

#[test]
fn chunk_syntax_is_exact() {
    let head = with("Host: a\r\nTransfer-Encoding: chunked\r\n");
    let good = requests(format!("{head}5;a=\"b\"\r\nhello\r\n00A\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n").as_bytes());
    assert_eq!((good.error, good.trailers.as_deref(), good.ends), (None, Some("X-T=1"), 1));
    assert_eq!(good.body, b"hello0123456789");
    for body in [
        "+5\r\nhello\r\n",
        "-5\r\n",
        "0x5\r\nhello\r\n",
        "5_0\r\n",
        "\r\n",
        ";x\r\n",
        " 5\r\nhello\r\n",
        "5 \r\nhello\r\n",
        "5 ;x\r\nhello\r\n",
        "5\nhello\r\n",
        "5\r\nhello\n",
        "5\r\nhellox\r\n",
        "5\r\nhello\r\n\r\n",
        "5;a\rb\r\nhello\r\n",
        "5;a\nb\r\nhello\r\n",
        "5;\x00\r\nhello\r\n",
        "10000000000000000\r\n",
        "00000000000000005\r\nhello\r\n",
        "5\r\rhello",
        "g\r\n",
    ] {
        assert_eq!(requests(format!("{head}{body}").as_bytes()).error, Some(Error::Chunk), "{body:?}");
    }
    for trailers in ["X: y\n\r\n", " X: y\r\n\r\n", "X : y\r\n\r\n", "\nX: y\r\n\r\n"] {
        assert_eq!(requests(format!("{head}0\r\n{trailers}").as_bytes()).error, Some(Error::Field), "{trailers:?}");
    }
    assert_eq!(requests(format!("{head}5\r\nhel").as_bytes()).error, Some(Error::Truncated));
    let extensions =
        |size: usize| format!("{head}1;{}\r\nx\r\n1;{}\r\nx\r\n0\r\n\r\n", "x".repeat(size), "x".repeat(36));
    assert_eq!(requests(extensions(65_500).as_bytes()).error, None);
    assert_eq!(requests(extensions(65_501).as_bytes()).error, Some(Error::TooLarge));
    let padded = format!("{head}0000000000000005\r\nhello\r\n0000000000000000\r\n\r\n");
    assert_eq!(requests(padded.as_bytes()).body, b"hello");
    let trailers = format!("{head}0\r\n{}\r\n", "X: y\r\n".repeat(101));
    assert_eq!(requests(trailers.as_bytes()).error, Some(Error::TooMany));
    let trailers = format!("{head}0\r\nX: {}\r\n\r\n", "y".repeat(70_000));
    assert_eq!(requests(trailers.as_bytes()).error, Some(Error::TooLarge));
}

#[test]
fn the_next_request_begins_where_the_body_ends() {
    for length in 0..4 {
        let body = &"xyz"[..length];
        let one = format!("{}{body}", with(&format!("Host: a\r\nContent-Length: {length}\r\n")));
        let log = requests(one.repeat(3).as_bytes());
        assert_eq!((log.heads.len(), log.ends, log.error), (3, 3, None));
        assert_eq!(log.body, body.repeat(3).as_bytes());
        let one = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        let log = responses(Answer::Other, one.as_bytes());
        assert_eq!((log.heads.len(), log.ends, log.error), (1, 1, None));
    }
}

#[test]
fn trailers_that_would_change_the_message_are_dropped() {
    let head = with("Host: a\r\nTransfer-Encoding: chunked\r\n");
    let log = requests(
        format!(
            "{head}0\r\nHost: b\r\nContent-Length: 5\r\nL5D-Client-Id: x\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        .as_bytes(),
    );
    assert_eq!(log.trailers.as_deref(), Some("X=y"));
}

#[test]
fn heads_have_a_size() {
    let fields = |n: usize| with(&format!("Host: a\r\n{}", "A: b\r\n".repeat(n - 1)));
    assert_eq!(request_error(fields(100)), None);
    assert_eq!(request_error(fields(101)), Some(Error::TooMany));
    let sized = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(n - 32));
    assert_eq!(sized(1000).len(), 1000);
    assert_eq!(request_error(sized(65_536)), None);
    assert_eq!(request_error(sized(65_537)), Some(Error::TooLarge));
    let mut scratch = Scratch::default();
    let unfinished = &sized(65_537).into_bytes()[..65_536];
    assert_eq!(Reader::requests().next(unfinished, &mut scratch).err(), Some(Error::TooLarge));
    assert!(matches!(Reader::requests().next(&unfinished[..65_535], &mut scratch), Ok((0, None))));
    assert_eq!(request_error(format!("GET /{}", "a".repeat(70_000))), Some(Error::TooLarge));
    assert_eq!(
        request_error(format!("GET http://{}/ HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(40_000))),
        Some(Error::Host)
    );
}

#[test]
fn responses_have_the_body_their_request_allows() {
    let table = [
        (Answer::Other, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Body::Length(5)),
        (Answer::Other, "HTTP/1.1 200 \r\nTransfer-Encoding: Chunked\r\n\r\n", Body::Chunked),
        (Answer::Other, "HTTP/1.0 200\r\n\r\n", Body::UntilClose),
        (Answer::Other, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Body::None),
        (Answer::Other, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Body::None),
        (Answer::Head, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Body::None),
        (Answer::Connect, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Body::UntilClose),
        (Answer::Connect, "HTTP/1.1 400 No\r\nContent-Length: 5\r\n\r\n", Body::Length(5)),
        (
            Answer::Upgrade,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            Body::UntilClose,
        ),
        (Answer::Upgrade, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Body::Length(5)),
    ];
    for (answer, head, body) in table {
        let mut reader = Reader::responses();
        reader.answer(answer);
        let mut scratch = Scratch::default();
        let Ok((_, Some(Event::Response { head: read, .. }))) = reader.next(head.as_bytes(), &mut scratch) else {
            panic!("{head}")
        };
        assert_eq!(read.body, body, "{head}");
        assert_eq!(
            read.fields.known(Known::ContentLength).is_some(),
            head.contains("Content-Length") && !matches!((answer, read.status), (_, 204) | (Answer::Connect, 200))
        );
        assert_eq!(
            reader.state() == State::Raw,
            read.status == 101 || (answer == Answer::Connect && read.status == 200)
        );
    }
    assert_eq!(responses(Answer::Other, b"HTTP/1.1 101 Switching\r\n\r\n").error, Some(Error::Unexpected));
    for head in [
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 +20 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 200 O\0K\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
    ] {
        assert_eq!(responses(Answer::Other, head.as_bytes()).error, Some(Error::Line), "{head:?}");
    }
}

#[test]
fn informational_heads_come_before_the_final_one() {
    let log = responses(Answer::Other, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(log.heads, ["100 ", "103 Link=a", "200 Http11 Length(2) keep=true Content-Length=2"]);
    assert_eq!((log.body.as_slice(), log.ends), (&b"ok"[..], 1));
    let flood = |n: usize| format!("{}HTTP/1.1 204 x\r\n\r\n", "HTTP/1.1 103 E\r\n\r\n".repeat(n));
    assert_eq!(responses(Answer::Other, flood(100).as_bytes()).error, None);
    assert_eq!(responses(Answer::Other, flood(101).as_bytes()).error, Some(Error::Unexpected));
}

#[test]
fn a_response_nobody_asked_for_is_refused() {
    let mut scratch = Scratch::default();
    assert_eq!(Reader::responses().next(b"HTTP", &mut scratch).err(), Some(Error::Unexpected));
    let log = responses(Answer::Other, b"HTTP/1.1 204 x\r\n\r\nHTTP/1.1 200 x\r\n\r\n");
    assert_eq!((log.ends, log.error), (1, Some(Error::Unexpected)));
}

#[test]
fn the_end_of_the_connection_ends_only_what_may_end_so() {
    let log = responses(Answer::Other, b"HTTP/1.0 200 OK\r\n\r\nabc");
    assert_eq!((log.body.as_slice(), log.ends, log.error), (&b"abc"[..], 1, None));
    for cut in [&b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"[..], b"HTTP/1.1 2", b""] {
        assert_eq!(responses(Answer::Other, cut).error, Some(Error::Truncated));
    }
    assert_eq!(requests(b"GET / HTTP/1.1\r\n").error, Some(Error::Truncated));
    assert_eq!(requests(b"").error, None);
}

const CONVERSATION: &[u8] = b"\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\nPOST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloPUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: 1\r\nU: 2\r\n\r\nPUT /d HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /e HTTP/1.0\r\n\r\n";

#[test]
fn where_the_input_is_cut_never_matters() {
    let whole = requests(CONVERSATION);
    assert_eq!((whole.heads.len(), whole.ends, whole.error), (5, 5, None));
    assert_eq!(whole.body, b"helloabc0123456789");
    for cut in 0..=CONVERSATION.len() {
        let (a, b) = CONVERSATION.split_at(cut);
        assert_eq!(read(Reader::requests(), &[a, b], true), whole, "{cut}");
    }
    let bytes: Vec<&[u8]> = CONVERSATION.chunks(1).collect();
    assert_eq!(read(Reader::requests(), &bytes, true), whole);
    let bytes: Vec<&[u8]> = CONVERSATION.chunks(7).collect();
    assert_eq!(read(Reader::requests(), &bytes, true), whole);
}

#[test]
fn bytes_that_were_not_taken_come_again() {
    let mut reader = Reader::requests();
    let mut scratch = Scratch::default();
    let mut buffer = CONVERSATION.to_vec();
    let mut log = Log::default();
    let mut taken = 1;
    loop {
        let (used, event) = reader.next(&buffer, &mut scratch).unwrap();
        let mut back = 0;
        match event {
            None => break,
            Some(Event::Data { stream, bytes, end }) if !bytes.is_empty() => {
                // Take one byte, then none, then two, …
                taken = (taken + 2) % 3;
                let take = bytes.len().min(taken);
                back = bytes.len() - take;
                log.note(&Event::Data { stream, bytes: &bytes[..take], end: end && back == 0 });
            }
            Some(event) => log.note(&event),
        }
        reader.unread(back);
        buffer.drain(..used - back);
        if reader.state() == State::Done {
            reader.proceed();
        }
    }
    assert_eq!(log, requests(CONVERSATION));
}

#[test]
fn bytes_that_were_not_taken_come_again_while_more_are_missing() {
    let mut reader = Reader::requests();
    let mut scratch = Scratch::default();
    let head = with("Host: a\r\nContent-Length: 6\r\n");
    reader.next(head.as_bytes(), &mut scratch).unwrap();
    assert_eq!(reader.next(b"abcd", &mut scratch).unwrap().0, 4);
    reader.unread(3);
    assert_eq!(reader.next(b"bcdef", &mut scratch).unwrap().0, 5);
    reader.unread(0);
    assert_eq!(reader.state(), State::Done);
    reader.unread(2);
    let (used, event) = reader.next(b"efGET", &mut scratch).unwrap();
    assert!(used == 2 && matches!(event, Some(Event::Data { bytes: b"ef", end: true, .. })));
    assert_eq!(reader.state(), State::Done);
}

#[test]
fn a_sink_hears_the_same_and_may_pause() {
    let mut scratch = Scratch::default();
    let input = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET";
    let mut log = Log::default();
    let mut reader = Reader::requests();
    let mut sink = |event: Event<'_>| {
        log.note(&event);
        Flow::Continue
    };
    assert_eq!(reader.receive(input, &mut scratch, &mut sink), Ok(input.len() - 3));
    assert_eq!((log.heads.len(), log.body.as_slice(), log.ends), (1, &b"hello"[..], 1));
    let mut reader = Reader::requests();
    let mut pause = |_: Event<'_>| Flow::Pause;
    assert_eq!(reader.receive(input, &mut scratch, &mut pause), Ok(input.len() - 8));
    assert_eq!(reader.receive(&input[input.len() - 8..], &mut scratch, &mut pause), Ok(5));
}

#[test]
fn what_a_response_answers_follows_from_its_request() {
    let request = |method: &'static [u8], upgrade: &'static [u8]| Request { method, upgrade, ..Request::default() };
    assert_eq!(Answer::to(&request(b"GET", b"")), Answer::Other);
    assert_eq!(Answer::to(&request(b"GET", b"websocket")), Answer::Upgrade);
    assert_eq!(Answer::to(&request(b"HEAD", b"")), Answer::Head);
    assert_eq!(Answer::to(&request(b"CONNECT", b"")), Answer::Connect);
}

fn rewrite(input: &[u8]) -> Vec<u8> {
    let mut reader = Reader::requests();
    let mut scratch = Scratch::default();
    let (mut out, mut at, mut framing) = (Vec::new(), 0, Framing::None);
    loop {
        let (used, event) = reader.next(&input[at..], &mut scratch).unwrap();
        at += used;
        match event {
            None => return out,
            Some(Event::Request { head, .. }) => framing = write::request(&mut out, &head, &[], head.persistent),
            Some(Event::Data { bytes, end, .. }) => {
                write::data(&mut out, framing, bytes);
                if end {
                    write::end(&mut out, framing, None);
                }
            }
            Some(Event::Trailers { fields, .. }) => write::end(&mut out, framing, Some(&fields)),
            Some(other) => panic!("{other:?}"),
        }
        if reader.state() == State::Done {
            reader.proceed();
        }
    }
}

#[test]
fn what_is_written_reads_as_what_was_read() {
    let once = rewrite(CONVERSATION);
    assert_eq!(requests(&once).heads, requests(CONVERSATION).heads);
    assert_eq!(requests(&once).body, requests(CONVERSATION).body);
    assert_eq!(rewrite(&once), once);
    let plain = b"POST http://a:80/b?c HTTP/1.1\r\nHOST: a:80\r\nx-B: 1\r\nX-b: 2\r\ncontent-LENGTH: 2\r\n\r\nok";
    assert_eq!(rewrite(plain), plain);
}

fn stored(fields: &[(&[u8], &[u8])]) -> StoredFields {
    let mut stored = StoredFields::default();
    stored.store(&Fields::default(), fields);
    stored
}

#[test]
fn a_request_from_http2_becomes_a_whole_http1_request() {
    let fields = stored(&[(b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2")]);
    let head = Request {
        method: b"POST",
        scheme: b"http",
        authority: b"web",
        path: b"/p",
        version: Version::Http2,
        fields: fields.view(),
        body: Body::Chunked,
        persistent: true,
        te_trailers: true,
        ..Request::default()
    };
    let mut out = Vec::new();
    assert_eq!(write::request(&mut out, &head, &[], true), Framing::Chunked);
    assert_eq!(
        out.escape_ascii().to_string(),
        b"POST /p HTTP/1.1\r\ncookie: a=1; b=2\r\nx: y\r\nhost: web\r\ntransfer-encoding: chunked\r\nConnection: TE\r\nTE: trailers\r\n\r\n"
            .escape_ascii()
            .to_string()
    );
    out.clear();
    let empty = Request { body: Body::None, fields: Fields::default(), te_trailers: false, ..head };
    assert_eq!(write::request(&mut out, &empty, &[], false), Framing::None);
    assert_eq!(out, b"POST /p HTTP/1.1\r\nhost: web\r\ncontent-length: 0\r\nConnection: close\r\n\r\n");
    out.clear();
    let websocket =
        Request { version: Version::Http11, form: Form::Origin, method: b"GET", upgrade: b"websocket", ..empty };
    write::request(&mut out, &websocket, &[], true);
    assert_eq!(out, b"GET /p HTTP/1.1\r\nhost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
}

#[test]
fn responses_are_framed_for_their_client() {
    let to = |version, answer| To { version, answer, persistent: true };
    let write = |head: &Response<'_>, to| {
        let mut out = Vec::new();
        let framing = write::response(&mut out, head, &[], to);
        (String::from_utf8(out).unwrap(), framing)
    };
    let length = stored(&[(b"Content-Length", b"3"), (b"A", b"b")]);
    let h1 = Response {
        status: 200,
        reason: b"Fine",
        version: Version::Http11,
        fields: length.view(),
        body: Body::Length(3),
        persistent: true,
        upgrade: b"",
    };
    assert_eq!(
        write(&h1, to(Version::Http11, Answer::Other)),
        ("HTTP/1.1 200 Fine\r\nContent-Length: 3\r\nA: b\r\n\r\n".into(), Framing::Plain)
    );
    assert_eq!(
        write(&h1, to(Version::Http10, Answer::Other)).0,
        "HTTP/1.1 200 Fine\r\nContent-Length: 3\r\nA: b\r\nConnection: keep-alive\r\n\r\n"
    );
    let head = Response { body: Body::None, ..h1 };
    assert_eq!(
        write(&head, to(Version::Http11, Answer::Head)),
        ("HTTP/1.1 200 Fine\r\nContent-Length: 3\r\nA: b\r\n\r\n".into(), Framing::None)
    );
    let h2 = Response { version: Version::Http2, reason: b"", fields: Fields::default(), body: Body::Chunked, ..h1 };
    assert_eq!(
        write(&h2, to(Version::Http11, Answer::Other)),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".into(), Framing::Chunked)
    );
    assert_eq!(
        write(&h2, to(Version::Http10, Answer::Other)),
        ("HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n".into(), Framing::UntilClose)
    );
    let none = Response { body: Body::None, ..h2 };
    assert_eq!(
        write(&none, to(Version::Http11, Answer::Other)),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into(), Framing::None)
    );
    assert_eq!(write(&none, to(Version::Http11, Answer::Head)).0, "HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(
        write(&Response { status: 304, ..none }, to(Version::Http11, Answer::Other)).0,
        "HTTP/1.1 304 Not Modified\r\n\r\n"
    );
    assert_eq!(
        write(&Response { status: 204, ..none }, to(Version::Http11, Answer::Other)).0,
        "HTTP/1.1 204 No Content\r\n\r\n"
    );
    assert_eq!(
        write(&Response { status: 103, ..none }, to(Version::Http11, Answer::Other)).0,
        "HTTP/1.1 103 Early Hints\r\n\r\n"
    );
    let mut out = Vec::new();
    let made = Response { status: 503, body: Body::Length(0), ..none };
    write::response(&mut out, &made, &[(b"content-length", b"0")], to(Version::Http11, Answer::Other));
    assert_eq!(out, b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    let until = Response { body: Body::UntilClose, version: Version::Http11, ..none };
    assert_eq!(write(&until, to(Version::Http11, Answer::Other)).1, Framing::Chunked);
    let old = Response { version: Version::Http10, ..until };
    assert_eq!(
        write(&old, to(Version::Http11, Answer::Other)),
        ("HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n".into(), Framing::UntilClose)
    );
    let switching = Response { status: 101, upgrade: b"websocket", body: Body::UntilClose, ..until };
    assert_eq!(
        write(&switching, to(Version::Http11, Answer::Upgrade)),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".into(),
            Framing::Plain
        )
    );
}

#[test]
fn chunks_are_written_as_they_are_read() {
    let mut out = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for size in [1usize, 9, 10, 15, 16, 255, 256, 70_000] {
        write::data(&mut out, Framing::Chunked, &vec![b'x'; size]);
    }
    write::data(&mut out, Framing::Chunked, b"");
    let fields = stored(&[(b"a", b"b"), (b"content-length", b"1")]);
    write::end(&mut out, Framing::Chunked, Some(&fields.view()));
    let log = requests(&out);
    assert_eq!((log.body.len(), log.trailers.as_deref(), log.error), (70_562, Some("a=b"), None));
}
