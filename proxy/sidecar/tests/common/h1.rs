//! A small HTTP/1 client and origin, written apart from the codec so that they can disagree with it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A message as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub line: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    pub chunked: bool,
}

impl Message {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn status(&self) -> u16 {
        self.line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub fn method(&self) -> &str {
        self.line.split(' ').next().unwrap()
    }

    pub fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }
}

fn line(from: &mut impl BufRead) -> Option<String> {
    let mut text = String::new();
    match from.read_line(&mut text) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(text.strip_suffix("\r\n").expect("CRLF").to_owned()),
    }
}

fn fields(from: &mut impl BufRead) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while let Some(text) = line(from).filter(|text| !text.is_empty()) {
        let (name, value) = text.split_once(':').unwrap();
        found.push((name.to_owned(), value.trim().to_owned()));
    }
    found
}

/// `None` at the end of the connection. `bodiless`: the message answers a HEAD.
pub fn read_message(from: &mut impl BufRead, bodiless: bool) -> Option<Message> {
    let mut message = read_head(from)?;
    read_body(from, &mut message, bodiless);
    Some(message)
}

pub fn read_head(from: &mut impl BufRead) -> Option<Message> {
    Some(Message { line: line(from)?, fields: fields(from), ..Message::default() })
}

pub fn read_body(from: &mut impl BufRead, message: &mut Message, bodiless: bool) {
    let response = message.line.starts_with("HTTP/");
    if bodiless || (response && matches!(message.status(), 100..=199 | 204 | 304)) {
        return;
    }
    message.chunked = message.get("transfer-encoding") == Some("chunked");
    if message.chunked {
        loop {
            let size = usize::from_str_radix(line(from).unwrap().split(';').next().unwrap(), 16).unwrap();
            let mut chunk = vec![0; size];
            from.read_exact(&mut chunk).unwrap();
            if size == 0 {
                message.trailers = fields(from);
                return;
            }
            message.body.extend(chunk);
            assert_eq!(line(from).unwrap(), "");
        }
    } else if let Some(length) = message.get("content-length") {
        message.body = vec![0; length.parse().unwrap()];
        from.read_exact(&mut message.body).unwrap();
    } else if response {
        from.read_to_end(&mut message.body).unwrap();
    }
}

/// Serves requests one after the other with `answer`, which writes the response itself. False ends the connection.
pub fn origin(answer: impl Fn(Message, &mut TcpStream) -> bool + Send + Sync + 'static) -> SocketAddr {
    super::program(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(mut head) = read_head(&mut reader) {
            if head.get("expect").is_some() {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
            }
            read_body(&mut reader, &mut head, false);
            if !answer(head, &mut stream) {
                return;
            }
        }
    })
}

/// Answers with what it got: line, fields and body.
pub fn mirror() -> SocketAddr {
    origin(|request, stream| {
        let mut text = request.line.clone().into_bytes();
        for (name, value) in &request.fields {
            text.extend(format!("\n{name}: {value}").bytes());
        }
        text.extend(b"\n\n");
        text.extend(&request.body);
        for (name, value) in &request.trailers {
            text.extend(format!("\n{name}: {value}").bytes());
        }
        let head = format!("HTTP/1.1 200 OK\r\nX-Origin: mirror\r\ncontent-length: {}\r\n\r\n", text.len());
        stream.write_all(head.as_bytes()).unwrap();
        if request.method() != "HEAD" {
            stream.write_all(&text).unwrap();
        }
        true
    })
}

pub struct Client {
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    pub fn new(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Client { reader: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    pub fn send(&mut self, text: &[u8]) {
        self.stream.write_all(text).unwrap();
    }

    pub fn receive(&mut self) -> Option<Message> {
        read_message(&mut self.reader, false)
    }

    pub fn receive_head(&mut self) -> Option<Message> {
        read_message(&mut self.reader, true)
    }

    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.reader.read_to_end(&mut bytes).unwrap_or_default();
        bytes
    }

    pub fn read_exact(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.reader.read_exact(&mut bytes).unwrap();
        bytes
    }

    pub fn ask(&mut self, text: &[u8]) -> Message {
        self.send(text);
        self.receive().expect("a response")
    }
}

impl Message {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
