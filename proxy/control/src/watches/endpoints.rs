//! The endpoints behind one authority: `Destination.Get`, folded into whole sets.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rules::endpoint::Endpoint;
use rules::outbound::Unavailable;
use tokio::sync::Notify;
use wire::EndpointTable;
use wire::linkerd::destination::{GetDestination, Update};

use super::Watcher;
use super::answer::Answer;
use crate::follow::{Event, Retry, follow};
use crate::grpc::Code;

/// A question the control plane cannot answer is not asked often.
const ASK_AGAIN: Duration = Duration::from_secs(60);

impl Watcher {
    /// Never returns.
    pub(super) async fn endpoints(self, authority: Arc<str>, answer: Rc<RefCell<Answer<Arc<[Endpoint]>>>>) {
        let request = GetDestination {
            scheme: "k8s".into(),
            path: authority.to_string(),
            context_token: self.config.control.context_token.clone(),
        };
        let subject = format!("endpoints of {authority}");
        let mut table = EndpointTable::new();
        let quiet = Notify::new();
        follow(self.destination.clone(), wire::method::DESTINATION_GET, &request, &quiet, |event: Event<Update>| {
            match event {
                Event::Message { message, first } => {
                    if first {
                        table = EndpointTable::new();
                    }
                    match table.apply(&message) {
                        Ok(applied) => {
                            match applied.rejected.first() {
                                Some(invalid) => self.notes.rejected(&subject, invalid),
                                None => self.notes.clear(&subject),
                            }
                            answer.borrow_mut().good(applied.endpoints);
                        }
                        Err(invalid) => {
                            self.notes.rejected(&subject, &invalid);
                            answer.borrow_mut().bad(Unavailable::Invalid(invalid.to_string().into()));
                        }
                    }
                    Retry::Soon
                }
                Event::Failed(status) => {
                    answer.borrow_mut().bad(Unavailable::NoAnswer);
                    match status.code {
                        Code::InvalidArgument | Code::FailedPrecondition => Retry::After(ASK_AGAIN),
                        _ => Retry::Soon,
                    }
                }
            }
        })
        .await;
    }
}
