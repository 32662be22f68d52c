//! One request and its response through two sidecars' worth of codec: HTTP/1 in, HTTP/2 between, HTTP/1 out.
//!
//! `cargo run --release -p codec --example exchange -- 100000` prints the time; under callgrind, the difference between
//! two counts gives instructions per exchange.

use std::hint::black_box;
use std::time::Instant;

use codec::h1::{Answer, Reader, To, write};
use codec::h2::{Config, Connection};
use codec::{Event, Scratch, translate};

const REQUEST: &[u8] = b"GET /api/items?page=2 HTTP/1.1\r\nHost: web.default.svc.cluster.local:8080\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/html,application/json;q=0.9,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate\r\nCookie: session=0123456789abcdef0123456789abcdef\r\nX-Request-Id: 7c3f0a52-1d3e-4b7e-9a43-3f0c2d7f0e11\r\n\r\n";
const RESPONSE_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.26.0\r\nDate: Mon, 23 Nov 2026 18:00:00 GMT\r\nContent-Type: application/json\r\nContent-Length: 1024\r\nCache-Control: no-cache\r\nVary: Accept-Encoding\r\n\r\n";

/// Everything of both sidecars that stays between requests.
struct Both {
    app: Reader,
    origin: Reader,
    client: Connection,
    server: Connection,
    scratch: Scratch,
    peer: Scratch,
    out: Vec<u8>,
}

fn main() {
    let count = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(100_000u32);
    let mut both = Both {
        app: Reader::requests(),
        origin: Reader::responses(),
        client: Connection::new(Config::mesh_client()),
        server: Connection::new(Config::mesh_server()),
        scratch: Scratch::default(),
        peer: Scratch::default(),
        out: Vec::new(),
    };
    let response = [RESPONSE_HEAD, &[b'x'; 1024]].concat();
    let start = Instant::now();
    for _ in 0..count {
        both.request();
        both.response(&response);
        both.app.proceed();
    }
    let each = start.elapsed().as_nanos() / u128::from(count.max(1));
    println!("{count} exchanges, {each} ns each");
}

impl Both {
    fn request(&mut self) {
        let Ok((_, Some(Event::Request { head, end, .. }))) = self.app.next(REQUEST, &mut self.scratch) else { return };
        let proto = translate::orig_proto(&head).unwrap_or_default();
        let extra =
            [(translate::ORIG_PROTO, proto), (&b"l5d-dst-canonical"[..], &b"web.default.svc.cluster.local:8080"[..])];
        if self.client.send_request(1, &head, &extra, end).is_err() {
            return;
        }
        let mut at = 0;
        while let Ok((used, Some(event))) = self.server.next(&self.client.out[at..], &mut self.peer) {
            at += used;
            if let Event::Request { mut head, .. } = event {
                translate::restore_request(&mut head);
                translate::strip_mesh_fields(&mut head);
                self.out.clear();
                write::request(
                    &mut self.out,
                    &head,
                    &[(b"l5d-client-id", b"web.default.serviceaccount.identity")],
                    true,
                );
                self.origin.answer(Answer::to(&head));
                black_box(&self.out);
            }
        }
        self.client.out.clear();
    }

    fn response(&mut self, response: &[u8]) {
        let Some(id) = self.server.open_streams().next().map(|stream| stream.id) else { return };
        let mut at = 0;
        while let Ok((used, Some(event))) = self.origin.next(&response[at..], &mut self.scratch) {
            at += used;
            match event {
                Event::Response { head, end, .. } => {
                    self.server.send_response(id, &head, &[(b"l5d-orig-proto", b"HTTP/1.1")], end);
                }
                Event::Data { bytes, end, .. } => {
                    black_box(self.server.send_data(id, bytes, end));
                }
                _ => {}
            }
            if at == response.len() {
                break;
            }
        }
        let mut at = 0;
        let mut framing = write::Framing::None;
        self.out.clear();
        while let Ok((used, Some(event))) = self.client.next(&self.server.out[at..], &mut self.peer) {
            at += used;
            match event {
                Event::Response { mut head, .. } => {
                    translate::restore_response(&mut head);
                    let to = To { version: codec::Version::Http11, answer: Answer::Other, persistent: true };
                    framing = write::response(&mut self.out, &head, &[], to);
                }
                Event::Data { stream, bytes, end } => {
                    write::data(&mut self.out, framing, bytes);
                    self.client.release(stream.id, bytes.len());
                    if end {
                        write::end(&mut self.out, framing, None);
                    }
                }
                _ => {}
            }
        }
        self.server.out.clear();
        black_box(&self.out);
    }
}
