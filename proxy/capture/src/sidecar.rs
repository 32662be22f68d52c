//! The sidecar as a process: started outside the workload's namespaces, with its listeners, and the lines it speaks.
//!
//! It says `token` (answered `token TOKEN`), `ready` or `ready quiet` (it understands `quiet`), `quiet` and `drained`. It
//! hears `quiet`: answer what peers have asked, stay, and say `quiet`; and `drain`: deliver what is left, end. When its
//! line ends, so does it.
//!
//! It lives in a session of its own (keys of the terminal do not reach it), dies with the launcher, and writes only to
//! the log file. What it does with its descriptors is its own business.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Instant;

use kernel::process::{Exec, Forked};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Resource, Rlimit, Signal};

use crate::config::Config;
use crate::journal::{HARD_LIMIT, Journal};

const LISTEN_FDS: &str = "GOSSAMER_PROXY_LISTEN_FDS";
const FACTORY_FD: &str = "GOSSAMER_PROXY_FACTORY_FD";
const LAUNCHER_FD: &str = "GOSSAMER_PROXY_LAUNCHER_FD";
const FIRST: usize = 3;
const LINE: usize = 64 * 1024;
const FILE_SIZE: i32 = 25;
const PIPE: i32 = 13;

/// What the sidecar says.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// It wants a join token.
    Token,
    Ready {
        tells_quiet: bool,
    },
    /// Nothing that a peer asked is unanswered.
    Quiet,
    Drained,
}

/// A running sidecar; dropping this does not end it.
pub struct Sidecar {
    pub pid: Pid,
    pub started: Instant,
    control: Option<OwnedFd>,
    incoming: Vec<u8>,
}

/// A listener and the name under which the sidecar knows it.
pub type Listener = (String, OwnedFd);

impl Sidecar {
    /// Starts it with copies of the listeners and of its end of the factory.
    pub fn start(config: &Config, listeners: &[Listener], factory: &OwnedFd, journal: &Journal) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let (control, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let exec = prepare(config, listeners)?;
        let null = std::fs::File::open("/dev/null")?;
        let log = journal.file().as_fd();
        let mut descriptors = vec![null.as_fd(), log, log];
        descriptors.extend(listeners.iter().map(|(_, fd)| fd.as_fd()));
        descriptors.extend([factory.as_fd(), theirs.as_fd()]);
        let launcher = rustix::process::getpid();
        match kernel::process::fork()? {
            Forked::Child => {
                let error = match settle(launcher, &descriptors) {
                    Ok(()) => exec.exec(),
                    Err(error) => error,
                };
                eprintln!("cannot start the sidecar: {error}");
                kernel::process::exit_now(127)
            }
            Forked::Parent(pid) => {
                rustix::io::ioctl_fionbio(&control, true)?;
                Ok(Sidecar { pid, started: Instant::now(), control: Some(control), incoming: Vec::new() })
            }
        }
    }

    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.control.as_ref().map(AsFd::as_fd)
    }

    /// A line too many for a sidecar that does not read is dropped: it will be killed by its deadline.
    pub fn say(&self, line: &str) {
        if let Some(control) = &self.control {
            rustix::net::send(control, format!("{line}\n").as_bytes(), SendFlags::NOSIGNAL).ok();
        }
    }

    pub fn kill(&self) {
        rustix::process::kill_process(self.pid, Signal::KILL).ok();
    }

    /// Every line that has arrived. A sidecar that closes or babbles is not listened to any more.
    pub fn listen(&mut self) -> Vec<Said> {
        let mut said = Vec::new();
        let mut buffer = [0u8; 512];
        while let Some(control) = &self.control {
            match rustix::net::recv(control, &mut buffer, RecvFlags::empty()) {
                Ok((0, _)) => self.control = None,
                Ok((read, _)) => self.incoming.extend_from_slice(&buffer[..read]),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(_) => self.control = None,
            }
            while let Some(end) = self.incoming.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.incoming.drain(..=end).collect();
                said.extend(match line.trim_ascii() {
                    b"token" => Some(Said::Token),
                    b"ready" => Some(Said::Ready { tells_quiet: false }),
                    b"ready quiet" => Some(Said::Ready { tells_quiet: true }),
                    b"quiet" => Some(Said::Quiet),
                    b"drained" => Some(Said::Drained),
                    _ => None,
                });
            }
            if self.incoming.len() > LINE {
                self.control = None;
            }
        }
        said
    }
}

fn prepare(config: &Config, listeners: &[Listener]) -> io::Result<Exec> {
    let program = config.sidecar.as_ref().map_or_else(ourselves, PathBuf::from);
    let environment: Vec<OsString> = environment(config, listeners).into_iter().map(OsString::from).collect();
    Exec::exactly(program.as_os_str(), &[OsString::from("gossamer-proxy")], &environment)
}

/// The file we run from, by its name so that `ps` shows it; after an upgrade by descriptor, so that launcher and sidecar
/// stay of one version.
fn ourselves() -> PathBuf {
    let running = PathBuf::from("/proc/self/exe");
    let same = |name: &PathBuf| {
        let (ours, named) = (running.metadata().ok()?, name.metadata().ok()?);
        ((ours.dev(), ours.ino()) == (named.dev(), named.ino())).then_some(())
    };
    running.read_link().ok().filter(|name| same(name).is_some()).unwrap_or(running)
}

/// Only what the control plane said, and our descriptors: nothing of the user's environment.
fn environment(config: &Config, listeners: &[Listener]) -> Vec<String> {
    let names: Vec<String> =
        listeners.iter().zip(FIRST..).map(|((name, _), number)| format!("{name}:{number}")).collect();
    let after = FIRST + listeners.len();
    let mut ours =
        vec![(LISTEN_FDS, names.join(",")), (FACTORY_FD, after.to_string()), (LAUNCHER_FD, (after + 1).to_string())];
    let ports: Vec<String> = config.host_ports.iter().map(u16::to_string).collect();
    for (name, value) in [
        ("GOSSAMER_PROXY_HOST_PORTS", ports.join(",")),
        ("GOSSAMER_PROXY_PUBLISH", config.publish.join(",")),
        ("GOSSAMER_PROXY_SOURCE_ADDR", config.address.clone()),
    ] {
        if !value.is_empty() && !config.environment.iter().any(|(set, _)| set == name) {
            ours.push((name, value));
        }
    }
    let given = config.environment.iter().filter(|(name, _)| !ours.iter().any(|(our, _)| our == name));
    let given = given.map(|(name, value)| format!("{name}={value}"));
    given.chain(ours.iter().map(|(name, value)| format!("{name}={value}"))).collect()
}

/// The child's last steps. Only the raised descriptor limit is an advantage over the program.
fn settle(launcher: Pid, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != Some(launcher) {
        kernel::process::exit_now(0);
    }
    rustix::process::setsid()?;
    rustix::process::chdir("/")?;
    let files = rustix::process::getrlimit(Resource::Nofile).maximum;
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: files, maximum: files })?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none)?;
    let most = Rlimit { current: Some(HARD_LIMIT), maximum: rustix::process::getrlimit(Resource::Fsize).maximum };
    rustix::process::setrlimit(Resource::Fsize, most).ok();
    kernel::process::arrange(descriptors, 0)?;
    kernel::signal::ignore(FILE_SIZE);
    kernel::signal::reset_disposition(PIPE);
    kernel::signal::unblock_all();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_the_given_one_plus_descriptors_and_ours_win() {
        let mut config = Config { host_ports: vec![5432, 6379], address: "127.64.0.9".into(), ..Config::default() };
        config.environment = vec![("A".into(), "1".into()), (FACTORY_FD.into(), "9".into())];
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let listeners = [("out4".to_owned(), null()), ("dns-udp4".to_owned(), null())];
        assert_eq!(
            environment(&config, &listeners),
            [
                "A=1",
                "GOSSAMER_PROXY_LISTEN_FDS=out4:3,dns-udp4:4",
                "GOSSAMER_PROXY_FACTORY_FD=5",
                "GOSSAMER_PROXY_LAUNCHER_FD=6",
                "GOSSAMER_PROXY_HOST_PORTS=5432,6379",
                "GOSSAMER_PROXY_SOURCE_ADDR=127.64.0.9",
            ]
        );
    }
}
