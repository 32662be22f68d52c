//! What went wrong, whose fault it is, and how a caller is told: pure values.
//!
//! An application's own errors are never dressed up here; they pass as they are (seams §28).

use std::borrow::Cow;
use std::fmt;
use std::io;

use telemetry::{Author, Reason};

/// What happened to a connection, whoever is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub reason: Reason,
    pub detail: Cow<'static, str>,
}

impl Cause {
    pub fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Cause {
        Cause { reason, detail: detail.into() }
    }

    pub fn of(error: &io::Error) -> Cause {
        use io::ErrorKind as Kind;
        let reason = match error.kind() {
            Kind::ConnectionRefused => Reason::Refused,
            Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => Reason::Reset,
            Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::AddrNotAvailable | Kind::NotFound => {
                Reason::Unreachable
            }
            Kind::TimedOut => Reason::ConnectTimeout,
            Kind::UnexpectedEof => Reason::Closed,
            Kind::OutOfMemory => Reason::Resources,
            _ => Reason::Io,
        };
        Cause { reason, detail: Cow::Borrowed("") }
    }

    pub fn by(self, author: Author) -> Failure {
        Failure { author, cause: self }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.detail {
            "" => write!(f, "{}", self.reason),
            detail => write!(f, "{}: {detail}", self.reason),
        }
    }
}

/// A failure that names its author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub author: Author,
    pub cause: Cause,
}

impl Failure {
    pub fn new(author: Author, reason: Reason, detail: impl Into<Cow<'static, str>>) -> Failure {
        Cause::new(reason, detail).by(author)
    }

    /// The HTTP status of the synthesized answer (reference §2.6).
    pub fn status(&self) -> u16 {
        match self.cause.reason {
            Reason::BadPath | Reason::BadRequest => 400,
            Reason::Unauthorized | Reason::Forbidden => 403,
            // To the caller whose own certificate it is; a server's is nothing its caller can help.
            Reason::Revoked if self.author == Author::Inbound => 403,
            Reason::NoRoute => 404,
            Reason::DetectTimeout => 408,
            Reason::RateLimited => 429,
            Reason::TooLarge => 431,
            Reason::InvalidPolicy | Reason::Other => 500,
            Reason::Unsupported => 501,
            Reason::LoadShed | Reason::NoEndpoints | Reason::NoPolicy | Reason::Draining | Reason::Resources => 503,
            Reason::ConnectTimeout | Reason::Timeout | Reason::IdleTimeout | Reason::Failfast => 504,
            Reason::Loop => 508,
            Reason::Injected => 500,
            Reason::Status(status) => status,
            _ => 502,
        }
    }

    /// The `grpc-status` of the synthesized answer, whose HTTP status is then 200.
    pub fn grpc_status(&self) -> u8 {
        match self.cause.reason {
            Reason::BadPath | Reason::Unsupported => 12,
            Reason::BadRequest => 13,
            Reason::Unauthorized | Reason::Forbidden => 7,
            Reason::Revoked if self.author == Author::Inbound => 7,
            Reason::NoRoute => 5,
            Reason::RateLimited | Reason::TooLarge => 8,
            Reason::InvalidPolicy => 13,
            Reason::Timeout | Reason::IdleTimeout | Reason::DetectTimeout => 4,
            Reason::Loop => 10,
            Reason::Grpc(status) => status,
            _ => 14,
        }
    }

    /// The value of `l5d-proxy-error`: visible ASCII, at most 256 bytes.
    pub fn header(&self) -> String {
        let mut text: String =
            self.to_string().chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
        text.truncate(256);
        text
    }

    /// Reads what [`Failure::header`] wrote; `None` for another mesh's words.
    pub fn parse(header: &[u8]) -> Option<Failure> {
        let text = std::str::from_utf8(header).ok()?;
        let (author, rest) = text.split_once(": ")?;
        let (reason, detail) = rest.split_once(": ").unwrap_or((rest, ""));
        let author = Author::parse(author)?;
        Some(Failure::new(author, Reason::parse(reason).unwrap_or(Reason::Other), detail.to_owned()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.author, self.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_its_header() {
        for failure in [
            Failure::new(Author::Application, Reason::Refused, ""),
            Failure::new(Author::Outbound, Reason::Tls, "bad certificate: expired"),
            Failure::new(Author::ControlPlane, Reason::NoPolicy, "no answer"),
        ] {
            assert_eq!(Failure::parse(failure.header().as_bytes()), Some(failure));
        }
        assert_eq!(Failure::parse(b"client-policy endpoint not ready"), None);
    }

    #[test]
    fn a_header_holds_no_control_characters_and_is_bounded() {
        let header = Failure::new(Author::Inbound, Reason::Io, format!("a\r\nb{}", "x".repeat(999))).header();
        assert!(header.len() <= 256 && header.bytes().all(|b| (0x20..0x7f).contains(&b)), "{header}");
    }
}
