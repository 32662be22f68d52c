//! Responses, which need their requests to be understood (RFC 9112 6.3).

use codec::h1::{Answer, Error, Reader, State};
use codec::head::Body;
use codec::{Event, Known, Request, Scratch};

use crate::script::*;

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
fn what_a_response_answers_follows_from_its_request() {
    let request = |method: &'static [u8], upgrade: &'static [u8]| Request { method, upgrade, ..Request::default() };
    assert_eq!(Answer::to(&request(b"GET", b"")), Answer::Other);
    assert_eq!(Answer::to(&request(b"GET", b"websocket")), Answer::Upgrade);
    assert_eq!(Answer::to(&request(b"HEAD", b"")), Answer::Head);
    assert_eq!(Answer::to(&request(b"CONNECT", b"")), Answer::Connect);
}
