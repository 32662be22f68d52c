//! The times of an exchange: how long it may wait, take, or stand still, and what happens when one is over.
//!
//! One entry in the wheel stands for all of them: the earliest.

use std::time::Duration;

use codec::h2::Reason as H2Reason;
use rules::outbound::Timeouts;
use telemetry::{Author, Reason};

use crate::engine::{Engine, Task, Timer, Waiter};
use crate::exchange::{ExchangeId, Up};
use crate::failure::Failure;
use crate::wheel;

impl Engine {
    /// The limits of its route hold from now on.
    pub fn limit_exchange(&mut self, id: ExchangeId, timeouts: Timeouts) {
        let now = self.now;
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let after = |limit: Option<Duration>| limit.map_or(0, |limit| wheel::deadline(now, limit));
        exchange.timeouts = timeouts;
        exchange.ends_at = after(timeouts.request);
        exchange.idle_at = after(timeouts.idle);
        self.arm_exchange(id);
    }

    /// All of the request has left: the time for the response runs, and that of this attempt.
    pub fn asked(&mut self, id: ExchangeId) {
        let now = self.now;
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let (response, attempt) = (exchange.timeouts.response, exchange.attempt_time());
        if let Some(limit) = response.filter(|_| exchange.respond_by == 0) {
            exchange.respond_by = wheel::deadline(now, limit);
        }
        if let Some(limit) = attempt.filter(|_| exchange.try_until == 0) {
            exchange.try_until = wheel::deadline(now, limit);
        }
        if response.is_some() || attempt.is_some() {
            self.arm_exchange(id);
        }
    }

    pub fn wait_at_most(&mut self, id: ExchangeId, limit: Duration) {
        let at = wheel::deadline(self.now, limit);
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.wait_until = at;
        }
        self.arm_exchange(id);
    }

    fn arm_exchange(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let ends = [exchange.ends_at, exchange.respond_by, exchange.try_until, exchange.idle_at, exchange.wait_until];
        let next = ends.into_iter().filter(|at| *at > 0).min();
        if let Some(at) = next
            && (exchange.armed == 0 || at < exchange.armed)
        {
            exchange.armed = at;
            self.arm_at(at, Timer::Exchange(id));
        }
    }

    pub fn exchange_timer(&mut self, id: ExchangeId) {
        let now = wheel::tick_of(self.now);
        let over = |at: wheel::Tick| at != 0 && at <= now;
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        exchange.armed = 0;
        if over(exchange.idle_at) {
            exchange.idle_at = exchange.timeouts.idle.map_or(0, |limit| wheel::deadline(exchange.active, limit));
        }
        if over(exchange.ends_at) {
            return self.expire(id, Failure::new(Author::Application, Reason::Timeout, "no response in time"), false);
        }
        if over(exchange.respond_by) {
            return self.expire(id, Failure::new(Author::Application, Reason::Timeout, "no response in time"), true);
        }
        if over(exchange.idle_at) {
            return self.expire(id, Failure::new(Author::Application, Reason::IdleTimeout, "nothing moved"), true);
        }
        if over(exchange.try_until) {
            exchange.try_until = 0;
            if self.repeat_late(id) {
                return;
            }
        }
        self.waited(id, now);
        self.arm_exchange(id);
    }

    fn expire(&mut self, id: ExchangeId, failure: Failure, repeatable: bool) {
        if repeatable && self.repeat_broken(id, &failure) {
            return;
        }
        let Some(up) = self.exchanges.get(id).map(|exchange| exchange.up) else { return };
        self.abandon(id, up, H2Reason::CANCEL);
        self.answer(id, failure);
    }

    fn waited(&mut self, id: ExchangeId, now: wheel::Tick) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        if exchange.wait_until == 0 || exchange.wait_until > now {
            return;
        }
        exchange.wait_until = 0;
        match exchange.up {
            Up::None => self.later(Task::Retry(Waiter::Exchange(id))),
            Up::Waiting(upstream) => {
                self.stop_waiting(upstream, id);
                self.try_again(id);
            }
            Up::Open(_) => {}
        }
    }
}
