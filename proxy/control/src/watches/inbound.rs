//! The policy of one of the workload's ports: `InboundServerPolicies.WatchPort`.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rules::inbound::{ServerPolicy, default_policy};
use rules::outbound::Unavailable;
use tokio::sync::Notify;
use wire::linkerd::inbound::{PortSpec, Server};

use super::Watcher;
use super::answer::Answer;
use crate::follow::{Event, Retry, follow};
use crate::grpc::Code;

/// A port without a policy may get one later.
const ASK_AGAIN: Duration = Duration::from_secs(10);

impl Watcher {
    /// Never returns.
    pub(super) async fn inbound(self, port: u16, answer: Rc<RefCell<Answer<Arc<ServerPolicy>>>>) {
        let request = PortSpec { workload: self.config.policy.workload.clone(), port: u32::from(port) };
        let subject = format!("the policy of port {port}");
        let quiet = Notify::new();
        follow(self.policy.clone(), wire::method::INBOUND_WATCH_PORT, &request, &quiet, |event: Event<Server>| {
            let mut answer = answer.borrow_mut();
            match event {
                Event::Message { message, .. } => match wire::inbound::server(&message) {
                    Ok(policy) => {
                        self.notes.clear(&subject);
                        answer.good(Arc::new(policy));
                    }
                    Err(invalid) => {
                        self.notes.rejected(&subject, &invalid);
                        answer.bad(Unavailable::Invalid(invalid.to_string().into()));
                    }
                },
                Event::Failed(status) => match (status.code, self.default_policy(port)) {
                    // The control plane knows no such port: the default, as Linkerd's proxy has it (reference §2.1).
                    (Code::NotFound | Code::Unimplemented, Some(policy)) => {
                        answer.good(Arc::new(policy));
                        return Retry::After(ASK_AGAIN);
                    }
                    _ => answer.bad(Unavailable::NoAnswer),
                },
            }
            Retry::Soon
        })
        .await;
    }

    fn default_policy(&self, port: u16) -> Option<ServerPolicy> {
        let policy = &self.config.policy;
        let opaque = policy.opaque_ports.contains(port);
        default_policy(&policy.default, &policy.cluster_networks, opaque, self.config.inbound.side.detect_timeout)
    }
}
