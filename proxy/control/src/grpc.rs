//! The little of gRPC a client needs: unary calls and server streams over one HTTP/2 connection.
//!
//! Messages are at most 4 MiB and never compressed (security A-65). Connections are [`crate::channel`]'s business.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, Version};
use prost::Message;

/// Largest message accepted.
pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;
const PREFIX: usize = 5;
/// Characters kept of a peer's message.
const MAX_TEXT: usize = 512;

/// How a call failed, in gRPC's codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub code: Code,
    pub message: String,
}

/// The codes that are told apart here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Ok,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    PermissionDenied,
    FailedPrecondition,
    Unimplemented,
    Internal,
    Unavailable,
    Unauthenticated,
    Other(u32),
}

impl Code {
    fn from_number(number: u32) -> Code {
        match number {
            0 => Code::Ok,
            3 => Code::InvalidArgument,
            4 => Code::DeadlineExceeded,
            5 => Code::NotFound,
            7 => Code::PermissionDenied,
            9 => Code::FailedPrecondition,
            12 => Code::Unimplemented,
            13 => Code::Internal,
            14 => Code::Unavailable,
            16 => Code::Unauthenticated,
            other => Code::Other(other),
        }
    }
}

impl Status {
    pub fn new(code: Code, message: impl Into<String>) -> Status {
        Status { code, message: message.into() }
    }

    pub fn unavailable(message: impl Into<String>) -> Status {
        Status::new(Code::Unavailable, message)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}", self.code, self.message)
    }
}

impl std::error::Error for Status {}

impl From<h2::Error> for Status {
    fn from(error: h2::Error) -> Status {
        Status::unavailable(error.to_string())
    }
}

/// A call whose answer has begun.
#[derive(Debug)]
pub struct Answer {
    body: RecvStream,
    read: BytesMut,
}

/// Sends `request` to `/package.Service/Method` on a connection that is ready for it, and waits for the head of the
/// answer.
pub async fn call(
    mut connection: SendRequest<Bytes>,
    authority: &str,
    metadata: Option<(&str, &str)>,
    path: &str,
    request: &impl Message,
) -> Result<Answer, Status> {
    let head = Request::builder()
        .version(Version::HTTP_2)
        .method(Method::POST)
        // Linkerd's servers see `http` over TLS too.
        .uri(format!("http://{authority}{path}"))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header("user-agent", concat!("gossamer-proxy/", env!("CARGO_PKG_VERSION")));
    let head = metadata
        .into_iter()
        .fold(head, |head, (name, value)| head.header(name, value))
        .body(())
        .map_err(|error| Status::new(Code::Internal, error.to_string()))?;
    let (response, mut body) = connection.send_request(head, false)?;
    body.send_data(frame(request), true)?;
    let response = response.await?;
    let (parts, body) = response.into_parts();
    if let Some(status) = status_of(&parts.headers) {
        return Err(done(status));
    }
    match parts.status.as_u16() {
        200 => Ok(Answer { body, read: BytesMut::new() }),
        404 => Err(Status::new(Code::Unimplemented, "HTTP status 404")),
        status => Err(Status::unavailable(format!("HTTP status {status}"))),
    }
}

fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX + length);
    frame.put_u8(0);
    frame.put_u32(length as u32);
    // The buffer grows, so the only error there is (no room) cannot happen.
    message.encode(&mut frame).unwrap_or_default();
    frame.freeze()
}

/// The status in a block of headers or trailers.
fn status_of(headers: &HeaderMap) -> Option<Status> {
    let code = headers.get("grpc-status")?;
    let code = code.to_str().ok().and_then(|code| code.parse().ok()).map_or(Code::Other(2), Code::from_number);
    let message = headers.get("grpc-message").map_or(&b""[..], |message| message.as_bytes());
    Some(Status { code, message: percent_decoded(message) })
}

/// gRPC writes messages percent-encoded.
fn percent_decoded(text: &[u8]) -> String {
    let mut out = Vec::new();
    let mut rest = text.get(..MAX_TEXT).unwrap_or(text);
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The end of a stream is an error for whoever wanted one more message.
fn done(status: Status) -> Status {
    match status.code {
        Code::Ok => Status::unavailable("the stream ended"),
        _ => status,
    }
}

impl Answer {
    /// The next message. `Err` at the end, whatever its reason.
    pub async fn message<M: Message + Default>(&mut self) -> Result<M, Status> {
        loop {
            if let Some(message) = self.take()? {
                return M::decode(message).map_err(|error| Status::new(Code::Internal, error.to_string()));
            }
            match self.body.data().await {
                Some(data) => {
                    let data = data?;
                    self.body.flow_control().release_capacity(data.len())?;
                    self.read.extend_from_slice(&data);
                }
                None => return Err(self.end().await),
            }
        }
    }

    /// A whole message from what was read.
    fn take(&mut self) -> Result<Option<Bytes>, Status> {
        let [compressed, a, b, c, d, ..] = self.read[..] else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if compressed != 0 {
            return Err(Status::new(Code::Internal, "a compressed message, which was not offered"));
        }
        if length > MAX_MESSAGE {
            return Err(Status::new(
                Code::Internal,
                format!("a message of {length} bytes; at most {MAX_MESSAGE} are read"),
            ));
        }
        if self.read.len() < PREFIX + length {
            return Ok(None);
        }
        self.read.advance(PREFIX);
        let message = self.read.split_to(length).freeze();
        if self.read.is_empty() {
            // An idle stream holds no buffer.
            self.read = BytesMut::new();
        }
        Ok(Some(message))
    }

    async fn end(&mut self) -> Status {
        match self.body.trailers().await {
            Ok(Some(trailers)) => done(status_of(&trailers).unwrap_or_else(|| Status::unavailable("no status"))),
            Ok(None) => Status::unavailable("the stream ended without a status"),
            Err(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_percent_decoded_and_bounded() {
        assert_eq!(percent_decoded(b"no%20such%3A x%2"), "no such: x%2");
        assert_eq!(percent_decoded(&[b'a'; 10_000]).len(), MAX_TEXT);
        assert_eq!(percent_decoded(b"%ff"), "\u{fffd}");
    }

    #[test]
    fn a_status_of_zero_where_a_message_was_wanted_is_an_end() {
        let mut headers = HeaderMap::new();
        assert_eq!(status_of(&headers), None);
        headers.insert("grpc-status", "0".parse().unwrap());
        assert_eq!(done(status_of(&headers).unwrap()).code, Code::Unavailable);
        headers.insert("grpc-status", "5".parse().unwrap());
        headers.insert("grpc-message", "gone".parse().unwrap());
        assert_eq!(done(status_of(&headers).unwrap()), Status::new(Code::NotFound, "gone"));
    }

    /// The control thread's stack is small: the deepest message it reads must fit, and deeper ones be refused.
    #[test]
    fn messages_nested_without_end_are_refused_on_the_threads_own_stack() {
        use wire::linkerd::destination::DestinationProfile;
        let nested = |depth: usize| {
            let mut bytes = Vec::new();
            for _ in 0..depth {
                // RequestMatch.not
                let mut outer = vec![0x1a];
                prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
                outer.extend_from_slice(&bytes);
                bytes = outer;
            }
            for tag in [0x0a, 0x0a] {
                // Route.condition, DestinationProfile.routes
                let mut outer = vec![tag];
                prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
                outer.extend_from_slice(&bytes);
                bytes = outer;
            }
            bytes
        };
        let (shallow, deep) = (nested(90), nested(50_000));
        let decode =
            move || (DestinationProfile::decode(&shallow[..]).is_ok(), DestinationProfile::decode(&deep[..]).is_ok());
        let thread = std::thread::Builder::new().stack_size(crate::thread::STACK).spawn(decode).unwrap();
        assert_eq!(thread.join().unwrap(), (true, false));
    }
}
