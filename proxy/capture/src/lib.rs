//! `gossamer-proxy run`: any program, meshed, without root: namespaces, rules in the kernel, the socket factory, the
//! sidecar beside it, and everything that makes the program feel as if it had been started directly (seams §8–§18, §30).
//!
//! Three processes of ours stay beside a program: this launcher, the factory (inside the namespace) and the sidecar
//! (outside). Reading order: `start` → `inside` → `supervise`; decisions without I/O are in `rules`, `signals`, `ports`.

mod agent;
mod config;
mod dial;
pub mod factory;
mod failure;
mod gate;
mod inside;
mod journal;
mod link;
mod netlink;
mod nft;
mod ports;
mod probe;
pub mod questions;
pub mod rules;
mod sidecar;
mod signals;
mod start;
mod supervise;
mod users;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;

use supervise::Ending;

pub use config::{Config, ReadyUrl};
pub use dial::{CANARY, CANARY_ANSWER};
pub use failure::{NOT_EXECUTABLE, NOT_FOUND, NOT_STARTED};
pub use probe::probe;

/// `gossamer-proxy run --config-fd N --agent-fd M -- COMMAND…`; `arguments` are those after `run`.
///
/// Returns the program's exit code, or dies by the signal the program died of. 125: the program was not started, and
/// one line on stderr says why; 126 and 127: it cannot be executed, or was not found.
pub fn main(arguments: &[OsString]) -> ExitCode {
    let ending = match start::start(arguments, Instant::now()) {
        Ok(launcher) => launcher.run(),
        Err(failure) => Ending::Failure(failure),
    };
    match ending {
        Ending::Exit(code) => ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1)),
        Ending::Signal(signal) => kernel::signal::die_by(signal),
        Ending::Failure(failure) => {
            failure.print();
            ExitCode::from(failure.code)
        }
    }
}

/// Is this process inside a workload's namespace?
pub fn answers_canary() -> bool {
    dial::answers_canary(dial::CANARY_PATIENCE)
}
