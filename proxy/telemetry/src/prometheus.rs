//! Everything in the registry as Prometheus text, with Linkerd's names and labels where Linkerd has them (reference §1.5).

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::control::Control;
use crate::edge::{Edge, Http, Kind};
use crate::key::Direction;
use crate::labels::{self, Labels};
use crate::latency::{BOUNDS_US, BUCKETS, Histogram, LINKERD_MS};
use crate::registry::Registry;
use crate::{log, process};

/// Series of one metric; the rest are counted together (security A-61).
pub const MAX_SERIES: usize = 2_000;

/// What does not change while the process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Seconds since the Unix epoch.
    pub started: u64,
    /// `cluster.local`, for the label `authority`.
    pub cluster_domain: String,
    /// Names joined by commas: labels of `rustls_info`.
    pub tls_suites: String,
    pub tls_groups: String,
}

/// The text of `/metrics`; ends with `# EOF`. `now`: seconds since the Unix epoch.
pub fn render(registry: &Registry, process: &Process, now: u64) -> String {
    let mut text = traffic(registry, &process.cluster_domain);
    text.push_str(&control(registry));
    text.push_str(&about(process, now));
    text.push_str("# EOF\n");
    text
}

/// What the edges say.
fn traffic(registry: &Registry, domain: &str) -> String {
    let mut families = Families::default();
    for edge in registry.edges() {
        families.add(&edge, domain);
    }
    let retired = registry.retired();
    for ((direction, author, reason), count) in &retired.failures {
        families.failure(*direction, author, reason, *count);
    }
    for (labels, count) in retired.routes {
        families.route_statuses.add(labels, count);
    }
    families.into_text()
}

#[derive(Debug, Default)]
struct Families {
    requests: Series,
    responses: Series,
    latencies: BTreeMap<String, ([u64; BUCKETS], u64)>,
    open: Series,
    close: Series,
    connections: Series,
    read: Series,
    written: Series,
    http_allow: Series,
    http_deny: Series,
    not_found: Series,
    tcp_allow: Series,
    tcp_deny: Series,
    route_statuses: Series,
    retries: Series,
    retry_successes: Series,
    retries_spent: Series,
    failures: Series,
}

impl Families {
    fn add(&mut self, edge: &Edge, domain: &str) {
        let key = &*edge.key;
        for (author, reason, count, _) in edge.failures_seen() {
            self.failure(key.direction, author.as_str(), &reason.to_string(), count);
        }
        if let Some(http) = edge.http() {
            let labels = labels::http(key, domain);
            for (kind, count) in http.responses_seen() {
                self.responses.add(response(labels.clone(), kind), count);
            }
            if edge.requests_total() > 0 {
                self.latency(labels.clone().into_text(), &http.latency);
                self.requests.add(labels.into_text(), edge.requests_total());
            }
            if key.direction == Direction::Outbound {
                route_statuses(edge, |labels, count| self.route_statuses.add(labels, count));
                self.retries(edge, http);
            }
        }
        if edge.open_total() > 0 {
            self.transport(edge, labels::tcp(key, domain).into_text());
        }
        if key.direction == Direction::Inbound {
            self.authorization(edge);
        }
    }

    /// Only of routes that were retried: most are not.
    fn retries(&mut self, edge: &Edge, http: &Http) {
        let Some(labels) = labels::route(&edge.key).map(Labels::into_text) else { return };
        for (series, counter) in [
            (&mut self.retries, &http.retries),
            (&mut self.retry_successes, &http.retry_successes),
            (&mut self.retries_spent, &http.retries_spent),
        ] {
            if counter.get() > 0 {
                series.add(labels.clone(), counter.get());
            }
        }
    }

    fn transport(&mut self, edge: &Edge, labels: String) {
        let (open, close) = (edge.open_total(), edge.close_total());
        self.open.add(labels.clone(), open);
        self.connections.add(labels.clone(), open.saturating_sub(close));
        self.read.add(labels.clone(), edge.read_total());
        self.written.add(labels.clone(), edge.written_total());
        self.close.add(format!("{labels},errno=\"\""), close);
    }

    fn authorization(&mut self, edge: &Edge) {
        let (denied, not_found) = (edge.denied_total(), edge.not_found_total());
        let http = edge.http().is_some();
        let allowed = if http { edge.requests_total() } else { edge.open_total() };
        if edge.key.authorization.is_some() && allowed > 0 {
            let allow = if http { &mut self.http_allow } else { &mut self.tcp_allow };
            allow.add(labels::authz(&edge.key).into_text(), allowed);
        }
        if denied > 0 {
            let deny = if http { &mut self.http_deny } else { &mut self.tcp_deny };
            deny.add(labels::authz(&edge.key).into_text(), denied);
        }
        if not_found > 0 {
            self.not_found.add(labels::authz(&edge.key).into_text(), not_found);
        }
    }

    fn failure(&mut self, direction: Direction, author: &str, reason: &str, count: u64) {
        let labels = Labels::new().with("author", author).with("reason", reason);
        self.failures.add(labels.with("direction", direction.as_str()).into_text(), count);
    }

    fn latency(&mut self, labels: String, histogram: &Histogram) {
        let labels = if self.latencies.len() < MAX_SERIES || self.latencies.contains_key(&labels) {
            labels
        } else {
            OTHER.into()
        };
        let (counts, sum_us) = self.latencies.entry(labels).or_insert(([0; BUCKETS], 0));
        for (total, count) in counts.iter_mut().zip(histogram.counts()) {
            *total += count;
        }
        *sum_us += histogram.sum_us();
    }

    fn into_text(self) -> String {
        let mut out = String::new();
        self.requests.write(&mut out, "request_total", COUNTER, "HTTP requests.");
        self.responses.write(&mut out, "response_total", COUNTER, "HTTP responses.");
        if !self.latencies.is_empty() {
            header(
                &mut out,
                "response_latency_ms",
                "histogram",
                "Milliseconds from a request's head to its response's.",
            );
            for (labels, (counts, sum_us)) in &self.latencies {
                buckets(&mut out, "response_latency_ms", labels, counts, *sum_us);
            }
        }
        self.open.write(&mut out, "tcp_open_total", COUNTER, "Connections opened.");
        self.connections.write(&mut out, "tcp_open_connections", "gauge", "Connections open now.");
        self.read.write(&mut out, "tcp_read_bytes_total", COUNTER, "Bytes read from peers.");
        self.written.write(&mut out, "tcp_write_bytes_total", COUNTER, "Bytes written to peers.");
        self.close.write(&mut out, "tcp_close_total", COUNTER, "Connections closed.");
        self.http_allow.write(&mut out, "inbound_http_authz_allow_total", COUNTER, "Requests that policy let through.");
        self.http_deny.write(&mut out, "inbound_http_authz_deny_total", COUNTER, "Requests that policy refused.");
        self.not_found.write(
            &mut out,
            "inbound_http_route_not_found_total",
            COUNTER,
            "Requests that no route matched.",
        );
        self.tcp_allow.write(
            &mut out,
            "inbound_tcp_authz_allow_total",
            COUNTER,
            "Connections that policy let through.",
        );
        self.tcp_deny.write(&mut out, "inbound_tcp_authz_deny_total", COUNTER, "Connections that policy refused.");
        self.route_statuses.write(
            &mut out,
            "outbound_http_route_request_statuses_total",
            COUNTER,
            "Responses by route of the outbound policy.",
        );
        self.retries.write(&mut out, "outbound_http_route_retry_requests_total", COUNTER, "Retries by route.");
        self.retry_successes.write(
            &mut out,
            "outbound_http_route_retry_successes_total",
            COUNTER,
            "Requests that succeeded because they were retried.",
        );
        self.retries_spent.write(
            &mut out,
            "outbound_http_route_retry_limit_exceeded_total",
            COUNTER,
            "Requests that failed after as many retries as the route allows.",
        );
        self.failures.write(&mut out, "gossamer_failures_total", COUNTER, "Failures by who made them, and why.");
        out
    }
}

fn response(labels: Labels, kind: Kind) -> String {
    let (status, success, grpc, error) = match kind {
        Kind::Seen { status, grpc_status, success, .. } => {
            let error = if status == 0 { "reset" } else { "" };
            (status.to_string(), success, grpc_status.map_or(String::new(), |code| code.to_string()), error)
        }
        Kind::Other { success } => ("other".into(), success, String::new(), ""),
    };
    labels
        .with("status_code", status)
        .with("classification", if success { "success" } else { "failure" })
        .with("grpc_status", grpc)
        .with("error", error)
        .into_text()
}

/// Label sets and counts of one edge; several edges, one per endpoint, give the same labels.
pub(crate) fn route_statuses(edge: &Edge, mut add: impl FnMut(String, u64)) {
    let Some((labels, http)) = labels::route(&edge.key).zip(edge.http()) else { return };
    for (kind, count) in http.responses_seen() {
        let (status, error) = match kind {
            Kind::Seen { retried: true, .. } => continue,
            Kind::Seen { status: 0, .. } => (String::new(), "RESET"),
            Kind::Seen { status, .. } => (status.to_string(), ""),
            Kind::Other { .. } => ("other".into(), ""),
        };
        add(labels.clone().with("http_status", status).with("error", error).into_text(), count);
    }
}

/// Calls to the control plane, and the certificate.
fn control(registry: &Registry) -> String {
    let (mut requests, mut responses) = (Series::default(), Series::default());
    let controls = registry.controls();
    let labels = |control: &Control| Labels::new().with("addr", &control.address).with("service", control.name);
    for control in &controls {
        requests.add(labels(control).into_text(), control.requests.get());
        for (class, count) in [("success", &control.successes), ("failure", &control.failures)] {
            responses.add(labels(control).with("classification", class).into_text(), count.get());
        }
    }
    let mut out = String::new();
    requests.write(&mut out, "control_request_total", COUNTER, "Calls to the control plane.");
    responses.write(&mut out, "control_response_total", COUNTER, "Answers of the control plane.");
    if !controls.is_empty() {
        header(&mut out, "control_response_latency_ms", "histogram", "Milliseconds to the first answer.");
        for control in &controls {
            let (counts, sum_us) = (control.latency.counts(), control.latency.sum_us());
            buckets(&mut out, "control_response_latency_ms", &labels(control).into_text(), &counts, sum_us);
        }
    }
    let identity = &registry.identity;
    single(
        &mut out,
        "control_identity_cert_expiration_timestamp_seconds",
        "gauge",
        "When the certificate expires.",
        identity.expiration.get(),
    );
    single(
        &mut out,
        "control_identity_cert_refresh_timestamp_seconds",
        "gauge",
        "When the certificate was received.",
        identity.refreshed.get(),
    );
    let mut refreshes = Series::default();
    refreshes.add("result=\"ok\"".into(), identity.refreshes.get());
    refreshes.add("result=\"error\"".into(), identity.failures.get());
    refreshes.write(&mut out, "control_identity_cert_refreshes_total", COUNTER, "Renewals of the certificate.");
    single(
        &mut out,
        "control_identity_trust_generation",
        "gauge",
        "Generation of the trust bundle in force.",
        identity.generation.get(),
    );
    out
}

/// The build and the process.
fn about(process: &Process, now: u64) -> String {
    let mut out = String::new();
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let mut build = Series::default();
    let version = Labels::new().with("version", env!("CARGO_PKG_VERSION"));
    build.add(version.with("profile", profile).with("vendor", "gossamer").into_text(), 1);
    build.write(&mut out, "proxy_build_info", "gauge", "What is running.");
    let mut rustls = Series::default();
    let tls = Labels::new().with("tls_suites", &process.tls_suites).with("tls_kx_groups", &process.tls_groups);
    rustls.add(
        tls.with("tls_rand", "aws-lc-rs").with("tls_key_provider", "aws-lc-rs").with("tls_fips", "false").into_text(),
        1,
    );
    rustls.write(&mut out, "rustls_info", "gauge", "How TLS is done.");
    single(
        &mut out,
        "gossamer_log_lines_dropped_total",
        COUNTER,
        "Log lines that could not be written at once.",
        log::dropped(),
    );
    single(&mut out, "process_start_time_seconds", "gauge", "When the process started.", process.started);
    single(&mut out, "process_clock_time_seconds", "gauge", "The process's clock.", now);
    process::write(&mut out);
    out
}

const COUNTER: &str = "counter";
/// The labels of whatever came after [`MAX_SERIES`].
const OTHER: &str = "overflow=\"other\"";

/// Values of one metric by their labels, in the order of the labels; equal labels add up.
#[derive(Debug, Default)]
struct Series(BTreeMap<String, u64>);

impl Series {
    fn add(&mut self, labels: String, value: u64) {
        let labels = if self.0.len() < MAX_SERIES || self.0.contains_key(&labels) { labels } else { OTHER.into() };
        *self.0.entry(labels).or_default() += value;
    }

    fn write(&self, out: &mut String, name: &str, kind: &str, help: &str) {
        if self.0.is_empty() {
            return;
        }
        header(out, name, kind, help);
        for (labels, value) in &self.0 {
            line(out, format_args!("{name}{{{labels}}} {value}"));
        }
    }
}

fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    line(out, format_args!("# HELP {name} {help}"));
    line(out, format_args!("# TYPE {name} {kind}"));
}

pub(crate) fn single(out: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    header(out, name, kind, help);
    line(out, format_args!("{name} {value}"));
}

/// Cumulative, at Linkerd's bounds only.
fn buckets(out: &mut String, name: &str, labels: &str, counts: &[u64; BUCKETS], sum_us: u64) {
    for bound in LINKERD_MS {
        let upto = BOUNDS_US.partition_point(|us| *us <= bound * 1_000);
        let count: u64 = counts[..upto].iter().sum();
        line(out, format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {count}"));
    }
    let count: u64 = counts.iter().sum();
    line(out, format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {count}"));
    line(out, format_args!("{name}_count{{{labels}}} {count}"));
    line(out, format_args!("{name}_sum{{{labels}}} {}", sum_us / 1_000));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    if out.write_fmt(text).is_ok() {
        out.push('\n');
    }
}
