//! What the control plane says of the destinations that the workload calls: asked for once per address, shared by
//! every connection to it, forgotten when unused for a while. Bounded; a destination too many is refused.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use control::handover::Ask;
use rules::meta::Meta;
use rules::outbound::{Distribution, HttpPolicy, OutboundPolicy, Protocol, RouteBackend, Target, Unavailable};
use telemetry::{Dst, Reason};

use crate::arena::{Arena, Id};
use crate::balance::BalancerId;
use crate::conn::ConnId;
use crate::engine::{Engine, Task, Timer};
use crate::failure::Cause;

/// Destinations watched at once.
const LIMIT: usize = 10_000;

pub type DestId = Id<Destination>;

/// What is known of a policy. `Unavailable` is an answer too: the caller is refused (seams §20).
#[derive(Debug)]
pub enum Answer<T> {
    Waiting,
    Known(Arc<T>),
    Unavailable(Unavailable),
}

impl<T> Clone for Answer<T> {
    fn clone(&self) -> Self {
        match self {
            Answer::Waiting => Answer::Waiting,
            Answer::Known(value) => Answer::Known(value.clone()),
            Answer::Unavailable(why) => Answer::Unavailable(why.clone()),
        }
    }
}

impl<T> From<Result<Arc<T>, Unavailable>> for Answer<T> {
    fn from(result: Result<Arc<T>, Unavailable>) -> Self {
        result.map_or_else(Answer::Unavailable, Answer::Known)
    }
}

pub struct Destination {
    address: SocketAddr,
    answer: Answer<OutboundPolicy>,
    waiting: Vec<ConnId>,
    /// Connections that hold it, and when the last one let go.
    users: u32,
    unused_since: u64,
    /// Balancers that its policy needs.
    balancers: Vec<BalancerId>,
}

#[derive(Default)]
pub struct Destinations {
    all: Arena<Destination>,
    by_address: HashMap<SocketAddr, DestId>,
}

impl Engine {
    /// Watches a destination on behalf of a connection, until [`Engine::release_destination`]. While the answer is
    /// awaited, the connection is remembered and told by `Task::Policy`.
    pub fn hold_destination(&mut self, address: SocketAddr, waiter: ConnId, host_port: bool) -> Result<DestId, Cause> {
        if let Some(id) = self.destinations.by_address.get(&address).copied()
            && let Some(destination) = self.destinations.all.get_mut(id)
        {
            destination.users += 1;
            if matches!(destination.answer, Answer::Waiting) {
                destination.waiting.push(waiter);
            }
            return Ok(id);
        }
        if self.destinations.all.len() >= LIMIT {
            return Err(Cause::new(Reason::LoadShed, "too many destinations"));
        }
        let answer = if host_port { Answer::Known(Arc::new(forwarded(address))) } else { Answer::Waiting };
        let waiting = if host_port { vec![] } else { vec![waiter] };
        let destination = Destination { address, answer, waiting, users: 1, unused_since: 0, balancers: vec![] };
        let id = self.destinations.all.insert(destination);
        self.destinations.by_address.insert(address, id);
        if !host_port {
            self.ask(Ask::WatchOutbound(address));
        }
        Ok(id)
    }

    pub fn release_destination(&mut self, id: DestId) {
        let now = self.now;
        let Some(destination) = self.destinations.all.get_mut(id) else { return };
        destination.users = destination.users.saturating_sub(1);
        if destination.users == 0 {
            // One entry in the wheel is enough; it looks at this.
            if std::mem::replace(&mut destination.unused_since, now) != 0 {
                return;
            }
            let idle = self.options.outbound_idle;
            self.arm(idle, Timer::Destination(id));
        }
    }

    /// Unused for a while? Then the watch ends.
    pub fn destination_timer(&mut self, id: DestId) {
        let (now, idle) = (self.now, self.options.outbound_idle);
        let Some(destination) = self.destinations.all.get_mut(id) else { return };
        let unused = Duration::from_nanos(now.saturating_sub(std::mem::take(&mut destination.unused_since)));
        if destination.users > 0 {
            return;
        }
        if unused < idle {
            destination.unused_since = now.saturating_sub(unused.as_nanos() as u64).max(1);
            return self.arm(idle - unused, Timer::Destination(id));
        }
        let Some(destination) = self.destinations.all.remove(id) else { return };
        self.destinations.by_address.remove(&destination.address);
        for balancer in destination.balancers {
            self.release_balancer(balancer);
        }
        self.ask(Ask::ForgetOutbound(destination.address));
    }

    pub fn outbound_policy(&self, id: DestId) -> Answer<OutboundPolicy> {
        let found = self.destinations.all.get(id);
        found.map_or(Answer::Unavailable(Unavailable::NoAnswer), |destination| destination.answer.clone())
    }

    /// The newest policy counts from the next request on. A failure never replaces a policy that was good.
    pub fn outbound_news(&mut self, address: SocketAddr, policy: Result<Arc<OutboundPolicy>, Unavailable>) {
        let Some(id) = self.destinations.by_address.get(&address).copied() else { return };
        let needed = policy.as_ref().map(|policy| authorities(policy)).unwrap_or_default();
        let balancers: Vec<_> =
            needed.into_iter().filter_map(|(authority, ewma)| self.hold_balancer(authority, ewma)).collect();
        let Some(destination) = self.destinations.all.get_mut(id) else { return };
        if policy.is_err() && matches!(destination.answer, Answer::Known(_)) {
            return;
        }
        destination.answer = policy.into();
        let before = std::mem::replace(&mut destination.balancers, balancers);
        let waiting = std::mem::take(&mut destination.waiting);
        for balancer in before {
            self.release_balancer(balancer);
        }
        for conn in waiting {
            self.later(Task::Policy(conn));
        }
    }
}

/// Every authority whose endpoints the policy may need, once.
fn authorities(policy: &OutboundPolicy) -> Vec<(Arc<str>, rules::outbound::Ewma)> {
    let mut found: Vec<(Arc<str>, rules::outbound::Ewma)> = Vec::new();
    let mut add = |backend: &RouteBackend| {
        if let Target::Balance { authority, ewma } = &backend.backend.target
            && !found.iter().any(|(known, _)| known == authority)
        {
            found.push((authority.clone(), *ewma));
        }
    };
    let mut spread = |distribution: &Distribution| match distribution {
        Distribution::Empty => {}
        Distribution::FirstAvailable(backends) => backends.iter().for_each(&mut add),
        Distribution::Random(backends) => backends.iter().for_each(|(_, backend)| add(backend)),
    };
    let mut http = |policy: &HttpPolicy| {
        policy.routes.iter().flat_map(|route| &route.rules).for_each(|rule| spread(&rule.backends));
    };
    match &policy.protocol {
        Protocol::Detect { opaque, http1, http2, .. } => {
            http(http1);
            http(http2);
            opaque.iter().for_each(|route| spread(&route.backends));
        }
        Protocol::Http1(policy) | Protocol::Http2(policy) => http(policy),
        Protocol::Grpc(policy) => {
            policy.routes.iter().flat_map(|route| &route.rules).for_each(|rule| spread(&rule.backends));
        }
        Protocol::Opaque(routes) | Protocol::Tls(routes) => routes.iter().for_each(|route| spread(&route.backends)),
    }
    found
}

/// A port of the host's loopback: bytes, unread, to where they were going.
fn forwarded(address: SocketAddr) -> OutboundPolicy {
    let endpoint = rules::outbound::as_addressed(address);
    let policy = rules::outbound::forward(Meta::Default("host-port".into()), endpoint, Duration::ZERO);
    match policy.protocol {
        Protocol::Detect { opaque, .. } => OutboundPolicy { protocol: Protocol::Opaque(opaque), ..policy },
        _ => policy,
    }
}

/// The destination as metrics name it: the Service a backend stands for, else the address.
pub fn dst(backend: &Meta, address: SocketAddr) -> Dst {
    match backend {
        Meta::Resource { kind, namespace, name, port, .. } if &**kind == "Service" => {
            Dst::Service { namespace: namespace.clone(), service: name.clone(), port: *port }
        }
        _ => Dst::Address(address),
    }
}
