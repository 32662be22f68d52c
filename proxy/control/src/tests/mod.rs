//! The control thread against a control plane in this process.

mod certificates;
mod configuration;
mod fake;
mod rotation;
mod time;
mod trust;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream as Pair;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use settings::{Settings, Strings};
use telemetry::Registry;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

use crate::clock::Wall;
use crate::handover::{Ask, Names, News};
use crate::identity::Bundle;
use crate::{Config, Shared, thread};
use fake::Plane;

pub const WEB: &str = "web.default.serviceaccount.identity.gossamer.cluster.local";

/// The environment of a sidecar under test.
pub struct Env(BTreeMap<String, String>);

impl Strings for Env {
    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

impl Env {
    /// As Linkerd's injector writes it, with every service on one loopback port.
    pub fn linkerd(plane: &Plane, control: std::net::SocketAddr, token: &std::path::Path) -> Env {
        let mut env = Env::new(plane, "unix:/unused");
        for name in ["CONTROL_ADDR", "CONTROL_NAME", "TOKEN_FROM"] {
            env.0.remove(&format!("GOSSAMER_PROXY_{name}"));
        }
        for name in ["DESTINATION", "POLICY", "IDENTITY"] {
            env.set(&format!("LINKERD2_PROXY_{name}_SVC_ADDR"), &control.to_string());
        }
        env.set("LINKERD2_PROXY_IDENTITY_TOKEN_FILE", token.to_str().unwrap());
        env.set("LINKERD2_PROXY_DESTINATION_PROFILE_NETWORKS", "127.64.0.0/10");
        env
    }

    pub fn new(plane: &Plane, control: &str) -> Env {
        let mut env = Env(BTreeMap::new());
        env.set("GOSSAMER_PROXY_CONTROL_ADDR", control);
        env.set("GOSSAMER_PROXY_CONTROL_NAME", fake::NAME);
        env.set("GOSSAMER_PROXY_TOKEN_FROM", "launcher");
        env.set("LINKERD2_PROXY_IDENTITY_LOCAL_NAME", WEB);
        env.set("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", &plane.authority.anchors_pem());
        env.set("LINKERD2_PROXY_POLICY_WORKLOAD", r#"{"ns":"default","pod":"web-0"}"#);
        env.set("LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT", "300ms");
        env.set("LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_MIN", "20ms");
        env.set("LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_MAX", "100ms");
        env
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }
}

/// A control thread, run on the test's own runtime.
pub struct Sidecar {
    pub asks: UnboundedSender<Ask>,
    pub news: UnboundedReceiver<News>,
    pub ended: watch::Receiver<Option<i32>>,
    pub launcher: Launcher,
    pub registry: Arc<Registry>,
    pub names: watch::Receiver<Arc<Names>>,
    pub ready: watch::Receiver<bool>,
}

impl Sidecar {
    pub async fn start(env: Env) -> Sidecar {
        Sidecar::start_at(env, Wall::system()).await
    }

    pub async fn start_at(env: Env, wall: Wall) -> Sidecar {
        let settings = Arc::new(Settings::from_strings(&env).unwrap());
        let (ours, theirs) = Pair::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let (asks, asked) = unbounded_channel();
        let (tell, news) = unbounded_channel();
        let (end, ended) = watch::channel(None);
        let registry = Registry::new(0);
        let (seen, mut shared) = unbounded_channel::<Shared>();
        let start = thread::Start {
            bundle: Bundle::load(&settings.identity.anchors).unwrap(),
            config: Config {
                settings,
                registry: registry.clone(),
                launcher: Some(ours.into()),
                companions: vec![Box::new(move |shared| {
                    seen.send(shared).unwrap();
                    Box::pin(async {})
                })],
            },
            asks: asked,
            tell: Box::new(move |news| tell.send(news).unwrap_or_default()),
            end: Box::new(move |code| end.send(Some(code)).unwrap_or_default()),
            wall,
        };
        // Its tasks end with it, as those of a process do.
        spawn_local(async move { LocalSet::new().run_until(thread::run(start)).await.unwrap() });
        let shared = shared.recv().await.unwrap();
        let launcher = Launcher { line: BufReader::new(UnixStream::from_std(theirs).unwrap()), tokens: 0 };
        Sidecar { asks, news, ended, launcher, registry, names: shared.names, ready: shared.ready }
    }

    /// The next news, within two seconds.
    pub async fn next(&mut self) -> News {
        timeout(Duration::from_secs(2), self.news.recv()).await.expect("no news").expect("the thread has ended")
    }

    /// Plays the launcher until the first certificate is there.
    pub async fn certified(&mut self) -> Arc<crate::handover::Credentials> {
        let credentials = async {
            loop {
                match self.news.recv().await {
                    Some(News::Credentials(credentials)) => return credentials,
                    // What we had is worth nothing; what comes next is what is waited for.
                    Some(News::Withdrawn(_)) => {}
                    other => panic!("{other:?}"),
                }
            }
        };
        tokio::select! {
            credentials = credentials => credentials,
            () = self.launcher.give_tokens() => panic!("the launcher's line ended"),
        }
    }

    /// Nothing is said for a while.
    pub async fn quiet(&mut self) {
        let heard = timeout(Duration::from_millis(200), self.news.recv()).await;
        assert!(heard.is_err(), "{heard:?}");
    }
}

/// The other end of the launcher's line.
pub struct Launcher {
    line: BufReader<UnixStream>,
    pub tokens: usize,
}

impl Launcher {
    pub async fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        let read =
            timeout(Duration::from_secs(2), self.line.read_line(&mut line)).await.expect("nothing said").unwrap();
        (read > 0).then(|| line.trim_end().to_owned())
    }

    pub async fn say(&mut self, line: &str) {
        self.line.get_mut().write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Until the line ends.
    pub async fn give_tokens(&mut self) {
        let mut line = String::new();
        while self.line.read_line(&mut line).await.unwrap() > 0 {
            assert_eq!(line, "token\n");
            self.tokens += 1;
            let answer = format!("token secret-{}", self.tokens);
            self.say(&answer).await;
            line.clear();
        }
    }
}

/// Removed when the test's thread ends.
struct Sockets(Vec<PathBuf>);

impl Drop for Sockets {
    fn drop(&mut self) {
        for path in &self.0 {
            // Not every one was made, or is still there.
            drop(std::fs::remove_file(path));
        }
    }
}

/// A socket path of its own for each caller.
pub fn socket() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MADE: RefCell<Sockets> = const { RefCell::new(Sockets(Vec::new())) };
    }
    let name = format!("gossamer-control-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    MADE.with_borrow_mut(|made| made.0.push(path.clone()));
    path
}

/// Runs a test on a runtime like the thread's own.
pub fn local(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { timeout(Duration::from_secs(20), test).await.expect("stuck") });
}

/// A plane on a Unix socket and a sidecar that has its first certificate.
pub async fn certified(change: impl FnOnce(&mut Env)) -> (Rc<Plane>, PathBuf, Sidecar) {
    let (plane, path) = (Plane::new(), socket());
    plane.serve_unix(&path);
    let mut env = Env::new(&plane, &format!("unix:{}", path.display()));
    change(&mut env);
    let mut sidecar = Sidecar::start(env).await;
    sidecar.certified().await;
    (plane, path, sidecar)
}

/// Until `done`, at most two seconds.
pub async fn until(mut done: impl FnMut() -> bool) {
    for _ in 0..200 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not happen");
}
