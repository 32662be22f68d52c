//! `gossamer-proxy`: one static binary that is the sidecar, and the launcher that starts a program beside one.

use std::ffi::OsString;
use std::process::ExitCode;

use sidecar::start;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.first().map(|word| word.to_string_lossy()).as_deref() {
        None => serve(),
        Some("run") => capture::main(&arguments[1..]),
        Some("probe") => capture::probe(),
        Some("--help" | "-h") => say(&settings::help()),
        Some("--version" | "-V") => say(concat!("gossamer-proxy ", env!("CARGO_PKG_VERSION"), "\n")),
        Some(word) => {
            eprintln!("gossamer-proxy: {word:?} is not a command; see gossamer-proxy --help");
            ExitCode::from(settings::EXIT_CODE)
        }
    }
}

fn say(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}

/// The sidecar, from its environment to the end of its traffic.
fn serve() -> ExitCode {
    let settings = match start::settings() {
        Ok(settings) => settings,
        Err(failure) => return failure.exit(),
    };
    match start::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit(),
    }
}
