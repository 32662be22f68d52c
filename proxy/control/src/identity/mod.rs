//! Who this workload is: its key, its certificate, and whom it believes. Private keys stay in this module.

mod anchors;
mod certificate;
mod credentials;
mod der;
mod key;
pub(crate) mod renew;
mod verify;

pub use anchors::Bundle;
pub use certificate::{Leaf, leaf, peer_identity};
pub use credentials::{Clients, Issued, Own, TRANSPORT_ALPN, credentials, provider};
pub use key::{EcdsaKey, Request, csr};
pub use verify::{ClientVerifier, ServerVerifier, Trust};

/// Why there is no (new) certificate: one line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

fn broken(reason: impl Into<String>) -> Error {
    Error(reason.into())
}
