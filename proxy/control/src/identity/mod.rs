//! Who this workload is: its key, its certificate, and whom it believes. Private keys stay in this module.

mod anchors;
mod certificate;
mod credentials;
mod der;
mod key;
pub(crate) mod renew;
mod schedule;
pub(crate) mod skew;
mod trust;
mod verify;

pub use anchors::Bundle;
pub use certificate::{Leaf, leaf, peer_identity, peer_serial};
pub use credentials::{Clients, Issued, Own, TRANSPORT_ALPN, credentials, provider};
pub(crate) use der::elements;
pub use key::{EcdsaKey, Request, csr};
pub use trust::{Chains, Digest, Peer, Standing, Trust, Verified, sha256};
pub use verify::{ClientVerifier, ServerVerifier};

/// Why there is no (new) certificate: one line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    text: String,
    /// Our clock and the control plane's disagree: asking again soon would not help.
    skewed: bool,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

fn broken(reason: impl Into<String>) -> Error {
    Error { text: reason.into(), skewed: false }
}
