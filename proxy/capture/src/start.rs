//! From the launcher's `exec` to a program that is about to run: read what to do, make the namespaces, start the sidecar.
//!
//! Ends in a `Launcher` that waits for the sidecar. Any failure before that ends everything that was started.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use kernel::process::Forked;
use kernel::signal::Signals;
use rustix::net::SendFlags;
use rustix::process::{Pid, Signal};

use crate::agent::Agent;
use crate::config::Config;
use crate::failure::Failure;
use crate::gate::{Gate, Made, Message};
use crate::inside::{COUNTERS, Child, DIAGNOSTICS, Machine, NET_NAMESPACE, TABLE_V4, TABLE_V6, USER_NAMESPACE};
use crate::journal::Journal;
use crate::netlink::Socket;
use crate::ports::Discovery;
use crate::sidecar::{Listener, Sidecar};
use crate::supervise::{Inside, Launcher, Parts};
use crate::{dial, factory, link, users};

const CHILD: i32 = 17;
/// The namespaces are made in milliseconds; longer means that something is broken.
const PATIENCE: Duration = Duration::from_secs(5);

struct Arguments<'a> {
    config: RawFd,
    agent: RawFd,
    command: &'a [OsString],
}

/// Everything up to the sidecar's start. `started` is when the launcher's `main` began.
pub fn start(arguments: &[OsString], started: Instant) -> Result<Launcher, Failure> {
    let arguments = parse(arguments)?;
    let theirs = open_descriptors(&[arguments.config, arguments.agent]);
    let (config, agent) = read(&arguments)?;
    let farewell = agent.fd().and_then(|fd| fd.try_clone_to_owned().ok());
    begin(&arguments, config, agent, started, theirs).inspect_err(|_| {
        // Without it the registration would be kept for a while, in case we came back.
        if let Some(connection) = farewell {
            rustix::net::send(connection, b"bye\n", SendFlags::NOSIGNAL).ok();
        }
    })
}

fn begin(
    arguments: &Arguments<'_>,
    config: Config,
    agent: Agent,
    started: Instant,
    theirs: Vec<RawFd>,
) -> Result<Launcher, Failure> {
    refuse_nested()?;
    let journal = Journal::open(Path::new(&config.log_file), started)
        .map_err(|error| Failure::step(format_args!("open the log {}", config.log_file), &error))?;
    let machine = Machine::look();
    let child_ignored = kernel::signal::reset_disposition(CHILD);
    let (signals, mask) =
        Signals::block(&crate::signals::taken()).map_err(|error| Failure::step("take signals", &error))?;
    let step = |error: io::Error| Failure::step("prepare the namespace", &error);
    let (gate, inner_gate) = Gate::pair().map_err(step)?;
    let (for_sidecar, in_factory_sidecar) = factory::pair().map_err(step)?;
    let (for_launcher, in_factory_launcher) = factory::pair().map_err(step)?;
    let child = Child {
        config: &config,
        command: arguments.command,
        gate: &inner_gate,
        mask: &mask,
        child_ignored,
        machine: &machine,
        factory: (&in_factory_sidecar, &in_factory_launcher),
    };
    let program = match kernel::process::fork().map_err(step)? {
        Forked::Child => {
            drop(gate);
            child.run()
        }
        Forked::Parent(pid) => pid,
    };
    drop((inner_gate, in_factory_sidecar, in_factory_launcher));
    let made = prepare(&gate, program).inspect_err(|_| kill(program))?;
    let (made, times) = made;
    let parts = Parts {
        config,
        journal,
        agent,
        signals,
        mask,
        gate,
        program,
        started,
        unshared: times,
        made: Instant::now(),
        theirs,
        factory_process: made.factory,
        factory_end: for_sidecar,
        factory: factory::Client::new(for_launcher).map_err(step)?,
    };
    assemble(parts, made).inspect_err(|_| kill(program))
}

fn kill(program: Pid) {
    // It may be gone already, which is what is wanted.
    rustix::process::kill_process(program, Signal::KILL).ok();
    rustix::process::waitpid(Some(program), rustix::process::WaitOptions::empty()).ok();
}

fn parse(arguments: &[OsString]) -> Result<Arguments<'_>, Failure> {
    let wrong = || Failure::new("this is started by `gossamer run`, not by hand");
    let number = |text: Option<&OsString>| text.and_then(|text| text.to_str()?.parse().ok()).ok_or_else(wrong);
    match arguments {
        [first, config, second, agent, dashes, command @ ..]
            if first == "--config-fd" && second == "--agent-fd" && dashes == "--" && !command.is_empty() =>
        {
            Ok(Arguments { config: number(Some(config))?, agent: number(Some(agent))?, command })
        }
        _ => Err(wrong()),
    }
}

fn read(arguments: &Arguments<'_>) -> Result<(Config, Agent), Failure> {
    let config = kernel::inherited(arguments.config).map_err(|error| error.to_string()).and_then(Config::read);
    let config = config.map_err(|why| Failure::new(format!("cannot read what `gossamer run` wrote: {why}")))?;
    let ours = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if config.uid.is_some_and(|uid| uid != ours.0) || config.gid.is_some_and(|gid| gid != ours.1) {
        return Err(Failure::new("the registration was made by another user"));
    }
    let agent = kernel::inherited(arguments.agent)
        .and_then(|connection| Agent::new(connection, &config.agent_socket, &config.session))
        .map_err(|error| Failure::step("reach the control plane", &error))?;
    Ok((config, agent))
}

/// Descriptors the user gave the program (`3<file`): the program keeps them, our processes close them.
fn open_descriptors(except: &[RawFd]) -> Vec<RawFd> {
    let Ok(listing) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let numbers = listing.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok());
    let numbers: Vec<RawFd> = numbers.filter(|number| *number > 2 && !except.contains(number)).collect();
    // The listing's own descriptor was among them and is closed by now.
    numbers
        .into_iter()
        .filter(|number| Path::new(&format!("/proc/self/fd/{number}")).symlink_metadata().is_ok())
        .collect()
}

/// Only inside a workload's namespace can a socket have the namespace's address *and* the canary answers.
fn refuse_nested() -> Result<(), Failure> {
    let inside =
        std::net::UdpSocket::bind((link::ADDRESS, 0)).is_ok() && dial::answers_canary(Duration::from_millis(300));
    match inside {
        true => Err(Failure::new(
            "this is already inside a meshed program, and runs do not nest; start it from outside, or without `gossamer run`",
        )),
        false => Ok(()),
    }
}

/// Follows the child until everything inside is made. Returns that, and when its namespaces existed.
fn prepare(gate: &Gate, program: Pid) -> Result<(Made, Instant), Failure> {
    let next = || match gate.receive(PATIENCE) {
        Ok(Message::Failed(failure)) => Err(failure),
        Ok(Message::End) => Err(Failure::new("the process that was to become the program ended while it was prepared")),
        Ok(message) => Ok(message),
        Err(error) => Err(Failure::step("prepare the namespace", &error)),
    };
    let lost = || Failure::new("the process that was to become the program said something unexpected");
    let Message::Unshared = next()? else { return Err(lost()) };
    let unshared = Instant::now();
    users::map(program).map_err(|error| {
        // With rights missing here the namespace exists but is useless (some hardened kernels).
        match error.raw_os_error() {
            Some(1 | 13) => Failure::no_namespaces("uid_map", &error, crate::failure::remedy()),
            _ => Failure::step("map the user into the namespace", &error),
        }
    })?;
    gate.send(&Message::Mapped).map_err(|error| Failure::step("prepare the namespace", &error))?;
    // From here on nobody of the same user may look into the launcher: it holds the registration's secret.
    kernel::undumpable().map_err(|error| Failure::step("protect the launcher", &error))?;
    match next()? {
        Message::Made(made) => Ok((made, unshared)),
        _ => Err(lost()),
    }
}

/// Sorts what was made inside, and starts the sidecar.
fn assemble(parts: Parts, made: Made) -> Result<Launcher, Failure> {
    let mut tables = Vec::new();
    let (mut counters, mut diagnostics, mut user, mut net) = (None, None, None, None);
    let mut listeners: Vec<Listener> = Vec::new();
    for (name, descriptor) in made.names.into_iter().zip(made.descriptors) {
        match name.as_str() {
            TABLE_V4 | TABLE_V6 => tables.push(descriptor),
            DIAGNOSTICS => diagnostics = Some(Socket::wrap(descriptor)),
            USER_NAMESPACE => user = Some(descriptor),
            NET_NAMESPACE => net = Some(descriptor),
            COUNTERS => counters = Some(Socket::wrap(descriptor)),
            _ => listeners.push((name, descriptor)),
        }
    }
    let sidecar = Sidecar::start(&parts.config, &listeners, &parts.factory_end, &parts.journal)
        .map_err(|error| Failure::step("start the sidecar", &error))?;
    let discovery = Discovery::new(diagnostics, tables, Instant::now());
    let made = Inside { listeners, counters, namespaces: user.zip(net) };
    Ok(Launcher::new(parts, sidecar, discovery, made))
}

/// Closes what belongs to the program and points the standard streams at nothing, once the program runs: a reader of
/// its output must see the end when the program closes it.
pub fn let_go(theirs: &[RawFd]) {
    for number in theirs {
        kernel::close_unowned(*number);
    }
    if let Ok(null) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null") {
        for number in 0..=2 {
            // Fails only where the number is beyond the limit; then the stream stays as it is.
            drop(kernel::replace(number, &null));
        }
        debug_assert!(null.as_raw_fd() > 2);
    }
}
