//! What the control plane says of the workload's own ports, and who is let in. Every request is decided by the newest
//! policy; a connection that a new policy refuses is closed.

use std::sync::Arc;
use std::time::Duration;

use codec::detect::Detected;
use control::handover::Ask;
use rules::inbound::{ClientTls, Permit, Protocol, Refusal, ServerPolicy, authorize_connection};
use rules::meta::Meta;
use rules::outbound::Unavailable;
use telemetry::{Direction, Dst, Edge, EdgeKey, Reason};

use crate::conn::ConnId;
use crate::engine::{Engine, Task, Timer};
use crate::failure::Cause;
use crate::opaque;
use crate::outbound::Answer;
use crate::quick::QuickMap;
use crate::side::{Called, CountedEdge, Side};

/// Ports watched at once.
const LIMIT: usize = 4_096;

struct Port {
    answer: Answer<ServerPolicy>,
    waiting: Vec<ConnId>,
    /// Connections that hold it, and when the last one let go.
    users: u32,
    unused_since: u64,
}

#[derive(Default)]
pub struct Ports {
    all: QuickMap<u16, Port>,
}

impl Engine {
    /// Watches a port's policy on behalf of a connection, until [`Engine::release_port`].
    pub fn hold_port(&mut self, port: u16, waiter: ConnId) -> Result<(), Cause> {
        if !self.ports.all.contains_key(&port) {
            if self.ports.all.len() >= LIMIT {
                return Err(Cause::new(Reason::LoadShed, "too many ports"));
            }
            self.ports.all.insert(port, Port { answer: Answer::Waiting, waiting: vec![], users: 0, unused_since: 0 });
            self.ask(Ask::WatchInbound(port));
        }
        if let Some(held) = self.ports.all.get_mut(&port) {
            held.users += 1;
            if matches!(held.answer, Answer::Waiting) {
                held.waiting.push(waiter);
            }
        }
        Ok(())
    }

    pub fn release_port(&mut self, port: u16) {
        let now = self.now;
        let Some(held) = self.ports.all.get_mut(&port) else { return };
        held.users = held.users.saturating_sub(1);
        if held.users == 0 && std::mem::replace(&mut held.unused_since, now) == 0 {
            let idle = self.options.inbound_idle;
            self.arm(idle, Timer::Port(port));
        }
    }

    pub fn port_timer(&mut self, port: u16) {
        let (now, idle) = (self.now, self.options.inbound_idle);
        let Some(held) = self.ports.all.get_mut(&port) else { return };
        let unused = Duration::from_nanos(now.saturating_sub(std::mem::take(&mut held.unused_since)));
        if held.users > 0 {
            return;
        }
        if unused < idle {
            held.unused_since = now.saturating_sub(unused.as_nanos() as u64).max(1);
            return self.arm(idle - unused, Timer::Port(port));
        }
        self.ports.all.remove(&port);
        self.ask(Ask::ForgetInbound(port));
    }

    pub fn inbound_policy(&self, port: u16) -> Answer<ServerPolicy> {
        self.ports.all.get(&port).map_or(Answer::Waiting, |held| held.answer.clone())
    }

    /// Whether the policy of this side is known, or known not to come.
    pub fn policy_answered(&self, side: &Side) -> bool {
        match side {
            Side::Outbound(caller) => !matches!(self.outbound_policy(caller.destination), Answer::Waiting),
            Side::Inbound(called) => !matches!(self.inbound_policy(called.local.port()), Answer::Waiting),
            Side::Front(_) => true,
        }
    }

    /// What the port's policy says is spoken there; whatever else comes, that protocol's parser refuses.
    pub fn declared(&self, port: u16) -> Option<Detected> {
        let Answer::Known(policy) = self.inbound_policy(port) else { return None };
        match policy.protocol {
            Protocol::Http1(_) => Some(Detected::Http1),
            Protocol::Http2(_) | Protocol::Grpc(_) => Some(Detected::Http2),
            Protocol::Detect { .. } | Protocol::Opaque | Protocol::Tls => None,
        }
    }

    /// A failure never replaces a policy that was good. Open connections are decided again.
    pub fn inbound_news(&mut self, port: u16, policy: Result<Arc<ServerPolicy>, Unavailable>) {
        let Some(held) = self.ports.all.get_mut(&port) else { return };
        if policy.is_err() && matches!(held.answer, Answer::Known(_)) {
            return;
        }
        held.answer = policy.clone().into();
        for conn in std::mem::take(&mut held.waiting) {
            self.later(Task::Policy(conn));
        }
        if let Ok(policy) = policy {
            self.recheck(port, &policy);
        }
    }

    fn recheck(&mut self, port: u16, policy: &ServerPolicy) {
        let ids: Vec<ConnId> = self.conns.ids().collect();
        for id in ids {
            let Some(conn) = self.conns.get(id) else { continue };
            let Some(Side::Inbound(called)) = opaque::is_inbound_on(&conn.driver, port) else { continue };
            let called = called.clone();
            if authorize_connection(policy, &called.client).is_err() {
                self.inbound_edge(&called, telemetry::Protocol::Tcp, &policy.meta, None, None)
                    .denied(Reason::Unauthorized);
                self.fail(id, Cause::new(Reason::Unauthorized, "the policy changed"));
            }
        }
    }

    /// The counters for what `called` does under these rules; looked up once per connection as long as they stay.
    pub fn inbound_edge(
        &mut self,
        called: &Called,
        protocol: telemetry::Protocol,
        server: &Arc<Meta>,
        route: Option<&Arc<Meta>>,
        authorization: Option<&Arc<Meta>>,
    ) -> Arc<Edge> {
        let same = |a: Option<&Arc<Meta>>, b: Option<&Arc<Meta>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        let mut last = called.edge.borrow_mut();
        if let Some(counted) = &*last
            && counted.protocol == protocol
            && Arc::ptr_eq(&counted.server, server)
            && same(counted.route.as_ref(), route)
            && same(counted.authorization.as_ref(), authorization)
        {
            return counted.edge.clone();
        }
        let peer = match &called.client.tls {
            rules::inbound::ClientTls::Mesh(identity) => identity.clone(),
            _ => None,
        };
        let edge = self.metrics.edge(EdgeKey {
            peer,
            target: Some(called.local),
            server: Some(server.clone()),
            route: route.cloned(),
            authorization: authorization.cloned(),
            ..EdgeKey::new(Direction::Inbound, protocol, called.tls_label(), Dst::Address(called.local))
        });
        *last = Some(CountedEdge {
            server: server.clone(),
            route: route.cloned(),
            authorization: authorization.cloned(),
            protocol,
            edge: edge.clone(),
        });
        edge
    }
}

impl Called {
    /// Says what nothing but audit mode let through, and what policy refused; the log bounds how often.
    pub fn log(&self, verdict: Result<&Permit, &Cause>) {
        let port = self.local.port();
        match verdict {
            Ok(permit) if permit.is_audit() => {
                telemetry::info!("audit lets {self} through to port {port}: {} would refuse", permit.server().name());
            }
            Ok(_) => {}
            Err(cause) => telemetry::info!("{self} refused at port {port}: {cause}"),
        }
    }
}

/// The proven name, or the address and what is missing.
impl std::fmt::Display for Called {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.client.tls {
            ClientTls::Mesh(Some(name)) => write!(f, "{name}"),
            ClientTls::Mesh(None) | ClientTls::Passthrough => write!(f, "{} (no certificate)", self.client.address),
            ClientTls::Plaintext => write!(f, "{} (plaintext)", self.client.address),
        }
    }
}

/// A refusal in the words of failures. The name of what refused tells the operator where to look.
pub fn cause_of(refusal: &Refusal) -> Cause {
    match refusal {
        Refusal::Unauthorized { server, route } => {
            let by = route.as_ref().unwrap_or(server);
            Cause::new(Reason::Unauthorized, format!("not allowed by {}", by.name()))
        }
        Refusal::NoRoute { server } => Cause::new(Reason::NoRoute, format!("no route of {} matches", server.name())),
        Refusal::BadPath { .. } => Cause::new(Reason::BadPath, "ambiguous path"),
    }
}
