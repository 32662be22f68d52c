//! The launcher while the program lives: one poll loop over signals, the control plane's agent, the sidecar and the gate.
//!
//! It keeps the sidecar running, says which ports the program listens on, passes signals on, ends everything in order,
//! and repeats the program's own end. It never looks at traffic and keeps no process but the helpers it started.

mod ending;
mod helpers;
mod offer;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use kernel::signal::{Mask, Signals};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use crate::agent::{Agent, Asked, Event};
use crate::config::Config;
use crate::dial::{Dial, Found};
use crate::factory::{self, Family};
use crate::failure::Failure;
use crate::gate::{Gate, Message};
use crate::journal::Journal;
use crate::netlink;
use crate::ports::{Discovery, Ports, interval};
use crate::sidecar::{Listener, Said, Sidecar};
use crate::signals::{self, Meaning};
use crate::{nft, start};

/// The sidecar has this long to get its first certificate.
const READY_PATIENCE: Duration = Duration::from_secs(10);
/// And this long when it was restarted and has its token.
const AGAIN_PATIENCE: Duration = Duration::from_secs(30);
const WITHDRAW_PATIENCE: Duration = Duration::from_secs(2);
const DRAIN_PATIENCE: Duration = Duration::from_secs(3);
/// For a sidecar that cannot say when it is quiet: requests that were on their way have arrived by then.
const SETTLE: Duration = Duration::from_millis(500);
const FINISH_PATIENCE: Duration = Duration::from_secs(2);
const FLUSH_PATIENCE: Duration = Duration::from_millis(500);
const BYE_PATIENCE: Duration = Duration::from_millis(500);
const SHORTEST_RESTART: Duration = Duration::from_millis(100);
const LONGEST_RESTART: Duration = Duration::from_secs(10);
/// A sidecar that lived this long has its next restart at once.
const HEALTHY: Duration = Duration::from_secs(60);
/// A group's signal and our copy of it arrive together; a person's second one does not.
const ECHO: Duration = Duration::from_millis(20);
const SURVEY: Duration = Duration::from_secs(10);

/// How the launcher ends.
#[derive(Debug)]
pub enum Ending {
    Exit(i32),
    Signal(i32),
    Failure(Failure),
}

/// What `start` made.
pub struct Parts {
    pub config: Config,
    pub journal: Journal,
    pub agent: Agent,
    pub signals: Signals,
    pub mask: Mask,
    pub gate: Gate,
    pub program: Pid,
    pub started: Instant,
    pub unshared: Instant,
    pub made: Instant,
    /// Descriptors that belong to the program alone.
    pub theirs: Vec<RawFd>,
    pub factory_process: i32,
    /// The sidecar's end of the factory, kept for its successors.
    pub factory_end: OwnedFd,
    pub factory: factory::Client,
}

/// What was made inside the workload's namespaces.
pub struct Inside {
    pub listeners: Vec<Listener>,
    /// Where the rules' counters are read.
    pub counters: Option<netlink::Socket>,
    /// User and network namespace, to start the factory again.
    pub namespaces: Option<(OwnedFd, OwnedFd)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The sidecar is not ready; the program waits.
    Starting,
    /// The child tests the capture and becomes the program.
    Testing,
    Running,
    /// SIGTERM came: the endpoint is being withdrawn, then what peers have asked is answered, then the program hears.
    Withdrawing,
    Quieting,
    Terminated,
    /// The program is gone: the sidecar delivers what is left.
    Finishing,
    /// Deregistering.
    Leaving,
}

pub struct Launcher {
    parts: Parts,
    phase: Phase,
    /// When the phase is over at the latest.
    deadline: Option<Instant>,
    now: Instant,
    sidecar: Option<Sidecar>,
    sidecar_ready: bool,
    sidecar_deadline: Option<Instant>,
    restart_at: Option<Instant>,
    restart_pause: Duration,
    log_offset: u64,
    inside: Inside,
    token_wanted: bool,
    discovery: Discovery,
    published: Option<Ports>,
    ready_answered: bool,
    ready_since: Instant,
    ready_next: Instant,
    dial: Option<(Purpose, Dial)>,
    survey_at: Instant,
    said: Vec<String>,
    status: Option<WaitStatus>,
    /// The program was stopped by this signal, and we have yet to stop with it.
    stopped: Option<i32>,
    terminated_at: Option<Instant>,
    tells_quiet: bool,
    ready_at: Instant,
    ending: Option<Ending>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Canary,
    Ready,
}

impl Launcher {
    pub fn new(parts: Parts, sidecar: Sidecar, discovery: Discovery, inside: Inside) -> Self {
        let now = Instant::now();
        Launcher {
            log_offset: parts.journal.file().metadata().map_or(0, |metadata| metadata.len()),
            parts,
            phase: Phase::Starting,
            deadline: Some(now + READY_PATIENCE),
            now,
            sidecar: Some(sidecar),
            sidecar_ready: false,
            sidecar_deadline: None,
            restart_at: None,
            restart_pause: Duration::ZERO,
            inside,
            token_wanted: false,
            discovery,
            published: None,
            ready_answered: false,
            ready_since: now,
            ready_next: now,
            dial: None,
            survey_at: now + SURVEY,
            said: Vec::new(),
            status: None,
            stopped: None,
            terminated_at: None,
            tells_quiet: false,
            ready_at: now,
            ending: None,
        }
    }

    /// Until everything has ended.
    pub fn run(mut self) -> Ending {
        loop {
            self.now = Instant::now();
            self.timers();
            if let Some(ending) = self.ending.take() {
                self.clean_up();
                return ending;
            }
            if let Err(error) = self.turn() {
                // Poll itself failed: nothing can be supervised any more. The capture stays closed.
                self.parts.journal.warn(&format!("the launcher cannot go on: {error}"));
                self.clean_up();
                return Ending::Failure(Failure::step("wait for events", &error));
            }
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        let gate_open = self.phase == Phase::Testing || self.phase == Phase::Starting;
        let ready = {
            let sidecar = self.sidecar.as_ref().and_then(Sidecar::fd);
            let sources: [Option<(BorrowedFd<'_>, PollFlags)>; 5] = [
                Some((self.parts.signals.as_fd(), PollFlags::IN)),
                gate_open.then(|| (self.parts.gate.as_fd(), PollFlags::IN)),
                self.parts.agent.fd().map(|fd| (fd, self.parts.agent.interest())),
                sidecar.map(|fd| (fd, PollFlags::IN)),
                self.dial.as_ref().map(|(_, dial)| (dial.fd(), dial.interest())),
            ];
            let mut fds = Vec::with_capacity(sources.len());
            fds.extend(sources.iter().flatten().map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)));
            let timeout =
                self.next_timer().and_then(|at| Timespec::try_from(at.saturating_duration_since(self.now)).ok());
            match poll(&mut fds, timeout.as_ref()) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            let mut polled = fds.iter().map(|fd| !fd.revents().is_empty());
            sources.map(|source| source.is_some() && polled.next().unwrap_or(false))
        };
        self.now = Instant::now();
        let [signals, gate, agent, sidecar, dial] = ready;
        // The gate first: a program that ran and ended at once must be seen running before it is seen ended.
        if gate {
            self.hear_gate();
        }
        if sidecar {
            self.hear_sidecar();
        }
        if agent {
            self.hear_agent();
        }
        if dial {
            self.hear_dial();
        }
        if signals {
            self.hear_signals()?;
        }
        Ok(())
    }

    fn next_timer(&self) -> Option<Instant> {
        let looking = self.watches_program().then(|| self.discovery.next());
        let asking = (looking.is_some() && self.wants_ready_answer()).then_some(self.ready_next);
        let dial = self.dial.as_ref().map(|(_, dial)| dial.deadline);
        let all =
            [self.deadline, self.sidecar_deadline, self.restart_at, self.parts.agent.retry_at(), looking, asking, dial];
        all.into_iter().flatten().min()
    }

    fn timers(&mut self) {
        let now = self.now;
        let due = |at: Option<Instant>| at.is_some_and(|at| now >= at);
        let (deadline, restart) = (due(self.deadline), due(self.restart_at));
        let hopeless = due(self.sidecar_deadline);
        if due(self.parts.agent.retry_at()) {
            self.hear_agent();
        }
        if self.dial.as_ref().is_some_and(|(_, dial)| self.now >= dial.deadline) {
            self.hear_dial();
        }
        if hopeless {
            self.sidecar_deadline = None;
            self.parts.journal.warn("the sidecar does not become ready; starting it again");
            self.sidecar.iter().for_each(Sidecar::kill);
        }
        if restart {
            self.restart_sidecar();
        }
        if self.watches_program() {
            self.look();
        }
        if deadline {
            self.deadline = None;
            self.phase_over();
        }
    }

    fn phase_over(&mut self) {
        match self.phase {
            Phase::Starting => {
                let line = "the sidecar did not become ready within 10 s";
                self.fail(Failure::new(self.with_reason(line)));
            }
            Phase::Testing => {
                self.fail(Failure::new("the test of the capture did not end; the program was not started"))
            }
            Phase::Withdrawing => self.quiet(),
            Phase::Quieting => self.terminate_program(),
            Phase::Finishing => {
                self.sidecar.iter().for_each(Sidecar::kill);
                self.leave();
            }
            Phase::Leaving => self.end(),
            Phase::Running | Phase::Terminated => {}
        }
    }

    fn hear_gate(&mut self) {
        match self.parts.gate.receive(Duration::ZERO) {
            Ok(Message::Failed(failure)) => self.fail(failure),
            Ok(Message::End) if self.phase == Phase::Testing => self.program_runs(),
            Ok(Message::End) => self.fail(Failure::new("the process that was to become the program was killed")),
            Ok(_) | Err(_) => {}
        }
    }

    fn program_runs(&mut self) {
        self.phase = Phase::Running;
        self.deadline = None;
        start::let_go(&self.parts.theirs);
        // As in the factory: what made the namespaces is not needed again.
        kernel::memory::release_file_pages().unwrap_or_default();
        if std::env::var_os("GOSSAMER_TIMING").is_some() {
            let parts = &self.parts;
            let since = |to: Instant, from: Instant| to.saturating_duration_since(from).as_secs_f64() * 1e3;
            parts.journal.info(&format!(
                "timing: namespace {:.1} ms, rules and listeners {:.1} ms, sidecar ready {:.1} ms, test and exec {:.1} ms, \
                 total {:.1} ms",
                since(parts.unshared, parts.started),
                since(parts.made, parts.unshared),
                since(self.ready_at, parts.made),
                since(self.now, self.ready_at),
                since(self.now, parts.started),
            ));
        }
        self.discovery.start(self.now);
        (self.ready_since, self.ready_next) = (self.now, self.now);
    }

    /// Before the program runs, any failure ends the attempt.
    fn fail(&mut self, failure: Failure) {
        rustix::process::kill_process(self.parts.program, Signal::KILL).ok();
        // The first reason is the reason; what follows from it is not.
        self.ending.get_or_insert(Ending::Failure(failure));
    }

    fn with_reason(&self, line: &str) -> String {
        let reason = self.parts.journal.last_line(self.log_offset);
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let log = self.parts.journal.path().display();
        format!("{line}{reason}; the program was not started; the whole log is {log}")
    }
}
