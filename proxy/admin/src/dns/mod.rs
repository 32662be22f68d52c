//! The DNS stub of a workload: names of the mesh from the control plane's table, everything else from the host.
//!
//! Sockets are handed over by the launcher; at most 1,000 forwarded queries and 100 TCP clients at once (seams §17).

mod decide;
mod upstream;

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use capture::questions::Questions;
use codec::dns::{Code, MAX_TTL, Query, read_query, write_failure, write_response};
use control::handover::Names;
use settings::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use decide::{Decision, decide};
use upstream::Upstream;

const MAX_FORWARDED: usize = 1_000;
const MAX_TCP: usize = 100;
const MAX_QUERY: usize = 4 * 1024;
const IDLE: Duration = Duration::from_secs(10);
/// How long the first queries wait for the first table of names.
const PATIENCE: Duration = Duration::from_secs(2);
const TCP_LIMIT: usize = 65_535;

/// The stub's parts; cheap to clone.
#[derive(Clone)]
pub struct Stub {
    names: watch::Receiver<Arc<Names>>,
    upstream: Rc<Upstream>,
    forwarded: Rc<Semaphore>,
    clients: Arc<Semaphore>,
    waited: Rc<Cell<bool>>,
}

/// How a query came, and so how it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Udp,
    Tcp,
}

impl Stub {
    pub fn new(settings: &Settings, names: watch::Receiver<Arc<Names>>) -> Stub {
        Stub {
            names,
            upstream: Rc::new(Upstream::new(settings.dns.upstream.clone())),
            forwarded: Rc::new(Semaphore::new(MAX_FORWARDED)),
            clients: Arc::new(Semaphore::new(MAX_TCP)),
            waited: Rc::default(),
        }
    }

    /// Serves every socket for as long as the process lives.
    pub async fn run(self, sockets: Vec<(String, OwnedFd)>) {
        let (raw, sockets): (Vec<_>, Vec<_>) = sockets.into_iter().partition(|(name, _)| name.starts_with("dns-raw"));
        let mut raw: HashMap<String, OwnedFd> = raw.into_iter().collect();
        for (name, fd) in sockets {
            let started = match name.strip_prefix("dns-udp") {
                Some(family) => self.udp(fd, raw.remove(&format!("dns-raw{family}"))),
                None => self.tcp(fd),
            };
            if let Err(error) = started {
                telemetry::error!("the socket {name} cannot be served: {error}");
            }
        }
    }

    fn udp(&self, fd: OwnedFd, raw: Option<OwnedFd>) -> io::Result<()> {
        let readiness = std::net::UdpSocket::from(fd.try_clone()?);
        let (stub, questions) = (self.clone(), Rc::new(Questions::new(fd, raw)?));
        let readiness = UdpSocket::from_std(readiness)?;
        spawn_local(async move {
            let mut buffer = [0; MAX_QUERY];
            loop {
                let Ok((length, asked)) =
                    readiness.async_io(Interest::READABLE, || questions.receive(&mut buffer)).await
                else {
                    // An error of an earlier send (port unreachable) is reported here, and means nothing.
                    sleep(Duration::from_millis(1)).await;
                    continue;
                };
                match stub.at_once(&buffer[..length], Over::Udp) {
                    Ok(answer) if answer.is_empty() => {}
                    Ok(answer) => drop(questions.answer(asked, &answer)),
                    Err(query) => {
                        let (stub, questions) = (stub.clone(), questions.clone());
                        spawn_local(async move {
                            let answer = stub.later(query, Over::Udp).await;
                            drop(questions.answer(asked, &answer));
                        });
                    }
                }
            }
        });
        Ok(())
    }

    fn tcp(&self, fd: OwnedFd) -> io::Result<()> {
        let listener = std::net::TcpListener::from(fd);
        listener.set_nonblocking(true)?;
        let (stub, listener) = (self.clone(), TcpListener::from_std(listener)?);
        spawn_local(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let Ok(slot) = stub.clients.clone().try_acquire_owned() else { continue };
                        let stub = stub.clone();
                        spawn_local(async move {
                            let _slot = slot;
                            if let Err(error) = stub.client(stream).await {
                                telemetry::trace!("a DNS client over TCP went away: {error}");
                            }
                        });
                    }
                    Err(_) => sleep(Duration::from_millis(100)).await,
                }
            }
        });
        Ok(())
    }

    async fn client(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let read = async {
                let length = stream.read_u16().await?;
                let mut query = vec![0; usize::from(length)];
                stream.read_exact(&mut query).await.map(|_| query)
            };
            let query = timeout(IDLE, read).await??;
            let answer = match self.at_once(&query, Over::Tcp) {
                Ok(answer) => answer,
                Err(pending) => self.later(pending, Over::Tcp).await,
            };
            if answer.is_empty() {
                return Ok(());
            }
            timeout(IDLE, stream.write_all(&upstream::framed(&answer))).await??;
        }
    }

    /// The answer, or the query that has to wait for the table of names or for a resolver.
    fn at_once(&self, message: &[u8], over: Over) -> Result<Vec<u8>, Pending> {
        let query = match read_query(message) {
            Ok(query) => query,
            Err(invalid) => {
                let mut answer = Vec::new();
                // Without an id nothing can be answered: empty.
                invalid.id.into_iter().for_each(|id| write_failure(&mut answer, id, invalid.code));
                return Ok(answer);
            }
        };
        let pending = |on_failure| Pending { message: message.to_vec(), query: query.clone(), on_failure };
        if !self.waited.get() && self.names.borrow().zones.is_empty() {
            return Err(pending(None));
        }
        match self.decide(&query) {
            Decision::Answer { code, records } => Ok(answer(&query, code, &records, over)),
            Decision::Forward { on_failure } => Err(pending(Some(on_failure))),
        }
    }

    fn decide(&self, query: &Query) -> Decision {
        decide(&self.names.borrow(), &self.upstream.search(), query)
    }

    async fn later(&self, pending: Pending, over: Over) -> Vec<u8> {
        let Ok(_slot) = self.forwarded.try_acquire() else {
            return answer(&pending.query, Code::ServerFailure, &[], over);
        };
        let on_failure = match pending.on_failure {
            Some(on_failure) => on_failure,
            None => {
                let mut names = self.names.clone();
                // Whether they came or not: nobody waits twice.
                drop(timeout(PATIENCE, names.wait_for(|names| !names.zones.is_empty())).await);
                self.waited.set(true);
                match self.decide(&pending.query) {
                    Decision::Answer { code, records } => return answer(&pending.query, code, &records, over),
                    Decision::Forward { on_failure } => on_failure,
                }
            }
        };
        let resolvers = self.upstream.resolvers();
        let found = match over {
            Over::Udp => upstream::udp(&resolvers, &pending.message).await,
            Over::Tcp => upstream::tcp(&resolvers, &pending.message).await,
        };
        found.unwrap_or_else(|| answer(&pending.query, on_failure, &[], over))
    }
}

/// A query that could not be answered at once.
struct Pending {
    message: Vec<u8>,
    query: Query,
    /// `None`: not decided yet.
    on_failure: Option<Code>,
}

fn answer(query: &Query, code: Code, records: &[codec::dns::Record], over: Over) -> Vec<u8> {
    let limit = match over {
        Over::Udp => usize::from(query.udp_size),
        Over::Tcp => TCP_LIMIT,
    };
    let mut out = Vec::new();
    write_response(&mut out, query, code, records, &[], MAX_TTL, limit);
    out
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;

    struct Bench {
        udp: SocketAddr,
        tcp: SocketAddr,
        names: watch::Sender<Arc<Names>>,
        upstream: UdpSocket,
        file: std::path::PathBuf,
    }

    fn table() -> Arc<Names> {
        let web: Arc<str> = "web.default.svc.cluster.local".into();
        let many: Arc<str> = "many.default.svc.cluster.local".into();
        let addresses = (0..200).map(|n| Ipv4Addr::new(198, 19, 1, n).into()).collect();
        Arc::new(Names {
            addresses: [(web, vec![Ipv4Addr::new(198, 19, 0, 1).into()]), (many, addresses)].into(),
            zones: vec!["svc.cluster.local".into()],
            search: vec!["default.svc.cluster.local".into()],
            ..Names::default()
        })
    }

    /// A stub with its sockets; its upstream is a socket of the test's, on the one port resolvers have: none, so that
    /// forwarding fails fast unless a test answers itself.
    async fn bench(names: Arc<Names>) -> Bench {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (addresses, upstream) =
            ((udp.local_addr().unwrap(), tcp.local_addr().unwrap()), UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let file = std::env::temp_dir().join(format!("gossamer-resolv-{}-{}", std::process::id(), addresses.0.port()));
        // Nobody listens on port 53 of this address: the kernel refuses at once.
        std::fs::write(&file, "nameserver 127.213.7.9\nsearch corp.example\n").unwrap();
        let (names, receiver) = watch::channel(names);
        let stub = Stub {
            names: receiver,
            upstream: Rc::new(Upstream::new(file.clone())),
            forwarded: Rc::new(Semaphore::new(MAX_FORWARDED)),
            clients: Arc::new(Semaphore::new(MAX_TCP)),
            waited: Rc::default(),
        };
        stub.run(vec![("dns-udp4".into(), udp.into()), ("dns-tcp4".into(), tcp.into())]).await;
        Bench { udp: addresses.0, tcp: addresses.1, names, upstream, file }
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            std::fs::remove_file(&self.file).unwrap_or_default();
        }
    }

    fn local(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    fn query(name: &str) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(label.len() as u8);
            message.extend(label.as_bytes());
        }
        message.extend([0, 0, 1, 0, 1]);
        message
    }

    async fn ask(bench: &Bench, message: &[u8]) -> Vec<u8> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(message, bench.udp).await.unwrap();
        let mut answer = vec![0; 4096];
        let length = timeout(Duration::from_secs(4), socket.recv(&mut answer)).await.expect("no answer").unwrap();
        answer.truncate(length);
        answer
    }

    /// Code, number of answers, whether it was cut.
    fn outcome(answer: &[u8]) -> (u8, u16, bool) {
        assert_eq!(answer[..2], [0xab, 0xcd]);
        (answer[3] & 15, u16::from_be_bytes([answer[6], answer[7]]), answer[2] & 2 != 0)
    }

    #[test]
    fn names_of_the_mesh_are_answered_over_udp_and_over_tcp_when_they_do_not_fit() {
        local(async {
            let bench = bench(table()).await;
            let answer = ask(&bench, &query("web")).await;
            assert_eq!(outcome(&answer), (0, 1, false));
            assert!(answer.windows(4).any(|window| window == [198, 19, 0, 1]));
            assert_eq!(outcome(&ask(&bench, &query("nobody.default.svc.cluster.local")).await), (3, 0, false));
            assert_eq!(outcome(&ask(&bench, &query("many")).await), (0, 0, true));
            let mut stream = TcpStream::connect(bench.tcp).await.unwrap();
            for _ in 0..2 {
                stream.write_all(&upstream::framed(&query("many"))).await.unwrap();
                let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
                stream.read_exact(&mut answer).await.unwrap();
                assert_eq!(outcome(&answer), (0, 200, false));
            }
        });
    }

    #[test]
    fn without_a_resolver_a_name_that_is_not_ours_fails_and_one_meant_for_us_does_not_exist() {
        local(async {
            let bench = bench(table()).await;
            assert_eq!(outcome(&ask(&bench, &query("example.org")).await), (2, 0, false));
            assert_eq!(outcome(&ask(&bench, &query("web.corp.example")).await), (3, 0, false));
        });
    }

    #[test]
    fn the_first_query_waits_for_the_first_table() {
        local(async {
            let bench = bench(Arc::default()).await;
            let names = async {
                sleep(Duration::from_millis(100)).await;
                bench.names.send(table()).unwrap();
            };
            let message = query("web");
            let (answer, ()) = tokio::join!(ask(&bench, &message), names);
            assert_eq!(outcome(&answer), (0, 1, false));
        });
    }

    #[test]
    fn bytes_that_are_no_query_do_no_harm() {
        local(async {
            let bench = bench(table()).await;
            for garbage in [&b""[..], b"x", &[0xff; 512], &[0; 12], &query("web")[..15]] {
                bench.upstream.send_to(garbage, bench.udp).await.unwrap();
            }
            let mut stream = TcpStream::connect(bench.tcp).await.unwrap();
            stream.write_all(&[0, 3, 1, 2, 3]).await.unwrap();
            assert_eq!(outcome(&ask(&bench, &query("web")).await), (0, 1, false));
        });
    }
}
