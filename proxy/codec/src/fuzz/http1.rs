//! HTTP/1: where input is cut changes nothing, and what is written reads as what was read.

use crate::h1::{Answer, Framing, Reader, State, To, write};
use crate::{Body, Event, Request, Response, Scratch, Version};

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
pub fn reads_as(head: &Request<'_>) {
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
