//! The admin server's transport: a small HTTP/1 server on TCP or a Unix socket, for scrapes and probes.
//!
//! One request at a time per connection; heads of at most 16 KiB, bodies of at most 4 KiB, ten seconds to send them.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use settings::AdminAddress;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::pages::{Answer, Pages, Request};

const MAX_CONNECTIONS: usize = 64;
const MAX_HEAD: usize = 16 * 1024;
const MAX_BODY: usize = 4 * 1024;
const READ_TIMEOUT: Duration = Duration::from_secs(10);
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// After an error of accept(2), such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Never returns.
pub async fn serve(listen: &AdminAddress, pages: Pages) {
    let (pages, slots) = (Rc::new(pages), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    match listen {
        AdminAddress::Tcp(address) => match TcpListener::bind(address).await {
            Ok(listener) => loop {
                match listener.accept().await {
                    Ok((stream, peer)) => start(&pages, &slots, stream, peer.ip().to_canonical().is_loopback()),
                    Err(error) => pause(error).await,
                }
            },
            Err(error) => fail(&address.to_string(), error),
        },
        AdminAddress::Unix(path) => {
            // Left behind by a sidecar that was killed; a live one's would have been replaced by its own launcher.
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => fail(&path.display().to_string(), error),
                _ => {}
            }
            match UnixListener::bind(path) {
                Ok(listener) => loop {
                    match listener.accept().await {
                        Ok((stream, _)) => start(&pages, &slots, stream, true),
                        Err(error) => pause(error).await,
                    }
                },
                Err(error) => fail(&path.display().to_string(), error),
            }
        }
    }
}

fn fail(address: &str, error: io::Error) {
    telemetry::error!("the admin server cannot listen on {address}: {error}");
    std::process::exit(1);
}

async fn pause(error: io::Error) {
    telemetry::debug!("the admin server could not accept: {error}");
    sleep(ACCEPT_PAUSE).await;
}

/// A connection above the limit is closed at once.
fn start(
    pages: &Rc<Pages>,
    slots: &Arc<Semaphore>,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    local: bool,
) {
    if let Ok(slot) = slots.clone().try_acquire_owned() {
        let pages = pages.clone();
        tokio::task::spawn_local(async move {
            let _slot = slot;
            connection(stream, local, |request| pages.answer(request)).await;
        });
    }
}

async fn connection(mut stream: impl AsyncRead + AsyncWrite + Unpin, local: bool, answer: impl Fn(&Request) -> Answer) {
    let mut buffer = Vec::new();
    loop {
        let read = timeout(READ_TIMEOUT, request(&mut stream, &mut buffer, local)).await;
        let (response, close) = match read {
            Ok(Ok(Some((request, close)))) => (write(&answer(&request), close), close),
            Ok(Err(Malformed)) => (write(&malformed(), true), true),
            Ok(Ok(None)) | Err(_) => return,
        };
        let sent = timeout(WRITE_TIMEOUT, stream.write_all(response.as_bytes())).await;
        if close || !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

fn malformed() -> Answer {
    Answer { status: 400, kind: "text/plain; charset=utf-8", body: "malformed request\n".into(), allow: None }
}

/// The next request and whether the connection ends with it; `None` when the peer is done.
async fn request(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    local: bool,
) -> Result<Option<(Request, bool)>, Malformed> {
    loop {
        if let Some((request, close, used)) = parse(buffer, local)? {
            buffer.drain(..used);
            return Ok(Some((request, close)));
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(length @ 1..) => buffer.extend_from_slice(&chunk[..length]),
            _ => return Ok(None),
        }
    }
}

/// A whole request at the front of `bytes` and its length; `None` while it is not whole.
fn parse(bytes: &[u8], local: bool) -> Result<Option<(Request, bool, usize)>, Malformed> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > MAX_HEAD { Err(Malformed) } else { Ok(None) };
    };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| Malformed)?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Malformed);
    };
    let mut close = match version {
        "HTTP/1.1" => false,
        "HTTP/1.0" => true,
        _ => return Err(Malformed),
    };
    let (mut host, mut origin, mut length) = (None, false, None);
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(Malformed)?;
        if name.is_empty() || name.contains([' ', '\t', '\n', '\r']) || value.contains(['\n', '\r', '\0']) {
            return Err(Malformed);
        }
        let value = value.trim_matches([' ', '\t']);
        match name.to_ascii_lowercase().as_str() {
            "host" if host.replace(value.to_owned()).is_some() => return Err(Malformed),
            "origin" => origin = true,
            "connection" => close |= value.eq_ignore_ascii_case("close"),
            "transfer-encoding" => return Err(Malformed),
            "content-length" => {
                let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                let said = value.parse().ok().filter(|length| digits && *length <= MAX_BODY).ok_or(Malformed)?;
                if length.replace(said).is_some() {
                    return Err(Malformed);
                }
            }
            _ => {}
        }
    }
    let (start, length) = (end + 4, length.unwrap_or(0));
    let Some(body) = bytes.get(start..start + length) else { return Ok(None) };
    let (method, target, body) = (method.to_owned(), target.to_owned(), body.to_vec());
    Ok(Some((Request { method, target, host, origin, body, local }, close, start + length)))
}

fn write(answer: &Answer, close: bool) -> String {
    let reason = match answer.status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        _ => "Service Unavailable",
    };
    let mut out = format!("HTTP/1.1 {} {reason}\r\n", answer.status);
    if answer.status != 204 {
        out.push_str(&format!("content-type: {}\r\ncontent-length: {}\r\n", answer.kind, answer.body.len()));
    }
    if let Some(allow) = answer.allow {
        out.push_str(&format!("allow: {allow}\r\n"));
    }
    if close {
        out.push_str("connection: close\r\n");
    }
    out.push_str("\r\n");
    out.push_str(&answer.body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn talk(input: &[u8]) -> String {
        let (mut ours, theirs) = tokio::io::duplex(64 * 1024);
        let echo = |request: &Request| Answer {
            status: 200,
            kind: "text/plain",
            body: format!("{} {} {:?} {}\n", request.method, request.target, request.host, request.body.len()),
            allow: None,
        };
        ours.write_all(input).await.unwrap();
        ours.shutdown().await.unwrap();
        let mut answer = String::new();
        let (_, read) = tokio::join!(connection(theirs, true, echo), ours.read_to_string(&mut answer));
        read.unwrap();
        answer
    }

    fn bodies(answer: &str) -> Vec<&str> {
        answer.split("\r\n\r\n").skip(1).map(|part| part.split_once('\n').map_or(part, |(body, _)| body)).collect()
    }

    #[tokio::test]
    async fn requests_on_one_connection_are_answered_in_turn() {
        let answer =
            talk(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\nPUT /x HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc").await;
        assert_eq!(bodies(&answer), ["GET /live Some(\"a\") 0", "PUT /x None 3"]);
        let answer = talk(b"GET /a HTTP/1.0\r\n\r\nGET /b HTTP/1.1\r\n\r\n").await;
        assert_eq!(bodies(&answer), ["GET /a None 0"]);
    }

    #[tokio::test]
    async fn shapes_that_are_no_plain_requests_are_refused() {
        let long = [b"GET / HTTP/1.1\r\nx: ".as_slice(), &vec![b'x'; MAX_HEAD]].concat();
        for input in [
            b"PRI * HTTP/2.0\r\n\r\n".as_slice(),
            b"GET /\r\n\r\n",
            b"GET  / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost : a\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
            b"GET / HTTP/1.1\r\ncontent-length: +1\r\n\r\n",
            b"GET / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
            b"GET / HTTP/1.1\r\ncontent-length: 4097\r\n\r\n",
            b"GET / HTTP/1.1\r\nx: a\n\r\n\r\n",
            b"\xff / HTTP/1.1\r\n\r\n",
            &long,
        ] {
            let answer = talk(input).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_is_given_up() {
        let (mut ours, theirs) = tokio::io::duplex(1024);
        ours.write_all(b"GET / HT").await.unwrap();
        connection(theirs, true, |_| malformed()).await;
        let mut answer = Vec::new();
        ours.read_to_end(&mut answer).await.unwrap();
        assert!(answer.is_empty());
    }
}
