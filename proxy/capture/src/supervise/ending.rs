//! Signals, job control, and the end of the program and of everything beside it.

use super::*;

impl Launcher {
    pub(super) fn hear_signals(&mut self) -> io::Result<()> {
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
    pub(super) fn abort(&mut self, signal: i32) {
        if [signals::HANG_UP, signals::INTERRUPT, signals::QUIT, signals::TERMINATE].contains(&signal) {
            rustix::process::kill_process(self.parts.program, Signal::KILL).ok();
            self.ending = Some(Ending::Signal(signal));
        }
    }

    pub(super) fn same_group(&self) -> bool {
        rustix::process::getpgid(Some(self.parts.program)).is_ok_and(|group| group == rustix::process::getpgrp())
    }

    pub(super) fn pass_on(&mut self, signal: i32) {
        if self.status.is_some() {
            // The program is gone and somebody insists: do not wait for the helpers.
            self.end();
        } else {
            kernel::signal::send(self.parts.program, signal);
        }
    }

    pub(super) fn terminate(&mut self) {
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

    pub(super) fn quiet(&mut self) {
        self.phase = Phase::Quieting;
        match &self.sidecar {
            Some(sidecar) if self.sidecar_ready => {
                sidecar.say("quiet");
                self.deadline = Some(self.now + if self.tells_quiet { DRAIN_PATIENCE } else { SETTLE });
            }
            _ => self.terminate_program(),
        }
    }

    pub(super) fn terminate_program(&mut self) {
        (self.phase, self.deadline) = (Phase::Terminated, None);
        kernel::signal::send(self.parts.program, signals::TERMINATE);
    }

    pub(super) fn reap(&mut self) -> io::Result<()> {
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

    pub(super) fn child_changed(&mut self, pid: Pid, status: WaitStatus) {
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
    pub(super) fn stop_with_program(&mut self, signal: i32) {
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

    pub(super) fn program_ended(&mut self, status: WaitStatus) {
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

    pub(super) fn leave(&mut self) {
        (self.phase, self.deadline) = (Phase::Leaving, Some(self.now + BYE_PATIENCE));
        if !self.ask(Asked::Bye, "bye") {
            self.end();
        }
    }

    pub(super) fn end(&mut self) {
        if self.ending.is_none() {
            self.ending = Some(self.verdict());
        }
    }

    pub(super) fn verdict(&self) -> Ending {
        match self.status.map(|status| (status.exit_status(), status.terminating_signal())) {
            Some((Some(code), _)) => Ending::Exit(code),
            Some((_, Some(signal))) => Ending::Signal(signal),
            _ => Ending::Exit(i32::from(crate::failure::NOT_STARTED)),
        }
    }

    /// No process of ours stays. The agent's connection closes with us, which withdraws what was published.
    pub(super) fn clean_up(&mut self) {
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
