//! Which endpoint gets the next request: rather the better of two chosen at random, by peak-EWMA latency × requests in flight.
//!
//! One balancer serves one destination and belongs to the traffic thread. Times are nanoseconds on any clock that does
//! not go back; `rng` is 64 random bits, fresh for each call. Nothing here connects: the caller says how that went.

use std::collections::{BTreeMap, BTreeSet};

use crate::endpoint::{Endpoint, Place};
use crate::outbound::{Ewma, Queue};

/// Least estimate and least decay (reference §3.2).
const FLOOR_NS: f64 = 1_000_000.0;
/// After the first failed connection; doubles with each further one.
const MIN_BACKOFF_NS: u64 = 100_000_000;
const MAX_BACKOFF_NS: u64 = 10_000_000_000;

/// One endpoint for as long as it is in the set; never given to another afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    slot: u32,
    generation: u32,
}

/// What [`Balancer::pick`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    Endpoint(Id),
    /// All wait to be tried again; the first at `retry_at`. `since` when the last that answered became unavailable.
    Unavailable {
        retry_at: u64,
        since: u64,
    },
    /// The set is empty. `since` when it became so.
    Empty {
        since: u64,
    },
}

/// What an update of the set did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub added: Vec<Id>,
    pub removed: Vec<Id>,
}

#[derive(Clone, Debug)]
pub struct Balancer {
    default_ns: f64,
    decay_ns: f64,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots in the set, in its order.
    live: Vec<u32>,
    /// Running sums of the weights of `live`; empty when all are equal.
    weights: Vec<u64>,
    /// Since when nobody can be picked.
    unavailable_since: Option<u64>,
    /// Members whose last connection could not be made.
    failing: usize,
}

#[derive(Clone, Debug)]
struct Slot {
    generation: u32,
    /// `None` while free.
    member: Option<Member>,
}

#[derive(Clone, Debug)]
struct Member {
    endpoint: Endpoint,
    rtt_ns: f64,
    updated: u64,
    in_flight: u32,
    failures: u32,
    /// Not tried again before; 0 when it may be.
    retry_at: u64,
}

impl Balancer {
    /// Empty. Parameters below one millisecond count as one.
    pub fn new(ewma: Ewma, now: u64) -> Balancer {
        Balancer {
            default_ns: (ewma.default_rtt.as_nanos() as f64).max(FLOOR_NS),
            decay_ns: (ewma.decay.as_nanos() as f64).max(FLOOR_NS),
            slots: vec![],
            free: vec![],
            live: vec![],
            weights: vec![],
            unavailable_since: Some(now),
            failing: 0,
        }
    }

    /// Replaces the set. Who stays keeps what was learnt of it; a changed address, name or protocol is another endpoint.
    pub fn update(&mut self, set: &[Endpoint], now: u64) -> Changes {
        let live = std::mem::take(&mut self.live);
        let mut before: BTreeMap<Place, u32> =
            live.into_iter().filter_map(|slot| Some((self.place(slot)?, slot))).collect();
        let mut changes = Changes::default();
        let mut seen = BTreeSet::new();
        for endpoint in set.iter().filter(|endpoint| seen.insert(endpoint.place())) {
            let kept = before.get(&endpoint.place()).copied().filter(|slot| self.keep(*slot, endpoint));
            if kept.is_some() {
                before.remove(&endpoint.place());
            }
            let slot = kept.unwrap_or_else(|| {
                let slot = self.insert(endpoint.clone(), now);
                changes.added.push(self.id(slot));
                slot
            });
            self.live.push(slot);
        }
        for slot in before.into_values() {
            changes.removed.push(self.id(slot));
            self.remove(slot);
        }
        self.weigh();
        if self.live.is_empty() {
            self.unavailable_since.get_or_insert(now);
        } else if !changes.added.is_empty() {
            self.unavailable_since = None;
        }
        changes
    }

    /// Who gets the next request. Looks at two, and at the others only when neither may be tried.
    pub fn pick(&mut self, now: u64, rng: u64) -> Pick {
        let Some((a, b)) = self.two(rng) else {
            return Pick::Empty { since: *self.unavailable_since.get_or_insert(now) };
        };
        let better = match (self.cost(a, now), self.cost(b, now)) {
            (Some(left), Some(right)) => Some(if prefers_second(left, right, mix(!rng)) { b } else { a }),
            (Some(_), None) => Some(a),
            (None, Some(_)) => Some(b),
            (None, None) => self.best_of(self.live.iter().copied(), now),
        };
        match better {
            Some(slot) => {
                // One that failed last is only a try: nobody is available until it answers.
                if self.slots[slot as usize].member.as_ref().is_some_and(|member| member.failures == 0) {
                    self.unavailable_since = None;
                }
                Pick::Endpoint(self.id(slot))
            }
            None => {
                let since = *self.unavailable_since.get_or_insert(now);
                let retry_at = self.members().map(|member| member.retry_at).min().unwrap_or(now);
                Pick::Unavailable { retry_at, since }
            }
        }
    }

    /// Who gets a request that `failed` has just failed: somebody else, where there is anybody. An endpoint that fails
    /// fast looks fast, and would get the same request again and again.
    pub fn pick_other(&mut self, failed: Id, now: u64, rng: u64) -> Pick {
        let picked = self.pick(now, rng);
        if picked != Pick::Endpoint(failed) {
            return picked;
        }
        let others = self.live.iter().copied().filter(|slot| *slot != failed.slot);
        self.best_of(others, now).map_or(picked, |slot| Pick::Endpoint(self.id(slot)))
    }

    /// A request or connection was given to it.
    pub fn start(&mut self, id: Id) {
        if let Some(member) = self.member(id) {
            member.in_flight += 1;
        }
    }

    /// What was started has ended, or its first response data has arrived; once for each [`Balancer::start`].
    pub fn finish(&mut self, id: Id) {
        if let Some(member) = self.member(id) {
            member.in_flight = member.in_flight.saturating_sub(1);
        }
    }

    /// From a request's start to the first data of its response; for opaque TCP, the time to connect.
    pub fn measured(&mut self, id: Id, now: u64, rtt_ns: u64) {
        self.connected(id);
        let decay_ns = self.decay_ns;
        if let Some(member) = self.member(id) {
            member.observe(now, rtt_ns as f64, decay_ns);
        }
    }

    /// A connection to it was made.
    pub fn connected(&mut self, id: Id) {
        let Some(member) = self.member(id).filter(|member| member.failures > 0) else { return };
        (member.failures, member.retry_at) = (0, 0);
        self.failing -= 1;
        self.unavailable_since = None;
    }

    /// No connection to it could be made: not picked again before a backoff has passed.
    pub fn failed(&mut self, id: Id, now: u64, rng: u64) {
        let default_ns = self.default_ns;
        let Some(member) = self.member(id) else { return };
        if now < member.retry_at {
            return;
        }
        let backoff = (MIN_BACKOFF_NS << member.failures.min(16)).min(MAX_BACKOFF_NS);
        let first = member.failures == 0;
        member.failures += 1;
        member.retry_at = now.saturating_add(backoff).saturating_add(below(rng, backoff / 10).unwrap_or(0));
        (member.rtt_ns, member.updated) = (member.rtt_ns.max(default_ns), member.retry_at);
        self.failing += usize::from(first);
    }

    /// Whether requests fail at once instead of waiting: nobody could be picked for as long as the queue allows.
    pub fn is_failfast(&self, now: u64, queue: &Queue) -> bool {
        let limit = u64::try_from(queue.failfast.as_nanos()).unwrap_or(u64::MAX);
        self.unavailable_since.is_some_and(|since| now.saturating_sub(since) >= limit)
    }

    /// `None` once it has left the set.
    pub fn endpoint(&self, id: Id) -> Option<&Endpoint> {
        let slot = self.slots.get(id.slot as usize).filter(|slot| slot.generation == id.generation)?;
        slot.member.as_ref().map(|member| &member.endpoint)
    }

    /// Everyone in the set.
    pub fn ids(&self) -> impl Iterator<Item = Id> + '_ {
        self.live.iter().map(|slot| self.id(*slot))
    }

    pub fn len(&self) -> usize {
        self.live.len()
    }

    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// How many may be tried now. Looks at each only when some have failed.
    pub fn available(&self, now: u64) -> usize {
        if self.failing == 0 {
            return self.live.len();
        }
        self.members().filter(|member| member.retry_at <= now).count()
    }

    /// The current estimate in nanoseconds, for reports.
    pub fn estimate(&self, id: Id, now: u64) -> Option<u64> {
        self.endpoint(id)?;
        let member = self.slots.get(id.slot as usize)?.member.as_ref()?;
        Some(member.decayed(now, self.decay_ns) as u64)
    }
}

/// The set.
impl Balancer {
    fn id(&self, slot: u32) -> Id {
        Id { slot, generation: self.slots[slot as usize].generation }
    }

    fn place(&self, slot: u32) -> Option<Place> {
        self.slots[slot as usize].member.as_ref().map(|member| member.endpoint.place())
    }

    fn members(&self) -> impl Iterator<Item = &Member> + '_ {
        self.live.iter().filter_map(|slot| self.slots[*slot as usize].member.as_ref())
    }

    fn member(&mut self, id: Id) -> Option<&mut Member> {
        let slot = self.slots.get_mut(id.slot as usize).filter(|slot| slot.generation == id.generation)?;
        slot.member.as_mut()
    }

    /// Takes over what may change of an endpoint that stays the same one.
    fn keep(&mut self, slot: u32, endpoint: &Endpoint) -> bool {
        let Some(member) = self.slots[slot as usize].member.as_mut() else { return false };
        let held = &mut member.endpoint;
        let same = held.tls == endpoint.tls
            && held.hint == endpoint.hint
            && held.inbound_port == endpoint.inbound_port
            && held.authority_override == endpoint.authority_override;
        if same {
            held.weight = endpoint.weight;
            held.labels = endpoint.labels.clone();
        }
        same
    }

    fn insert(&mut self, endpoint: Endpoint, now: u64) -> u32 {
        let member = Member { endpoint, rtt_ns: self.default_ns, updated: now, in_flight: 0, failures: 0, retry_at: 0 };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, member: None });
            (self.slots.len() - 1) as u32
        });
        self.slots[slot as usize].member = Some(member);
        slot
    }

    fn remove(&mut self, slot: u32) {
        let held = &mut self.slots[slot as usize];
        self.failing -= usize::from(held.member.take().is_some_and(|member| member.failures > 0));
        held.generation = held.generation.wrapping_add(1);
        self.free.push(slot);
    }

    fn weigh(&mut self) {
        let weights: Vec<u64> = self.members().map(|member| u64::from(member.endpoint.weight)).collect();
        self.weights.clear();
        if weights.windows(2).any(|pair| pair[0] != pair[1]) {
            self.weights.extend(weights.iter().scan(0, |sum, weight| {
                *sum += weight;
                Some(*sum)
            }));
        }
    }
}

/// The choice.
impl Balancer {
    /// Two different ones when all weights are equal; else two drawn by weight, perhaps the same, which gives each its
    /// weight's share where costs are alike.
    fn two(&self, rng: u64) -> Option<(u32, u32)> {
        let (first, second) = (mix(rng), mix(rng ^ 0x9e37_79b9_7f4a_7c15));
        if let Some(total) = self.weights.last() {
            let draw =
                |rng| Some(self.live[self.weights.partition_point(|sum| *sum <= below(rng, *total).unwrap_or(0))]);
            return draw(first).zip(draw(second));
        }
        let count = self.live.len() as u64;
        let a = below(first, count)?;
        let b = below(second, count - 1).map_or(a, |b| b + u64::from(b >= a));
        Some((self.live[a as usize], self.live[b as usize]))
    }

    fn best_of(&self, slots: impl Iterator<Item = u32>, now: u64) -> Option<u32> {
        let costs = slots.filter_map(|slot| Some((self.cost(slot, now)?, slot)));
        costs.min_by(|(left, _), (right, _)| left.total_cmp(right)).map(|(_, slot)| slot)
    }

    /// `None` while it must not be tried.
    fn cost(&self, slot: u32, now: u64) -> Option<f64> {
        let member = self.slots[slot as usize].member.as_ref().filter(|member| member.retry_at <= now)?;
        Some(member.decayed(now, self.decay_ns) * f64::from(member.in_flight + 1))
    }
}

impl Member {
    /// The estimate, fallen towards zero since the last observation, so that a slow one is tried again some day.
    fn decayed(&self, now: u64, decay_ns: f64) -> f64 {
        let elapsed = now.saturating_sub(self.updated) as f64;
        (self.rtt_ns * (-elapsed / decay_ns).exp()).max(1.0)
    }

    /// A peak counts at once; anything less moves the estimate by how long ago the last one was.
    fn observe(&mut self, now: u64, rtt_ns: f64, decay_ns: f64) {
        let rtt_ns = rtt_ns.max(1.0);
        self.rtt_ns = if rtt_ns > self.rtt_ns {
            rtt_ns
        } else {
            let recency = (-(now.saturating_sub(self.updated) as f64) / decay_ns).exp();
            self.rtt_ns * recency + rtt_ns * (1.0 - recency)
        };
        self.updated = self.updated.max(now);
    }
}

/// The cheaper of two is preferred the more, the cheaper it is (by the square of the ratio), not always: one slow answer
/// must not keep every request away from an equal endpoint until its estimate has decayed.
fn prefers_second(first: f64, second: f64, rng: u64) -> bool {
    let (first, second) = (first * first, second * second);
    (rng as f64 / u64::MAX as f64) * (first + second) < first
}

/// A number below `bound` from 64 random bits; `None` when there is none.
pub(crate) fn below(rng: u64, bound: u64) -> Option<u64> {
    (bound > 0).then(|| ((u128::from(rng) * u128::from(bound)) >> 64) as u64)
}

/// Spreads bits (the finalizer of SplitMix64).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
