//! What the engine is told at start. `settings` says where each value comes from; nothing is read from the
//! environment here.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use rules::inbound::Cidr;

#[derive(Clone, Debug)]
pub struct Options {
    /// Upstream sockets are bound to it, so that peers see the workload's own address.
    pub source: Option<IpAddr>,
    /// Our own inbound listener as peers dial it; connections to it carry a transport header.
    pub inbound: Option<SocketAddr>,
    /// This sidecar stands in front of a control plane that listens here.
    pub front: Option<PathBuf>,
    /// Addresses that redirected connections may have been going to; empty allows all.
    pub inbound_ips: Vec<IpAddr>,
    /// Ports of the host's loopback that the workload may reach, and the networks of the mesh, which may lie there too.
    pub host_ports: Vec<u16>,
    pub cluster_networks: Vec<Cidr>,
    pub inbound_side: SideOptions,
    pub outbound_side: SideOptions,
    /// Where an accepted connection was going before it was redirected. Tests have no redirect.
    pub original_destination: fn(BorrowedFd<'_>) -> io::Result<SocketAddr>,
    /// How long an unused outbound policy, and its endpoints, are watched on.
    pub outbound_idle: Duration,
    pub inbound_idle: Duration,
    /// How long a connection or request waits for its policy.
    pub policy_timeout: Duration,
    /// How long open exchanges may go on after the drain began.
    pub grace: Duration,
    /// Whether answers may carry `l5d-proxy-error`.
    pub informational_headers: bool,
}

/// What differs between the two directions.
#[derive(Clone, Debug)]
pub struct SideOptions {
    pub connect_timeout: Duration,
    pub detect_timeout: Duration,
    /// HTTP requests at once; more are shed.
    pub in_flight: usize,
    /// Idle HTTP/1 connections kept per endpoint, and for how long.
    pub idle_connections: usize,
    pub idle_timeout: Duration,
    pub accept_keepalive: Option<Duration>,
    pub accept_user_timeout: Option<Duration>,
    pub connect_keepalive: Option<Duration>,
    pub connect_user_timeout: Option<Duration>,
}

impl Default for Options {
    /// Linkerd's defaults (reference §2.2, §3.2).
    fn default() -> Self {
        Options {
            source: None,
            inbound: None,
            front: None,
            inbound_ips: Vec::new(),
            host_ports: Vec::new(),
            cluster_networks: Vec::new(),
            inbound_side: SideOptions { connect_timeout: Duration::from_millis(300), ..SideOptions::default() },
            outbound_side: SideOptions::default(),
            original_destination: |socket| kernel::original_destination(socket),
            outbound_idle: Duration::from_secs(5),
            inbound_idle: Duration::from_secs(90),
            policy_timeout: Duration::from_secs(10),
            grace: Duration::from_secs(120),
            informational_headers: true,
        }
    }
}

impl Default for SideOptions {
    fn default() -> Self {
        SideOptions {
            connect_timeout: Duration::from_secs(1),
            detect_timeout: Duration::from_secs(10),
            in_flight: 100_000,
            idle_connections: 10_000,
            idle_timeout: Duration::from_secs(3),
            accept_keepalive: None,
            accept_user_timeout: None,
            connect_keepalive: None,
            connect_user_timeout: None,
        }
    }
}
