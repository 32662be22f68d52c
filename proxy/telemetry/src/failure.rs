//! Whose fault a failure is, and why: the words of `l5d-proxy-error`, of metrics and of reports (seams §28).

use std::fmt;

/// Who made a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Author {
    Application = 1,
    Outbound = 2,
    Inbound = 3,
    ControlPlane = 4,
}

impl Author {
    pub const ALL: [Author; 4] = [Author::Application, Author::Outbound, Author::Inbound, Author::ControlPlane];

    /// The word in headers and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Author::Application => "application",
            Author::Outbound => "outbound",
            Author::Inbound => "inbound",
            Author::ControlPlane => "control-plane",
        }
    }

    pub fn parse(text: &str) -> Option<Author> {
        Author::ALL.into_iter().find(|author| author.as_str() == text)
    }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal $word:literal,)*) => {
        /// Why; a closed set, so that it can be a metric label.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            /// An HTTP status of the author's own: `status-503`.
            Status(u16),
            /// A gRPC status of the author's own: `grpc-14`.
            Grpc(u8),
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            const WORDS: &'static [(Reason, &'static str)] = &[$((Reason::$name, $word),)*];

            pub(crate) fn code(self) -> u32 {
                match self {
                    Reason::Status(status) => 0x1_0000 | u32::from(status),
                    Reason::Grpc(status) => 0x2_0000 | u32::from(status),
                    $(Reason::$name => $code,)*
                }
            }

            pub(crate) fn from_code(code: u32) -> Reason {
                match (code >> 16, code & 0xffff) {
                    (1, status) => Reason::Status(status as u16),
                    (2, status) => Reason::Grpc(status as u8),
                    $((0, $code) => Reason::$name,)*
                    _ => Reason::Other,
                }
            }
        }
    };
}

reasons! {
    /// Anything without a word of its own, and what no longer fits the table.
    Other = 1 "other",
    /// The connection was refused.
    Refused = 2 "refused",
    /// The connection or stream was reset.
    Reset = 3 "reset",
    /// The connection ended before the response did.
    Closed = 4 "closed",
    /// The host or network cannot be reached.
    Unreachable = 5 "unreachable",
    ConnectTimeout = 6 "connect-timeout",
    /// The response took longer than the route allows.
    Timeout = 7 "timeout",
    IdleTimeout = 8 "idle-timeout",
    /// No endpoint became ready in time.
    Failfast = 9 "failfast",
    /// More in flight than allowed.
    LoadShed = 10 "load-shed",
    /// The service exists and nobody serves it.
    NoEndpoints = 11 "no-endpoints",
    Unauthorized = 12 "unauthorized",
    NoRoute = 13 "no-route",
    BadPath = 14 "bad-path",
    BadRequest = 15 "bad-request",
    TooLarge = 16 "too-large",
    RateLimited = 17 "rate-limited",
    /// The control plane has not answered and nothing is remembered.
    NoPolicy = 18 "no-policy",
    InvalidPolicy = 19 "invalid-policy",
    /// A route or filter of the policy says so.
    Forbidden = 20 "forbidden",
    Injected = 21 "injected",
    /// The TLS handshake failed.
    Tls = 22 "tls",
    /// The certificate was of another name than expected.
    Identity = 23 "identity",
    /// The peer broke its protocol.
    Protocol = 24 "protocol",
    DetectTimeout = 25 "detect-timeout",
    Loop = 26 "loop",
    /// This sidecar is draining.
    Draining = 27 "draining",
    /// Out of memory, descriptors or ports.
    Resources = 28 "resources",
    Io = 29 "io",
    Unsupported = 30 "unsupported",
    /// The caller went away.
    Cancelled = 31 "cancelled",
    /// The certificate of the other end was taken back.
    Revoked = 32 "revoked",
}

impl Reason {
    /// The word, when it has no number in it.
    pub fn word(self) -> Option<&'static str> {
        Reason::WORDS.iter().find(|(reason, _)| *reason == self).map(|(_, word)| *word)
    }

    /// Reads what [`fmt::Display`] writes; `None` for a word of another version.
    pub fn parse(text: &str) -> Option<Reason> {
        if let Some(status) = text.strip_prefix("status-") {
            return status.parse().ok().filter(|status| (100..1000).contains(status)).map(Reason::Status);
        }
        if let Some(status) = text.strip_prefix("grpc-") {
            return status.parse().ok().map(Reason::Grpc);
        }
        Reason::WORDS.iter().find(|(_, word)| *word == text).map(|(reason, _)| *reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Status(status) => write!(f, "status-{status}"),
            Reason::Grpc(status) => write!(f, "grpc-{status}"),
            other => f.write_str(other.word().unwrap_or("other")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives_its_code_and_its_word() {
        let words = Reason::WORDS.iter().map(|(reason, _)| *reason);
        for reason in words.chain([Reason::Status(503), Reason::Grpc(14)]) {
            assert_eq!(Reason::from_code(reason.code()), reason);
            assert_eq!(Reason::parse(&reason.to_string()), Some(reason));
        }
        assert_eq!(Reason::parse("something-new"), None);
        assert_eq!(Reason::parse("status-7"), None);
    }

    #[test]
    fn every_author_survives_its_word() {
        for author in Author::ALL {
            assert_eq!(Author::parse(author.as_str()), Some(author));
        }
        assert_eq!(Author::parse("nobody"), None);
    }
}
