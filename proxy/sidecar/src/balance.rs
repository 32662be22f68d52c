//! The endpoints behind each authority, who of them is next, and who waits for one.
//!
//! The choice itself is `rules::balance`; here are the watches, the leases and the queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use control::handover::Ask;
use rules::balance::{self, Balancer, Pick};
use rules::endpoint::Endpoint;
use rules::outbound::{Backend, Ewma, Queue, Target, Unavailable};
use telemetry::Reason;

use crate::arena::{Arena, Id};
use crate::engine::{Engine, Task, Timer, Waiter};
use crate::failure::Cause;
use crate::quick::QuickMap;

/// Authorities watched at once.
const LIMIT: usize = 10_000;

pub type BalancerId = Id<Group>;

/// The endpoints of one authority.
pub struct Group {
    authority: Arc<str>,
    balancer: Balancer,
    /// `Some(Ok(()))` once endpoints, perhaps none, are known.
    answered: Option<Result<(), Unavailable>>,
    waiting: VecDeque<Waiter>,
    /// Policies that need it.
    users: u32,
    retry_armed: bool,
}

#[derive(Default)]
pub struct Balancers {
    all: Arena<Group>,
    by_authority: QuickMap<Arc<str>, BalancerId>,
}

/// What was taken from a balancer and must be given back by [`Engine::lease_finished`].
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    group: BalancerId,
    endpoint: balance::Id,
}

pub enum Choice {
    Endpoint(Endpoint, Option<Lease>),
    /// The waiter is in the queue and is told by `Task::Retry`; it should give up after this long.
    Wait(Duration),
}

impl Engine {
    /// Watches an authority for a policy. `None` when there are too many.
    pub fn hold_balancer(&mut self, authority: Arc<str>, ewma: Ewma) -> Option<BalancerId> {
        if let Some(id) = self.balancers.by_authority.get(&authority).copied() {
            self.balancers.all.get_mut(id)?.users += 1;
            return Some(id);
        }
        if self.balancers.all.len() >= LIMIT {
            return None;
        }
        let balancer = Balancer::new(ewma, self.now);
        let group = Group {
            authority: authority.clone(),
            balancer,
            answered: None,
            waiting: VecDeque::new(),
            users: 1,
            retry_armed: false,
        };
        let id = self.balancers.all.insert(group);
        self.balancers.by_authority.insert(authority.clone(), id);
        self.ask(Ask::WatchEndpoints(authority));
        Some(id)
    }

    pub fn release_balancer(&mut self, id: BalancerId) {
        let Some(group) = self.balancers.all.get_mut(id) else { return };
        group.users = group.users.saturating_sub(1);
        if group.users > 0 {
            return;
        }
        if let Some(group) = self.balancers.all.remove(id) {
            self.balancers.by_authority.remove(&group.authority);
            self.wake(group.waiting);
            self.ask(Ask::ForgetEndpoints(group.authority));
        }
    }

    /// A whole new set. Connections to endpoints that left it finish what they carry.
    pub fn endpoint_news(&mut self, authority: &str, endpoints: Result<Arc<[Endpoint]>, Unavailable>) {
        let now = self.now;
        let Some(id) = self.balancers.by_authority.get(authority).copied() else { return };
        let Some(group) = self.balancers.all.get_mut(id) else { return };
        match endpoints {
            Ok(set) => {
                group.balancer.update(&set, now);
                group.answered = Some(Ok(()));
            }
            Err(why) if group.answered.is_none() => group.answered = Some(Err(why)),
            Err(_) => return,
        }
        let waiting = std::mem::take(&mut group.waiting);
        self.wake(waiting);
    }

    fn wake(&mut self, waiting: VecDeque<Waiter>) {
        for waiter in waiting {
            self.later(Task::Retry(waiter));
        }
    }

    /// An endpoint that could not be reached may be tried again.
    pub fn balancer_timer(&mut self, id: BalancerId) {
        let Some(group) = self.balancers.all.get_mut(id) else { return };
        group.retry_armed = false;
        let waiting = std::mem::take(&mut group.waiting);
        self.wake(waiting);
    }

    /// Whether a backend has anybody who could be tried now.
    pub fn is_available(&self, backend: &Backend) -> bool {
        match &backend.target {
            Target::Forward(_) | Target::Fail(_) => true,
            Target::Balance { authority, .. } => {
                let group = self.balancers.by_authority.get(authority).and_then(|id| self.balancers.all.get(*id));
                group.is_some_and(|group| group.balancer.available(self.now) > 0)
            }
        }
    }

    /// The endpoint for one request or connection, which has waited since `since`; rather not the one that `failed` it.
    pub fn choose(
        &mut self,
        backend: &Backend,
        waiter: Waiter,
        since: u64,
        failed: Option<Lease>,
    ) -> Result<Choice, Cause> {
        let (authority, rng, now) = match &backend.target {
            Target::Forward(endpoint) => return Ok(Choice::Endpoint(endpoint.clone(), None)),
            Target::Balance { authority, .. } => (authority, self.random(), self.now),
            Target::Fail(why) => return Err(Cause::new(Reason::InvalidPolicy, why.to_string())),
        };
        let id = self.balancers.by_authority.get(authority).copied();
        let Some((id, group)) = id.and_then(|id| Some((id, self.balancers.all.get_mut(id)?))) else {
            return Err(Cause::new(Reason::NoPolicy, "too many services"));
        };
        if let Some(Err(_)) = group.answered {
            return Err(Cause::new(Reason::NoPolicy, "discovery has not answered"));
        }
        let picked = match failed.filter(|failed| failed.group == id) {
            Some(failed) => group.balancer.pick_other(failed.endpoint, now, rng),
            None => group.balancer.pick(now, rng),
        };
        let (reason, retry_at) = match picked {
            Pick::Endpoint(chosen) => {
                if let Some(endpoint) = group.balancer.endpoint(chosen).cloned() {
                    group.balancer.start(chosen);
                    return Ok(Choice::Endpoint(endpoint, Some(Lease { group: id, endpoint: chosen })));
                }
                (Reason::NoEndpoints, None)
            }
            Pick::Unavailable { retry_at, .. } => (Reason::Failfast, Some(retry_at)),
            Pick::Empty { .. } => (Reason::NoEndpoints, None),
        };
        let left = left_to_wait(group, &backend.queue, since, now, reason)?;
        group.waiting.push_back(waiter);
        if let Some(retry_at) = retry_at
            && !std::mem::replace(&mut group.retry_armed, true)
        {
            self.arm(Duration::from_nanos(retry_at.saturating_sub(now)), Timer::Endpoints(id));
        }
        Ok(Choice::Wait(left))
    }

    /// A connection was made.
    pub fn lease_connected(&mut self, lease: Lease) {
        if let Some(group) = self.balancers.all.get_mut(lease.group) {
            group.balancer.connected(lease.endpoint);
        }
    }

    pub fn lease_measured(&mut self, lease: Lease, started: u64) {
        let now = self.now;
        if let Some(group) = self.balancers.all.get_mut(lease.group) {
            group.balancer.measured(lease.endpoint, now, now.saturating_sub(started));
        }
    }

    /// No connection could be made.
    pub fn lease_failed(&mut self, lease: Lease, now: u64) {
        let rng = self.random();
        if let Some(group) = self.balancers.all.get_mut(lease.group) {
            group.balancer.failed(lease.endpoint, now, rng);
        }
    }

    pub fn lease_finished(&mut self, lease: Lease) {
        if let Some(group) = self.balancers.all.get_mut(lease.group) {
            group.balancer.finish(lease.endpoint);
        }
    }

    /// Whether the endpoint is still one of its set.
    pub fn lease_current(&self, lease: Lease) -> bool {
        self.balancers.all.get(lease.group).is_some_and(|group| group.balancer.endpoint(lease.endpoint).is_some())
    }
}

/// Callers that may wait for one backend. linkerd2-proxy's queue of 100 makes the hundred-and-first wait outside it, not
/// fail; so do we, until the failfast time is over. Each holds a request head of at most 64 KiB.
const MOST_WAITING: usize = 10_000;

/// How much longer may be waited; a full queue, or one that nobody has served for too long, fails at once.
fn left_to_wait(group: &Group, queue: &Queue, since: u64, now: u64, reason: Reason) -> Result<Duration, Cause> {
    if group.waiting.len() >= MOST_WAITING.max(queue.capacity as usize) {
        return Err(Cause::new(Reason::LoadShed, "too many requests wait for an endpoint"));
    }
    let left = queue.failfast.saturating_sub(Duration::from_nanos(now.saturating_sub(since)));
    if left.is_zero() || (group.answered.is_some() && group.balancer.is_failfast(now, queue)) {
        let detail = if reason == Reason::NoEndpoints { "nobody serves it" } else { "no endpoint could be reached" };
        return Err(Cause::new(reason, detail));
    }
    Ok(left)
}
