//! The one table of settings. Order and wording are those of `--help`.

use std::marker::PhantomData;

use crate::kinds::*;

/// A variable without its type, for listing.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    pub kind: &'static str,
    pub expects: &'static str,
    pub default: &'static str,
    pub meaning: &'static str,
    /// False: accepted and checked, no effect yet.
    pub used: bool,
    /// Whether a text could be this setting's value.
    pub accepts: fn(&str) -> bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Section {
    pub title: &'static str,
    pub rows: &'static [Row],
}

/// All rows.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    SECTIONS.iter().flat_map(|section| section.rows)
}

macro_rules! used {
    (used) => {
        true
    };
    (later) => {
        false
    };
}

macro_rules! variables {
    ($($prefix:literal $title:literal $section:ident {
        $($state:ident $id:ident: $kind:ident = $default:literal, $meaning:literal;)*
    })*) => {
        $($(
            pub const $id: Variable<$kind> =
                Variable { name: concat!($prefix, stringify!($id)), default: $default, kind: PhantomData };
        )*)*
        $(const $section: &[Row] = &[$(Row {
            name: concat!($prefix, stringify!($id)),
            kind: <$kind as Kind>::NAME,
            expects: <$kind as Kind>::EXPECTS,
            default: $default,
            meaning: $meaning,
            used: used!($state),
            accepts: |text| <$kind as Kind>::parse(text).is_some(),
        },)*];)*
        pub const SECTIONS: &[Section] = &[$(Section { title: $title, rows: $section },)*];
    };
}

variables! {
"GOSSAMER_PROXY_" "Gossamer's own settings" OWN {
    used CONTROL_ADDR: Control = "", "The control plane, one address for each replica; replaces the three *_SVC_ADDR of Linkerd.";
    used CONTROL_NAME: Name = "", "Identity expected of the control plane; needed with tls:.";
    used TRUST_ANCHORS_FILE: Path = "", "PEM file of trust anchors, watched; replaces IDENTITY_TRUST_ANCHORS.";
    used TOKEN_FROM: FromLauncher = "", "Ask the launcher for join tokens; replaces IDENTITY_TOKEN_FILE.";
    used LISTEN_FDS: Descriptors = "", "Listening sockets handed over: out4, out6, dns-udp4, dns-udp6, dns-tcp4, dns-tcp6.";
    used FACTORY_FD: Descriptor = "", "SEQPACKET socket to the socket factory in the workload's namespace.";
    used LAUNCHER_FD: Descriptor = "", "Stream socket to the supervisor; its end is the sidecar's end.";
    used ADMIN_ADDR: AdminAddr = "", "Admin listener; replaces LINKERD2_PROXY_ADMIN_LISTEN_ADDR.";
    used FRONT: UnixPath = "", "Run as the control plane's front and forward accepted calls to this socket.";
    used ALSO_LISTEN: Sockets = "", "Further inbound listeners, for peers on other machines.";
    used SOURCE_ADDR: Ip = "", "Address that upstream sockets are bound to.";
    used PUBLISH: Published = "", "Plain listeners of the workload's ports on the host.";
    used FORWARD: Forwards = "", "Local ports that lead into the mesh, for a workload that cannot be captured.";
    used HOST_PORTS: PortList = "", "Ports of the host's loopback that the workload may reach.";
    used DNS_UPSTREAM: Path = "/etc/resolv.conf", "Resolvers for names that are not the mesh's.";
}
"LINKERD2_PROXY_" "Control plane" CONTROL {
    used DESTINATION_SVC_ADDR: Service = "", "Destination API.";
    used DESTINATION_SVC_NAME: Name = "", "Its identity; may be absent for loopback only.";
    used POLICY_SVC_ADDR: Service = "", "Policy API.";
    used POLICY_SVC_NAME: Name = "", "Its identity; may be absent for loopback only.";
    used IDENTITY_SVC_ADDR: Service = "", "Identity API.";
    used IDENTITY_SVC_NAME: Name = "", "Its identity; may be absent for loopback only.";
    used DESTINATION_CONTEXT: Text = "", "Opaque token sent with destination lookups.";
    later DESTINATION_PROFILE_SUFFIXES: Text = "svc.cluster.local.", "Names that may be looked up.";
    used DESTINATION_PROFILE_NETWORKS: Networks = "", "Addresses that may be looked up.";
    later DESTINATION_PROFILE_INITIAL_TIMEOUT: Period = "500ms", "Inbound: how long a profile is waited for.";
    used CONTROL_STREAM_INITIAL_TIMEOUT: Period = "", "To the first message of a control stream.";
    used CONTROL_STREAM_IDLE_TIMEOUT: Period = "", "Between messages of a control stream.";
    used CONTROL_STREAM_LIFETIME: Period = "", "A control stream is opened again after this.";
    used HTTP2_INITIAL_STREAM_WINDOW_SIZE: Count32 = "65535", "HTTP/2 client windows.";
    used HTTP2_INITIAL_CONNECTION_WINDOW_SIZE: Count32 = "1048576", "HTTP/2 client windows.";
    later CONTROL_LISTEN_ADDR: Socket = "0.0.0.0:4190", "Tap listener.";
    later TAP_SVC_NAME: Name = "", "Client allowed to tap.";
}
"LINKERD2_PROXY_" "Identity" IDENTITY {
    used IDENTITY_TRUST_ANCHORS: Pem = "", "PEM text of the trust anchors.";
    used IDENTITY_LOCAL_NAME: LocalName = "", "Name of this workload, proven by its certificate.";
    used IDENTITY_SERVER_ID: LocalName = "", "Used when IDENTITY_LOCAL_NAME is unset.";
    used IDENTITY_SERVER_NAME: Name = "", "Server name (SNI) under which peers reach the workload.";
    used IDENTITY_DIR: Path = "", "Directory with key.p8 and csr.der; otherwise a new key in memory for each certificate.";
    used IDENTITY_TOKEN_FILE: Path = "", "Token sent with certificate requests, read again each time.";
    used IDENTITY_MIN_REFRESH: Period = "10s", "Least time between renewals.";
    used IDENTITY_MAX_REFRESH: Period = "24h", "Most time between renewals.";
    used IDENTITY_DISABLED: Never = "", "Any value is an error.";
    used IDENTITY_SPIRE_WORKLOAD_API_ADDRESS: WorkloadApi = "", "SPIRE agent's socket: certificate, key and anchors come from it, and no token or directory is needed.";
    used IDENTITY_SPIRE_SOCKET: WorkloadApi = "", "Older name of the same.";
    used LINKERD2_PROXY_IDENTITY_SPIRE_EXP_BACKOFF_MIN: Period = "100ms", "SPIRE retries (the prefix really is doubled).";
    used LINKERD2_PROXY_IDENTITY_SPIRE_EXP_BACKOFF_MAX: Period = "1s", "SPIRE retries.";
    used LINKERD2_PROXY_IDENTITY_SPIRE_EXP_BACKOFF_JITTER: Ratio = "0.1", "SPIRE retries.";
}
"LINKERD2_PROXY_" "Policy" POLICY {
    used POLICY_WORKLOAD: Filled = "", "Sent with policy lookups.";
    used POLICY_CLUSTER_NETWORKS: Networks = "", "Needed by the default policies cluster-* and audit.";
    used INBOUND_DEFAULT_POLICY: DefaultPolicy = "", "Policy of ports the control plane has no word for [all-unauthenticated; all-authenticated with CONTROL_ADDR].";
    used INBOUND_PORTS: PortList = "", "Ports whose policy is fetched at start.";
    used INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION: PortList = "", "Opaque ports under the default policy.";
    later INBOUND_PORTS_REQUIRE_IDENTITY: PortList = "", "Read by Linkerd's controller, not by the proxy.";
    later INBOUND_PORTS_REQUIRE_TLS: PortList = "", "Read by Linkerd's controller, not by the proxy.";
    used INBOUND_IPS: Ips = "", "Target addresses of redirected connections; all when unset.";
    later INBOUND_GATEWAY_SUFFIXES: Text = "", "Gateway mode.";
    used INGRESS_MODE: Switch = "false", "Route by l5d-dst-override.";
}
"LINKERD2_PROXY_" "Inbound" INBOUND {
    used INBOUND_LISTEN_ADDR: Socket = "0.0.0.0:4143", "Inbound listener.";
    used INBOUND_DETECT_TIMEOUT: Period = "10s", "Detection of TLS, transport header and protocol.";
    used INBOUND_CONNECT_TIMEOUT: Period = "300ms", "TCP connection to the application.";
    used INBOUND_CONNECT_EXP_BACKOFF_MIN: Period = "100ms", "Reconnection.";
    used INBOUND_CONNECT_EXP_BACKOFF_MAX: Period = "10s", "Reconnection.";
    used INBOUND_CONNECT_EXP_BACKOFF_JITTER: Ratio = "0.1", "Reconnection.";
    used INBOUND_ACCEPT_KEEPALIVE: Period = "", "TCP keep-alive of accepted connections.";
    used INBOUND_CONNECT_KEEPALIVE: Period = "", "TCP keep-alive towards the application.";
    used INBOUND_ACCEPT_USER_TIMEOUT: Period = "", "TCP_USER_TIMEOUT of accepted connections.";
    used INBOUND_CONNECT_USER_TIMEOUT: Period = "", "TCP_USER_TIMEOUT towards the application.";
    used INBOUND_TCP_LISTEN_BACKLOG: Count32 = "", "listen(2) backlog.";
    used INBOUND_HTTP_QUEUE_CAPACITY: Count = "10000", "Requests that may wait for the application.";
    used INBOUND_HTTP_FAILFAST_TIMEOUT: Period = "1s", "How long they may wait.";
    used INBOUND_MAX_IN_FLIGHT: Count = "100000", "Requests above this are refused.";
    used MAX_IDLE_CONNS_PER_ENDPOINT: Count = "10000", "Idle HTTP/1 connections to the application.";
    used INBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT: Period = "3s", "How long they are kept.";
    used INBOUND_DISCOVERY_IDLE_TIMEOUT: Period = "90s", "Unused policies are forgotten.";
    used INBOUND_SERVER_HTTP2_INITIAL_STREAM_WINDOW_SIZE: Count32 = "65535", "HTTP/2 server.";
    used INBOUND_SERVER_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE: Count32 = "1048576", "HTTP/2 server.";
    later INBOUND_SERVER_HTTP2_ADAPTIVE_FLOW_CONTROL: Switch = "false", "HTTP/2 server.";
    used INBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL: Period = "", "HTTP/2 server.";
    used INBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT: Period = "", "HTTP/2 server.";
    used INBOUND_SERVER_HTTP2_MAX_CONCURRENT_STREAMS: Count32 = "", "HTTP/2 server.";
    used INBOUND_SERVER_HTTP2_MAX_FRAME_SIZE: Count32 = "", "HTTP/2 server.";
    used INBOUND_SERVER_HTTP2_MAX_HEADER_LIST_SIZE: Count32 = "", "HTTP/2 server.";
    later INBOUND_SERVER_HTTP2_MAX_PENDING_ACCEPT_RESET_STREAMS: Count = "", "HTTP/2 server.";
    later INBOUND_SERVER_HTTP2_MAX_SEND_BUF_SIZE: Count = "", "HTTP/2 server.";
}
"LINKERD2_PROXY_" "Outbound" OUTBOUND {
    used OUTBOUND_LISTEN_ADDRS: Sockets = "", "Outbound listeners, one per address family.";
    used OUTBOUND_LISTEN_ADDR: Socket = "127.0.0.1:4140", "Outbound listener, when OUTBOUND_LISTEN_ADDRS is unset.";
    used OUTBOUND_DETECT_TIMEOUT: Period = "10s", "Detection of the protocol.";
    used OUTBOUND_CONNECT_TIMEOUT: Period = "1s", "TCP connection to an endpoint, with TLS to the control plane.";
    used OUTBOUND_CONNECT_EXP_BACKOFF_MIN: Period = "100ms", "Reconnection, also to the control plane.";
    used OUTBOUND_CONNECT_EXP_BACKOFF_MAX: Period = "60s", "Reconnection; at most 5s to Gossamer's control plane.";
    used OUTBOUND_CONNECT_EXP_BACKOFF_JITTER: Ratio = "0.1", "Reconnection.";
    used OUTBOUND_ACCEPT_KEEPALIVE: Period = "", "TCP keep-alive of accepted connections.";
    used OUTBOUND_CONNECT_KEEPALIVE: Period = "", "TCP keep-alive towards endpoints.";
    used OUTBOUND_ACCEPT_USER_TIMEOUT: Period = "", "TCP_USER_TIMEOUT of accepted connections.";
    used OUTBOUND_CONNECT_USER_TIMEOUT: Period = "", "TCP_USER_TIMEOUT towards endpoints.";
    used OUTBOUND_TCP_LISTEN_BACKLOG: Count32 = "", "listen(2) backlog.";
    used OUTBOUND_TCP_QUEUE_CAPACITY: Count = "10000", "Connections that may wait for an endpoint.";
    used OUTBOUND_TCP_FAILFAST_TIMEOUT: Period = "3s", "How long they may wait.";
    used OUTBOUND_HTTP_QUEUE_CAPACITY: Count = "10000", "Requests that may wait for an endpoint.";
    used OUTBOUND_HTTP_FAILFAST_TIMEOUT: Period = "3s", "How long they may wait.";
    used OUTBOUND_MAX_IN_FLIGHT: Count = "100000", "Requests above this are refused.";
    used OUTBOUND_MAX_IDLE_CONNS_PER_ENDPOINT: Count = "10000", "Idle HTTP/1 connections to one endpoint.";
    used OUTBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT: Period = "3s", "How long they are kept.";
    used OUTBOUND_DISCOVERY_IDLE_TIMEOUT: Period = "5s", "Unused discoveries are forgotten.";
    used OUTBOUND_DISABLE_INFORMATIONAL_HEADERS: Switch = "false", "No l5d-proxy-error and the like on responses.";
    used OUTBOUND_SERVER_HTTP2_INITIAL_STREAM_WINDOW_SIZE: Count32 = "65535", "HTTP/2 server.";
    used OUTBOUND_SERVER_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE: Count32 = "1048576", "HTTP/2 server.";
    later OUTBOUND_SERVER_HTTP2_ADAPTIVE_FLOW_CONTROL: Switch = "false", "HTTP/2 server.";
    used OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL: Period = "", "HTTP/2 server.";
    used OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT: Period = "", "HTTP/2 server.";
    used OUTBOUND_SERVER_HTTP2_MAX_CONCURRENT_STREAMS: Count32 = "", "HTTP/2 server.";
    used OUTBOUND_SERVER_HTTP2_MAX_FRAME_SIZE: Count32 = "", "HTTP/2 server.";
    used OUTBOUND_SERVER_HTTP2_MAX_HEADER_LIST_SIZE: Count32 = "", "HTTP/2 server.";
    later OUTBOUND_SERVER_HTTP2_MAX_PENDING_ACCEPT_RESET_STREAMS: Count = "", "HTTP/2 server.";
    later OUTBOUND_SERVER_HTTP2_MAX_SEND_BUF_SIZE: Count = "", "HTTP/2 server.";
}
"LINKERD2_PROXY_" "Running" RUNNING {
    used ADMIN_LISTEN_ADDR: Socket = "127.0.0.1:4191", "Admin and metrics.";
    used SHUTDOWN_ENDPOINT_ENABLED: Switch = "false", "POST /shutdown, from loopback only.";
    used SHUTDOWN_GRACE_PERIOD: Period = "2m", "How long connections may take to end.";
    later DNS_MIN_TTL: Period = "", "Bounds of remembered DNS answers; none are remembered.";
    later DNS_MAX_TTL: Period = "", "Bounds of remembered DNS answers; none are remembered.";
    used METRICS_RETAIN_IDLE: Period = "10m", "Series that do not change are dropped.";
    used INBOUND_METRICS_AUTHORITY_LABELS: Unsafe = "", "Authority labels on inbound metrics, without bound.";
    used OUTBOUND_METRICS_HOSTNAME_LABELS: Switch = "false", "Hostname labels on outbound metrics.";
    used LOG: Levels = "warn,linkerd=info,gossamer=info", "Log levels.";
    used LOG_FORMAT: LogFormat = "PLAIN", "Log format.";
    used ACCESS_LOG: AccessFormat = "", "Access log of inbound requests.";
    later CORES: Count = "", "Worker threads; traffic has one.";
    later CORES_MIN: Count = "", "Worker threads.";
    later CORES_MAX: Count = "", "Worker threads.";
    later CORES_MAX_RATIO: Ratio = "", "Worker threads.";
    later TRACE_COLLECTOR_SVC_ADDR: Service = "", "Trace export.";
    later TRACE_COLLECTOR_SVC_NAME: Name = "", "Trace export.";
    later TRACE_SERVICE_NAME: Text = "", "Trace export.";
    later TRACE_ATTRIBUTES_PATH: Text = "", "Trace export.";
    later TRACE_ANNOTATIONS_PATH: Text = "", "Trace export.";
    later TRACE_PROTOCOL: Text = "", "Trace export.";
    later TRACE_EXTRA_ATTRIBUTES: Text = "", "Trace export.";
}
"" "From the surroundings" SURROUNDINGS {
    later OTEL_RESOURCE_ATTRIBUTES: Text = "", "Trace export.";
    later HOSTNAME: Text = "", "Trace export.";
}
}
