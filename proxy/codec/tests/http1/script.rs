//! Bytes fed to a reader, and what it said as text.

use codec::h1::{Answer, Error, Reader, State};
use codec::{Event, Fields, Scratch};

/// Everything that was said, body bytes joined.
#[derive(Debug, Default, PartialEq, Clone)]
pub struct Log {
    pub heads: Vec<String>,
    pub body: Vec<u8>,
    pub trailers: Option<String>,
    pub ends: usize,
    pub error: Option<Error>,
    pub rest: Vec<u8>,
}

pub fn show(fields: &Fields<'_>) -> String {
    fields.iter().map(|(n, v)| format!("{}={}", n.escape_ascii(), v.escape_ascii())).collect::<Vec<_>>().join("|")
}

impl Log {
    pub fn note(&mut self, event: &Event<'_>) {
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
pub fn read(mut reader: Reader, pieces: &[&[u8]], finish: bool) -> Log {
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

pub fn requests(input: &[u8]) -> Log {
    read(Reader::requests(), &[input], true)
}

pub fn responses(answer: Answer, input: &[u8]) -> Log {
    let mut reader = Reader::responses();
    reader.answer(answer);
    read(reader, &[input], true)
}

pub fn request_error(input: impl AsRef<[u8]>) -> Option<Error> {
    let whole = requests(input.as_ref());
    assert!(whole.heads.len() <= 1, "{}", input.as_ref().escape_ascii());
    if input.as_ref().len() < 1_000 {
        let bytes: Vec<&[u8]> = input.as_ref().chunks(1).collect();
        assert_eq!(read(Reader::requests(), &bytes, true).error, whole.error, "{}", input.as_ref().escape_ascii());
    }
    whole.error
}

/// A request with these field lines.
pub fn with(lines: &str) -> String {
    format!("POST /x HTTP/1.1\r\n{lines}\r\n")
}

/// Five requests, each ended in another way.
pub const CONVERSATION: &[u8] = b"\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\nPOST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloPUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: 1\r\nU: 2\r\n\r\nPUT /d HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /e HTTP/1.0\r\n\r\n";
