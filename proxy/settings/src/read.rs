//! Strings → [`Settings`]: which variable fills which field, and what must be set together.

use std::collections::BTreeMap;

use rules::identity::Identity;

use crate::kinds::{AdminAddress, ControlAddress, Kind, Variable};
use crate::*;

/// Where settings are looked up by name.
pub trait Strings {
    /// `None` when the variable is not set.
    fn get(&self, name: &str) -> Option<String>;
}

/// The process's environment; bytes that are not UTF-8 are replaced, and then refused where it matters.
pub struct Environment;

impl Strings for Environment {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }
}

impl Strings for BTreeMap<&str, &str> {
    fn get(&self, name: &str) -> Option<String> {
        BTreeMap::get(self, name).map(|value| (*value).to_owned())
    }
}

/// Characters of a value that an error line shows.
const SHOWN: usize = 64;

struct Reader<'a>(&'a dyn Strings);

impl Reader<'_> {
    /// The value, its default, or none.
    fn get<K: Kind>(&self, variable: Variable<K>) -> Result<Option<K::Value>, Error> {
        match self.0.get(variable.name) {
            Some(text) => match K::parse(&text) {
                Some(value) => Ok(Some(value)),
                None => Err(wrong(variable.name, &text, K::EXPECTS)),
            },
            None if variable.default.is_empty() => Ok(None),
            None => Ok(K::parse(variable.default)),
        }
    }

    /// A text variable counts as unset when it is empty, as templates leave it.
    fn filled<K: Kind>(&self, variable: Variable<K>) -> Result<Option<K::Value>, Error> {
        match self.0.get(variable.name) {
            Some(text) if text.trim().is_empty() => Ok(None),
            _ => self.get(variable),
        }
    }

    fn need<K: Kind>(&self, variable: Variable<K>) -> Result<K::Value, Error> {
        self.get(variable)?.ok_or_else(|| missing(variable.name, K::EXPECTS))
    }
}

fn wrong(name: &str, text: &str, expectation: &str) -> Error {
    let mut value: String = text.chars().take(SHOWN).collect();
    if value.len() < text.len() {
        value.push('…');
    }
    Error { variable: name.to_owned(), value: Some(value), expectation: expectation.to_owned() }
}

fn missing(name: &str, expectation: &str) -> Error {
    Error { variable: name.to_owned(), value: None, expectation: expectation.to_owned() }
}

pub(crate) fn settings(strings: &dyn Strings) -> Result<Settings, Error> {
    let reader = Reader(strings);
    // Everything that is set must be good, read or not; what an empty text means is the reader's to say.
    for row in table::rows() {
        if let Some(text) = strings.get(row.name).filter(|text| !text.trim().is_empty() && !(row.accepts)(text)) {
            return Err(wrong(row.name, &text, row.expects));
        }
    }
    reader.get(table::IDENTITY_DISABLED)?;
    let front = reader.filled(table::FRONT)?;
    let gossamer = reader.filled(table::CONTROL_ADDR)?.is_some();
    let control = control(&reader)?;
    Ok(Settings {
        log: log(&reader)?,
        inbound: inbound(&reader)?,
        outbound: outbound(&reader)?,
        policy: policy(&reader, gossamer, front.is_some())?,
        identity: identity(&reader, front.is_some())?,
        admin: admin(&reader)?,
        dns: Dns { upstream: reader.need(table::DNS_UPSTREAM)? },
        metrics: Metrics {
            retain_idle: reader.need(table::METRICS_RETAIN_IDLE)?,
            inbound_authority_labels: reader.filled(table::INBOUND_METRICS_AUTHORITY_LABELS)?.is_some(),
            outbound_hostname_labels: reader.need(table::OUTBOUND_METRICS_HOSTNAME_LABELS)?,
        },
        http2: Http2 {
            stream_window: window(&reader, table::HTTP2_INITIAL_STREAM_WINDOW_SIZE)?,
            connection_window: window(&reader, table::HTTP2_INITIAL_CONNECTION_WINDOW_SIZE)?,
            keep_alive_interval: None,
            keep_alive_timeout: None,
            max_concurrent_streams: None,
            max_frame_size: None,
            max_header_list_size: None,
        },
        shutdown_grace: reader.need(table::SHUTDOWN_GRACE_PERIOD)?,
        handed: Handed {
            listeners: reader.get(table::LISTEN_FDS)?.unwrap_or_default(),
            factory: reader.filled(table::FACTORY_FD)?,
            launcher: reader.filled(table::LAUNCHER_FD)?,
        },
        notes: notes(strings),
        front,
        control,
    })
}

fn notes(strings: &dyn Strings) -> Vec<String> {
    let unused = |row: &&table::Row| !row.used && strings.get(row.name).is_some_and(|text| !text.is_empty());
    let mut notes: Vec<String> = table::rows()
        .filter(unused)
        .filter(|row| row.name != "HOSTNAME")
        .map(|row| format!("{} is accepted and has no effect yet", row.name))
        .collect();
    if strings.get(table::INBOUND_DEFAULT_POLICY.name).is_none() {
        notes.push(format!("{} is not set", table::INBOUND_DEFAULT_POLICY.name));
    }
    notes
}

fn log(reader: &Reader) -> Result<Log, Error> {
    let level = reader.need(table::LOG)?;
    let level = if level.trim().is_empty() { table::LOG.default.to_owned() } else { level };
    Ok(Log { level, json: reader.need(table::LOG_FORMAT)?, access: reader.filled(table::ACCESS_LOG)? })
}

/// RFC 9113 §6.5.2: a window is at most 2³¹ − 1.
fn window(reader: &Reader, variable: Variable<kinds::Count32>) -> Result<u32, Error> {
    let size = reader.need(variable)?;
    if size == 0 || size > 0x7fff_ffff {
        return Err(wrong(variable.name, &size.to_string(), "a window from 1 to 2147483647"));
    }
    Ok(size)
}

fn backoff(
    reader: &Reader,
    min: Variable<kinds::Period>,
    max: Variable<kinds::Period>,
    jitter: Variable<kinds::Ratio>,
) -> Result<Backoff, Error> {
    let backoff = Backoff { min: reader.need(min)?, max: reader.need(max)?, jitter: reader.need(jitter)? };
    if backoff.min.is_zero() || backoff.min > backoff.max {
        let text = format!("{}ms", backoff.min.as_millis());
        return Err(wrong(min.name, &text, &format!("more than 0 and at most {}", max.name)));
    }
    Ok(backoff)
}

fn inbound(reader: &Reader) -> Result<Inbound, Error> {
    use table::*;
    Ok(Inbound {
        listen: reader.need(INBOUND_LISTEN_ADDR)?,
        also_listen: reader.filled(ALSO_LISTEN)?.unwrap_or_default(),
        publish: reader.get(PUBLISH)?.unwrap_or_default(),
        ips: reader.get(INBOUND_IPS)?.unwrap_or_default(),
        side: Side {
            detect_timeout: reader.need(INBOUND_DETECT_TIMEOUT)?,
            connect_timeout: reader.need(INBOUND_CONNECT_TIMEOUT)?,
            backoff: backoff(
                reader,
                INBOUND_CONNECT_EXP_BACKOFF_MIN,
                INBOUND_CONNECT_EXP_BACKOFF_MAX,
                INBOUND_CONNECT_EXP_BACKOFF_JITTER,
            )?,
            accept: tcp(reader, INBOUND_ACCEPT_KEEPALIVE, INBOUND_ACCEPT_USER_TIMEOUT)?,
            connect: tcp(reader, INBOUND_CONNECT_KEEPALIVE, INBOUND_CONNECT_USER_TIMEOUT)?,
            listen_backlog: reader.get(INBOUND_TCP_LISTEN_BACKLOG)?,
            queue_capacity: reader.need(INBOUND_HTTP_QUEUE_CAPACITY)?,
            failfast: reader.need(INBOUND_HTTP_FAILFAST_TIMEOUT)?,
            max_in_flight: reader.need(INBOUND_MAX_IN_FLIGHT)?,
            max_idle: reader.need(MAX_IDLE_CONNS_PER_ENDPOINT)?,
            pool_idle_timeout: reader.need(INBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT)?,
            discovery_idle_timeout: reader.need(INBOUND_DISCOVERY_IDLE_TIMEOUT)?,
            server_http2: Http2 {
                stream_window: window(reader, INBOUND_SERVER_HTTP2_INITIAL_STREAM_WINDOW_SIZE)?,
                connection_window: window(reader, INBOUND_SERVER_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE)?,
                keep_alive_interval: reader.get(INBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL)?,
                keep_alive_timeout: reader.get(INBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT)?,
                max_concurrent_streams: reader.get(INBOUND_SERVER_HTTP2_MAX_CONCURRENT_STREAMS)?,
                max_frame_size: frame(reader, INBOUND_SERVER_HTTP2_MAX_FRAME_SIZE)?,
                max_header_list_size: reader.get(INBOUND_SERVER_HTTP2_MAX_HEADER_LIST_SIZE)?,
            },
        },
    })
}

fn outbound(reader: &Reader) -> Result<Outbound, Error> {
    use table::*;
    let ingress_mode = reader.need(INGRESS_MODE)?;
    let listen = match reader.filled(OUTBOUND_LISTEN_ADDRS)? {
        Some(listen) => listen,
        None => vec![reader.need(OUTBOUND_LISTEN_ADDR)?],
    };
    Ok(Outbound {
        listen,
        forward: reader.get(FORWARD)?.unwrap_or_default(),
        source: reader.filled(SOURCE_ADDR)?,
        host_ports: reader.get(HOST_PORTS)?.unwrap_or_default(),
        informational_headers: !reader.need(OUTBOUND_DISABLE_INFORMATIONAL_HEADERS)? && !ingress_mode,
        ingress_mode,
        tcp_queue_capacity: reader.need(OUTBOUND_TCP_QUEUE_CAPACITY)?,
        tcp_failfast: reader.need(OUTBOUND_TCP_FAILFAST_TIMEOUT)?,
        side: Side {
            detect_timeout: reader.need(OUTBOUND_DETECT_TIMEOUT)?,
            connect_timeout: reader.need(OUTBOUND_CONNECT_TIMEOUT)?,
            backoff: outbound_backoff(reader)?,
            accept: tcp(reader, OUTBOUND_ACCEPT_KEEPALIVE, OUTBOUND_ACCEPT_USER_TIMEOUT)?,
            connect: tcp(reader, OUTBOUND_CONNECT_KEEPALIVE, OUTBOUND_CONNECT_USER_TIMEOUT)?,
            listen_backlog: reader.get(OUTBOUND_TCP_LISTEN_BACKLOG)?,
            queue_capacity: reader.need(OUTBOUND_HTTP_QUEUE_CAPACITY)?,
            failfast: reader.need(OUTBOUND_HTTP_FAILFAST_TIMEOUT)?,
            max_in_flight: reader.need(OUTBOUND_MAX_IN_FLIGHT)?,
            max_idle: reader.need(OUTBOUND_MAX_IDLE_CONNS_PER_ENDPOINT)?,
            pool_idle_timeout: reader.need(OUTBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT)?,
            discovery_idle_timeout: reader.need(OUTBOUND_DISCOVERY_IDLE_TIMEOUT)?,
            server_http2: Http2 {
                stream_window: window(reader, OUTBOUND_SERVER_HTTP2_INITIAL_STREAM_WINDOW_SIZE)?,
                connection_window: window(reader, OUTBOUND_SERVER_HTTP2_INITIAL_CONNECTION_WINDOW_SIZE)?,
                keep_alive_interval: reader.get(OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL)?,
                keep_alive_timeout: reader.get(OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT)?,
                max_concurrent_streams: reader.get(OUTBOUND_SERVER_HTTP2_MAX_CONCURRENT_STREAMS)?,
                max_frame_size: frame(reader, OUTBOUND_SERVER_HTTP2_MAX_FRAME_SIZE)?,
                max_header_list_size: reader.get(OUTBOUND_SERVER_HTTP2_MAX_HEADER_LIST_SIZE)?,
            },
        },
    })
}

fn outbound_backoff(reader: &Reader) -> Result<Backoff, Error> {
    backoff(
        reader,
        table::OUTBOUND_CONNECT_EXP_BACKOFF_MIN,
        table::OUTBOUND_CONNECT_EXP_BACKOFF_MAX,
        table::OUTBOUND_CONNECT_EXP_BACKOFF_JITTER,
    )
}

fn tcp(
    reader: &Reader,
    keepalive: Variable<kinds::Period>,
    user_timeout: Variable<kinds::Period>,
) -> Result<Tcp, Error> {
    let some = |period: Option<Duration>| period.filter(|period| !period.is_zero());
    Ok(Tcp { keepalive: some(reader.get(keepalive)?), user_timeout: some(reader.get(user_timeout)?) })
}

/// RFC 9113 §6.5.2.
fn frame(reader: &Reader, variable: Variable<kinds::Count32>) -> Result<Option<u32>, Error> {
    match reader.get(variable)? {
        Some(size) if !(16_384..=16_777_215).contains(&size) => {
            Err(wrong(variable.name, &size.to_string(), "a frame size from 16384 to 16777215"))
        }
        size => Ok(size),
    }
}

fn policy(reader: &Reader, gossamer: bool, front: bool) -> Result<Policy, Error> {
    let workload = if front {
        reader.filled(table::POLICY_WORKLOAD)?.unwrap_or_default()
    } else {
        reader.need(table::POLICY_WORKLOAD)?
    };
    let cluster_networks = reader.get(table::POLICY_CLUSTER_NETWORKS)?.unwrap_or_default();
    let fallback = if gossamer { "all-authenticated" } else { "all-unauthenticated" };
    let default = reader.filled(table::INBOUND_DEFAULT_POLICY)?.unwrap_or_else(|| fallback.to_owned());
    if cluster_networks.is_empty() && (default.starts_with("cluster-") || default == "audit") {
        return Err(missing(
            table::POLICY_CLUSTER_NETWORKS.name,
            &format!("networks, because {} is {default}", table::INBOUND_DEFAULT_POLICY.name),
        ));
    }
    Ok(Policy {
        workload,
        cluster_networks,
        default,
        ports: reader.get(table::INBOUND_PORTS)?.unwrap_or_default(),
        opaque_ports: reader.get(table::INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION)?.unwrap_or_default(),
    })
}

fn control(reader: &Reader) -> Result<Control, Error> {
    let mut backoff = outbound_backoff(reader)?;
    let mut streams = Streams {
        initial: reader.get(table::CONTROL_STREAM_INITIAL_TIMEOUT)?,
        idle: reader.get(table::CONTROL_STREAM_IDLE_TIMEOUT)?,
        lifetime: reader.get(table::CONTROL_STREAM_LIFETIME)?,
    };
    let profile_networks = reader.get(table::DESTINATION_PROFILE_NETWORKS)?;
    let gossamer = reader.filled(table::CONTROL_ADDR)?;
    let is_gossamer = gossamer.is_some();
    let (identity, destination, policy) = match gossamer {
        Some(addresses) => {
            let service = gossamer_service(reader, addresses)?;
            backoff.max = backoff.max.min(Duration::from_secs(5)).max(backoff.min);
            streams.initial = streams.initial.or(Some(Duration::from_secs(3)));
            streams.idle = streams.idle.or(Some(Duration::from_secs(300)));
            streams.lifetime = streams.lifetime.or(Some(Duration::from_secs(3600)));
            (service.clone(), service.clone(), service)
        }
        None => (
            linkerd_service(reader, table::IDENTITY_SVC_ADDR, table::IDENTITY_SVC_NAME)?,
            linkerd_service(reader, table::DESTINATION_SVC_ADDR, table::DESTINATION_SVC_NAME)?,
            linkerd_service(reader, table::POLICY_SVC_ADDR, table::POLICY_SVC_NAME)?,
        ),
    };
    increasing(&streams)?;
    Ok(Control {
        identity,
        destination,
        policy,
        gossamer: is_gossamer,
        context_token: reader.get(table::DESTINATION_CONTEXT)?.unwrap_or_default(),
        profile_networks: match profile_networks {
            None if is_gossamer => None,
            networks => Some(networks.unwrap_or_default()),
        },
        streams,
        connect_timeout: reader.need(table::OUTBOUND_CONNECT_TIMEOUT)?,
        backoff,
    })
}

fn increasing(streams: &Streams) -> Result<(), Error> {
    let named = [
        (table::CONTROL_STREAM_INITIAL_TIMEOUT.name, streams.initial),
        (table::CONTROL_STREAM_IDLE_TIMEOUT.name, streams.idle),
        (table::CONTROL_STREAM_LIFETIME.name, streams.lifetime),
    ];
    let set: Vec<_> = named.iter().filter_map(|(name, period)| period.map(|period| (name, period))).collect();
    match set.windows(2).find(|pair| pair[0].1 >= pair[1].1) {
        Some(pair) => {
            let text = format!("{}ms", pair[1].1.as_millis());
            Err(wrong(pair[1].0, &text, &format!("more than {}", pair[0].0)))
        }
        None => Ok(()),
    }
}

fn gossamer_service(reader: &Reader, addresses: Vec<ControlAddress>) -> Result<ControlService, Error> {
    let local = addresses.iter().all(|address| matches!(address, ControlAddress::Unix(_)));
    let name = if local { None } else { Some(reader.need(table::CONTROL_NAME)?) };
    Ok(ControlService { addresses, name })
}

fn linkerd_service(
    reader: &Reader,
    address: Variable<kinds::Service>,
    name: Variable<kinds::Name>,
) -> Result<ControlService, Error> {
    let address = reader.need(address)?;
    let name = match (address.is_local(), reader.filled(name)?) {
        // Linkerd speaks plaintext to loopback whatever the name says.
        (true, _) => None,
        (false, Some(name)) => Some(name),
        (false, None) => return Err(missing(name.name, "the identity of a control plane that is not on loopback")),
    };
    Ok(ControlService { addresses: vec![address], name })
}

fn identity(reader: &Reader, front: bool) -> Result<IdentitySettings, Error> {
    let name = match reader.filled(table::IDENTITY_LOCAL_NAME)? {
        Some(name) => name,
        None => match reader.filled(table::IDENTITY_SERVER_ID)? {
            Some(name) => name,
            None => reader.need(table::IDENTITY_LOCAL_NAME)?,
        },
    };
    let server_name = match (reader.filled(table::IDENTITY_SERVER_NAME)?, &name) {
        (Some(server_name), _) => server_name,
        (None, Identity::Dns(name)) => name.to_string(),
        (None, Identity::Uri(_)) => {
            return Err(missing(table::IDENTITY_SERVER_NAME.name, "the SNI of a workload whose identity is a URI"));
        }
    };
    let spire = spire(reader)?;
    let anchors = match reader.filled(table::TRUST_ANCHORS_FILE)? {
        Some(path) => Anchors::File(path),
        None if spire.is_some() => reader.filled(table::IDENTITY_TRUST_ANCHORS)?.map_or(Anchors::None, Anchors::Pem),
        None => Anchors::Pem(reader.need(table::IDENTITY_TRUST_ANCHORS)?),
    };
    let token = match (reader.filled(table::TOKEN_FROM)?, reader.filled(table::IDENTITY_TOKEN_FILE)?) {
        (Some(()), _) => Token::Launcher,
        (None, Some(path)) => Token::File(path),
        (None, None) if front || spire.is_some() => Token::None,
        (None, None) => return Err(missing(table::IDENTITY_TOKEN_FILE.name, "a path")),
    };
    let ours = reader.filled(table::CONTROL_ADDR)?.is_some();
    let dir = match reader.filled(table::IDENTITY_DIR)? {
        None if !ours && spire.is_none() => {
            return Err(missing(table::IDENTITY_DIR.name, "a directory with key.p8 and csr.der"));
        }
        dir => dir,
    };
    let (min_refresh, max_refresh) =
        (reader.need(table::IDENTITY_MIN_REFRESH)?, reader.need(table::IDENTITY_MAX_REFRESH)?);
    if min_refresh > max_refresh {
        let text = format!("{}ms", min_refresh.as_millis());
        return Err(wrong(table::IDENTITY_MIN_REFRESH.name, &text, "at most LINKERD2_PROXY_IDENTITY_MAX_REFRESH"));
    }
    Ok(IdentitySettings { name, server_name, anchors, dir, token, spire, min_refresh, max_refresh })
}

fn spire(reader: &Reader) -> Result<Option<Spire>, Error> {
    let socket = match reader.filled(table::IDENTITY_SPIRE_WORKLOAD_API_ADDRESS)? {
        Some(socket) => Some(socket),
        None => reader.filled(table::IDENTITY_SPIRE_SOCKET)?,
    };
    let backoff = backoff(
        reader,
        table::LINKERD2_PROXY_IDENTITY_SPIRE_EXP_BACKOFF_MIN,
        table::LINKERD2_PROXY_IDENTITY_SPIRE_EXP_BACKOFF_MAX,
        table::LINKERD2_PROXY_IDENTITY_SPIRE_EXP_BACKOFF_JITTER,
    )?;
    Ok(socket.map(|socket| Spire { socket, backoff }))
}

fn admin(reader: &Reader) -> Result<Admin, Error> {
    let listen = match reader.filled(table::ADMIN_ADDR)? {
        Some(listen) => listen,
        None => AdminAddress::Tcp(reader.need(table::ADMIN_LISTEN_ADDR)?),
    };
    Ok(Admin { listen, shutdown_endpoint: reader.need(table::SHUTDOWN_ENDPOINT_ENABLED)? })
}
