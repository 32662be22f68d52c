//! What is written reads as what was read, whichever protocol it came from.

use codec::h1::{Answer, Framing, Reader, State, To, write};
use codec::head::{Body, StoredFields};
use codec::{Event, Fields, Form, Request, Response, Scratch, Version};

use crate::script::*;

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
