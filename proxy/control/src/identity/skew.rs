//! Clocks that disagree, named: a certificate that is not valid in the moment it arrives says how far they are apart.

use std::time::Duration;

use rustls::CertificateError;
use rustls::pki_types::{CertificateDer, UnixTime};

use super::certificate::{self, Leaf};
use super::{Error, broken};
use crate::clock::words;

/// Issuers date certificates back by this much at most (reference §3.1), and by a tenth of a shorter life.
const ALLOWANCE: u64 = 20;

/// Why a certificate that was just issued to us cannot be used.
pub fn unacceptable(leaf: &CertificateDer<'_>, now: UnixTime, error: rustls::Error) -> Error {
    match certificate::leaf(leaf).and_then(|leaf| disagreement(&leaf, now.as_secs())) {
        Some(text) => Error { text, skewed: true },
        None => broken(format!("the issued certificate is not acceptable: {error}")),
    }
}

/// `now` in seconds since the Unix epoch. `None`: the certificate is valid now.
fn disagreement(leaf: &Leaf, now: u64) -> Option<String> {
    // Life and allowance before and after it.
    let whole = leaf.not_after.saturating_sub(leaf.not_before);
    let issued = leaf.not_before + ALLOWANCE.min(whole / 12);
    let (apart, which) = if now < leaf.not_before {
        (issued - now, "behind")
    } else if now > leaf.not_after {
        (now - issued, "ahead of")
    } else {
        return None;
    };
    let apart = words(Duration::from_secs(apart));
    Some(format!("this machine's clock is {apart} {which} the control plane's: set one of them right"))
}

/// The same for a server that showed its certificate in a handshake; `None` when time is not the trouble.
pub fn of_server(error: &rustls::Error) -> Option<String> {
    let rustls::Error::InvalidCertificate(error) = error else { return None };
    let between =
        |from: &UnixTime, to: &UnixTime| words(Duration::from_secs(to.as_secs().saturating_sub(from.as_secs())));
    match error {
        CertificateError::ExpiredContext { time, not_after } => Some(format!(
            "its certificate expired {} ago by this machine's clock: it was not renewed, or this clock is ahead",
            between(not_after, time)
        )),
        CertificateError::NotValidYetContext { time, not_before } => Some(format!(
            "its certificate is valid in {} only by this machine's clock: this clock is behind",
            between(time, not_before)
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(issued: u64, life: u64) -> Leaf {
        let allowance = ALLOWANCE.min(life / 10);
        let (not_before, not_after) = (issued - allowance, issued + life + allowance);
        Leaf { name: None, has_extended_key_usage: true, serial: vec![1], not_before, not_after }
    }

    #[test]
    fn a_server_whose_certificate_is_out_of_time_says_by_how_much() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let says = |error| of_server(&rustls::Error::InvalidCertificate(error)).unwrap_or_default();
        let expired = CertificateError::ExpiredContext { time: at(100_000), not_after: at(6_400) };
        assert!(says(expired).starts_with("its certificate expired 26 h ago by this machine's clock"));
        let early = CertificateError::NotValidYetContext { time: at(1_000), not_before: at(1_603) };
        assert!(says(early).starts_with("its certificate is valid in 10 min 3 s only by this machine's clock"));
        assert_eq!(says(CertificateError::UnknownIssuer), "");
    }

    #[test]
    fn the_error_says_how_far_the_clocks_are_apart() {
        let day = leaf(1_000_000, 86_400);
        let says = |leaf: &Leaf, now| disagreement(leaf, now).unwrap_or_default();
        assert!(says(&day, 1_000_000 - 603).contains("clock is 10 min 3 s behind the control plane's"));
        assert!(says(&day, 1_000_000 + 93_600).contains("clock is 26 h ahead of the control plane's"));
        assert!(says(&leaf(1_000_000, 30), 1_000_000 - 15).contains("15 s behind"));
        assert!(says(&leaf(1_000_000, 30), 1_000_000 + 600).contains("10 min ahead of"));
        for now in [1_000_000 - 20, 1_000_000, 1_086_420] {
            assert_eq!(disagreement(&day, now), None);
        }
    }
}
