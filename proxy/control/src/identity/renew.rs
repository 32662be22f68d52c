//! Keeps a valid certificate: asks for the first, renews at half its life, survives the control plane's absence.
//!
//! Wall time decides; timers only say when to look (seams §4). A failure never takes a valid certificate away.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use settings::{IdentitySettings, Token};
use telemetry::Registry;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use wire::linkerd::identity::{CertifyRequest, CertifyResponse};

use super::{Bundle, Error, Issued, Own, Request, Trust, broken, certificate, credentials};
use crate::channel::{Channel, Link, Up};
use crate::clock::{Beat, Pauses, Wall, chance};
use crate::grpc::{Code, Status};
use crate::handover::Credentials;
use crate::launcher::Launcher;

const CERTIFY_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the wait for the first certificate is complained about (reference §2.4).
const COMPLAIN: Duration = Duration::from_secs(15);
/// Failures to connect with our certificate after which it is left out.
const UNREACHABLE: u32 = 3;
/// Below this, a life is too short for IDENTITY_MIN_REFRESH.
const SHORT_LIFE: Duration = Duration::from_secs(30);
const MAX_CHAIN: usize = 8;
const MAX_TOKEN: u64 = 64 * 1024;

/// Everything the task owns.
pub struct Renewal {
    pub settings: IdentitySettings,
    pub own: Own,
    pub bundle: Bundle,
    pub channel: Channel,
    pub launcher: Launcher,
    pub registry: Arc<Registry>,
    pub wall: Wall,
    pub pauses: Pauses,
    /// When to look at the wall clock and at the anchors' file.
    pub beat: Beat,
    pub publish: watch::Sender<Option<Arc<Credentials>>>,
    pub trust: watch::Sender<Arc<Trust>>,
}

/// What we hold.
struct Held {
    issued: Issued,
    /// Since the Unix epoch.
    renew_at: Duration,
    not_after: Duration,
}

impl Renewal {
    /// Never returns.
    pub async fn run(mut self) {
        let mut held = self.first().await;
        let (mut insist_on_token, mut unreachable) = (false, 0);
        loop {
            let trusted = self.until(&mut held).await;
            if !trusted || unreachable >= UNREACHABLE {
                // Whoever does not accept our certificate at all may accept a token from somebody without one.
                (insist_on_token, unreachable) = (true, 0);
                self.publish.send_replace(None);
            }
            let with_certificate = !insist_on_token && self.wall.now() < held.not_after;
            match self.obtain(with_certificate).await {
                Ok(new) => {
                    (held, insist_on_token, unreachable) = (new, false, 0);
                    self.pauses.reset();
                }
                Err(failure) => {
                    self.registry.identity.failed();
                    let left = held.not_after.saturating_sub(self.wall.now());
                    telemetry::warn!("the certificate was not renewed ({} s left): {failure}", left.as_secs());
                    let connected = matches!(self.channel.link(), Link::Up(up) if up.own);
                    unreachable = if connected || !with_certificate { 0 } else { unreachable + 1 };
                    held.renew_at = Duration::ZERO;
                    if with_certificate && failure.refused {
                        insist_on_token = true;
                    } else {
                        sleep(self.pauses.pause(chance())).await;
                    }
                }
            }
        }
    }

    async fn first(&mut self) -> Held {
        let mut complained = Instant::now();
        telemetry::debug!("asking for a certificate for {}", self.own.identity);
        loop {
            match self.obtain(false).await {
                Ok(held) => {
                    telemetry::info!("certified as {}", self.own.identity);
                    self.pauses.reset();
                    return held;
                }
                Err(failure) => {
                    self.registry.identity.failed();
                    if failure.refused || complained.elapsed() >= COMPLAIN {
                        complained = Instant::now();
                        telemetry::warn!("still waiting for a certificate for {}: {failure}", self.own.identity);
                    } else {
                        telemetry::debug!("no certificate yet: {failure}");
                    }
                    sleep(self.pauses.pause(chance())).await;
                    self.refresh_anchors();
                }
            }
        }
    }

    /// Sleeps until the certificate should be renewed; meanwhile follows the anchors' file. False: our certificate
    /// does not chain to the anchors any more.
    async fn until(&mut self, held: &mut Held) -> bool {
        loop {
            if self.refresh_anchors() && self.install(&held.issued).is_err() {
                telemetry::warn!("our certificate does not chain to the new trust anchors; asking for another");
                held.renew_at = Duration::ZERO;
                return false;
            }
            let now = self.wall.now();
            if now >= held.renew_at {
                return true;
            }
            let due = Instant::now() + held.renew_at.saturating_sub(now);
            sleep_until(due.min(self.beat.next())).await;
        }
    }

    /// True when they changed.
    fn refresh_anchors(&mut self) -> bool {
        match self.bundle.refresh() {
            Ok(false) => false,
            Ok(true) => {
                telemetry::info!("trust anchors changed: generation {}", self.bundle.trust.generation);
                self.trust.send_replace(self.bundle.trust.clone());
                true
            }
            Err(error) => {
                telemetry::warn!("the trust anchors stay as they are: {error}");
                false
            }
        }
    }

    async fn obtain(&mut self, with_certificate: bool) -> Result<Held, Failure> {
        let request = self.request()?;
        let up = self.channel.up(false).await?;
        let token = if with_certificate && up.mutual && self.settings.token == Token::Launcher {
            Vec::new()
        } else {
            self.token().await?
        };
        let answer = self.certify(&up, &request, token).await?;
        let chain = std::iter::once(answer.leaf_certificate).chain(answer.intermediate_certificates);
        let chain: Vec<_> = chain.take(MAX_CHAIN).map(CertificateDer::from).collect();
        self.install(&Issued { chain, key: request.key }).map_err(Failure::from)
    }

    fn request(&self) -> Result<Request, Error> {
        match &self.settings.dir {
            Some(dir) => Request::from_dir(dir),
            None => Request::fresh(&self.own.identity),
        }
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

    async fn certify(&self, up: &Up, request: &Request, token: Vec<u8>) -> Result<CertifyResponse, Status> {
        let message = CertifyRequest {
            identity: self.own.identity.to_string(),
            token,
            certificate_signing_request: request.csr.clone(),
        };
        self.channel.unary(up, wire::method::IDENTITY_CERTIFY, &message, CERTIFY_TIMEOUT).await
    }

    /// Checks a certificate, makes it the one in force, and says when to renew it.
    fn install(&self, issued: &Issued) -> Result<Held, Error> {
        let now = self.wall.now();
        let made = credentials(&self.own, issued, &self.bundle.trust, UnixTime::since_unix_epoch(now))?;
        let leaf = issued.chain.first().and_then(certificate::leaf).ok_or_else(|| broken("no certificate"))?;
        let not_after = Duration::from_secs(leaf.not_after);
        self.registry.identity.refreshed(now.as_secs(), leaf.not_after);
        self.publish.send_replace(Some(Arc::new(made)));
        let wait = renewal_after(not_after.saturating_sub(now), &self.settings, chance());
        Ok(Held { issued: issued.clone(), renew_at: now + wait, not_after })
    }
}

/// Half of what is left, ± 10 % of it, within the clamp; a life too short for the clamp ignores its lower end.
fn renewal_after(left: Duration, settings: &IdentitySettings, chance: f64) -> Duration {
    let wait = left.mul_f64(0.4 + 0.2 * chance);
    let least = if left < SHORT_LIFE { Duration::ZERO } else { settings.min_refresh };
    wait.max(least).min(settings.max_refresh.max(least))
}

/// Why no certificate was obtained.
struct Failure {
    text: String,
    /// The control plane understood, and said no.
    refused: bool,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { text: error.to_string(), refused: false }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        let refused = matches!(
            status.code,
            Code::Unauthenticated | Code::PermissionDenied | Code::FailedPrecondition | Code::InvalidArgument
        );
        Failure { text: status.to_string(), refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> IdentitySettings {
        IdentitySettings {
            name: crate::testing::identity("web"),
            server_name: "web".into(),
            anchors: settings::Anchors::Pem(String::new()),
            dir: None,
            token: Token::None,
            min_refresh: Duration::from_secs(10),
            max_refresh: Duration::from_secs(86_400),
        }
    }

    #[test]
    fn renewal_is_at_half_of_the_life_within_a_tenth_and_within_the_clamp() {
        let after = |left, chance| renewal_after(Duration::from_secs(left), &settings(), chance).as_secs_f64();
        assert_eq!(after(1000, 0.0), 400.0);
        assert_eq!(after(1000, 0.5), 500.0);
        assert!(after(1000, 0.999) < 600.0);
        assert_eq!(after(10 * 86_400, 0.5), 86_400.0);
        assert_eq!(after(31, 0.0), 12.4);
        assert_eq!(after(4, 0.5), 2.0);
        assert_eq!(after(0, 0.5), 0.0);
    }
}
