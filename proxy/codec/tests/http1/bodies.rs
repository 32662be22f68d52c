//! Where a message ends: lengths, chunks, trailers, upgrades (RFC 9112 6, 7 and 9).

use codec::h1::{Answer, Error, Reader, State};
use codec::{Event, Scratch};

use crate::script::*;

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
fn the_end_of_the_connection_ends_only_what_may_end_so() {
    let log = responses(Answer::Other, b"HTTP/1.0 200 OK\r\n\r\nabc");
    assert_eq!((log.body.as_slice(), log.ends, log.error), (&b"abc"[..], 1, None));
    for cut in [&b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"[..], b"HTTP/1.1 2", b""] {
        assert_eq!(responses(Answer::Other, cut).error, Some(Error::Truncated));
    }
    assert_eq!(requests(b"GET / HTTP/1.1\r\n").error, Some(Error::Truncated));
    assert_eq!(requests(b"").error, None);
}
