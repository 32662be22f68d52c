//! Two sidecars and what they need, in one process: engines on threads of their own, a control that answers from a
//! table, programs on loopback. No redirect: clients say where they were going.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub mod h1;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use control::handover::{Ask, News};
use control::testing;
use rules::endpoint::{Endpoint, Hint, ServerTls};
use rules::inbound::{self, Authentication, ServerPolicy};
use rules::meta::Meta;
use rules::outbound::{self, OutboundPolicy, Unavailable};
use sidecar::accept::{Kind, Listeners};
use sidecar::app::App;
use sidecar::engine::{Engine, Wiring};
use sidecar::options::Options;

/// Where the client at each local address was going.
fn destinations() -> &'static Mutex<HashMap<SocketAddr, SocketAddr>> {
    static MAP: OnceLock<Mutex<HashMap<SocketAddr, SocketAddr>>> = OnceLock::new();
    MAP.get_or_init(Default::default)
}

/// A listener, and where clients of other processes that reach it were going.
pub static ELSEWHERE: OnceLock<(SocketAddr, SocketAddr)> = OnceLock::new();

fn original_destination(socket: BorrowedFd<'_>) -> std::io::Result<SocketAddr> {
    let peer = SocketAddr::try_from(rustix::net::getpeername(socket)?.unwrap())?;
    let known = destinations().lock().unwrap().get(&peer).copied();
    let local = SocketAddr::try_from(rustix::net::getsockname(socket)?)?;
    let elsewhere = ELSEWHERE.get().filter(|(listener, _)| *listener == local).map(|(_, to)| *to);
    known.or(elsewhere).ok_or(std::io::ErrorKind::NotFound.into())
}

/// What the control plane says.
#[derive(Clone, Default)]
pub struct World {
    pub outbound: HashMap<SocketAddr, OutboundPolicy>,
    pub endpoints: HashMap<String, Vec<Endpoint>>,
    pub inbound: HashMap<u16, ServerPolicy>,
    /// Policies are never answered.
    pub silent: bool,
    /// Policies are answered with "no answer".
    pub dead: bool,
}

pub struct Sidecar {
    pub name: String,
    pub outbound: SocketAddr,
    pub inbound: SocketAddr,
    pub published: Option<SocketAddr>,
    pub metrics: Arc<telemetry::Registry>,
    news: mpsc::Sender<News>,
    waker: Arc<mio::Waker>,
    pub engine: thread::JoinHandle<std::io::Result<()>>,
}

impl Sidecar {
    pub fn start(name: &str, world: World) -> Sidecar {
        Sidecar::with(name, world, Options::default(), None)
    }

    pub fn with(name: &str, world: World, mut options: Options, publish: Option<u16>) -> Sidecar {
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(Engine::waker(&poll).unwrap());
        let mut listeners = Listeners::default();
        let (out, inn) = (listen(), listen());
        let (outbound, inbound) = (out.local_addr().unwrap(), inn.local_addr().unwrap());
        listeners.add(Kind::Outbound, out).unwrap();
        let kind = if options.front.is_some() { Kind::Front } else { Kind::Inbound };
        listeners.add(kind, inn).unwrap();
        let published = publish.map(|port| {
            let socket = listen();
            let address = socket.local_addr().unwrap();
            listeners.add(Kind::Published(port), socket).unwrap();
            address
        });
        options.inbound = Some(inbound);
        options.original_destination = original_destination;
        let metrics = telemetry::Registry::new(0);
        let (asks, mut asked) = tokio::sync::mpsc::unbounded_channel();
        let (tell, news) = mpsc::channel();
        let wiring = Wiring { metrics: metrics.clone(), asks, news, seed: 42 };
        let engine = thread::spawn(move || Engine::new(poll, options, listeners, App::AsAddressed, wiring)?.run());
        let (answers, wake) = (tell.clone(), waker.clone());
        thread::spawn(move || {
            while let Some(ask) = asked.blocking_recv() {
                if let Some(news) = answer(&world, ask) {
                    answers.send(news).unwrap_or_default();
                    wake.wake().unwrap();
                }
            }
        });
        let sidecar =
            Sidecar { name: name.to_owned(), outbound, inbound, published, metrics, news: tell, waker, engine };
        sidecar.tell(News::Credentials(testing::credentials(name)));
        sidecar
    }

    /// A sidecar that stands in front of a control plane on a Unix socket.
    pub fn front(name: &str, socket: std::path::PathBuf) -> Sidecar {
        Sidecar::with(name, World::default(), Options { front: Some(socket), ..Options::default() }, None)
    }

    pub fn tell(&self, news: News) {
        self.news.send(news).unwrap();
        self.waker.wake().unwrap();
    }

    /// The endpoint that a program of this sidecar's workload is.
    pub fn endpoint(&self, program: SocketAddr) -> Endpoint {
        Endpoint {
            tls: Some(ServerTls { identity: testing::identity(&self.name), server_name: self.name.as_str().into() }),
            hint: Hint::H2,
            inbound_port: Some(self.inbound.port()),
            ..outbound::as_addressed(program)
        }
    }

    /// A connection of this sidecar's program to `to`.
    pub fn connect(&self, to: SocketAddr) -> TcpStream {
        self.connect_at(self.outbound, to)
    }

    /// A connection to one of our listeners that was redirected on its way to `to`.
    pub fn connect_at(&self, listener: SocketAddr, to: SocketAddr) -> TcpStream {
        let socket =
            rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let local = SocketAddr::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap();
        destinations().lock().unwrap().insert(local, to);
        rustix::net::connect(&socket, &listener).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }
}

fn answer(world: &World, ask: Ask) -> Option<News> {
    if world.silent {
        return None;
    }
    match ask {
        Ask::WatchOutbound(address) => {
            let policy = if world.dead {
                Err(Unavailable::NoAnswer)
            } else {
                Ok(Arc::new(world.outbound.get(&address).cloned().unwrap_or_else(|| as_addressed(address))))
            };
            Some(News::Outbound(address, policy))
        }
        Ask::WatchEndpoints(authority) => {
            let endpoints = world.endpoints.get(&*authority).cloned().unwrap_or_default();
            Some(News::Endpoints(authority, Ok(endpoints.into())))
        }
        Ask::WatchInbound(port) if world.dead => Some(News::Inbound(port, Err(Unavailable::NoAnswer))),
        Ask::WatchInbound(port) => {
            let policy = world.inbound.get(&port).cloned().unwrap_or_else(|| default_policy("all-authenticated"));
            Some(News::Inbound(port, Ok(Arc::new(policy))))
        }
        _ => None,
    }
}

pub fn default_policy(name: &str) -> ServerPolicy {
    inbound::default_policy(name, &[], false, Duration::from_secs(10)).unwrap()
}

pub fn only(identity: &str) -> ServerPolicy {
    let mut policy = default_policy("all-authenticated");
    let mut authorization = policy.authorizations[0].clone();
    authorization.authentication =
        Authentication::TlsAuthenticated { identities: vec![identity.into()], suffixes: vec![] };
    policy.authorizations = [authorization].into();
    policy
}

fn as_addressed(address: SocketAddr) -> OutboundPolicy {
    to(outbound::as_addressed(address))
}

/// Everything to one endpoint, whatever it speaks.
pub fn to(endpoint: Endpoint) -> OutboundPolicy {
    outbound::forward(Meta::Default("test".into()), endpoint, Duration::from_millis(300))
}

pub fn opaque(policy: OutboundPolicy) -> OutboundPolicy {
    match policy.protocol {
        outbound::Protocol::Detect { opaque, .. } => {
            OutboundPolicy { protocol: outbound::Protocol::Opaque(opaque), ..policy }
        }
        _ => policy,
    }
}

/// Everything to the endpoints of an authority, balanced.
pub fn balanced(authority: &str) -> OutboundPolicy {
    let mut policy = to(outbound::as_addressed(([127, 0, 0, 1], 1).into()));
    let backend = Arc::new(outbound::Backend {
        meta: Arc::new(Meta::Default("test".into())),
        target: outbound::Target::Balance { authority: authority.into(), ewma: Default::default() },
        queue: outbound::Queue { capacity: 100, failfast: Duration::from_millis(800) },
    });
    let chosen = || {
        outbound::Distribution::FirstAvailable(
            [outbound::RouteBackend { backend: backend.clone(), filters: Arc::new([]) }].into(),
        )
    };
    if let outbound::Protocol::Detect { opaque, http1, http2, .. } = &mut policy.protocol {
        *opaque = opaque.iter().cloned().map(|route| outbound::OpaqueRoute { backends: chosen(), ..route }).collect();
        for http in [http1, http2] {
            http.routes = http
                .routes
                .iter()
                .cloned()
                .map(|mut route| {
                    route.rules.iter_mut().for_each(|rule| rule.backends = chosen());
                    route
                })
                .collect();
        }
    }
    policy
}

/// With a time limit on every route.
pub fn timed(mut policy: OutboundPolicy, limit: Duration) -> OutboundPolicy {
    if let outbound::Protocol::Detect { http1, http2, .. } = &mut policy.protocol {
        for http in [http1, http2] {
            let mut routes = http.routes.to_vec();
            routes.iter_mut().flat_map(|route| &mut route.rules).for_each(|rule| rule.timeouts.request = Some(limit));
            http.routes = routes.into();
        }
    }
    policy
}

pub fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// An address that means a service; nothing listens there.
pub fn service(number: u8) -> SocketAddr {
    SocketAddr::from(([198, 19, 0, number], 80))
}

/// Serves each connection on a thread.
pub fn program(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = listen();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Sends everything back, and ends when the client ends.
pub fn echo() -> SocketAddr {
    program(|mut stream| {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count) = stream.read(&mut buffer) {
            if count == 0 || stream.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap_or_default();
    })
}

pub fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

pub const CLIENT: &str = "client.default.serviceaccount.identity.gossamer.cluster.local";
pub const SERVER: &str = "server.default.serviceaccount.identity.gossamer.cluster.local";

/// A server sidecar before `program`, and a client sidecar that reaches it at `service(1)`.
pub fn pair(program: SocketAddr, policy: impl Fn(OutboundPolicy) -> OutboundPolicy) -> (Sidecar, Sidecar) {
    let server = Sidecar::start(SERVER, World::default());
    let world = World { outbound: [(service(1), policy(to(server.endpoint(program))))].into(), ..World::default() };
    (Sidecar::start(CLIENT, world), server)
}
