//! What runs on the control thread beside the control plane's client: the admin server and the DNS stub.
//!
//! Neither sees application traffic; both are bounded in what they read, hold and answer.

mod dns;
mod http;
mod pages;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use control::Companion;
use settings::Settings;
use telemetry::Registry;
use telemetry::prometheus::Process;

/// The admin server and, when sockets for it are handed over, the DNS stub. `dns`: sockets taken over from
/// `settings.handed.listeners`, by their names (`dns-udp4`, `dns-tcp4`, …).
///
/// An admin address that cannot be bound ends the process: nobody would know that it lives.
pub fn companion(settings: Arc<Settings>, registry: Arc<Registry>, dns: Vec<(String, OwnedFd)>) -> Companion {
    Box::new(move |shared| {
        Box::pin(async move {
            let about = process();
            let pages = pages::Pages::new(&settings, registry, about, shared.ready.clone(), shared.drain.clone());
            let stub = dns::Stub::new(&settings, shared.names.clone());
            tokio::join!(stub.run(dns), http::serve(&settings.admin.listen, pages));
        })
    })
}

fn process() -> Process {
    let provider = control::identity::provider();
    let joined = |names: Vec<String>| names.join(",");
    Process {
        started: pages::now(),
        cluster_domain: "cluster.local".to_owned(),
        tls_suites: joined(provider.cipher_suites.iter().map(|suite| format!("{:?}", suite.suite())).collect()),
        tls_groups: joined(provider.kx_groups.iter().map(|group| format!("{:?}", group.name())).collect()),
    }
}
