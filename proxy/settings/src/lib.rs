//! What the sidecar is told at start: the environment of linkerd2-proxy and our own `GOSSAMER_PROXY_` names.
//!
//! [`table`] is the one definition (name, kind, default, sentence); [`Settings`], `--help` and the tests come from
//! it. Nothing here opens a file, a socket or a descriptor: that belongs to whoever uses the value.

pub mod kinds;
mod read;
pub mod table;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use kinds::{AdminAddress, ControlAddress, Fd, Forward, NamedFd, Ports, Publish};
pub use read::Strings;
use rules::identity::Identity;
use rules::inbound::Cidr;

/// The process ends with this code when a setting cannot be used.
pub const EXIT_CODE: u8 = 64;

/// Everything the sidecar is told at start. Immutable.
#[derive(Clone, Debug)]
pub struct Settings {
    pub log: Log,
    pub inbound: Inbound,
    pub outbound: Outbound,
    pub policy: Policy,
    pub control: Control,
    pub identity: IdentitySettings,
    pub admin: Admin,
    pub dns: Dns,
    pub metrics: Metrics,
    /// Client side of HTTP/2 between sidecars and to endpoints.
    pub http2: Http2,
    /// How long open connections may take to end after the signal to stop.
    pub shutdown_grace: Duration,
    /// Handed over by the launcher.
    pub handed: Handed,
    /// `Some`: this is the control plane's front; every accepted call goes to this Unix socket.
    pub front: Option<PathBuf>,
    /// One line each, for the debug log: variables accepted that do nothing yet, defaults worth knowing.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Level syntax of `LINKERD2_PROXY_LOG`: `warn,linkerd=info`.
    pub level: String,
    pub json: bool,
    pub access: Option<AccessLog>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    Apache,
    Json,
}

/// What both directions have.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    pub detect_timeout: Duration,
    pub connect_timeout: Duration,
    pub backoff: Backoff,
    pub accept: Tcp,
    pub connect: Tcp,
    /// listen(2); `None` leaves it to the system.
    pub listen_backlog: Option<u32>,
    pub queue_capacity: usize,
    pub failfast: Duration,
    pub max_in_flight: usize,
    /// Idle HTTP/1 connections kept to one endpoint.
    pub max_idle: usize,
    pub pool_idle_timeout: Duration,
    /// A discovery nobody used for so long is forgotten.
    pub discovery_idle_timeout: Duration,
    pub server_http2: Http2,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Inbound {
    pub listen: SocketAddr,
    /// The same for peers on other machines.
    pub also_listen: Vec<SocketAddr>,
    /// Plain listeners of our own: an address that leads to a port of the workload.
    pub publish: Vec<Publish>,
    /// Target addresses allowed for redirected connections; empty allows all.
    pub ips: Vec<IpAddr>,
    pub side: Side,
}

impl Inbound {
    /// Everything to listen on for mesh traffic.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        [self.listen].into_iter().chain(self.also_listen.iter().copied())
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Outbound {
    /// Used where no listener is handed over.
    pub listen: Vec<SocketAddr>,
    /// Local ports that lead into the mesh.
    pub forward: Vec<Forward>,
    /// Upstream sockets are bound to it.
    pub source: Option<IpAddr>,
    /// Ports of the host's loopback that the workload may reach.
    pub host_ports: Ports,
    /// `l5d-proxy-error` and friends on responses.
    pub informational_headers: bool,
    pub ingress_mode: bool,
    /// TCP has a queue and failfast of its own; those of `side` are HTTP's.
    pub tcp_queue_capacity: usize,
    pub tcp_failfast: Duration,
    pub side: Side,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    pub min: Duration,
    pub max: Duration,
    /// Share of the delay that chance may add.
    pub jitter: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    pub keepalive: Option<Duration>,
    /// TCP_USER_TIMEOUT
    pub user_timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2 {
    pub stream_window: u32,
    pub connection_window: u32,
    pub keep_alive_interval: Option<Duration>,
    pub keep_alive_timeout: Option<Duration>,
    pub max_concurrent_streams: Option<u32>,
    pub max_frame_size: Option<u32>,
    pub max_header_list_size: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Sent with every policy lookup: `{"ns":"default","pod":"web-0"}`. Empty for the front.
    pub workload: String,
    /// What `cluster-*` policies mean.
    pub cluster_networks: Vec<Cidr>,
    /// One of the six names of the inbound default policy.
    pub default: String,
    /// Policies fetched at start.
    pub ports: Ports,
    /// Opaque under the default policy.
    pub opaque_ports: Ports,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Control {
    pub identity: ControlService,
    pub destination: ControlService,
    pub policy: ControlService,
    /// `GOSSAMER_PROXY_CONTROL_ADDR` was given: the control plane speaks `gossamer.v1` too.
    pub gossamer: bool,
    /// Sent with every destination lookup.
    pub context_token: String,
    /// Addresses whose profile is asked for; `None` means all.
    pub profile_networks: Option<Vec<Cidr>>,
    pub streams: Streams,
    pub connect_timeout: Duration,
    pub backoff: Backoff,
}

/// One service of the control plane. Equal values share a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ControlService {
    /// Never empty. Several are replicas: all give the same answers.
    pub addresses: Vec<ControlAddress>,
    /// Identity expected of it; `None`: plaintext, allowed for loopback and Unix sockets only. Unix sockets are spoken to
    /// in the clear in any case.
    pub name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    /// To the first message of a stream.
    pub initial: Option<Duration>,
    /// Between messages.
    pub idle: Option<Duration>,
    pub lifetime: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct IdentitySettings {
    pub name: Identity,
    /// SNI under which peers reach us.
    pub server_name: String,
    pub anchors: Anchors,
    /// Holds `key.p8` and `csr.der`; `None`: a fresh key in memory for every certificate.
    pub dir: Option<PathBuf>,
    pub token: Token,
    /// SPIRE's agent is where certificates come from, instead of the control plane.
    pub spire: Option<Spire>,
    pub min_refresh: Duration,
    pub max_refresh: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anchors {
    Pem(String),
    /// Looked at again while running.
    File(PathBuf),
    /// All of them come from SPIRE.
    None,
}

/// The agent's socket, and the pauses between attempts to reach it.
#[derive(Clone, Debug, PartialEq)]
pub struct Spire {
    pub socket: PathBuf,
    pub backoff: Backoff,
}

/// Where the proof for a certificate comes from when no certificate can prove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    Launcher,
    /// Read again for every request.
    File(PathBuf),
    /// The connection itself is the proof (the front's socket).
    None,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    pub listen: AdminAddress,
    pub shutdown_endpoint: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// In the form of resolv.conf(5).
    pub upstream: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    pub retain_idle: Duration,
    pub inbound_authority_labels: bool,
    pub outbound_hostname_labels: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handed {
    /// Listening sockets and DNS sockets by name: `out4`, `out6`, `dns-udp4`, `dns-tcp4`, …
    pub listeners: Vec<NamedFd>,
    /// To the socket factory in the workload's namespace.
    pub factory: Option<Fd>,
    /// To whoever supervises us; its end is our end.
    pub launcher: Option<Fd>,
}

/// A setting that cannot be used. `Display` is the one line to print before exiting with [`EXIT_CODE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub variable: String,
    /// `None` when it is not set. Already shortened, and redacted where it may be secret.
    pub value: Option<String>,
    pub expectation: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={:?}: expected {}", self.variable, value, self.expectation),
            None => write!(f, "{} is not set: expected {}", self.variable, self.expectation),
        }
    }
}

impl std::error::Error for Error {}

impl Settings {
    /// Reads the process's environment.
    pub fn from_env() -> Result<Settings, Error> {
        Self::from_strings(&read::Environment)
    }

    /// Errors name the first variable that is missing or cannot be understood.
    pub fn from_strings(strings: &dyn Strings) -> Result<Settings, Error> {
        read::settings(strings)
    }
}

/// The text of `gossamer-proxy --help`: every variable with its kind, default and meaning.
pub fn help() -> String {
    let mut text = String::from(
        "gossamer-proxy: the sidecar of the mesh. It is configured by environment variables.\n\n\
         usage: gossamer-proxy            run the sidecar\n       \
         gossamer-proxy run …      start a program meshed (used by `gossamer run`)\n       \
         gossamer-proxy --help     this text\n       gossamer-proxy --version\n",
    );
    for section in table::SECTIONS {
        text.push_str(&format!("\n{}\n", section.title));
        for row in section.rows {
            let default = if row.default.is_empty() { String::new() } else { format!(" [{}]", row.default) };
            let later = if row.used { "" } else { " (accepted, no effect yet)" };
            text.push_str(&format!("  {}  <{}>{}{}\n      {}\n", row.name, row.kind, default, later, row.meaning));
        }
    }
    text
}
