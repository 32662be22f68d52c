//! Request heads: what is read, and what could be read two ways (RFC 9112 2 to 5, RFC 9110 7.2).

use codec::h1::{Answer, Error, Reader, write};
use codec::{Event, Scratch};

use crate::script::*;

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
fn a_connection_field_names_no_more_fields_than_there_can_be() {
    for (count, error) in [(100, None), (101, Some(Error::TooMany)), (10_000, Some(Error::TooMany))] {
        let one = format!("Host: a\r\nConnection: {}\r\n", vec!["a"; count].join(","));
        assert_eq!(request_error(with(&one)), error, "{count}");
        let halves = vec!["close"; count / 2].join(",");
        let rest = ",close".repeat(count % 2);
        let several = format!("Host: a\r\nConnection: {halves}\r\nConnection: {halves}{rest}\r\n");
        assert_eq!(request_error(with(&several)), error, "{count}");
    }
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
