//! The launcher while the program lives: one poll loop over signals, the control plane's agent, the sidecar and the gate.
//!
//! It keeps the sidecar running, says which ports the program listens on, passes signals on, ends everything in order,
//! and repeats the program's own end. It never looks at traffic and keeps no process but the helpers it started.

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

    // --- waiting ---------------------------------------------------------------------------------------------------

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

    // --- start -----------------------------------------------------------------------------------------------------

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

    // --- the sidecar -----------------------------------------------------------------------------------------------

    fn hear_sidecar(&mut self) {
        let said = self.sidecar.as_mut().map(Sidecar::listen).unwrap_or_default();
        for said in said {
            match said {
                Said::Token => self.give_token(),
                Said::Ready { tells_quiet } => {
                    self.tells_quiet = tells_quiet;
                    self.sidecar_is_ready();
                }
                Said::Quiet if self.phase == Phase::Quieting => self.terminate_program(),
                Said::Quiet => {}
                // It has said everything but its last report.
                Said::Drained if self.phase == Phase::Finishing => self.deadline = Some(self.now + FLUSH_PATIENCE),
                Said::Drained => {}
            }
        }
    }

    /// The first token came with the configuration; later ones are fetched. Without a control plane the sidecar waits.
    fn give_token(&mut self) {
        if let Some(token) = self.parts.config.token.take() {
            self.answer_token(&token);
        } else if !self.parts.agent.awaits(Asked::Token) {
            self.token_wanted = !self.ask(Asked::Token, "token");
        }
    }

    fn answer_token(&mut self, token: &str) {
        self.token_wanted = false;
        self.sidecar.iter().for_each(|sidecar| sidecar.say(&format!("token {token}")));
        if !self.sidecar_ready && self.phase != Phase::Starting {
            self.sidecar_deadline = Some(self.now + AGAIN_PATIENCE);
        }
    }

    fn sidecar_is_ready(&mut self) {
        self.sidecar_deadline = None;
        if self.phase != Phase::Starting {
            return self.dial(Purpose::Canary);
        }
        self.sidecar_ready = true;
        self.ready_at = self.now;
        self.phase = Phase::Testing;
        self.deadline = Some(self.now + READY_PATIENCE);
        if let Err(error) = self.parts.gate.send(&Message::Go) {
            self.fail(Failure::step("start the program", &error));
        }
    }

    fn sidecar_ended(&mut self, status: WaitStatus) {
        let lived = self.sidecar.take().map_or(Duration::ZERO, |sidecar| self.now.duration_since(sidecar.started));
        self.sidecar_ready = false;
        self.sidecar_deadline = None;
        self.dial = self.dial.take().filter(|(purpose, _)| *purpose != Purpose::Canary);
        let how = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("the sidecar ended with code {code}"),
            (_, Some(signal)) => format!("the sidecar was killed by signal {signal}"),
            _ => "the sidecar ended".to_owned(),
        };
        match self.phase {
            Phase::Starting | Phase::Testing => self.fail(Failure::new(self.with_reason(&how))),
            Phase::Finishing => self.leave(),
            Phase::Leaving => {}
            Phase::Quieting => self.terminate_program(),
            Phase::Running | Phase::Withdrawing | Phase::Terminated => {
                if lived >= HEALTHY {
                    self.restart_pause = Duration::ZERO;
                }
                self.parts.journal.warn(&format!("{how}; starting it again"));
                self.restart_at = Some(self.now + self.restart_pause);
                self.restart_pause = (self.restart_pause * 2).clamp(SHORTEST_RESTART, LONGEST_RESTART);
                self.publish();
            }
        }
    }

    /// Same listeners, same factory: connections that came meanwhile wait in the backlog.
    fn restart_sidecar(&mut self) {
        self.restart_at = None;
        if self.parts.factory_process == 0 {
            self.restart_factory();
        }
        let parts = &self.parts;
        match Sidecar::start(&parts.config, &self.inside.listeners, &parts.factory_end, &parts.journal) {
            Ok(sidecar) => self.sidecar = Some(sidecar),
            Err(error) => {
                parts.journal.warn(&format!("cannot start the sidecar: {error}"));
                self.restart_at = Some(self.now + LONGEST_RESTART);
            }
        }
    }

    /// A sidecar cannot be handed another factory, so it is started again with it, at the pace of its restarts.
    fn factory_ended(&mut self) {
        self.parts.factory_process = 0;
        if self.status.is_none() {
            self.parts.journal.warn("the socket factory was killed; starting it and the sidecar again");
            self.sidecar.iter().for_each(Sidecar::kill);
        }
    }

    fn restart_factory(&mut self) {
        let Some((user, net)) = &self.inside.namespaces else { return };
        match factory::again(user, net) {
            Ok(again) => {
                self.parts.factory_process = again.process.as_raw_nonzero().get();
                self.parts.factory_end = again.for_sidecar;
                self.parts.factory = again.client;
            }
            Err(error) => self.parts.journal.warn(&format!("cannot start the socket factory: {error}")),
        }
    }

    // --- the control plane -----------------------------------------------------------------------------------------

    fn ask(&mut self, asked: Asked, line: &str) -> bool {
        let sent = self.parts.agent.ask(asked, line);
        if sent {
            self.hear_agent();
        }
        sent
    }

    fn hear_agent(&mut self) {
        let mut events = Vec::new();
        let jitter = self.now.duration_since(self.parts.started).subsec_nanos()
            ^ self.parts.program.as_raw_nonzero().get().unsigned_abs();
        self.parts.agent.advance(self.now, jitter, &mut events);
        for event in events {
            match event {
                Event::Answered(Asked::Token, Ok(token)) => self.answer_token(&token),
                Event::Answered(Asked::Withdraw, _) if self.phase == Phase::Withdrawing => self.quiet(),
                Event::Answered(Asked::Bye, _) => self.end(),
                Event::Answered(asked, Err(why)) => {
                    self.token_wanted |= asked == Asked::Token;
                    self.once(format!("the control plane refused {asked:?}: {why}"));
                }
                Event::Answered(_, Ok(_)) => {}
                Event::Lost => self.agent_lost(),
                Event::Resumed => {
                    self.parts.journal.info("the control plane is back");
                    if std::mem::take(&mut self.token_wanted) {
                        self.give_token();
                    }
                    self.publish();
                }
            }
        }
    }

    /// A lost lease is a withdrawn endpoint.
    fn agent_lost(&mut self) {
        self.published = None;
        self.parts.journal.warn("the control plane is gone; trying again until it is back");
        // A question that will not be answered now is asked again.
        self.token_wanted = self.sidecar.is_some() && !self.sidecar_ready;
        match self.phase {
            Phase::Withdrawing => self.quiet(),
            Phase::Leaving => self.end(),
            _ => {}
        }
    }

    // --- what the program offers -----------------------------------------------------------------------------------

    fn watches_program(&self) -> bool {
        matches!(self.phase, Phase::Running) && self.status.is_none()
    }

    fn wants_ready_answer(&self) -> bool {
        self.parts.config.ready_url.is_some() && !self.ready_answered && self.dial.is_none()
    }

    fn look(&mut self) {
        match self.discovery.look(self.now) {
            Ok(_) => self.publish(),
            Err(error) => self.parts.journal.warn(&format!("cannot read what the program listens on: {error}")),
        }
        if self.wants_ready_answer() && self.now >= self.ready_next {
            self.ready_next =
                self.now + interval(self.now.duration_since(self.ready_since)).min(Duration::from_secs(1));
            self.dial(Purpose::Ready);
        }
        if self.now >= self.survey_at {
            self.survey_at = self.now + SURVEY;
            self.survey();
        }
    }

    /// What should be published now. Nothing while the sidecar cannot serve it.
    fn offer(&self) -> Option<Ports> {
        let config = &self.parts.config;
        let listening = &self.discovery.listening;
        let complete = match config.ready_url {
            Some(_) => self.ready_answered,
            None => config.ports.iter().all(|port| listening.contains(port)),
        };
        let serving = self.watches_program() && self.sidecar_ready;
        (serving && complete && !listening.is_empty()).then(|| listening.clone())
    }

    fn publish(&mut self) {
        let offer = self.offer();
        if offer == self.published || !self.parts.agent.connected() {
            return;
        }
        self.published.clone_from(&offer);
        match offer {
            Some(ports) => {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                self.ask(Asked::Listening, &format!("listening {}", ports.join(",")));
            }
            None => {
                self.ask(Asked::Withdraw, "withdraw");
            }
        }
    }

    /// Opens a connection inside the namespace. The factory answers in microseconds.
    fn dial(&mut self, purpose: Purpose) {
        let socket = self.socket_inside();
        let dial = socket.and_then(|socket| match (purpose, &self.parts.config.ready_url) {
            (Purpose::Ready, Some(url)) => Dial::ready(socket, url, self.now),
            _ => Dial::canary(socket, self.now),
        });
        match dial {
            Ok(dial) => self.dial = Some((purpose, dial)),
            Err(error) => self.found(purpose, Found::No(error.to_string())),
        }
    }

    fn socket_inside(&self) -> io::Result<OwnedFd> {
        let factory = &self.parts.factory;
        factory.request(Family::V4, 1)?;
        let patience = Timespec::try_from(Duration::from_millis(200)).ok();
        poll(&mut [PollFd::from_borrowed_fd(factory.fd(), PollFlags::IN)], patience.as_ref())?;
        let batch = factory.receive()?;
        batch.and_then(|mut batch| batch.sockets.pop()).ok_or_else(|| io::ErrorKind::TimedOut.into())
    }

    fn hear_dial(&mut self) {
        let Some((purpose, dial)) = &mut self.dial else { return };
        let purpose = *purpose;
        if let Some(found) = dial.advance(self.now) {
            self.dial = None;
            self.found(purpose, found);
        }
    }

    fn found(&mut self, purpose: Purpose, found: Found) {
        match (purpose, found) {
            (Purpose::Ready, Found::Yes) => {
                // What answered has just begun to listen: look again before saying what is offered.
                self.ready_answered = true;
                self.discovery.start(self.now);
                self.look();
            }
            (Purpose::Ready, Found::No(_)) => {}
            (Purpose::Canary, Found::Yes) => {
                self.sidecar_ready = true;
                self.parts.journal.info("the sidecar is ready again");
            }
            (Purpose::Canary, Found::No(why)) => {
                self.parts.journal.warn(&format!("the sidecar does not answer the canary ({why}); starting it again"));
                self.sidecar.iter().for_each(Sidecar::kill);
            }
        }
        self.publish();
    }

    /// Says once what was rejected, and for each port once that nobody listens on it inside.
    fn survey(&mut self) {
        if let Err(error) = self.parts.journal.rotate() {
            self.once(format!("cannot rotate the log: {error}"));
        }
        let Some(counters) = &self.inside.counters else { return };
        let counted = nft::rejected(counters).unwrap_or_default();
        let refused = nft::refused_ports(counters).unwrap_or_default();
        for (name, _) in counted.iter().filter(|(_, packets)| *packets > 0) {
            self.once(match name.as_str() {
                "udp" => "UDP other than DNS is rejected at once in a meshed program (counted)".to_owned(),
                "icmp" => "ICMP is rejected at once in a meshed program (counted)".to_owned(),
                _ => "packets that are neither TCP nor DNS are rejected in a meshed program (counted)".to_owned(),
            });
        }
        for port in refused {
            self.once(format!(
                "a connection to 127.0.0.1:{port} was refused: nothing listens there inside the workload; \
                 to reach the host's own loopback use --host-port {port}"
            ));
        }
    }

    fn once(&mut self, line: String) {
        if !self.said.contains(&line) && self.said.len() < 200 {
            self.parts.journal.warn(&line);
            self.said.push(line);
        }
    }

    // --- signals and the program's end -----------------------------------------------------------------------------

    fn hear_signals(&mut self) -> io::Result<()> {
        while let Some(received) = self.parts.signals.next()? {
            match signals::meaning(received, self.same_group()) {
                Meaning::Child => self.reap()?,
                _ if matches!(self.phase, Phase::Starting | Phase::Testing) => self.abort(received.signal),
                Meaning::Terminate => self.terminate(),
                Meaning::Continued => {}
                Meaning::PassOn(signal) => self.pass_on(signal),
                Meaning::Nothing => {}
            }
        }
        if let Some(signal) = self.stopped.take() {
            self.stop_with_program(signal);
        }
        Ok(())
    }

    /// Nothing runs yet: a signal that would have ended the program ends the attempt.
    fn abort(&mut self, signal: i32) {
        if [signals::HANG_UP, signals::INTERRUPT, signals::QUIT, signals::TERMINATE].contains(&signal) {
            rustix::process::kill_process(self.parts.program, Signal::KILL).ok();
            self.ending = Some(Ending::Signal(signal));
        }
    }

    fn same_group(&self) -> bool {
        rustix::process::getpgid(Some(self.parts.program)).is_ok_and(|group| group == rustix::process::getpgrp())
    }

    fn pass_on(&mut self, signal: i32) {
        if self.status.is_some() {
            // The program is gone and somebody insists: do not wait for the helpers.
            self.end();
        } else {
            kernel::signal::send(self.parts.program, signal);
        }
    }

    fn terminate(&mut self) {
        let echo = self.terminated_at.is_some_and(|at| self.now.duration_since(at) < ECHO);
        self.terminated_at = Some(self.now);
        match self.phase {
            // Nobody calls it: nothing to withdraw and nothing to answer.
            Phase::Running if self.published.is_none() && self.offer().is_none() => self.terminate_program(),
            Phase::Running => {
                self.phase = Phase::Withdrawing;
                self.deadline = Some(self.now + WITHDRAW_PATIENCE);
                let asked = self.published.take().is_some() && self.ask(Asked::Withdraw, "withdraw");
                if !asked && self.phase == Phase::Withdrawing && !self.parts.agent.awaits(Asked::Withdraw) {
                    self.quiet();
                }
            }
            _ if echo => {}
            Phase::Withdrawing | Phase::Quieting => self.terminate_program(),
            _ => self.pass_on(signals::TERMINATE),
        }
    }

    fn quiet(&mut self) {
        self.phase = Phase::Quieting;
        match &self.sidecar {
            Some(sidecar) if self.sidecar_ready => {
                sidecar.say("quiet");
                self.deadline = Some(self.now + if self.tells_quiet { DRAIN_PATIENCE } else { SETTLE });
            }
            _ => self.terminate_program(),
        }
    }

    fn terminate_program(&mut self) {
        (self.phase, self.deadline) = (Phase::Terminated, None);
        kernel::signal::send(self.parts.program, signals::TERMINATE);
    }

    fn reap(&mut self) -> io::Result<()> {
        let options = WaitOptions::NOHANG | WaitOptions::UNTRACED | WaitOptions::CONTINUED;
        loop {
            match rustix::process::wait(options) {
                Ok(Some((pid, status))) => self.child_changed(pid, status),
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn child_changed(&mut self, pid: Pid, status: WaitStatus) {
        let over = status.exited() || status.signaled();
        if pid == self.parts.program {
            if over {
                self.program_ended(status);
            } else {
                self.stopped = status.stopping_signal();
            }
        } else if over && self.sidecar.as_ref().is_some_and(|sidecar| sidecar.pid == pid) {
            self.sidecar_ended(status);
        } else if over && pid.as_raw_nonzero().get() == self.parts.factory_process {
            self.factory_ended();
        }
    }

    /// The shell that waits for us must see its job stop: as the program did, and only after it, because then the shell
    /// takes the terminal.
    fn stop_with_program(&mut self, signal: i32) {
        if self.status.is_some() || !under_job_control() {
            return;
        }
        kernel::signal::stop_by(signal);
        // Continued: the program may have made a group of its own, which the shell does not know.
        let program = self.parts.program;
        if self.same_group() {
            rustix::process::kill_process(program, Signal::CONT).ok();
        } else {
            rustix::process::kill_process_group(program, Signal::CONT).ok();
        }
    }

    fn program_ended(&mut self, status: WaitStatus) {
        self.status = Some(status);
        self.stopped = None;
        if self.ending.is_none() && matches!(self.phase, Phase::Starting | Phase::Testing) {
            self.hear_gate();
        }
        if self.phase == Phase::Starting || self.ending.is_some() {
            self.end();
            return;
        }
        self.survey();
        if self.published.take().is_some() {
            self.ask(Asked::Withdraw, "withdraw");
        }
        (self.phase, self.deadline) = (Phase::Finishing, Some(self.now + FINISH_PATIENCE));
        self.restart_at = None;
        match &self.sidecar {
            Some(sidecar) if self.sidecar_ready => sidecar.say("drain"),
            Some(sidecar) => sidecar.kill(),
            None => self.leave(),
        }
    }

    fn leave(&mut self) {
        (self.phase, self.deadline) = (Phase::Leaving, Some(self.now + BYE_PATIENCE));
        if !self.ask(Asked::Bye, "bye") {
            self.end();
        }
    }

    fn end(&mut self) {
        if self.ending.is_none() {
            self.ending = Some(self.verdict());
        }
    }

    fn verdict(&self) -> Ending {
        match self.status.map(|status| (status.exit_status(), status.terminating_signal())) {
            Some((Some(code), _)) => Ending::Exit(code),
            Some((_, Some(signal))) => Ending::Signal(signal),
            _ => Ending::Exit(i32::from(crate::failure::NOT_STARTED)),
        }
    }

    /// No process of ours stays. The agent's connection closes with us, which withdraws what was published.
    fn clean_up(&mut self) {
        let sidecar = self.sidecar.take();
        sidecar.iter().for_each(Sidecar::kill);
        let factory = Pid::from_raw(self.parts.factory_process);
        if let Some(factory) = factory {
            rustix::process::kill_process(factory, Signal::KILL).ok();
        }
        if self.status.is_none() && matches!(self.phase, Phase::Starting | Phase::Testing) {
            if self.parts.agent.connected() {
                self.ask(Asked::Bye, "bye");
            }
            rustix::process::waitpid(Some(self.parts.program), WaitOptions::empty()).ok();
        }
        for helper in sidecar.map(|sidecar| sidecar.pid).into_iter().chain(factory) {
            rustix::process::waitpid(Some(helper), WaitOptions::empty()).ok();
        }
        self.parts.mask.restore();
    }
}

/// Somebody in our session can continue us: our parent, from another group. Otherwise stopping would be for ever.
fn under_job_control() -> bool {
    let Some(parent) = rustix::process::getppid() else { return false };
    let session = |pid| rustix::process::getsid(pid).ok();
    session(Some(parent)) == session(None)
        && rustix::process::getpgid(Some(parent)).ok() != Some(rustix::process::getpgrp())
}
