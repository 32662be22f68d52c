//! One connection to one service of the control plane, kept up for as long as the process lives.
//!
//! A hung peer is noticed by pings (a beat of 10 s, and 3 s); a renewed certificate makes a new connection before the old one
//! goes. Callers never dial: they wait for [`Link::Up`], or learn at once that it is down.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use prost::Message;
use rules::identity::Identity;
use settings::{Backoff, ControlService, Streams};
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
}

/// A shared handle.
#[derive(Clone)]
pub struct Channel {
    link: watch::Receiver<Link>,
    authority: Arc<str>,
    metrics: Arc<telemetry::Control>,
    streams: Streams,
    backoff: Backoff,
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
}

/// The handle, and the task that keeps the connection; it ends when every handle is gone.
pub fn open(options: Options) -> (Channel, impl Future<Output = ()>) {
    let (sender, link) = watch::channel(Link::Connecting);
    let channel = Channel {
        link,
        authority: connect::authority(&options.service.address).into(),
        metrics: options.metrics.clone(),
        streams: options.streams,
        backoff: options.backoff,
    };
    (channel, keep(options, sender))
}

/// The connection in use, as its keeper sees it.
struct Current {
    closed: watch::Receiver<bool>,
    stale: Arc<Notify>,
    since: Instant,
}

async fn keep(mut options: Options, sender: watch::Sender<Link>) {
    let mut pauses = Pauses::new(options.backoff);
    let mut serial = 0;
    let mut current: Option<Current> = None;
    while !sender.is_closed() {
        options.credentials.mark_unchanged();
        serial += 1;
        match connect(&options, serial).await {
            Ok((up, closed)) => {
                telemetry::debug!("connected to the control plane at {}", connect::authority(&options.service.address));
                current = Some(Current { closed, stale: up.stale.clone(), since: Instant::now() });
                sender.send_replace(Link::Up(up));
            }
            Err(error) => {
                telemetry::debug!("control plane at {}: {error}", connect::authority(&options.service.address));
                // While an older connection still serves, a failed renewal of it changes nothing for callers.
                if current.as_ref().is_none_or(|current| *current.closed.borrow()) {
                    current = None;
                    sender.send_replace(Link::Down(error.into()));
                }
                sleep(pauses.pause(chance())).await;
                continue;
            }
        }
        let Some(Current { closed, stale, since }) = current.as_mut() else { continue };
        let (ended, renewed) = tokio::select! {
            _ = closed.wait_for(|closed| *closed) => (true, false),
            changed = options.credentials.changed(), if options.service.name.is_some() => (false, changed.is_ok()),
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
        if !renewed {
            // Even a good connection is not replaced in the same instant: a restarting peer refuses thousands at once.
            sleep(pauses.pause(chance())).await;
        }
    }
}

/// Dials, and leaves the connection to a task of its own. The receiver turns true when it has ended.
async fn connect(options: &Options, serial: u64) -> Result<(Up, watch::Receiver<bool>), String> {
    let (stream, mutual) = dial(options).await?;
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
    let (pings, beat) = (connection.ping_pong(), options.beat);
    tokio::task::spawn_local(async move {
        tokio::select! {
            result = connection => {
                if let Err(error) = result {
                    telemetry::debug!("the connection to the control plane ended: {error}");
                }
            }
            () = unanswered(pings, beat) => telemetry::info!("the control plane stopped answering"),
        }
        closing.send_replace(true);
    });
    let own = mutual || options.service.name.is_none();
    Ok((Up { send, serial, mutual, stale: Arc::new(Notify::new()), own }, closed))
}

/// Returns when a ping was not answered in time.
async fn unanswered(pings: Option<h2::PingPong>, beat: Beat) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    loop {
        sleep_until(beat.next()).await;
        match timeout(PING_TIMEOUT, pings.ping(h2::Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => return,
        }
    }
}

async fn dial(options: &Options) -> Result<(Stream, bool), String> {
    let Some(name) = &options.service.name else {
        return Ok((connect::plain(&options.service.address, options.connect_timeout).await?, false));
    };
    let now = options.wall.now().as_secs();
    // An expired certificate would only be refused; without one, a token can still prove who we are.
    let credentials = options.credentials.borrow().clone().filter(|credentials| credentials.not_after > now);
    let expected = Identity::Dns(name.as_str().into());
    let config = match &credentials {
        Some(credentials) => credentials.client.expecting(&expected, Alpn::None),
        None => Clients::anonymous(options.trust.borrow().clone()).expecting(&expected, Alpn::None),
    };
    let stream = connect::tls(&options.service.address, name, config, options.connect_timeout).await?;
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

    /// The same connection, counted as another client's.
    pub fn named(&self, registry: &telemetry::Registry, name: &'static str) -> Channel {
        Channel { metrics: registry.control(name, &self.authority), ..self.clone() }
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
        let call = async { grpc::call(up.ready().await?, &self.authority, path, request).await?.message().await };
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
            let mut answer = grpc::call(up.ready().await?, &self.authority, path, request).await?;
            Ok((answer.message().await?, answer))
        };
        let result = match self.streams.initial {
            Some(limit) => timeout(limit, first).await.unwrap_or_else(|_| Err(late())),
            None => first.await,
        };
        self.finish(start, result.is_ok());
        result
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
