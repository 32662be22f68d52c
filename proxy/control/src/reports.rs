//! `gossamer.v1.Reports.Report`: what changed in the registry, at most once a second, and our certificate and trust within
//! a second of their change: a rotation waits for that.
//!
//! The registry keeps edges apart by more than a report does (targets, routes, labels); here they are added up.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rules::meta::Meta;
use telemetry::latency::{BOUNDS_US, BUCKETS};
use telemetry::{Author, Dst, EdgeKey, EdgeSnapshot, Registry, Reporter, Tls};
use tokio::sync::Notify;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use wire::v1::{self, Edge, Failure, IdentityState, ReportRequest, ReportResponse};

use crate::channel::{Channel, CurrentCredentials, Link};
use crate::clock::{Beat, Wall};
use crate::grpc::Code;
use crate::notes::Notes;

const EVERY: Duration = Duration::from_secs(1);
/// After so many rounds without a change, a round per beat: an idle sidecar sleeps.
const QUIET_TICKS: u32 = 10;
const TIMEOUT: Duration = Duration::from_secs(5);
/// Report keys kept; edges beyond them are not reported.
const MAX_EDGES: usize = 4_000;
/// Edges of one report; the rest follows in the next.
const MAX_PER_REPORT: usize = 1_000;

/// What the task reads.
pub struct Reports {
    pub workload: String,
    pub registry: Arc<Registry>,
    pub credentials: CurrentCredentials,
    pub wall: Wall,
    /// `None` for Linkerd's control plane: the registry's clock is kept, nothing is sent.
    pub channel: Option<Channel>,
    pub notes: Notes,
    pub beat: Beat,
    /// Traffic asked for something: it will have something to report.
    pub stir: Rc<Notify>,
    /// Whoever ends the process waits for one more report; it is told when that is over.
    pub last: mpsc::Receiver<oneshot::Sender<()>>,
    /// A front tells of itself alone: who talks through it tells of the traffic.
    pub front: bool,
}

impl Reports {
    /// Never returns.
    pub async fn run(mut self) {
        let (mut reporter, mut sums) = (Reporter::default(), Sums::default());
        let mut instance = [0; 8];
        if aws_lc_rs::rand::fill(&mut instance).is_err() {
            instance = self.wall.now().as_nanos().to_le_bytes()[..8].try_into().unwrap_or_default();
        }
        let (mut serial, mut acknowledged, mut unimplemented, mut quiet) = (0, None, false, 0);
        let mut soonest = Instant::now() + EVERY;
        loop {
            let finishing = self.wait(quiet >= QUIET_TICKS, soonest).await;
            soonest = Instant::now() + EVERY;
            quiet += 1;
            self.registry.tick(self.wall.now().as_secs());
            let Some(channel) = self.channel.as_ref().filter(|_| !unimplemented) else { continue };
            let changes = self.registry.changes(&mut reporter);
            quiet = if changes.is_empty() { quiet } else { 0 };
            if !self.front {
                sums.add(changes);
            }
            reporter.acknowledge();
            let Link::Up(up) = channel.link() else { continue };
            if up.serial != serial {
                // Perhaps a control plane that has just started: everything is news to it.
                (serial, acknowledged) = (up.serial, None);
                sums.all_changed();
            }
            let (identity, notes) = (self.identity(), self.notes.lines());
            let edges = sums.changed();
            let about = (identity.clone(), notes.clone());
            if !up.own || identity.identity.is_empty() || (edges.is_empty() && acknowledged.as_ref() == Some(&about)) {
                continue;
            }
            let request = ReportRequest {
                workload: self.workload.clone(),
                instance: u64::from_le_bytes(instance),
                identity: Some(identity),
                edges: edges.iter().filter_map(|key| sums.message(key)).collect(),
                notes,
            };
            match channel.unary::<ReportResponse>(&up, wire::method::REPORTS_REPORT, &request, TIMEOUT).await {
                Ok(_) => {
                    acknowledged = Some(about);
                    sums.acknowledge(&edges);
                }
                Err(status) if status.code == Code::Unimplemented => {
                    telemetry::debug!("the control plane takes no reports");
                    unimplemented = true;
                }
                Err(status) => {
                    telemetry::debug!("the report was not taken: {status}");
                    quiet = 0;
                }
            }
            drop(finishing);
        }
    }

    /// Until there may be something to report, not before `soonest`; at once when it is to be the last.
    async fn wait(&mut self, idle: bool, soonest: Instant) -> Option<oneshot::Sender<()>> {
        let Reports { beat, stir, credentials, last, .. } = self;
        let something = async {
            if idle {
                tokio::select! {
                    () = sleep_until(beat.next()) => {}
                    () = stir.notified() => sleep(EVERY).await,
                    Ok(()) = credentials.changed() => {}
                }
            }
            sleep_until(soonest).await;
        };
        tokio::select! {
            Some(last) = last.recv() => Some(last),
            () = something => None,
        }
    }

    fn identity(&self) -> IdentityState {
        let metrics = &self.registry.identity;
        let credentials = self.credentials.borrow();
        let credentials = credentials.as_deref();
        IdentityState {
            identity: credentials.map(|held| held.identity.to_string()).unwrap_or_default(),
            bundle_generation: credentials.map(|held| held.generation).unwrap_or_default(),
            not_before: credentials.map(|held| held.not_before).unwrap_or_default(),
            not_after: credentials.map(|held| held.not_after).unwrap_or_default(),
            refreshes: metrics.refreshes(),
            refresh_failures: metrics.refresh_failures(),
            anchor_sha256: credentials.map(|held| held.anchor_sha256.to_vec()).unwrap_or_default(),
            serial: credentials.map(|held| held.serial.clone()).unwrap_or_default(),
        }
    }
}

/// Fields 1 to 9 of [`Edge`].
type Key = (i32, i32, bool, String, String, String, u32, String, String);

/// Totals by report key since the sidecar started.
#[derive(Default)]
struct Sums {
    seen: HashMap<Arc<EdgeKey>, EdgeSnapshot>,
    totals: HashMap<Key, Totals>,
    changed: HashSet<Key>,
}

#[derive(Default)]
struct Totals {
    /// requests, successes, denied, tcp_open, tcp_close, read_bytes, write_bytes
    counts: [u64; 7],
    failures: HashMap<(i32, String), (u64, u64)>,
    latency: Vec<u64>,
}

impl Sums {
    fn add(&mut self, snapshots: Vec<EdgeSnapshot>) {
        for snapshot in snapshots {
            let key = report_key(&snapshot.key);
            if self.totals.len() >= MAX_EDGES && !self.totals.contains_key(&key) {
                continue;
            }
            // An edge that was dropped and came back counts from zero again.
            let before = self.seen.get(&snapshot.key).filter(|before| counts(before) <= counts(&snapshot));
            self.totals.entry(key.clone()).or_default().add(&snapshot, before);
            self.changed.insert(key);
            self.seen.insert(snapshot.key.clone(), snapshot);
        }
        // The registry holds its keys twice; a key that only we hold is of an edge it has dropped.
        self.seen.retain(|key, snapshot| Arc::strong_count(key) > 1 + usize::from(Arc::ptr_eq(key, &snapshot.key)));
    }

    fn changed(&self) -> Vec<Key> {
        self.changed.iter().take(MAX_PER_REPORT).cloned().collect()
    }

    fn all_changed(&mut self) {
        self.changed = self.totals.keys().cloned().collect();
    }

    fn acknowledge(&mut self, keys: &[Key]) {
        self.changed.retain(|key| !keys.contains(key));
    }

    fn message(&self, key: &Key) -> Option<Edge> {
        let totals = self.totals.get(key)?;
        let [requests, successes, denied, tcp_open, tcp_close, read_bytes, write_bytes] = totals.counts;
        let (direction, protocol, tls, peer, dst_namespace, dst_service, port, server, authorization) = key.clone();
        let measured = totals.latency.iter().any(|count| *count > 0);
        Some(Edge {
            direction,
            protocol,
            tls,
            peer,
            dst_namespace,
            dst_service,
            port,
            server,
            authorization,
            requests,
            successes,
            denied,
            tcp_open,
            tcp_close,
            read_bytes,
            write_bytes,
            failures: totals
                .failures
                .iter()
                .map(|((author, reason), (count, last))| Failure {
                    author: *author,
                    reason: reason.clone(),
                    count: *count,
                    last: *last,
                })
                .collect(),
            latency: if measured { totals.latency.clone() } else { vec![] },
            latency_bounds_ms: if measured { BOUNDS_US.iter().map(|us| *us as f64 / 1e3).collect() } else { vec![] },
        })
    }
}

impl Totals {
    fn add(&mut self, now: &EdgeSnapshot, before: Option<&EdgeSnapshot>) {
        let old = before.map(counts).unwrap_or_default();
        for ((total, new), old) in self.counts.iter_mut().zip(counts(now)).zip(old) {
            *total += new.saturating_sub(old);
        }
        for failure in &now.failures {
            let same =
                |other: &&telemetry::FailureCount| (other.author, other.reason) == (failure.author, failure.reason);
            let old = before.and_then(|before| before.failures.iter().find(same)).map_or(0, |failure| failure.count);
            let sum = self.failures.entry((author(failure.author), failure.reason.to_string())).or_default();
            sum.0 += failure.count.saturating_sub(old);
            sum.1 = sum.1.max(failure.last);
        }
        self.latency.resize(BUCKETS, 0);
        for (bucket, total) in self.latency.iter_mut().enumerate() {
            let old = before.map_or(0, |before| before.latency[bucket]);
            *total += now.latency[bucket].saturating_sub(old);
        }
    }
}

fn counts(edge: &EdgeSnapshot) -> [u64; 7] {
    [edge.requests, edge.successes, edge.denied, edge.tcp_open, edge.tcp_close, edge.read_bytes, edge.write_bytes]
}

fn report_key(key: &EdgeKey) -> Key {
    let inbound = key.direction == telemetry::Direction::Inbound;
    let (namespace, service) = match &key.dst {
        _ if inbound => (String::new(), String::new()),
        Dst::Service { namespace, service, .. } => (namespace.to_string(), service.to_string()),
        Dst::Address(address) => (String::new(), address.to_string()),
        Dst::Other => (String::new(), "other".to_owned()),
    };
    let word = |meta: &Option<Arc<Meta>>| meta.as_deref().filter(|_| inbound).map(meta_word).unwrap_or_default();
    (
        match key.direction {
            telemetry::Direction::Inbound => v1::Direction::Inbound as i32,
            telemetry::Direction::Outbound => v1::Direction::Outbound as i32,
        },
        match key.protocol {
            telemetry::Protocol::Http1 => v1::Protocol::Http1 as i32,
            telemetry::Protocol::Http2 => v1::Protocol::Http2 as i32,
            telemetry::Protocol::Grpc => v1::Protocol::Grpc as i32,
            telemetry::Protocol::Tcp => v1::Protocol::Tcp as i32,
        },
        key.tls == Tls::Mesh,
        key.peer.as_ref().map(ToString::to_string).unwrap_or_default(),
        namespace,
        service,
        u32::from(key.dst.port()),
        word(&key.server),
        word(&key.authorization),
    )
}

/// `default/all-authenticated`, `Server/web`.
fn meta_word(meta: &Meta) -> String {
    match meta {
        Meta::Default(name) => format!("default/{name}"),
        Meta::Resource { kind, name, .. } => format!("{kind}/{name}"),
    }
}

fn author(author: Author) -> i32 {
    match author {
        Author::Application => v1::Author::Application as i32,
        Author::Outbound => v1::Author::Outbound as i32,
        Author::Inbound => v1::Author::Inbound as i32,
        Author::ControlPlane => v1::Author::ControlPlane as i32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use telemetry::{Direction, Protocol};

    fn key(target: &str) -> EdgeKey {
        let dst = Dst::Service { namespace: "default".into(), service: "web".into(), port: 80 };
        let key = EdgeKey::new(Direction::Outbound, Protocol::Tcp, Tls::Mesh, dst);
        EdgeKey { target: Some(target.parse().unwrap()), ..key }
    }

    fn only(sums: &Sums) -> Edge {
        let changed = sums.changed();
        assert_eq!(changed.len(), 1);
        sums.message(&changed[0]).unwrap()
    }

    #[test]
    fn edges_that_differ_by_target_only_are_one_edge_and_totals_never_go_back() {
        let registry = Registry::new(0);
        let (mut reporter, mut sums) = (Reporter::default(), Sums::default());
        let (one, two) = (registry.edge(key("10.0.0.1:80")), registry.edge(key("10.0.0.2:80")));
        one.open();
        two.open();
        sums.add(registry.changes(&mut reporter));
        reporter.acknowledge();
        assert_eq!((only(&sums).tcp_open, only(&sums).dst_service.as_str()), (2, "web"));
        let keys = sums.changed();
        sums.acknowledge(&keys);
        assert_eq!(sums.changed().len(), 0);
        one.open();
        sums.add(registry.changes(&mut reporter));
        reporter.acknowledge();
        assert_eq!(only(&sums).tcp_open, 3);
        drop((one, two));
        registry.tick(1);
        registry.tick(10_000);
        registry.edge(key("10.0.0.1:80")).open();
        sums.add(registry.changes(&mut reporter));
        assert_eq!(only(&sums).tcp_open, 4);
    }
}
