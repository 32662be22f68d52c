//! What the control plane is told: which ports the program offers, and when it may be called.

use super::*;

impl Launcher {
    pub(super) fn ask(&mut self, asked: Asked, line: &str) -> bool {
        let sent = self.parts.agent.ask(asked, line);
        if sent {
            self.hear_agent();
        }
        sent
    }

    pub(super) fn hear_agent(&mut self) {
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
    pub(super) fn agent_lost(&mut self) {
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

    pub(super) fn watches_program(&self) -> bool {
        matches!(self.phase, Phase::Running) && self.status.is_none()
    }

    pub(super) fn wants_ready_answer(&self) -> bool {
        self.parts.config.ready_url.is_some() && !self.ready_answered && self.dial.is_none()
    }

    pub(super) fn look(&mut self) {
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
    pub(super) fn offer(&self) -> Option<Ports> {
        let config = &self.parts.config;
        let listening = &self.discovery.listening;
        let complete = match config.ready_url {
            Some(_) => self.ready_answered,
            None => config.ports.iter().all(|port| listening.contains(port)),
        };
        let serving = self.watches_program() && self.sidecar_ready;
        (serving && complete && !listening.is_empty()).then(|| listening.clone())
    }

    pub(super) fn publish(&mut self) {
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
    pub(super) fn dial(&mut self, purpose: Purpose) {
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

    pub(super) fn socket_inside(&self) -> io::Result<OwnedFd> {
        let factory = &self.parts.factory;
        factory.request(Family::V4, 1)?;
        let patience = Timespec::try_from(Duration::from_millis(200)).ok();
        poll(&mut [PollFd::from_borrowed_fd(factory.fd(), PollFlags::IN)], patience.as_ref())?;
        let batch = factory.receive()?;
        batch.and_then(|mut batch| batch.sockets.pop()).ok_or_else(|| io::ErrorKind::TimedOut.into())
    }

    pub(super) fn hear_dial(&mut self) {
        let Some((purpose, dial)) = &mut self.dial else { return };
        let purpose = *purpose;
        if let Some(found) = dial.advance(self.now) {
            self.dial = None;
            self.found(purpose, found);
        }
    }

    pub(super) fn found(&mut self, purpose: Purpose, found: Found) {
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
    pub(super) fn survey(&mut self) {
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

    pub(super) fn once(&mut self, line: String) {
        if !self.said.contains(&line) && self.said.len() < 200 {
            self.parts.journal.warn(&line);
            self.said.push(line);
        }
    }
}
