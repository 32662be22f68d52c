//! The end without a loss: no new connections, goodbye to the open ones in the words of their protocol, and time for
//! what is under way.

use std::time::Duration;

use control::handover::Ask;

use crate::conn::ConnId;
use crate::drive::Driver;
use crate::engine::{Engine, Timer};
use crate::side::Side;

/// Between the first and the final GOAWAY, and before idle HTTP/1 connections close: long enough for a request that was
/// on its way to arrive.
const NOTICE: Duration = Duration::from_millis(500);
/// What peers sent before they heard of the withdrawal has arrived by then.
const SETTLE: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_millis(50);

#[derive(Default)]
pub struct Drain {
    /// When it began.
    began: Option<u64>,
    noticed: bool,
    done: bool,
}

impl Drain {
    pub fn started(&self) -> bool {
        self.began.is_some()
    }

    pub fn done(&self) -> bool {
        self.done
    }
}

impl Engine {
    pub fn begin_drain(&mut self) {
        if self.drain.began.is_some() {
            return;
        }
        self.drain.began = Some(self.now);
        self.listeners.close();
        self.goodbye();
        // Without anybody who could be about to ask, there is nothing to wait for.
        let served = self.conns.ids().any(|id| self.conns.get(id).is_some_and(|conn| is_serving(&conn.driver)));
        self.arm(if served { NOTICE } else { Duration::ZERO }, Timer::Drain);
    }

    /// Before the workload is told to end, with its endpoint withdrawn: requests on their way arrive, open ones are
    /// answered. It can still call others, and is still served meanwhile.
    pub fn begin_quiet(&mut self) {
        self.arm(SETTLE, Timer::Quiet);
    }

    pub fn quiet_timer(&mut self) {
        if self.exchanges.any(|exchange| matches!(exchange.side, Side::Inbound(_))) {
            self.arm(LOOK, Timer::Quiet);
        } else {
            self.ask(Ask::Quiet);
        }
    }

    /// First call: announces. Second: final.
    fn goodbye(&mut self) {
        let ids: Vec<ConnId> = self.conns.ids().collect();
        for id in ids {
            match self.conns.get_mut(id).map(|conn| &mut conn.driver) {
                Some(Driver::Http2(http2)) if http2.is_server() => self.h2_goodbye(id),
                Some(Driver::Http1Server(server)) => server.close_after_response(),
                _ => {}
            }
        }
    }

    pub fn drain_timer(&mut self) {
        let Some(began) = self.drain.began else { return };
        if !std::mem::replace(&mut self.drain.noticed, true) {
            self.goodbye();
        }
        self.close_unused();
        let over = self.now.saturating_sub(began) >= self.options.grace.as_nanos() as u64;
        if over || self.conns.is_empty() {
            self.drain.done = true;
            self.ask(Ask::Drained);
        } else {
            self.arm(LOOK, Timer::Drain);
        }
    }

    fn close_unused(&mut self) {
        let ids: Vec<ConnId> = self.conns.ids().collect();
        let serving = ids.iter().any(|id| self.conns.get(*id).is_some_and(|conn| is_serving(&conn.driver)));
        for id in ids {
            let unused = match self.conns.get(id).map(|conn| &conn.driver) {
                Some(Driver::Http1Server(server)) => server.current.is_none(),
                Some(Driver::Http2(http2)) if http2.is_server() => http2.codec.is_finished(),
                // What we opened goes when nobody is left who could need it.
                Some(Driver::Http1Client(_) | Driver::Http2(_)) => !serving && self.exchanges.is_empty(),
                Some(Driver::Intake(_)) => true,
                _ => false,
            };
            if unused {
                self.close_when_written(id);
            }
        }
    }
}

fn is_serving(driver: &Driver) -> bool {
    match driver {
        Driver::Http1Server(_) => true,
        Driver::Http2(http2) => http2.is_server(),
        _ => false,
    }
}
