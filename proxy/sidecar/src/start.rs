//! The composition root: what the sidecar is made of, in the order in which it comes to life. Listeners exist from the
//! start and open with the first certificate; until then connections wait in the kernel.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use settings::{Settings, Side};
use telemetry::Registry;
use telemetry::log::{self, Filter, Format};

use crate::accept::{Kind, Listeners};
use crate::app::App;
use crate::engine::{Engine, Wiring};
use crate::options::{Options, SideOptions};

/// Why the sidecar did not start: one line, and the exit code.
pub struct Failure {
    line: String,
    code: u8,
}

impl Failure {
    fn io(what: &str, error: io::Error) -> Failure {
        Failure { line: format!("{what}: {error}"), code: 1 }
    }

    pub fn exit(&self) -> ExitCode {
        eprintln!("gossamer-proxy: {}", self.line);
        ExitCode::from(self.code)
    }
}

impl From<settings::Error> for Failure {
    fn from(error: settings::Error) -> Self {
        Failure { line: error.to_string(), code: settings::EXIT_CODE }
    }
}

impl From<control::StartError> for Failure {
    fn from(error: control::StartError) -> Self {
        let code = if matches!(error, control::StartError::Settings(_)) { settings::EXIT_CODE } else { 1 };
        Failure { line: error.to_string(), code }
    }
}

/// Reads the environment, and begins to log.
pub fn settings() -> Result<Arc<Settings>, Failure> {
    let settings = Settings::from_env()?;
    let filter = Filter::parse(&settings.log.level)
        .map_err(|error| Failure { line: error.to_string(), code: settings::EXIT_CODE })?;
    let format = if settings.log.json { Format::Json } else { Format::Plain };
    let out = io::stderr().as_fd().try_clone_to_owned().map_err(|error| Failure::io("stderr", error))?;
    log::start(filter, format, out, Some(8 << 20));
    for note in &settings.notes {
        telemetry::debug!("{note}");
    }
    Ok(Arc::new(settings))
}

/// Runs until drained.
pub fn run(settings: Arc<Settings>) -> Result<(), Failure> {
    kernel::undumpable().map_err(|error| Failure::io("the process cannot be protected from its neighbours", error))?;
    raise_descriptor_limit();
    let mut handed = take_over(&settings)?;
    let metrics = Registry::new(seconds());
    let listeners = listeners(&settings, &mut handed)?;
    let app = app(&settings)?;
    let poll = mio::Poll::new().map_err(|error| Failure::io("epoll", error))?;
    let waker = Engine::waker(&poll).map_err(|error| Failure::io("eventfd", error))?;
    let dns = handed.into_iter().filter(|(name, _)| name.starts_with("dns-")).collect();
    let config = control::Config {
        settings: settings.clone(),
        registry: metrics.clone(),
        launcher: settings.handed.launcher.map(inherited).transpose()?,
        companions: vec![admin::companion(settings.clone(), metrics.clone(), dns)],
    };
    // A waker that fails means that the loop has ended, and the process with it.
    let handle = control::spawn(config, move || waker.wake().unwrap_or_default())?;
    let wiring = Wiring { metrics, asks: handle.asks, news: handle.news, seed: seed() };
    let engine = Engine::new(poll, options(&settings), listeners, app, wiring);
    engine.and_then(Engine::run).map_err(|error| Failure::io("the traffic loop failed", error))
}

fn inherited(number: settings::Fd) -> Result<OwnedFd, Failure> {
    kernel::inherited(number).map_err(|error| Failure::io(&format!("descriptor {number} was not handed over"), error))
}

/// Sockets of the launcher, by name.
fn take_over(settings: &Settings) -> Result<HashMap<String, OwnedFd>, Failure> {
    settings.handed.listeners.iter().map(|handed| Ok((handed.name.clone(), inherited(handed.fd)?))).collect()
}

fn app(settings: &Settings) -> Result<App, Failure> {
    let Some(number) = settings.handed.factory else { return Ok(App::AsAddressed) };
    let factory = capture::factory::Client::new(inherited(number)?);
    factory.map(App::inside).map_err(|error| Failure::io("the socket factory", error))
}

fn listeners(settings: &Settings, handed: &mut HashMap<String, OwnedFd>) -> Result<Listeners, Failure> {
    let mut listeners = Listeners::default();
    let mut add = |kind, socket: TcpListener| {
        listeners.add(kind, socket).map_err(|error| Failure::io("a listener cannot be used", error))
    };
    let bind = |address: std::net::SocketAddr| {
        TcpListener::bind(address).map_err(|error| Failure::io(&format!("{address} cannot be listened on"), error))
    };
    if settings.front.is_some() {
        for address in settings.inbound.addresses() {
            add(Kind::Front, bind(address)?)?;
        }
        return Ok(listeners);
    }
    let out: Vec<OwnedFd> = ["out4", "out6"].iter().filter_map(|name| handed.remove(*name)).collect();
    if out.is_empty() {
        for address in &settings.outbound.listen {
            add(Kind::Outbound, bind(*address)?)?;
        }
    }
    for socket in out {
        add(Kind::Outbound, socket.into())?;
    }
    for forward in &settings.outbound.forward {
        add(Kind::Forward(forward.target), bind(forward.listen)?)?;
    }
    for address in settings.inbound.addresses() {
        add(Kind::Inbound, bind(address)?)?;
    }
    for publish in &settings.inbound.publish {
        add(Kind::Published(publish.target), bind(publish.listen)?)?;
    }
    Ok(listeners)
}

fn options(settings: &Settings) -> Options {
    Options {
        source: settings.outbound.source,
        inbound: Some(settings.inbound.listen).filter(|address| !address.ip().is_unspecified()),
        front: settings.front.clone(),
        inbound_ips: settings.inbound.ips.clone(),
        host_ports: settings.outbound.host_ports.iter().collect(),
        cluster_networks: settings.policy.cluster_networks.clone(),
        inbound_side: side(&settings.inbound.side),
        outbound_side: side(&settings.outbound.side),
        outbound_idle: remembered(settings, settings.outbound.side.discovery_idle_timeout),
        inbound_idle: remembered(settings, settings.inbound.side.discovery_idle_timeout),
        grace: settings.shutdown_grace,
        informational_headers: settings.outbound.informational_headers,
        ..Options::default()
    }
}

/// What was learnt is worth most while the control plane is away: our own is asked to keep unused watches for longer.
fn remembered(settings: &Settings, idle: Duration) -> Duration {
    if settings.control.gossamer { idle.max(Duration::from_secs(600)) } else { idle }
}

fn side(side: &Side) -> SideOptions {
    SideOptions {
        connect_timeout: side.connect_timeout,
        detect_timeout: side.detect_timeout,
        in_flight: side.max_in_flight,
        idle_connections: side.max_idle,
        idle_timeout: side.pool_idle_timeout,
        accept_keepalive: side.accept.keepalive,
        accept_user_timeout: side.accept.user_timeout,
        connect_keepalive: side.connect.keepalive,
        connect_user_timeout: side.connect.user_timeout,
    }
}

/// As many as we may have: every connection of the workload costs two. Fewer is no reason not to start.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap_or_default();
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Different in every process; the standard library's hash keys are random.
fn seed() -> u64 {
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
