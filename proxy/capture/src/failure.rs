//! The one line a person reads when the program was not started: what, why, what to do.

use std::fmt::Display;
use std::io;

/// Exit codes of the launcher itself; any other code is the program's (as `env` and container engines have it).
pub const NOT_STARTED: u8 = 125;
pub const NOT_EXECUTABLE: u8 = 126;
pub const NOT_FOUND: u8 = 127;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub line: String,
    pub code: u8,
}

impl Failure {
    pub fn new(line: impl Into<String>) -> Self {
        Failure { line: line.into(), code: NOT_STARTED }
    }

    /// The program itself could not be executed.
    pub fn program(name: &str, error: &io::Error) -> Self {
        let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
        Failure { line: format!("cannot start {name}: {}", plain(error)), code }
    }

    /// Names of the steps are what the reader sees: "cannot STEP: ERROR".
    pub fn step(step: impl Display, error: &io::Error) -> Self {
        Failure::new(format!("cannot {step}: {}; the program was not started", plain(error)))
    }

    /// User namespaces are refused by this machine; `sysctl` is the setting that would allow them, when known.
    pub fn no_namespaces(step: &str, error: &io::Error, remedy: &str) -> Self {
        Failure::new(format!(
            "this system does not allow unprivileged user namespaces ({step}: {}); run `gossamer check --host`, \
             allow them ({remedy}) or use explicit local ports with --explicit",
            symbol(error)
        ))
    }

    pub fn print(&self) {
        eprintln!("gossamer run: {}", self.line);
    }
}

/// The error without Rust's "(os error N)".
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// The kernel's name of the error, for those that people search for.
fn symbol(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(1) => "EPERM".to_owned(),
        Some(13) => "EACCES".to_owned(),
        Some(22) => "EINVAL".to_owned(),
        Some(28) => "ENOSPC".to_owned(),
        Some(38) => "ENOSYS".to_owned(),
        Some(87) => "EUSERS".to_owned(),
        _ => plain(error),
    }
}

/// The setting that blocks user namespaces here, as a command that allows them.
pub fn remedy() -> &'static str {
    let is = |path: &str, value: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    if is("/proc/sys/user/max_user_namespaces", "0") {
        "sysctl user.max_user_namespaces=15000"
    } else if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "sysctl kernel.unprivileged_userns_clone=1"
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    } else {
        "sysctl user.max_user_namespaces=15000, or in a container a seccomp profile with unshare"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_machine_gets_the_exact_line() {
        let error = io::Error::from_raw_os_error(1);
        assert_eq!(
            Failure::no_namespaces("unshare", &error, "sysctl user.max_user_namespaces=15000").line,
            "this system does not allow unprivileged user namespaces (unshare: EPERM); run `gossamer check --host`, \
             allow them (sysctl user.max_user_namespaces=15000) or use explicit local ports with --explicit"
        );
    }

    #[test]
    fn a_missing_program_exits_as_in_a_shell() {
        assert_eq!(Failure::program("x", &io::Error::from_raw_os_error(2)).code, NOT_FOUND);
        assert_eq!(Failure::program("x", &io::Error::from_raw_os_error(13)).code, NOT_EXECUTABLE);
    }
}
