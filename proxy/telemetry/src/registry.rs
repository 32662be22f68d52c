//! Every edge there is, bounded; where handles come from and totals are read.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::control::{Control, IdentityMetrics};
use crate::edge::Edge;
use crate::failure::{Author, Reason};
use crate::key::{Direction, Dst, EdgeKey, Protocol, Tls};
use crate::latency::BUCKETS;
use crate::prometheus;

/// Edges kept apart; what comes after is counted together as [`Dst::Other`] (security A-61).
pub const MAX_EDGES: usize = 2_000;
/// Seconds an edge that nobody holds and nothing adds to is kept.
pub const RETAIN_IDLE_S: u64 = 600;
/// Control-plane clients kept apart.
const MAX_CONTROLS: usize = 16;

/// Shared by both threads. Its lock is taken when a handle is made and when totals are read, never per request.
#[derive(Debug)]
pub struct Registry {
    pub identity: IdentityMetrics,
    wall: Arc<AtomicU64>,
    edges: Mutex<HashMap<Arc<EdgeKey>, Tracked>>,
    controls: Mutex<Vec<Arc<Control>>>,
    retired: Mutex<Retired>,
}

/// Totals of dropped edges in metrics that several edges add up to, which must not fall.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retired {
    pub failures: BTreeMap<(Direction, &'static str, String), u64>,
    pub routes: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Tracked {
    edge: Arc<Edge>,
    /// What [`Registry::tick`] last saw, and when it last changed.
    fingerprint: u64,
    changed: u64,
}

/// The totals of one edge at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeSnapshot {
    pub key: Arc<EdgeKey>,
    /// Requests for HTTP, connections for TCP.
    pub requests: u64,
    pub successes: u64,
    pub failures: Vec<FailureCount>,
    pub denied: u64,
    pub tcp_open: u64,
    pub tcp_close: u64,
    pub read_bytes: u64,
    pub write_bytes: u64,
    /// Per bucket of [`crate::latency::BOUNDS_US`], not cumulative; all zero for TCP.
    pub latency: [u64; BUCKETS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureCount {
    pub author: Author,
    pub reason: Reason,
    pub count: u64,
    /// Seconds since the Unix epoch.
    pub last: u64,
}

/// Remembers what was reported, so that only changes are reported again.
#[derive(Debug, Default)]
pub struct Reporter {
    acknowledged: HashMap<Arc<EdgeKey>, u64>,
    pending: Vec<(Arc<EdgeKey>, u64)>,
}

impl Registry {
    /// `now`: seconds since the Unix epoch.
    pub fn new(now: u64) -> Arc<Registry> {
        Arc::new(Registry {
            identity: IdentityMetrics::default(),
            wall: Arc::new(AtomicU64::new(now)),
            edges: Mutex::default(),
            controls: Mutex::default(),
            retired: Mutex::default(),
        })
    }

    /// The counters for `key`; keep the handle as long as it may be used, and look it up as rarely.
    pub fn edge(&self, key: EdgeKey) -> Arc<Edge> {
        let mut edges = lock(&self.edges);
        if let Some(tracked) = edges.get(&key) {
            return tracked.edge.clone();
        }
        let key = Arc::new(if edges.len() < MAX_EDGES { key } else { other(&key) });
        let changed = self.wall.load(Ordering::Relaxed);
        let tracked = edges.entry(key.clone()).or_insert_with(|| Tracked {
            edge: Arc::new(Edge::new(key, self.wall.clone())),
            fingerprint: 0,
            changed,
        });
        tracked.edge.clone()
    }

    /// The counters of a control-plane client (`identity`, `policy`, `destination`, …).
    pub fn control(&self, name: &'static str, address: &str) -> Arc<Control> {
        let mut controls = lock(&self.controls);
        if let Some(found) = controls.iter().find(|control| control.name == name && control.address == address) {
            return found.clone();
        }
        let control = Arc::new(Control::new(name, address.to_owned()));
        if controls.len() < MAX_CONTROLS {
            controls.push(control.clone());
        }
        control
    }

    /// Once a second or so, by the control thread: sets the clock that failures are stamped with and drops edges
    /// that nobody holds and that were idle for [`RETAIN_IDLE_S`]. A dropped edge that comes back counts from zero.
    pub fn tick(&self, now: u64) {
        self.wall.store(now, Ordering::Relaxed);
        let mut retired = lock(&self.retired);
        lock(&self.edges).retain(|_, tracked| {
            let fingerprint = tracked.edge.fingerprint();
            if fingerprint != tracked.fingerprint {
                (tracked.fingerprint, tracked.changed) = (fingerprint, now);
            }
            let kept = Arc::strong_count(&tracked.edge) > 1 || now.saturating_sub(tracked.changed) < RETAIN_IDLE_S;
            if !kept {
                retired.add(&tracked.edge);
            }
            kept
        });
    }

    /// All edges, in the order of their keys.
    pub(crate) fn edges(&self) -> Vec<Arc<Edge>> {
        let mut edges: Vec<_> = lock(&self.edges).values().map(|tracked| tracked.edge.clone()).collect();
        edges.sort_by(|a, b| a.key.cmp(&b.key));
        edges
    }

    pub(crate) fn retired(&self) -> Retired {
        lock(&self.retired).clone()
    }

    pub(crate) fn controls(&self) -> Vec<Arc<Control>> {
        lock(&self.controls).clone()
    }

    /// The edges whose totals changed since the last [`Reporter::acknowledge`].
    pub fn changes(&self, reporter: &mut Reporter) -> Vec<EdgeSnapshot> {
        let edges = lock(&self.edges);
        reporter.acknowledged.retain(|key, _| edges.contains_key(key));
        reporter.pending.clear();
        let mut changes = Vec::new();
        for (key, tracked) in edges.iter() {
            let fingerprint = tracked.edge.fingerprint();
            if reporter.acknowledged.get(key).copied().unwrap_or(0) != fingerprint {
                reporter.pending.push((key.clone(), fingerprint));
                changes.push(snapshot(&tracked.edge));
            }
        }
        changes
    }
}

impl Retired {
    fn add(&mut self, edge: &Edge) {
        for (author, reason, count, _) in edge.failures_seen() {
            *self.failures.entry((edge.key.direction, author.as_str(), reason.to_string())).or_default() += count;
        }
        if edge.key.direction == Direction::Outbound {
            prometheus::route_statuses(edge, |labels, count| {
                let kept = self.routes.len() < prometheus::MAX_SERIES || self.routes.contains_key(&labels);
                *self.routes.entry(if kept { labels } else { String::new() }).or_default() += count;
            });
        }
    }
}

impl Reporter {
    /// The control plane has the last [`Registry::changes`].
    pub fn acknowledge(&mut self) {
        self.acknowledged.extend(self.pending.drain(..));
    }

    /// Report everything again: the control plane restarted.
    pub fn forget(&mut self) {
        self.acknowledged.clear();
        self.pending.clear();
    }
}

fn snapshot(edge: &Edge) -> EdgeSnapshot {
    let http = edge.http();
    EdgeSnapshot {
        key: edge.key.clone(),
        requests: if http.is_some() { edge.requests_total() } else { edge.open_total() },
        successes: edge.successes_total(),
        failures: edge
            .failures_seen()
            .map(|(author, reason, count, last)| FailureCount { author, reason, count, last })
            .collect(),
        denied: edge.denied_total(),
        tcp_open: edge.open_total(),
        tcp_close: edge.close_total(),
        read_bytes: edge.read_total(),
        write_bytes: edge.written_total(),
        latency: http.map_or([0; BUCKETS], |http| http.latency.counts()),
    }
}

/// The overflow edge for what `key` would have been.
fn other(key: &EdgeKey) -> EdgeKey {
    let protocol = if key.protocol.is_http() { Protocol::Http1 } else { Protocol::Tcp };
    let tls = if key.direction == Direction::Inbound { key.tls } else { Tls::Plain };
    EdgeKey::new(key.direction, protocol, tls, Dst::Other)
}

/// A panicking thread ends the process (`panic = "abort"`), so a poisoned lock is never seen in earnest.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Response;

    fn key(port: u16) -> EdgeKey {
        let dst = Dst::Service { namespace: "default".into(), service: "web".into(), port };
        EdgeKey::new(Direction::Outbound, Protocol::Http1, Tls::Mesh, dst)
    }

    fn ok() -> Response {
        Response { status: 200, grpc_status: None, latency_us: 150, failure: None }
    }

    #[test]
    fn the_same_key_gives_the_same_counters() {
        let registry = Registry::new(0);
        let (a, b) = (registry.edge(key(80)), registry.edge(key(80)));
        assert!(Arc::ptr_eq(&a, &b));
        assert!(!Arc::ptr_eq(&a, &registry.edge(key(81))));
    }

    #[test]
    fn past_the_bound_all_edges_are_one() {
        let registry = Registry::new(0);
        let edges: Vec<_> = (0..MAX_EDGES as u16 + 500).map(|port| registry.edge(key(port))).collect();
        assert!(registry.edges().len() <= MAX_EDGES + 8);
        let (first, last) = (&edges[MAX_EDGES], &edges[MAX_EDGES + 499]);
        assert!(Arc::ptr_eq(first, last));
        assert_eq!(first.key().dst, Dst::Other);
        assert!(Arc::ptr_eq(&edges[7], &registry.edge(key(7))), "those before keep their own");
    }

    #[test]
    fn an_idle_edge_that_nobody_holds_is_dropped_and_one_in_use_is_not() {
        let registry = Registry::new(1_000);
        let held = registry.edge(key(1));
        registry.edge(key(2)).request();
        registry.tick(1_001);
        registry.tick(1_001 + RETAIN_IDLE_S - 1);
        assert_eq!(registry.edges().len(), 2);
        registry.tick(1_001 + RETAIN_IDLE_S);
        assert_eq!(registry.edges().len(), 1);
        assert!(Arc::ptr_eq(&held, &registry.edge(key(1))));
    }

    #[test]
    fn only_what_changed_since_the_acknowledged_report_is_reported() {
        let registry = Registry::new(0);
        let mut reporter = Reporter::default();
        let (a, b) = (registry.edge(key(1)), registry.edge(key(2)));
        a.request();
        a.response(ok());
        let changes = registry.changes(&mut reporter);
        assert_eq!(changes.len(), 1);
        assert_eq!((changes[0].requests, changes[0].successes, changes[0].latency[1]), (1, 1, 1));
        assert_eq!(registry.changes(&mut reporter).len(), 1, "not acknowledged: said again");
        reporter.acknowledge();
        assert_eq!(registry.changes(&mut reporter), []);
        b.denied(Reason::Unauthorized);
        let changes = registry.changes(&mut reporter);
        assert_eq!((changes.len(), changes[0].denied), (1, 1));
        reporter.acknowledge();
        reporter.forget();
        assert_eq!(registry.changes(&mut reporter).len(), 2);
    }

    #[test]
    fn failures_name_their_author_reason_and_time() {
        let registry = Registry::new(0);
        let edge = registry.edge(key(1));
        registry.tick(77);
        edge.response(Response { status: 503, ..ok() });
        edge.response(Response { failure: Some((Author::Outbound, Reason::Failfast)), status: 504, ..ok() });
        edge.response(Response { grpc_status: Some(14), ..ok() });
        edge.response(Response { grpc_status: Some(5), ..ok() });
        let failures = registry.changes(&mut Reporter::default()).remove(0).failures;
        let of = |author, reason| FailureCount { author, reason, count: 1, last: 77 };
        assert_eq!(
            failures,
            [
                of(Author::Application, Reason::Status(503)),
                of(Author::Outbound, Reason::Failfast),
                of(Author::Application, Reason::Grpc(14)),
            ]
        );
    }

    #[test]
    fn kinds_of_failures_and_responses_are_bounded() {
        let registry = Registry::new(0);
        let edge = registry.edge(key(1));
        for status in 500..600 {
            edge.response(Response { status, ..ok() });
            edge.response(Response { status: status - 300, ..ok() });
        }
        let snapshot = registry.changes(&mut Reporter::default()).remove(0);
        assert_eq!(snapshot.failures.iter().map(|failure| failure.count).sum::<u64>(), 100);
        assert!(snapshot.failures.len() <= 8 && snapshot.failures.last().unwrap().reason == Reason::Other);
        let kinds: Vec<_> = edge.http().unwrap().responses_seen().collect();
        assert_eq!((kinds.len(), kinds.iter().map(|(_, count)| count).sum::<u64>()), (12, 200));
    }
}
