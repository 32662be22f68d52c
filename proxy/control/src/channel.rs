//! One connection to one service of the control plane, kept up for as long as the process lives.
//!
//! A hung peer is noticed by pings (a beat of 10 s, and 3 s); a renewed certificate makes a new connection before the old one
//! goes. Of several replicas one is used at a time, in an order drawn by chance: the next one when this one cannot be
//! reached, ends, says goodbye, falls silent or has failed somebody. Callers never dial: they wait for [`Link::Up`], or
//! learn at once that it is down.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use prost::Message;
use rules::identity::Identity;
use settings::{Backoff, ControlAddress, ControlService, Streams};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::clock::{Beat, Pauses, Wall, chance};
use crate::connect::{self, Stream};
use crate::grpc::{self, Answer, Code, Status};
use crate::handover::{Alpn, ClientConfigs, Credentials};
use crate::identity::{Clients, Trust};

const PING_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const STREAM_WINDOW: u32 = 65_535;
const MAX_HEADERS: u32 = 16 * 1024;
/// A connection that lived so long was a good one: the next attempt does not wait.
const STABLE: Duration = Duration::from_secs(5);

/// The certificate in force, as the identity task publishes it.
pub type CurrentCredentials = watch::Receiver<Option<Arc<Credentials>>>;

/// Where the connection stands.
#[derive(Clone, Debug)]
pub enum Link {
    /// No attempt has failed since the process started or since the last connection.
    Connecting,
    /// The last attempt failed; the next one is waited for.
    Down(Arc<str>),
    Up(Up),
}

/// An open connection.
#[derive(Clone, Debug)]
pub struct Up {
    send: SendRequest<Bytes>,
    /// Grows with every connection of this channel.
    pub serial: u64,
    /// We proved who we are with our certificate.
    pub mutual: bool,
    /// The peer takes no more calls on it.
    stale: Arc<Notify>,
    /// Nothing more is needed for calls in our name: mutual, or a local socket.
    pub own: bool,
    /// `:authority` of calls on it.
    authority: Arc<str>,
}

/// A shared handle.
#[derive(Clone)]
pub struct Channel {
    link: watch::Receiver<Link>,
    /// Every address of the service, for metrics.
    place: Arc<str>,
    replicas: usize,
    metrics: Arc<telemetry::Control>,
    streams: Streams,
    backoff: Backoff,
    /// Sent with every call.
    metadata: Option<(&'static str, Arc<str>)>,
}

/// What [`open`] needs.
pub struct Options {
    pub service: ControlService,
    pub connect_timeout: Duration,
    pub backoff: Backoff,
    pub streams: Streams,
    pub credentials: CurrentCredentials,
    /// Anchors for the time before the first certificate.
    pub trust: watch::Receiver<Arc<Trust>>,
    pub wall: Wall,
    pub metrics: Arc<telemetry::Control>,
    /// When to ask whether the peer lives.
    pub beat: Beat,
    /// Changes when the clock was set or the machine woke up: then a connection may be long dead.
    pub sets: watch::Receiver<u64>,
    /// Changes when the control plane did not want our certificate.
    pub refusals: watch::Sender<u64>,
}

/// The handle, and the task that keeps the connection; it ends when every handle is gone.
pub fn open(options: Options) -> (Channel, impl Future<Output = ()>) {
    let (sender, link) = watch::channel(Link::Connecting);
    let channel = Channel {
        link,
        place: place(&options.service).into(),
        replicas: options.service.addresses.len(),
        metrics: options.metrics.clone(),
        streams: options.streams,
        backoff: options.backoff,
        metadata: None,
    };
    (channel, keep(options, sender))
}

/// The connection in use, as its keeper sees it.
struct Current {
    closed: watch::Receiver<bool>,
    stale: Arc<Notify>,
    since: Instant,
}

/// Where the service is, for logs and metrics.
pub fn place(service: &ControlService) -> String {
    service.addresses.iter().map(connect::authority).collect::<Vec<_>>().join(",")
}

/// The replicas in the order in which they are tried.
struct Replicas {
    addresses: Vec<ControlAddress>,
    /// Tried in vain since one of them was reached.
    failed: usize,
}

impl Replicas {
    fn new(addresses: Vec<ControlAddress>) -> Replicas {
        let mut replicas = Replicas { addresses, failed: 0 };
        replicas.shuffle(chance);
        replicas
    }

    /// Fisher and Yates. `chance` gives numbers in `0.0..1.0`.
    fn shuffle(&mut self, mut chance: impl FnMut() -> f64) {
        for at in (1..self.addresses.len()).rev() {
            self.addresses.swap(at, ((at + 1) as f64 * chance()) as usize);
        }
    }

    fn current(&self) -> Option<&ControlAddress> {
        self.addresses.first()
    }

    /// Not this one, for as long as there is another.
    fn next(&mut self) {
        let first = 1.min(self.addresses.len());
        self.addresses.rotate_left(first);
    }

    /// True when none is left that has not just failed.
    fn fail(&mut self) -> bool {
        self.next();
        self.failed += 1;
        let all = self.failed >= self.addresses.len();
        if all {
            self.failed = 0;
        }
        all
    }
}

async fn keep(mut options: Options, sender: watch::Sender<Link>) {
    let mut pauses = Pauses::new(options.backoff);
    let mut replicas = Replicas::new(options.service.addresses.clone());
    let mut serial = 0;
    let mut current: Option<Current> = None;
    while !sender.is_closed() {
        let shown = options.credentials.borrow_and_update().as_deref().map(|held| held.serial.clone());
        serial += 1;
        let Some(address) = replicas.current().cloned() else { return };
        let name = connect::authority(&address);
        match connect(&options, &address, serial).await {
            Ok((up, closed)) => {
                telemetry::debug!("connected to the control plane at {name}");
                replicas.failed = 0;
                current = Some(Current { closed, stale: up.stale.clone(), since: Instant::now() });
                sender.send_replace(Link::Up(up));
            }
            Err(error) => {
                telemetry::debug!("control plane at {name}: {error}");
                if !replicas.fail() {
                    continue;
                }
                // While an older connection still serves, a failed renewal of it changes nothing for callers.
                if current.as_ref().is_none_or(|current| *current.closed.borrow()) {
                    current = None;
                    sender.send_replace(Link::Down(error.into()));
                }
                rest(&mut pauses, &mut options.sets).await;
                continue;
            }
        }
        let Some(Current { closed, stale, since }) = current.as_mut() else { continue };
        let (ended, renewed) = tokio::select! {
            _ = closed.wait_for(|closed| *closed) => (true, false),
            () = another(&mut options.credentials, shown), if options.service.name.is_some() => (false, true),
            () = stale.notified() => (false, false),
            () = sender.closed() => return,
        };
        if since.elapsed() >= STABLE {
            pauses.reset();
        }
        if ended {
            current = None;
            sender.send_replace(Link::Connecting);
        }
        if renewed {
            // Whoever failed and came back gets its share again.
            replicas.shuffle(chance);
        } else {
            replicas.next();
            // Even a good connection is not replaced in the same instant: a restarting peer refuses thousands at once.
            rest(&mut pauses, &mut options.sets).await;
        }
    }
}

/// Waits for a certificate with another serial number than `shown`, or for the loss of it. New anchors alone are no
/// reason to leave a connection that both ends believed in.
async fn another(credentials: &mut CurrentCredentials, shown: Option<Vec<u8>>) {
    let differs = |held: &Option<Arc<Credentials>>| held.as_deref().map(|held| &held.serial) != shown.as_ref();
    if credentials.wait_for(differs).await.is_err() {
        std::future::pending().await
    }
}

/// A pause, cut short when the clock was set or the machine woke up.
async fn rest(pauses: &mut Pauses, sets: &mut watch::Receiver<u64>) {
    sets.mark_unchanged();
    tokio::select! {
        () = sleep(pauses.pause(chance())) => {}
        Ok(()) = sets.changed() => pauses.reset(),
    }
}

/// Dials, and leaves the connection to a task of its own. The receiver turns true when it has ended.
async fn connect(
    options: &Options,
    address: &ControlAddress,
    serial: u64,
) -> Result<(Up, watch::Receiver<bool>), String> {
    let (stream, mutual) = dial(options, address).await?;
    let handshake = h2::client::Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADERS)
        .handshake::<_, Bytes>(stream);
    let (send, mut connection) = match timeout(options.connect_timeout, handshake).await {
        Ok(done) => done.map_err(|error| error.to_string())?,
        Err(_) => return Err("HTTP/2 was not answered in time".into()),
    };
    let (closing, closed) = watch::channel(false);
    let (pings, beat, sets) = (connection.ping_pong(), options.beat, options.sets.clone());
    tokio::task::spawn_local(async move {
        tokio::select! {
            result = connection => {
                if let Err(error) = result {
                    telemetry::debug!("the connection to the control plane ended: {error}");
                }
            }
            () = unanswered(pings, beat, sets) => telemetry::info!("the control plane stopped answering"),
        }
        closing.send_replace(true);
    });
    let own = mutual || is_plain(&options.service, address);
    let authority = connect::authority(address).into();
    Ok((Up { send, serial, mutual, stale: Arc::new(Notify::new()), own, authority }, closed))
}

/// A socket of this machine, or a service that has no name to prove.
fn is_plain(service: &ControlService, address: &ControlAddress) -> bool {
    service.name.is_none() || matches!(address, ControlAddress::Unix(_))
}

/// Returns when a ping was not answered in time.
async fn unanswered(pings: Option<h2::PingPong>, beat: Beat, mut sets: watch::Receiver<u64>) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    sets.mark_unchanged();
    loop {
        tokio::select! {
            () = sleep_until(beat.next()) => {}
            Ok(()) = sets.changed() => {}
        }
        match timeout(PING_TIMEOUT, pings.ping(h2::Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => return,
        }
    }
}

async fn dial(options: &Options, address: &ControlAddress) -> Result<(Stream, bool), String> {
    let name = match &options.service.name {
        Some(name) if !is_plain(&options.service, address) => name,
        _ => return Ok((connect::plain(address, options.connect_timeout).await?, false)),
    };
    let now = options.wall.now().as_secs();
    // An expired certificate would only be refused; without one, a token can still prove who we are.
    let credentials = options.credentials.borrow().clone().filter(|credentials| credentials.not_after > now);
    let expected = Identity::Dns(name.as_str().into());
    let config = match &credentials {
        Some(credentials) => credentials.client.expecting(&expected, Alpn::None),
        None => Clients::anonymous(options.trust.borrow().clone()).expecting(&expected, Alpn::None),
    };
    let refusals = credentials.is_some().then(|| options.refusals.clone());
    let stream = connect::tls(address, name, config, options.connect_timeout, refusals).await?;
    Ok((stream, credentials.is_some()))
}

impl Up {
    /// Waits for room for one more stream.
    async fn ready(&self) -> Result<SendRequest<Bytes>, Status> {
        self.send.clone().ready().await.map_err(|error| {
            self.stale.notify_one();
            error.into()
        })
    }
}

impl Channel {
    /// The state now.
    pub fn link(&self) -> Link {
        self.link.borrow().clone()
    }

    /// The next connection on which calls in our own name may be made (`own`), or any; fails at once while it is down.
    pub async fn up(&mut self, own: bool) -> Result<Up, Status> {
        loop {
            match &*self.link.borrow_and_update() {
                Link::Up(up) if up.own || !own => return Ok(up.clone()),
                Link::Down(error) => return Err(Status::unavailable(error.to_string())),
                _ => {}
            }
            self.link.changed().await.map_err(|_| Status::unavailable("shutting down"))?;
        }
    }

    /// Waits, however long, for a usable connection newer than `serial`.
    pub async fn newer(&mut self, serial: u64) -> Result<Up, Status> {
        let link = self.link.wait_for(|link| matches!(link, Link::Up(up) if up.own && up.serial > serial));
        match &*link.await.map_err(|_| Status::unavailable("shutting down"))? {
            Link::Up(up) => Ok(up.clone()),
            _ => Err(Status::unavailable("not connected")),
        }
    }

    /// This replica has failed somebody: another one is tried, if there is one.
    pub fn avoid(&self, up: &Up) {
        if self.replicas > 1 {
            up.stale.notify_one();
        }
    }

    /// The same connection; calls on this handle carry one more field.
    pub fn saying(&self, name: &'static str, value: &str) -> Channel {
        Channel { metadata: Some((name, value.into())), ..self.clone() }
    }

    /// The same connection, counted as another client's.
    pub fn named(&self, registry: &telemetry::Registry, name: &'static str) -> Channel {
        Channel { metrics: registry.control(name, &self.place), ..self.clone() }
    }

    pub fn streams(&self) -> Streams {
        self.streams
    }

    pub fn pauses(&self) -> Pauses {
        Pauses::new(self.backoff)
    }

    /// One question, one answer, within `limit`.
    pub async fn unary<M: Message + Default>(
        &self,
        up: &Up,
        path: &str,
        request: &impl Message,
        limit: Duration,
    ) -> Result<M, Status> {
        let start = self.begin();
        let call = async {
            grpc::call(up.ready().await?, &up.authority, self.metadata(), path, request).await?.message().await
        };
        let result = timeout(limit, call).await.unwrap_or_else(|_| Err(late()));
        self.finish(start, result.is_ok());
        result
    }

    /// Opens a stream and waits for its first message, for as long as settings allow.
    pub async fn stream<M: Message + Default>(
        &self,
        up: &Up,
        path: &str,
        request: &impl Message,
    ) -> Result<(M, Answer), Status> {
        let start = self.begin();
        let first = async {
            let mut answer = grpc::call(up.ready().await?, &up.authority, self.metadata(), path, request).await?;
            Ok((answer.message().await?, answer))
        };
        let result = match self.streams.initial {
            Some(limit) => timeout(limit, first).await.unwrap_or_else(|_| Err(late())),
            None => first.await,
        };
        self.finish(start, result.is_ok());
        result
    }

    fn metadata(&self) -> Option<(&str, &str)> {
        self.metadata.as_ref().map(|(name, value)| (*name, &**value))
    }

    fn begin(&self) -> Instant {
        self.metrics.request();
        Instant::now()
    }

    fn finish(&self, start: Instant, success: bool) {
        self.metrics.response(success, start.elapsed().as_micros() as u64);
    }
}

fn late() -> Status {
    Status::new(Code::DeadlineExceeded, "no answer in time")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicas(ports: &[u16]) -> Replicas {
        let address = |port: &u16| ControlAddress::Socket(([127, 0, 0, 1], *port).into());
        Replicas { addresses: ports.iter().map(address).collect(), failed: 0 }
    }

    #[test]
    fn every_replica_is_tried_once_before_there_is_a_pause() {
        let mut three = replicas(&[1, 2, 3]);
        let first = three.current().cloned();
        assert_eq!([three.fail(), three.fail(), three.fail(), three.fail()], [false, false, true, false]);
        let mut one = replicas(&[1]);
        assert!(one.fail() && one.fail());
        assert_eq!(one.current().cloned(), first);
    }

    #[test]
    fn the_order_is_any_one_and_loses_nobody() {
        let mut firsts = std::collections::HashSet::new();
        for _ in 0..200 {
            let mut drawn = replicas(&[1, 2, 3]);
            drawn.shuffle(chance);
            assert!(replicas(&[1, 2, 3]).addresses.iter().all(|address| drawn.addresses.contains(address)));
            firsts.insert(drawn.current().cloned());
        }
        assert_eq!(firsts.len(), 3);
    }
}
