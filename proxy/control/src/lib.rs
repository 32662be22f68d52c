//! The control thread: gets certificates and configuration from the control plane, reports back, hosts admin and DNS.
//!
//! It runs a tokio current-thread runtime beside the traffic loop and talks to it through [`handover`] only. It never
//! touches application traffic.

#![cfg_attr(test, allow(clippy::let_underscore_must_use))]

mod channel;
mod clock;
mod connect;
mod follow;
mod grpc;
pub mod handover;
pub mod identity;
mod launcher;
mod names;
mod notes;
mod reports;
pub mod resolve;
mod spire;
#[cfg(feature = "testing")]
#[allow(clippy::unwrap_used)]
pub mod testing;
#[cfg(test)]
mod tests;
mod thread;
mod trust;
mod watches;

use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, mpsc};

use handover::{Ask, Names, News};
use identity::{Bundle, Request};
use settings::{Anchors, Settings};
use telemetry::Registry;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

/// What the control thread needs.
pub struct Config {
    pub settings: Arc<Settings>,
    pub registry: Arc<Registry>,
    /// `settings.handed.launcher`, taken over.
    pub launcher: Option<OwnedFd>,
    /// Other services of the same runtime (admin, DNS).
    pub companions: Vec<Companion>,
}

/// Built on the control thread, then polled there until the process ends.
pub type Companion = Box<dyn FnOnce(Shared) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// What companions may see and ask.
#[derive(Clone)]
pub struct Shared {
    /// Names of the mesh; empty until the control plane has answered.
    pub names: watch::Receiver<Arc<Names>>,
    /// Becomes true with the first certificate and stays so.
    pub ready: watch::Receiver<bool>,
    /// Begins draining, as SIGTERM does.
    pub drain: Arc<tokio::sync::Notify>,
}

/// The traffic thread's end.
pub struct Handle {
    pub asks: UnboundedSender<Ask>,
    /// After each wake, read until empty.
    pub news: mpsc::Receiver<News>,
}

/// Why the sidecar cannot start.
#[derive(Debug)]
pub enum StartError {
    /// Exit with [`settings::EXIT_CODE`].
    Settings(settings::Error),
    Io(std::io::Error),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::Settings(error) => error.fmt(f),
            StartError::Io(error) => write!(f, "the control thread could not be started: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Starts the control thread. `wake` is called after every [`News`]; it must not block.
///
/// Anchors and, where settings name a directory, key and request are read here, so that what is wrong with them is an
/// error of the settings. The thread ends the process: exit code 0 after a drain or when the launcher is gone.
pub fn spawn(config: Config, wake: impl Fn() + Send + 'static) -> Result<Handle, StartError> {
    let bundle = documents(&config.settings).map_err(StartError::Settings)?;
    let (asks, asked) = tokio::sync::mpsc::unbounded_channel();
    let (tell, news) = mpsc::channel();
    let start = move || thread::Start {
        config,
        bundle,
        asks: asked,
        tell: Box::new(move |news| {
            // Without a listener there is nobody left to tell.
            tell.send(news).unwrap_or_default();
            wake();
        }),
        end: Box::new(|code| std::process::exit(code)),
        wall: clock::Wall::system(),
    };
    thread::spawn(start).map_err(StartError::Io)?;
    Ok(Handle { asks, news })
}

/// The documents settings name, or the setting that names something unusable.
fn documents(settings: &Settings) -> Result<Bundle, settings::Error> {
    let wrong = |variable: &str, value: String, error: identity::Error| settings::Error {
        variable: variable.to_owned(),
        value: Some(value),
        expectation: format!("usable documents ({error})"),
    };
    let anchors = &settings.identity.anchors;
    let bundle = Bundle::load(anchors).map_err(|error| match anchors {
        Anchors::File(path) => wrong(settings::table::TRUST_ANCHORS_FILE.name, path.display().to_string(), error),
        Anchors::Pem(_) | Anchors::None => {
            wrong(settings::table::IDENTITY_TRUST_ANCHORS.name, "-----BEGIN…".to_owned(), error)
        }
    })?;
    if let Some(dir) = &settings.identity.dir {
        let variable = settings::table::IDENTITY_DIR.name;
        Request::from_dir(dir).map_err(|error| wrong(variable, dir.display().to_string(), error))?;
    }
    Ok(bundle)
}
