//! Entry points for fuzzing: each takes any bytes and must neither panic, loop nor break the law it states. Each says
//! whether it understood them, which tells how good the inputs are.

use crate::h1::{Answer, Framing, Reader, State, To, write};
use crate::h2::hpack::{Decoder, Fields as Visit, Found};
use crate::h2::{Config, Connection, PREFACE, Role};
use crate::{Body, Event, Fields, Request, Response, Scratch, Version, detect, dns, tls, translate, transport_header};

/// One entry: its name and its function.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// Every target of this crate.
pub const TARGETS: &[Target] = &[
    ("detect", fuzz_detect),
    ("client_hello", fuzz_client_hello),
    ("transport_header", fuzz_transport_header),
    ("transport_header_structured", fuzz_transport_header_structured),
    ("authority", fuzz_authority),
    ("dns", fuzz_dns),
    ("hpack", fuzz_hpack),
    ("http1_requests", fuzz_http1_requests),
    ("http1_responses", fuzz_http1_responses),
    ("http1_chunks", fuzz_http1_chunks),
    ("http2_server", fuzz_http2_server),
    ("http2_client", fuzz_http2_client),
    ("http2_frames", fuzz_http2_frames),
    ("http2_to_http1", fuzz_http2_to_http1),
];

/// A verdict never changes when more bytes come.
pub fn fuzz_detect(data: &[u8]) -> bool {
    let whole = detect::detect(data);
    let half = detect::detect(&data[..data.len() / 2]);
    assert!(half == detect::Detected::More || half == whole);
    matches!(whole, detect::Detected::Http1 | detect::Detected::Http2)
}

pub fn fuzz_client_hello(data: &[u8]) -> bool {
    let half = tls::peek_client_hello(&data[..data.len() / 2]);
    let whole = tls::peek_client_hello(data);
    if let tls::Peek::Hello(hello) = whole {
        hello.offers(transport_header::ALPN);
        assert!(hello.sni.is_none_or(|name| name.len() <= 254));
    }
    assert!(half == tls::Peek::More || half == whole);
    matches!(whole, tls::Peek::Hello(_))
}

/// What is read can be written and is read again as the same.
pub fn fuzz_transport_header(data: &[u8]) -> bool {
    let Ok(Some((used, header))) = transport_header::read(data) else { return false };
    assert!(used <= data.len());
    let mut out = Vec::new();
    transport_header::write(&mut out, &header);
    assert!(transport_header::read(&out) == Ok(Some((out.len(), header))));
    true
}

/// The same behind a valid preface and length.
pub fn fuzz_transport_header_structured(data: &[u8]) -> bool {
    let mut framed = transport_header::PREFACE.to_vec();
    framed.extend_from_slice(&(data.len() as u32).to_be_bytes());
    framed.extend_from_slice(data);
    fuzz_transport_header(&framed)
}

/// What is accepted as an authority splits into a host and a port that make it up.
pub fn fuzz_authority(data: &[u8]) -> bool {
    let (host, port) = translate::split_authority(data);
    let accepted = translate::is_authority(data);
    if accepted {
        assert!(!host.is_empty() && host.len() <= data.len());
        assert!(!host.iter().any(|b| matches!(b, b'@' | b'/' | b'?' | b'#' | b'\\' | b' ' | b',' | b'%')));
        assert!(port.is_some() || !host.contains(&b':') || data[0] == b'[');
        assert!(translate::same_authority(data, data));
    }
    accepted
}

pub fn fuzz_dns(data: &[u8]) -> bool {
    let mut out = Vec::new();
    match dns::read_query(data) {
        Ok(query) => {
            assert!(query.name.len() <= dns::MAX_NAME + 1);
            dns::reverse_address(&query.name);
            let answers = [
                dns::Record::Ptr(query.name.clone()),
                dns::Record::Srv { priority: 1, weight: 2, port: 3, target: query.name.clone() },
            ];
            let limit = query.udp_size.into();
            dns::write_response(
                &mut out,
                &query,
                dns::Code::NoError,
                &answers,
                &[(&query.name, answers[0].clone())],
                9,
                limit,
            );
            assert!(out.len() <= limit);
        }
        Err(dns::Invalid { id: Some(id), code }) => dns::write_failure(&mut out, id, code),
        Err(_) => {}
    }
    out.len() > 12
}

#[derive(Default)]
struct Sizes(usize);

impl Visit for Sizes {
    fn field(&mut self, text: &[u8], found: Found) {
        self.0 += 32 + found.name.of(text).len() + found.value.of(text).len();
    }

    fn too_large(&mut self) {}
}

/// Blocks one after the other on one table; what is handed out stays below the limit.
pub fn fuzz_hpack(data: &[u8]) -> bool {
    let mut decoder = Decoder::new(4_096);
    for block in data.split(|b| *b == 0xfe) {
        let (mut bytes, mut sizes) = (Vec::new(), Sizes::default());
        if decoder.decode(block, &mut bytes, 1_000, &mut sizes).is_err() {
            return false;
        }
        assert!(sizes.0 <= 1_000 && bytes.len() <= 2_500 + 3 * block.len());
    }
    true
}

/// What an HTTP/1 reader said, with heads written again.
#[derive(Default, PartialEq)]
struct Said {
    heads: Vec<u8>,
    body: Vec<u8>,
    trailers: Vec<u8>,
    ends: usize,
    error: Option<crate::h1::Error>,
}

impl Said {
    fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::Request { head, end, .. } => {
                write::request(&mut self.heads, head, &[], head.persistent);
                self.ends += usize::from(*end);
            }
            Event::Response { head, end, .. } => {
                self.response(head);
                self.ends += usize::from(*end);
            }
            Event::Informational { head, .. } => self.response(head),
            Event::Data { bytes, end, .. } => {
                self.body.extend_from_slice(bytes);
                self.ends += usize::from(*end);
            }
            Event::Trailers { fields, .. } => {
                write::end(&mut self.trailers, Framing::Chunked, Some(fields));
                self.ends += 1;
            }
            _ => {}
        }
    }

    fn response(&mut self, head: &Response<'_>) {
        let answer = if head.status == 101 { Answer::Upgrade } else { Answer::Other };
        let to = To { version: Version::Http11, answer, persistent: head.persistent };
        write::response(&mut self.heads, head, &[], to);
    }
}

fn read_http1(mut reader: Reader, data: &[u8], step: usize) -> Said {
    let mut scratch = Scratch::default();
    let mut said = Said::default();
    let (mut start, mut end) = (0, 0);
    loop {
        end = (end + step).min(data.len());
        loop {
            match reader.next(&data[start..end], &mut scratch) {
                Err(error) => {
                    said.error = Some(error);
                    return said;
                }
                Ok((used, event)) => {
                    start += used;
                    assert!(start <= end);
                    let Some(event) = event else { break };
                    said.note(&event);
                }
            }
            if reader.state() == State::Done {
                reader.proceed();
                reader.answer(Answer::Upgrade);
            }
        }
        if end == data.len() {
            return said;
        }
    }
}

/// Where the input is cut changes nothing, and what is written reads as what was read.
pub fn fuzz_http1_requests(data: &[u8]) -> bool {
    let whole = read_http1(Reader::requests(), data, data.len().max(1));
    let cut = read_http1(Reader::requests(), data, 1 + data.len() % 7);
    assert!(
        whole.heads == cut.heads && whole.body == cut.body && whole.trailers == cut.trailers && whole.ends == cut.ends
    );
    let mut scratch = Scratch::default();
    if let Ok((_, Some(Event::Request { head, .. }))) = Reader::requests().next(data, &mut scratch) {
        reads_as(&head);
    }
    whole.ends > 0
}

/// The head, written, is exactly one request with the same meaning.
fn reads_as(head: &Request<'_>) {
    let mut out = Vec::new();
    write::request(&mut out, head, &[(b"x-end", b"1")], head.persistent);
    let mut scratch = Scratch::default();
    let mut reader = Reader::requests();
    match reader.next(&out, &mut scratch) {
        Ok((used, Some(Event::Request { head: again, .. }))) => {
            assert!(used == out.len());
            assert!(again.method == head.method && again.authority == head.authority && again.path == head.path);
            assert!(again.fields.get(b"x-end") == Some(b"1"));
            let known_length = matches!(head.body, Body::Length(_));
            assert!(!known_length || again.body == head.body);
            assert!(known_length == matches!(again.body, Body::Length(1..)) || matches!(again.body, Body::Length(0)));
        }
        // What had no authority cannot be said in HTTP/1.1.
        Err(_) => assert!(head.authority.is_empty() || head.fields.len() >= crate::head::MAX_FIELDS - 4),
        Ok(_) => panic!("a written head is not whole"),
    }
}

pub fn fuzz_http1_responses(data: &[u8]) -> bool {
    let reader = || {
        let mut reader = Reader::responses();
        reader.answer(match data.len() % 4 {
            0 => Answer::Head,
            1 => Answer::Connect,
            2 => Answer::Upgrade,
            _ => Answer::Other,
        });
        reader
    };
    let whole = read_http1(reader(), data, data.len().max(1));
    let cut = read_http1(reader(), data, 1 + data.len() % 5);
    assert!(
        whole.heads == cut.heads && whole.body == cut.body && whole.trailers == cut.trailers && whole.ends == cut.ends
    );
    whole.ends > 0
}

/// Any bytes as a chunked body.
pub fn fuzz_http1_chunks(data: &[u8]) -> bool {
    let mut input = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    input.extend_from_slice(data);
    fuzz_http1_requests(&input)
}

/// Feeds a connection and acts as an owner would. How many bytes were used and how many heads came; `None` on an error.
fn drive(connection: &mut Connection, scratch: &mut Scratch, input: &[u8], seed: &mut u8) -> Option<(usize, usize)> {
    let (mut at, mut heads) = (0, 0);
    loop {
        let (used, event) = connection.next(&input[at..], scratch).ok()?;
        at += used;
        *seed = seed.wrapping_mul(5).wrapping_add(1);
        match event {
            None => break,
            Some(Event::Request { stream, head, end }) => {
                heads += 1;
                reads_as(&head);
                connection.set_token(stream.id, 7);
                act(connection, stream.id, *seed, end);
            }
            Some(Event::Data { stream, bytes, .. }) => {
                connection.release(stream.id, bytes.len());
                act(connection, stream.id, *seed, false);
            }
            Some(Event::Trailers { stream, .. }) => act(connection, stream.id, *seed, true),
            Some(_) => {}
        }
        assert!(connection.streams() <= 1_000 && connection.out.len() < 1 << 20);
    }
    while let Some(stream) = connection.next_writable() {
        connection.send_data(stream.id, b"more", true);
    }
    if *seed & 1 == 0 {
        connection.out.clear();
    }
    Some((at, heads))
}

fn act(connection: &mut Connection, id: u32, seed: u8, end: bool) {
    let head = Response { status: 200, version: Version::Http2, body: Body::Chunked, ..Response::default() };
    match seed % 8 {
        0 => connection.reset(id, crate::h2::Reason::CANCEL),
        1 => {
            connection.send_response(id, &Response { status: 103, ..head }, &[], false);
        }
        2 => {
            connection.send_response(id, &head, &[(b"a", b"b")], end);
        }
        3 => {
            connection.send_data(id, &[7; 70_000], end);
        }
        4 => {
            connection.send_trailers(id, &Fields::default(), &[(b"t", b"1")]);
        }
        5 => connection.goaway(crate::h2::Reason::NO_ERROR),
        6 => connection.calm(),
        _ => connection.shrink(),
    }
}

fn opened(role: Role) -> Connection {
    let mut connection = Connection::new(if role == Role::Server { Config::server() } else { Config::client() });
    let mut scratch = Scratch::default();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let opening = if role == Role::Server { [&PREFACE[..], &settings].concat() } else { settings.to_vec() };
    drive(&mut connection, &mut scratch, &opening, &mut 1);
    if role == Role::Client {
        let head =
            Request { method: b"POST", authority: b"a", path: b"/", version: Version::Http2, ..Request::default() };
        for token in 0..4 {
            assert!(connection.send_request(token, &head, &[], token == 0).is_ok());
        }
    }
    connection.out.clear();
    connection
}

/// Any bytes after the opening, to a server.
pub fn fuzz_http2_server(data: &[u8]) -> bool {
    let mut seed = data.len() as u8;
    drive(&mut opened(Role::Server), &mut Scratch::default(), data, &mut seed).is_some()
}

/// Any bytes after the opening, to a client with open requests.
pub fn fuzz_http2_client(data: &[u8]) -> bool {
    let mut seed = data.len() as u8;
    drive(&mut opened(Role::Client), &mut Scratch::default(), data, &mut seed).is_some()
}

/// Bytes as a script of frames with plausible heads: kind, flags, stream and length are one byte each. What is split is
/// read as what is whole.
pub fn fuzz_http2_frames(data: &[u8]) -> bool {
    let Some((first, mut rest)) = data.split_first() else { return false };
    let role = if first & 1 == 0 { Role::Server } else { Role::Client };
    let mut script = Vec::new();
    while let [kind, flags, stream, length, tail @ ..] = rest {
        let (payload, after) = tail.split_at(usize::from(*length).min(tail.len()));
        let length = (payload.len() as u32).to_be_bytes();
        script.extend_from_slice(&[0, length[2], length[3], kind % 11, *flags, 0, 0, 0, stream % 16]);
        script.extend_from_slice(payload);
        rest = after;
    }
    let mut seed = *first;
    let mut whole = opened(role);
    let understood = drive(&mut whole, &mut Scratch::default(), &script, &mut seed).is_some();
    let mut cut = opened(role);
    let mut scratch = Scratch::default();
    let mut at = 0;
    for end in (0..script.len()).step_by(usize::from(first >> 1) + 1).chain([script.len()]) {
        let mut quiet = 7;
        match drive(&mut cut, &mut scratch, &script[at..end], &mut quiet) {
            Some((used, _)) => at += used,
            None => return understood,
        }
    }
    understood
}

/// Bytes as fields of a request, separated by NUL and LF: whatever HTTP/2 accepts is one request in HTTP/1.
pub fn fuzz_http2_to_http1(data: &[u8]) -> bool {
    let mut block = Vec::new();
    let plain: [(&[u8], &[u8]); 4] =
        [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")];
    let given = data.split(|b| *b == b'\n').filter_map(|line| {
        let at = line.iter().position(|b| *b == 0)?;
        Some((&line[..at], &line[at + 1..]))
    });
    let given: Vec<_> = given.collect();
    let said = |name: &[u8]| given.iter().any(|(n, _)| *n == name);
    let fields = plain.iter().copied().filter(|(name, _)| !said(name)).chain(given.iter().copied());
    for (name, value) in fields.filter(|(n, v)| n.len() < 127 && v.len() < 127) {
        block.push(0);
        block.push(name.len() as u8);
        block.extend_from_slice(name);
        block.push(value.len() as u8);
        block.extend_from_slice(value);
    }
    let length = (block.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], 1, 4 | (data.len() as u8 & 1), 0, 0, 0, 1];
    frame.extend_from_slice(&block);
    let mut server = opened(Role::Server);
    drive(&mut server, &mut Scratch::default(), &frame, &mut 7).is_some_and(|(_, heads)| heads > 0)
}
