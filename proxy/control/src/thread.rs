//! The composition root of the control thread: one task per line, in the order of the flow.

use std::io;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use settings::{ControlAddress, ControlService, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::channel::{self, Channel};
use crate::clock::{Beat, Wall, sets};
use crate::handover::{Ask, Names, News};
use crate::identity::renew::{Asker, Renewal, Source};
use crate::identity::{Bundle, Own, TRANSPORT_ALPN};
use crate::launcher::{Launcher, Order};
use crate::names::names;
use crate::notes::Notes;
use crate::reports::Reports;
use crate::spire::{self, spire};
use crate::trust::trust;
use crate::watches::{Watcher, Watches};
use crate::{Config, Shared};

/// How long after the grace period a traffic thread that does not report back is waited for.
const SPARE: Duration = Duration::from_secs(5);
/// How long the end of the process waits for the last report to be taken.
const LAST_REPORT: Duration = Duration::from_millis(500);

/// Bytes of the thread's stack.
pub const STACK: usize = 512 * 1024;
/// How often an idle thread wakes.
const BEAT: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 10_000 });

/// What the thread is started with.
pub struct Start {
    pub config: Config,
    pub bundle: Bundle,
    pub asks: UnboundedReceiver<Ask>,
    pub tell: Box<dyn Fn(News)>,
    pub end: Box<dyn Fn(i32)>,
    pub wall: Wall,
}

/// Runs until [`Start::end`] was called.
pub async fn run(start: Start) -> io::Result<()> {
    let Start { config, bundle, mut asks, tell, end, wall } = start;
    let Config { settings, registry, launcher, companions } = config;
    let tell: Rc<dyn Fn(News)> = Rc::from(tell);
    let launcher = Launcher::new(launcher)?;
    let (publish, credentials) = watch::channel(None);
    let (told_sender, told) = watch::channel(None);
    let (withdraw, mut withdrawn) = watch::channel(None);
    let (refusals, refused) = watch::channel(0);
    let (clock_sets, watch_clock) = sets();
    spawn_local(watch_clock);
    let (trust_sender, current_trust) = watch::channel(bundle.trust.clone());
    let (ready_sender, ready) = watch::channel(false);
    let (names_sender, names_receiver) = watch::channel(Arc::new(Names::default()));
    let drain = Arc::new(Notify::new());
    let (beat, stir) = (Beat::new(BEAT), Rc::new(Notify::new()));

    let open_with = |service: &ControlService, name: &'static str, backoff| {
        let (channel, keep) = channel::open(channel::Options {
            service: service.clone(),
            connect_timeout: settings.control.connect_timeout,
            backoff,
            streams: settings.control.streams,
            credentials: credentials.clone(),
            trust: current_trust.clone(),
            wall: wall.clone(),
            metrics: registry.control(name, &channel::place(service)),
            beat,
            sets: clock_sets.clone(),
            refusals: refusals.clone(),
        });
        spawn_local(keep);
        channel
    };
    let open = |service: &ControlService, name| open_with(service, name, settings.control.backoff);
    // Equal services share a connection; the connection lives as long as a handle of it.
    let identity = open(&settings.control.identity, "identity");
    let destination = shared(&settings.control.identity, &identity, &settings.control.destination).map_or_else(
        || open(&settings.control.destination, "destination"),
        |channel| channel.named(&registry, "destination"),
    );
    let policy = shared(&settings.control.identity, &identity, &settings.control.policy)
        .or_else(|| shared(&settings.control.destination, &destination, &settings.control.policy))
        .map_or_else(|| open(&settings.control.policy, "policy"), |channel| channel.named(&registry, "policy"));

    let source = match &settings.identity.spire {
        None => {
            let asker =
                Asker { settings: settings.identity.clone(), channel: identity.clone(), launcher: launcher.clone() };
            Source::ControlPlane(Rc::new(asker))
        }
        Some(agent) => {
            let service = ControlService { addresses: vec![ControlAddress::Unix(agent.socket.clone())], name: None };
            let channel = open_with(&service, "spire", agent.backoff).saying(spire::METADATA.0, spire::METADATA.1);
            let (hand_out, svids) = watch::channel(None);
            spawn_local(spire(channel, settings.identity.name.clone(), hand_out));
            Source::Spire(svids)
        }
    };
    let renewal = Renewal {
        settings: settings.identity.clone(),
        own: own(&settings),
        bundle,
        source,
        pauses: identity.pauses(),
        beat,
        sets: clock_sets.clone(),
        told,
        refused,
        registry: registry.clone(),
        wall: wall.clone(),
        publish,
        trust: trust_sender,
        withdrawn: withdraw,
    };
    drop(identity);
    spawn_local(renewal.run());
    let shared = Shared { names: names_receiver, ready, drain: drain.clone() };
    for companion in companions {
        spawn_local(companion(shared.clone()));
    }
    let notes = Notes::default();
    // The front speaks for itself in the field in which it names its callers.
    let ours = settings.control.gossamer.then(|| match settings.front {
        Some(_) => policy.saying("l5d-client-id", settings.identity.name.as_str()),
        None => policy.clone(),
    });
    if let Some(channel) = ours.clone() {
        spawn_local(trust(channel, settings.policy.workload.clone(), told_sender, notes.clone()));
    }
    if let Some(channel) = ours.clone().filter(|_| settings.front.is_none()) {
        spawn_local(names(channel, settings.policy.workload.clone(), names_sender, notes.clone()));
    }
    let (finishing, finish) = tokio::sync::mpsc::channel(1);
    let reports = Reports {
        workload: settings.policy.workload.clone(),
        registry: registry.clone(),
        credentials: credentials.clone(),
        wall,
        channel: ours,
        notes: notes.clone(),
        beat,
        stir: stir.clone(),
        last: finish,
        front: settings.front.is_some(),
    };
    spawn_local(reports.run());

    let watcher = Watcher { config: settings.clone(), destination, policy, notes };
    let mut watches = Watches::new(watcher, tell.clone());
    let mut credentials = credentials;
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (mut draining, mut line) = (false, Vec::new());
    let give_up = tokio::time::sleep(Duration::MAX);
    tokio::pin!(give_up);
    loop {
        let mut begin_draining = false;
        tokio::select! {
            changed = credentials.changed() => {
                // The renewal task lives as long as we do.
                let current = credentials.borrow_and_update().clone();
                if let (Ok(()), Some(current)) = (changed, current) {
                    tell(News::Credentials(current));
                    if ready_sender.send_if_modified(|ready| !std::mem::replace(ready, true)) && settings.front.is_none() {
                        settings.policy.ports.iter().for_each(|port| watches.watch_inbound(port));
                    }
                }
            }
            Ok(()) = withdrawn.changed() => {
                let trust = withdrawn.borrow_and_update().clone();
                // Unless there is another certificate already.
                if let Some(trust) = trust.filter(|_| credentials.borrow().is_none()) {
                    tell(News::Withdrawn(trust));
                }
            }
            ask = asks.recv() => {
                stir.notify_one();
                match ask {
                Some(Ask::WatchOutbound(address)) => watches.watch_outbound(address),
                Some(Ask::ForgetOutbound(address)) => watches.forget_outbound(&address),
                Some(Ask::WatchEndpoints(authority)) => watches.watch_endpoints(authority),
                Some(Ask::ForgetEndpoints(authority)) => watches.forget_endpoints(&authority),
                Some(Ask::WatchInbound(port)) => watches.watch_inbound(port),
                Some(Ask::ForgetInbound(port)) => watches.forget_inbound(port),
                // A launcher may also want to know when nothing is being answered any more.
                Some(Ask::Listening) => say(&launcher, if settings.front.is_none() { "ready quiet" } else { "ready" }).await,
                Some(Ask::Quiet) => say(&launcher, "quiet").await,
                Some(Ask::Drained) => {
                    report_last(&finishing).await;
                    say(&launcher, "drained").await;
                    end(0);
                    return Ok(());
                }
                None => {
                    end(1);
                    return Ok(());
                }
                }
            }
            order = launcher.order(&mut line) => match order {
                Order::Drain => begin_draining = true,
                Order::Quiet => tell(News::Quiet),
                Order::End => {
                    telemetry::info!("the launcher is gone");
                    end(0);
                    return Ok(());
                }
            },
            _ = term.recv() => begin_draining = true,
            _ = int.recv() => begin_draining = true,
            () = drain.notified() => begin_draining = true,
            () = &mut give_up, if draining => {
                telemetry::warn!("connections did not end within {} s", settings.shutdown_grace.as_secs());
                end(0);
                return Ok(());
            }
        }
        if begin_draining && !draining {
            telemetry::info!("draining, for at most {} s", settings.shutdown_grace.as_secs());
            draining = true;
            give_up.as_mut().reset(tokio::time::Instant::now() + settings.shutdown_grace + SPARE);
            tell(News::Drain);
        }
    }
}

/// What was counted since the last report, told before the process ends; not for long, and not at any price.
async fn report_last(finishing: &tokio::sync::mpsc::Sender<oneshot::Sender<()>>) {
    let (done, over) = oneshot::channel();
    if finishing.send(done).await.is_ok() {
        // The sender is dropped when the report was taken, or could not be.
        drop(timeout(LAST_REPORT, over).await);
    }
}

async fn say(launcher: &Launcher, word: &str) {
    if let Err(error) = launcher.say(word).await {
        telemetry::debug!("the launcher did not hear {word:?}: {error}");
    }
}

fn shared<'a>(have: &ControlService, channel: &'a Channel, want: &ControlService) -> Option<&'a Channel> {
    (have == want).then_some(channel)
}

fn own(settings: &Settings) -> Own {
    let alpn = if settings.front.is_some() { &b"h2"[..] } else { TRANSPORT_ALPN };
    Own {
        identity: settings.identity.name.clone(),
        server_name: settings.identity.server_name.clone(),
        alpn: vec![alpn.to_vec()],
    }
}

/// The same for the thread's start: one runtime on a small stack.
pub fn spawn(start: impl FnOnce() -> Start + Send + 'static) -> io::Result<()> {
    let (report, started) = mpsc::channel();
    std::thread::Builder::new().name("control".into()).stack_size(STACK).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => {
                report.send(Ok(())).unwrap_or_default();
                let start = start();
                let result = tokio::task::LocalSet::new().block_on(&runtime, run(start));
                if let Err(error) = result {
                    telemetry::error!("the control thread ended: {error}");
                    std::process::exit(1);
                }
            }
            Err(error) => report.send(Err(error)).unwrap_or_default(),
        }
    })?;
    started.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
}
