//! Keeping the sidecar and the socket factory running.

use std::time::Duration;

use rustix::process::WaitStatus;

use super::*;

impl Launcher {
    pub(super) fn hear_sidecar(&mut self) {
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
    pub(super) fn give_token(&mut self) {
        if let Some(token) = self.parts.config.token.take() {
            self.answer_token(&token);
        } else if !self.parts.agent.awaits(Asked::Token) {
            self.token_wanted = !self.ask(Asked::Token, "token");
        }
    }

    pub(super) fn answer_token(&mut self, token: &str) {
        self.token_wanted = false;
        self.sidecar.iter().for_each(|sidecar| sidecar.say(&format!("token {token}")));
        if !self.sidecar_ready && self.phase != Phase::Starting {
            self.sidecar_deadline = Some(self.now + AGAIN_PATIENCE);
        }
    }

    pub(super) fn sidecar_is_ready(&mut self) {
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

    pub(super) fn sidecar_ended(&mut self, status: WaitStatus) {
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
    pub(super) fn restart_sidecar(&mut self) {
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
    pub(super) fn factory_ended(&mut self) {
        self.parts.factory_process = 0;
        if self.status.is_none() {
            self.parts.journal.warn("the socket factory was killed; starting it and the sidecar again");
            self.sidecar.iter().for_each(Sidecar::kill);
        }
    }

    pub(super) fn restart_factory(&mut self) {
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
}
