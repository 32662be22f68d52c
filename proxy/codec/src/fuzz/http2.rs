//! HTTP/2 and HPACK: any bytes, frames and fields against a connection whose owner acts at random.

use super::http1::reads_as;
use crate::h2::hpack::{Decoder, Fields as Visit, Found};
use crate::h2::{Config, Connection, PREFACE, Role};
use crate::{Body, Event, Fields, Request, Response, Scratch, Version};

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
