//! Whether an attempt that failed is followed by another one, and when.
//!
//! The route's retry says for which answers a request may be said again; naming one, the operator vouches that the
//! request may then be processed twice. What nobody can have processed may always be said again.

use std::time::Duration;

use crate::outbound::{Backoff, Retry};

/// The largest body that is kept to be sent again, whatever the policy allows (reference §3.2).
pub const MAX_BODY: u64 = 64 * 1024;

/// How an attempt ended before the caller was told anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered. `grpc` is the status of a gRPC answer as far as it is known.
    Answered { status: u16, grpc: Option<u8> },
    /// It broke on the way. These are what the caller would be told.
    Broken { status: u16, grpc: Option<u8> },
    /// It was not answered within the time of one attempt.
    Late,
    /// Nobody can have processed it: no connection was made, or the stream was refused.
    Unsent,
}

impl Retry {
    /// Whether the attempt may be followed by another one, `retries` having been made already.
    pub fn follows(&self, outcome: Outcome, retries: u32) -> bool {
        self.wants(outcome) && retries < self.max_retries
    }

    /// Whether the route asks for another attempt after this one, were there any left.
    pub fn wants(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Answered { status, grpc } | Outcome::Broken { status, grpc } => {
                let named = self.status_ranges.iter().any(|(first, last)| (*first..=*last).contains(&status));
                named || grpc.is_some_and(|code| self.grpc_codes.contains(&code))
            }
            Outcome::Late | Outcome::Unsent => true,
        }
    }

    /// The time of one attempt. The last one has none: nothing would be decided by it (as linkerd2-proxy does).
    pub fn time(&self, retries: u32) -> Option<Duration> {
        self.timeout.filter(|_| retries < self.max_retries)
    }

    /// How long to wait before the retry after `retries` others.
    pub fn delay(&self, retries: u32, rng: u64) -> Duration {
        self.backoff.map_or(Duration::ZERO, |backoff| backoff.delay(retries, rng))
    }

    /// How many bytes of a body are kept.
    pub fn body_limit(&self) -> u64 {
        u64::from(self.max_request_bytes).min(MAX_BODY)
    }
}

impl Backoff {
    /// Doubles with each step from `min` to `max`; chance adds up to the jitter's share, never beyond `max`.
    pub fn delay(&self, step: u32, rng: u64) -> Duration {
        let base = self.min.saturating_mul(2u32.saturating_pow(step)).min(self.max);
        let share = f64::from(self.jitter) * (rng as f64 / u64::MAX as f64);
        let jitter = Duration::try_from_secs_f64(base.as_secs_f64() * share).unwrap_or(self.max);
        base + jitter.min(self.max - base)
    }
}
