//! Who a workload is: a name proven by a certificate, or a name expected of a peer.

use std::sync::Arc;

/// The one subject alternative name of a leaf certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// `<sa>.<ns>.serviceaccount.identity.<control-ns>.<trust-domain>`
    Dns(Arc<str>),
    /// `spiffe://<trust-domain>/<path>`
    Uri(Arc<str>),
}

impl Identity {
    /// The name as it is written in policy, metrics and logs.
    pub fn as_str(&self) -> &str {
        match self {
            Identity::Dns(name) | Identity::Uri(name) => name,
        }
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
