//! Frames and fields as bytes, and a connection that is fed with them and tells what it heard.

use codec::h2::{Config, Connection, ConnectionError, PREFACE, Reason, Role};
use codec::{Body, Event, Fields, Request, Response, Scratch, Version};

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// Literal fields without indexing.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
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

pub const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "web")];

pub const POST: [(&str, &str); 4] = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "web")];

pub fn headers(stream: u32, end: bool, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(1, END_HEADERS | u8::from(end), stream, &block(fields))
}

pub fn reset(stream: u32) -> Vec<u8> {
    frame(3, 0, stream, &[0, 0, 0, 8])
}

/// What a connection said, as text.
pub fn show(event: &Event<'_>) -> String {
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
pub struct Fed {
    pub connection: Connection,
    pub scratch: Scratch,
    pub events: Vec<String>,
    pub requests: usize,
    pub error: Option<ConnectionError>,
    pub keep: bool,
    pub rest: Vec<u8>,
}

impl Fed {
    pub fn new(config: Config) -> Self {
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

    pub fn server() -> Self {
        Fed::new(Config::server())
    }

    /// A client with `n` open GET streams.
    pub fn client(n: u32) -> Self {
        let mut fed = Fed::new(Config::client());
        for token in 0..n {
            fed.connection.send_request(token, &get(), &[], true).unwrap();
        }
        fed.connection.out.clear();
        fed
    }

    pub fn feed(&mut self, bytes: &[u8]) -> bool {
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

    pub fn reason(&self) -> Option<Reason> {
        self.error.map(|error| error.reason)
    }

    /// Frames written: kind, flags, stream, payload.
    pub fn written(&mut self) -> Vec<(u8, u8, u32, Vec<u8>)> {
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
    pub fn only_reset(&mut self) -> (u32, Reason) {
        let frames = self.written();
        let [(3, 0, stream, payload)] = &frames[..] else { panic!("{frames:?} {:?}", self.error) };
        (*stream, Reason(u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]])))
    }
}

pub fn get() -> Request<'static> {
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

pub fn ok() -> Response<'static> {
    Response { status: 200, version: Version::Http2, body: Body::Chunked, persistent: true, ..Response::default() }
}
