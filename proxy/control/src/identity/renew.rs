//! Keeps a valid certificate and the newest trust: asks for the first certificate, renews at half its life or under a new
//! anchor, adopts bundles as they come, and survives the control plane's absence.
//!
//! Wall time decides; timers only say when to look (seams §4). A failure never takes a valid certificate away. A bundle
//! under which our own is not acceptable does: until there is another, no connection is made (fail closed).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use settings::{IdentitySettings, Token};
use telemetry::Registry;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use wire::linkerd::identity::{CertifyRequest, CertifyResponse};
use wire::trust::TrustBundle;

use super::schedule::{CALM, Calm, Schedule};
use super::{Bundle, Error, Issued, Own, Request, Trust, broken, credentials};
use crate::channel::{Channel, Link, Up};
use crate::clock::{Beat, Pauses, Step, Steps, Wall, chance, words};
use crate::grpc::{Code, Status};
use crate::handover::Credentials;
use crate::launcher::Launcher;
use crate::spire::Svid;

const CERTIFY_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the wait for a certificate is complained about (reference §2.4).
const COMPLAIN: Duration = Duration::from_secs(15);
/// Failures to connect with our certificate after which it is left out.
const UNREACHABLE: u32 = 3;
const MAX_CHAIN: usize = 8;
const MAX_TOKEN: u64 = 64 * 1024;

/// Everything the task owns.
pub struct Renewal {
    pub settings: IdentitySettings,
    pub own: Own,
    pub bundle: Bundle,
    pub source: Source,
    pub registry: Arc<Registry>,
    pub wall: Wall,
    pub pauses: Pauses,
    /// When to look at the wall clock and at the anchors' file.
    pub beat: Beat,
    /// Changes when the clock was set or the machine woke up.
    pub sets: watch::Receiver<u64>,
    /// What the control plane says of trust.
    pub told: watch::Receiver<Option<Arc<TrustBundle>>>,
    /// Changes when the control plane did not want our certificate.
    pub refused: watch::Receiver<u64>,
    pub publish: watch::Sender<Option<Arc<Credentials>>>,
    pub trust: watch::Sender<Arc<Trust>>,
    /// The trust under which we have no certificate any more.
    pub withdrawn: watch::Sender<Option<Arc<Trust>>>,
}

/// Where certificates come from.
pub enum Source {
    ControlPlane(Rc<Asker>),
    /// SPIRE's agent hands them out, and renews them, as it sees fit.
    Spire(watch::Receiver<Option<Arc<Svid>>>),
}

/// Asks for one certificate.
pub struct Asker {
    pub settings: IdentitySettings,
    pub channel: Channel,
    pub launcher: Launcher,
}

/// What the task remembers from one question to the next.
struct State {
    held: Option<Held>,
    calm: Calm,
    steps: Steps,
    /// The control plane does not accept our certificate, or it is not worth showing.
    insist_on_token: bool,
    unreachable: u32,
    complained: Option<Instant>,
    /// How often the control plane did not want our certificate, and when that last made us ask, in boot time.
    refusals: u64,
    unwanted: Option<Duration>,
}

/// The certificate we have.
struct Held {
    issued: Issued,
    schedule: Schedule,
    /// Acceptable under the bundle in force.
    good: bool,
}

impl Renewal {
    /// Never returns.
    pub async fn run(mut self) {
        let steps = Steps::new(self.wall.now(), self.wall.boot());
        let calm = Calm::default();
        self.registry.identity.trusts(self.bundle.trust.generation);
        let mut state = State {
            held: None,
            calm,
            steps,
            insist_on_token: false,
            unreachable: 0,
            complained: None,
            refusals: 0,
            unwanted: None,
        };
        match &self.source {
            Source::ControlPlane(asker) => {
                let asker = asker.clone();
                telemetry::debug!("asking for a certificate for {}", self.own.identity);
                loop {
                    self.ask(&asker, &mut state).await;
                }
            }
            Source::Spire(svids) => {
                let svids = svids.clone();
                self.follow(svids, &mut state).await;
            }
        }
    }

    /// Waits until a certificate is wanted, asks for it, and rests after a failure.
    async fn ask(&mut self, asker: &Asker, state: &mut State) {
        self.until_due(state).await;
        if state.unreachable >= UNREACHABLE {
            // Whoever does not accept our certificate at all may accept a token from somebody without one.
            (state.insist_on_token, state.unreachable) = (true, 0);
            self.publish.send_replace(None);
        }
        let valid = state.held.as_ref().is_some_and(|held| held.good && self.wall.now() < held.schedule.not_after);
        let with_certificate = valid && !state.insist_on_token;
        let answer = self.meanwhile(state, asker.obtain(&self.own.clone(), with_certificate)).await;
        match answer.and_then(|issued| self.take(state, issued).map_err(Failure::from)) {
            Ok(()) => self.content(state),
            Err(failure) => {
                let connected = matches!(asker.channel.link(), Link::Up(up) if up.own);
                state.unreachable = if connected || !with_certificate { 0 } else { state.unreachable + 1 };
                self.failed(state, &failure);
                if with_certificate && failure.refused {
                    state.insist_on_token = true;
                    return;
                }
                if failure.skewed {
                    state.calm.skewed(self.wall.boot());
                }
                let pause = self.pauses.pause(chance());
                self.rest(state, pause).await;
            }
        }
    }

    fn content(&mut self, state: &mut State) {
        (state.insist_on_token, state.unreachable, state.complained) = (false, 0, None);
        self.pauses.reset();
    }

    fn failed(&self, state: &mut State, failure: &Failure) {
        self.registry.identity.failed();
        let left = state.held.as_ref().filter(|held| held.good).map(|held| held.schedule.not_after);
        let left = left.map(|not_after| not_after.saturating_sub(self.wall.now())).filter(|left| !left.is_zero());
        let due = state.complained.is_none_or(|at| at.elapsed() >= COMPLAIN);
        let first = state.held.is_none() && state.complained.is_none() && !failure.refused && !failure.skewed;
        if first {
            // The control plane may be just about to start.
            state.complained = Some(Instant::now());
            telemetry::debug!("no certificate yet: {failure}");
        } else if due {
            state.complained = Some(Instant::now());
            match left {
                Some(left) => telemetry::warn!("the certificate was not renewed ({} left): {failure}", words(left)),
                None => telemetry::warn!("still waiting for a certificate for {}: {failure}", self.own.identity),
            }
        } else {
            telemetry::debug!("the certificate was not renewed: {failure}");
        }
    }

    /// Certificates of SPIRE's, as they come.
    async fn follow(&mut self, mut svids: watch::Receiver<Option<Arc<Svid>>>, state: &mut State) {
        loop {
            let svid = svids.borrow_and_update().clone();
            if let Some(svid) = svid {
                let beside = self.bundle.beside(svid.bundle.clone());
                match beside.and_then(|_| self.take(state, svid.issued.clone())) {
                    Ok(()) => {}
                    Err(error) => self.failed(state, &Failure::from(error)),
                }
            }
            let changed = async {
                if svids.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            self.meanwhile(state, changed).await;
        }
    }

    /// Returns when the time for another certificate has come; at once while there is none.
    async fn until_due(&mut self, state: &mut State) {
        loop {
            self.look(state);
            let wait = self.wait(state);
            if wait.is_zero() {
                return;
            }
            self.rest_once(wait).await;
        }
    }

    fn wait(&self, state: &State) -> Duration {
        let planned = state.held.as_ref().map_or(Duration::ZERO, |held| held.schedule.wait(self.wall.now()));
        planned.max(state.calm.wait(self.wall.boot()))
    }

    /// Does `work`, and adopts what is news meanwhile: neither waits for the other.
    async fn meanwhile<T>(&mut self, state: &mut State, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            self.look(state);
            tokio::select! {
                done = &mut work => return done,
                () = self.rest_once(Duration::MAX) => {}
            }
        }
    }

    /// At least `pause`, unless the clock is set or trust is another: what failed may go well then.
    async fn rest(&mut self, state: &mut State, pause: Duration) {
        let before = (*self.sets.borrow(), self.bundle.trust.generation);
        let until = Instant::now() + pause;
        while Instant::now() < until && (*self.sets.borrow(), self.bundle.trust.generation) == before {
            self.rest_once(until.saturating_duration_since(Instant::now())).await;
            self.look(state);
        }
    }

    /// Until something may have happened, at most `limit` and a beat.
    async fn rest_once(&mut self, limit: Duration) {
        let look = self.beat.next();
        let until = Instant::now().checked_add(limit).map_or(look, |end| end.min(look));
        tokio::select! {
            () = sleep_until(until) => {}
            Ok(()) = self.told.changed() => {}
            Ok(()) = self.sets.changed() => {}
            Ok(()) = self.refused.changed() => {}
        }
    }

    /// Looks at the clock, at the anchors' file and at what the control plane said.
    fn look(&mut self, state: &mut State) {
        if let Some(step) = state.steps.look(self.wall.now(), self.wall.boot()) {
            let (length, way) = match step {
                Step::Ahead(length) => (length, "ahead"),
                Step::Back(length) => (length, "back"),
            };
            telemetry::info!("the clock was set {way} by {}", words(length));
            state.calm.clock_was_set(self.wall.boot(), chance());
            if let Some(held) = state.held.as_mut() {
                held.schedule.renew_at = Duration::ZERO;
            }
            // What failed by the old clock is tried again.
            self.pauses.reset();
        }
        if *self.refused.borrow() != state.refusals {
            state.refusals = *self.refused.borrow_and_update();
            self.unwanted(state);
        }
        if self.refresh() {
            self.trust.send_replace(self.bundle.trust.clone());
            telemetry::info!("trust is of generation {} now", self.bundle.trust.generation);
            self.registry.identity.trusts(self.bundle.trust.generation);
            self.adopt(state);
        }
    }

    /// The control plane closes the door to our certificate, perhaps before it could tell why: it was revoked, or a clock is
    /// wrong. Others may think better of it; for the control plane only a token counts, and not every second.
    fn unwanted(&mut self, state: &mut State) {
        let Some(held) = state.held.as_mut().filter(|_| !state.insist_on_token) else { return };
        telemetry::warn!("the control plane does not accept our certificate; asking for another with a token");
        held.schedule.renew_at = Duration::ZERO;
        state.insist_on_token = true;
        let boot = self.wall.boot();
        if state.unwanted.is_some_and(|last| boot < last + CALM) {
            state.calm.skewed(boot);
        }
        state.unwanted = Some(boot);
        self.publish.send_replace(None);
    }

    /// True when the bundle in force is another one.
    fn refresh(&mut self) -> bool {
        let told = self.told.borrow_and_update().clone();
        let streamed = told.map_or(Ok(false), |told| self.bundle.offer(&told));
        let read = self.bundle.refresh();
        let mut changed = false;
        for result in [streamed, read] {
            match result {
                Ok(new) => changed |= new,
                Err(error) => telemetry::warn!("the trust anchors stay as they are: {error}"),
            }
        }
        changed
    }

    /// The certificate we have, under a new bundle: new verifiers, or none at all.
    fn adopt(&mut self, state: &mut State) {
        let Some(held) = state.held.as_mut() else { return };
        match self.make(&held.issued) {
            Ok(made) => {
                let (active, within) = (made.trust.active, made.trust.renew_within);
                held.schedule.chains_to(made.anchor_sha256);
                held.schedule.follow(active, within, self.wall.now(), chance());
                if !std::mem::replace(&mut held.good, true) {
                    state.insist_on_token = false;
                }
                self.publish.send_replace(Some(Arc::new(made)));
            }
            Err(error) => {
                let generation = self.bundle.trust.generation;
                telemetry::warn!("no connections until there is another certificate (trust {generation}): {error}");
                (held.good, held.schedule.renew_at, state.insist_on_token) = (false, Duration::ZERO, true);
                self.publish.send_replace(None);
                self.withdrawn.send_replace(Some(self.bundle.trust.clone()));
            }
        }
    }

    fn make(&self, issued: &Issued) -> Result<Credentials, Error> {
        credentials(&self.own, issued, &self.bundle.trust, UnixTime::since_unix_epoch(self.wall.now()))
    }

    /// Checks a certificate, makes it the one in force, and plans the next. Under another anchor than the active one it is
    /// not taken: whoever has acknowledged a bundle may not come by such a certificate later (identity/rotation.py).
    fn take(&mut self, state: &mut State, issued: Issued) -> Result<(), Error> {
        let made = self.make(&issued)?;
        if made.trust.active.is_some_and(|active| active != made.anchor_sha256) && self.settings.spire.is_none() {
            return Err(broken("the issued certificate does not chain to the active trust anchor"));
        }
        let now = self.wall.now();
        let not_after = Duration::from_secs(made.not_after);
        if issued_late(&made, now.as_secs()) {
            state.calm.skewed(self.wall.boot());
        }
        let schedule = Schedule::new(now, not_after, made.anchor_sha256, &self.settings, chance());
        if state.held.is_none() {
            telemetry::info!("certified as {}", self.own.identity);
        }
        self.registry.identity.refreshed(now.as_secs(), made.not_after);
        state.held = Some(Held { issued, schedule, good: true });
        self.publish.send_replace(Some(Arc::new(made)));
        Ok(())
    }
}

/// A new certificate that is almost over, by a clock that is far ahead: not every second another one.
fn issued_late(made: &Credentials, now: u64) -> bool {
    made.not_after.saturating_sub(now) < 10 && made.not_after.saturating_sub(made.not_before) > 60
}

impl Asker {
    async fn obtain(&self, own: &Own, with_certificate: bool) -> Result<Issued, Failure> {
        let request = match &self.settings.dir {
            Some(dir) => Request::from_dir(dir)?,
            None => Request::fresh(&own.identity)?,
        };
        let mut channel = self.channel.clone();
        let up = channel.up(false).await?;
        let token = if with_certificate && up.mutual && self.settings.token == Token::Launcher {
            Vec::new()
        } else {
            self.token().await?
        };
        let answer = self.certify(own, &up, &request, token).await.inspect_err(|status| {
            if matches!(status.code, Code::Unavailable | Code::DeadlineExceeded | Code::Internal) {
                channel.avoid(&up);
            }
        })?;
        let chain = std::iter::once(answer.leaf_certificate).chain(answer.intermediate_certificates);
        let chain: Vec<_> = chain.take(MAX_CHAIN).map(CertificateDer::from).collect();
        Ok(Issued { chain, key: request.key })
    }

    async fn token(&self) -> Result<Vec<u8>, Error> {
        match &self.settings.token {
            Token::None => Ok(Vec::new()),
            Token::Launcher => self.launcher.token().await.map_err(broken),
            Token::File(path) => {
                use std::io::Read;
                let mut token = Vec::new();
                std::fs::File::open(path)
                    .and_then(|file| file.take(MAX_TOKEN).read_to_end(&mut token))
                    .map_err(|error| broken(format!("{}: {error}", path.display())))?;
                if token.is_empty() { Err(broken(format!("{} is empty", path.display()))) } else { Ok(token) }
            }
        }
    }

    async fn certify(&self, own: &Own, up: &Up, request: &Request, token: Vec<u8>) -> Result<CertifyResponse, Status> {
        let message = CertifyRequest {
            identity: own.identity.to_string(),
            token,
            certificate_signing_request: request.csr.clone(),
        };
        self.channel.unary(up, wire::method::IDENTITY_CERTIFY, &message, CERTIFY_TIMEOUT).await
    }
}

/// Why no certificate was obtained.
struct Failure {
    text: String,
    /// The control plane understood, and said no.
    refused: bool,
    /// The answer cannot be used because clocks disagree.
    skewed: bool,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { text: error.to_string(), refused: false, skewed: error.skewed }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        let refused = matches!(
            status.code,
            Code::Unauthenticated | Code::PermissionDenied | Code::FailedPrecondition | Code::InvalidArgument
        );
        Failure { text: status.to_string(), refused, skewed: false }
    }
}
