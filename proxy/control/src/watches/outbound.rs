//! One original destination: `OutboundPolicies.Watch` and `Destination.GetProfile`, side by side, as one answer.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rules::meta::Meta;
use rules::outbound::{
    Distribution, HttpPolicy, OpaqueRoute, OutboundPolicy, Protocol, Route, Unavailable, as_addressed, forward,
};
use tokio::sync::Notify;
use wire::Profile;
use wire::linkerd::destination::{DestinationProfile, GetDestination};
use wire::linkerd::outbound::{OutboundPolicy as PolicyMessage, TrafficSpec, traffic_spec::Target};

use super::Watcher;
use super::answer::Answer;
use crate::follow::{Event, Retry, follow};
use crate::grpc::Code;
use crate::notes::Notes;

/// An address nobody has a policy for may get one later.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// One half of the answer.
#[derive(Clone, Debug, PartialEq)]
enum Part<T> {
    Waiting,
    /// The control plane says that there is none.
    Absent,
    Failed(Unavailable),
    Known(T),
}

struct Halves {
    address: SocketAddr,
    detect_timeout: Duration,
    policy: Part<Arc<OutboundPolicy>>,
    profile: Part<Profile>,
    answer: Rc<RefCell<Answer<Arc<OutboundPolicy>>>>,
    notes: Notes,
}

impl Watcher {
    /// Never returns.
    pub(super) async fn outbound(self, address: SocketAddr, answer: Rc<RefCell<Answer<Arc<OutboundPolicy>>>>) {
        let asks_profile = self
            .config
            .control
            .profile_networks
            .as_ref()
            .is_none_or(|networks| networks.iter().any(|network| network.contains(address.ip())));
        let halves = RefCell::new(Halves {
            address,
            detect_timeout: self.config.outbound.side.detect_timeout,
            policy: Part::Waiting,
            profile: if asks_profile { Part::Waiting } else { Part::Absent },
            answer,
            notes: self.notes.clone(),
        });
        // A profile that changes may mean that the address has become somebody: the policy is asked for again.
        let nudge = Notify::new();
        let policy = self.outbound_policy(address, &halves, &nudge);
        let profile = async {
            if asks_profile {
                self.outbound_profile(address, &halves, &nudge).await;
            }
        };
        tokio::join!(policy, profile);
    }

    async fn outbound_policy(&self, address: SocketAddr, halves: &RefCell<Halves>, nudge: &Notify) {
        let request = TrafficSpec {
            source_workload: self.config.policy.workload.clone(),
            target: Some(Target::Addr(address.into())),
        };
        follow(self.policy.clone(), wire::method::OUTBOUND_WATCH, &request, nudge, |event: Event<PolicyMessage>| {
            let mut halves = halves.borrow_mut();
            let (part, retry) = match event {
                Event::Message { message, .. } => match wire::outbound::policy(&message) {
                    Ok(policy) => (halves.good("policy", Arc::new(policy)), Retry::Soon),
                    Err(invalid) => (halves.rejected("policy", &invalid), Retry::Soon),
                },
                Event::Failed(status) => match status.code {
                    Code::NotFound | Code::Unimplemented => (Part::Absent, Retry::After(ASK_AGAIN)),
                    _ => (Part::Failed(Unavailable::NoAnswer), Retry::Soon),
                },
            };
            // The last good policy stays; only an answer replaces an answer.
            if !(matches!(part, Part::Failed(_)) && matches!(halves.policy, Part::Known(_) | Part::Absent)) {
                halves.policy = part;
            }
            halves.tell();
            retry
        })
        .await;
    }

    async fn outbound_profile(&self, address: SocketAddr, halves: &RefCell<Halves>, nudge: &Notify) {
        let request = GetDestination {
            scheme: "k8s".into(),
            path: address.to_string(),
            context_token: self.config.control.context_token.clone(),
        };
        let quiet = Notify::new();
        follow(
            self.destination.clone(),
            wire::method::DESTINATION_GET_PROFILE,
            &request,
            &quiet,
            |event: Event<DestinationProfile>| {
                let mut halves = halves.borrow_mut();
                let (part, retry) = match event {
                    Event::Message { message, .. } => match wire::destination::profile(&message) {
                        Ok(profile) => (halves.good("profile", profile), Retry::Soon),
                        Err(invalid) => (halves.rejected("profile", &invalid), Retry::Soon),
                    },
                    Event::Failed(status) => match status.code {
                        Code::InvalidArgument | Code::Unimplemented => (Part::Absent, Retry::After(ASK_AGAIN)),
                        _ => (Part::Failed(Unavailable::NoAnswer), Retry::Soon),
                    },
                };
                let keeps = matches!(part, Part::Failed(_)) && matches!(halves.profile, Part::Known(_) | Part::Absent);
                if !keeps && halves.profile != part {
                    let replaced = std::mem::replace(&mut halves.profile, part);
                    if halves.policy == Part::Absent && replaced != Part::Waiting {
                        nudge.notify_one();
                    }
                }
                halves.tell();
                retry
            },
        )
        .await;
    }
}

impl Halves {
    fn good<T>(&self, what: &str, value: T) -> Part<T> {
        self.notes.clear(&self.subject(what));
        Part::Known(value)
    }

    fn rejected<T>(&self, what: &str, invalid: &wire::Invalid) -> Part<T> {
        self.notes.rejected(&self.subject(what), invalid);
        Part::Failed(Unavailable::Invalid(invalid.to_string().into()))
    }

    fn subject(&self, what: &str) -> String {
        format!("the {what} of {}", self.address)
    }

    fn tell(&self) {
        match merged(self.address, &self.policy, &self.profile, self.detect_timeout) {
            Some(Ok(policy)) => self.answer.borrow_mut().good(policy),
            Some(Err(why)) => self.answer.borrow_mut().bad(why),
            None => {}
        }
    }
}

/// The answer two halves make; `None` while one is still waited for.
fn merged(
    address: SocketAddr,
    policy: &Part<Arc<OutboundPolicy>>,
    profile: &Part<Profile>,
    detect_timeout: Duration,
) -> Option<Result<Arc<OutboundPolicy>, Unavailable>> {
    let known = match profile {
        Part::Known(profile) => Some(profile),
        _ => None,
    };
    let whole = match (policy, profile) {
        (Part::Failed(why), _) => return Some(Err(why.clone())),
        (Part::Waiting, _) | (_, Part::Waiting) => return None,
        (Part::Known(policy), _) => policy.clone(),
        // Nobody's policy, and perhaps somebody's endpoint with an identity: not in the clear on a guess.
        (Part::Absent, Part::Failed(why)) => return Some(Err(why.clone())),
        (Part::Absent, _) => {
            let (meta, endpoint) = match known.and_then(|profile| profile.endpoint.clone()) {
                Some(endpoint) => ("endpoint", endpoint),
                None => ("fallback", as_addressed(address)),
            };
            Arc::new(forward(Meta::Default(meta.into()), endpoint, detect_timeout))
        }
    };
    Some(Ok(if known.is_some_and(|profile| profile.opaque) { opaque(&whole) } else { whole }))
}

/// The same destination without reading protocols.
fn opaque(policy: &Arc<OutboundPolicy>) -> Arc<OutboundPolicy> {
    let routes: Arc<[OpaqueRoute]> = match &policy.protocol {
        Protocol::Opaque(_) => return policy.clone(),
        Protocol::Tls(routes) | Protocol::Detect { opaque: routes, .. } => routes.clone(),
        Protocol::Http1(HttpPolicy { routes, .. }) | Protocol::Http2(HttpPolicy { routes, .. }) => first(routes),
        Protocol::Grpc(grpc) => first(&grpc.routes),
    };
    Arc::new(OutboundPolicy { meta: policy.meta.clone(), protocol: Protocol::Opaque(routes) })
}

/// Opaque traffic to wherever the first rule of the first route would go.
fn first<M>(routes: &[Route<M>]) -> Arc<[OpaqueRoute]> {
    routes
        .iter()
        .take(1)
        .map(|route| OpaqueRoute {
            meta: route.meta.clone(),
            snis: vec![],
            backends: route.rules.first().map_or(Distribution::Empty, |rule| rule.backends.clone()),
            forbidden: None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn address() -> SocketAddr {
        "127.64.0.9:80".parse().unwrap()
    }

    fn policy() -> Arc<OutboundPolicy> {
        Arc::new(forward(Meta::Default("test".into()), as_addressed(address()), TIMEOUT))
    }

    fn merge(
        policy: Part<Arc<OutboundPolicy>>,
        profile: Part<Profile>,
    ) -> Option<Result<Arc<OutboundPolicy>, Unavailable>> {
        merged(address(), &policy, &profile, TIMEOUT)
    }

    #[test]
    fn both_halves_are_waited_for_but_a_failed_policy_is_said_at_once() {
        assert_eq!(merge(Part::Waiting, Part::Known(Profile::default())), None);
        assert_eq!(merge(Part::Known(policy()), Part::Waiting), None);
        let failed = Part::Failed(Unavailable::NoAnswer);
        assert_eq!(merge(failed, Part::Waiting), Some(Err(Unavailable::NoAnswer)));
    }

    #[test]
    fn an_unknown_address_goes_as_addressed_and_a_known_endpoint_as_itself() {
        let fallback = forward(Meta::Default("fallback".into()), as_addressed(address()), TIMEOUT);
        assert_eq!(merge(Part::Absent, Part::Known(Profile::default())), Some(Ok(Arc::new(fallback.clone()))));
        assert_eq!(merge(Part::Absent, Part::Absent), Some(Ok(Arc::new(fallback))));
        let mut endpoint = as_addressed(address());
        endpoint.inbound_port = Some(4143);
        let profile = Profile { endpoint: Some(endpoint.clone()), ..Profile::default() };
        let expected = forward(Meta::Default("endpoint".into()), endpoint, TIMEOUT);
        assert_eq!(merge(Part::Absent, Part::Known(profile)), Some(Ok(Arc::new(expected))));
    }

    #[test]
    fn an_unknown_address_is_refused_while_the_profile_cannot_be_had() {
        let silent = Part::Failed(Unavailable::NoAnswer);
        assert_eq!(merge(Part::Absent, silent.clone()), Some(Err(Unavailable::NoAnswer)));
        assert_eq!(merge(Part::Known(policy()), silent), Some(Ok(policy())));
    }

    #[test]
    fn an_opaque_profile_makes_any_policy_opaque() {
        let profile = || Part::Known(Profile { opaque: true, ..Profile::default() });
        let Some(Ok(made)) = merge(Part::Known(policy()), profile()) else { panic!("no answer") };
        let Protocol::Opaque(routes) = &made.protocol else { panic!("not opaque") };
        assert_eq!(routes.len(), 1);
        let Protocol::Detect { http1, .. } = &policy().protocol else { panic!("not detected") };
        let http = Arc::new(OutboundPolicy { meta: policy().meta.clone(), protocol: Protocol::Http1(http1.clone()) });
        let Some(Ok(again)) = merge(Part::Known(http), profile()) else { panic!("no answer") };
        assert_eq!(again.protocol, made.protocol);
    }
}
