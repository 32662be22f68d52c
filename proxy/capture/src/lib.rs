//! `gossamer-proxy run`: any program, meshed, without root: namespaces, rules in the kernel, the socket factory, the
//! sidecar beside it, and everything that makes the program feel as if it had been started directly (seams §8–§18, §30).

pub mod factory;

use std::ffi::OsString;
use std::process::ExitCode;

/// `gossamer-proxy run …`; `args` are those after `run`.
pub fn main(args: &[OsString]) -> ExitCode {
    let _ = args;
    ExitCode::FAILURE
}

/// `gossamer-proxy probe`: one line per capability of this machine, `name=ok` or `name=fail|reason`, each tried.
pub fn probe() -> ExitCode {
    ExitCode::FAILURE
}
