//! Another attempt instead of an answer that the route calls worth one. Which those are is `rules::retry`'s; here the
//! attempt is counted, given up and begun again.

use std::sync::Arc;
use std::time::Duration;

use codec::h2::Reason as H2Reason;
use rules::outbound::Retry;
use rules::retry::Outcome;
use telemetry::Response;

use crate::engine::{Engine, Task, Waiter};
use crate::exchange::{Exchange, ExchangeId};
use crate::failure::Failure;
use crate::plan::Plan;

impl Exchange {
    fn retry(&self) -> Option<&Arc<Retry>> {
        match &self.plan {
            Plan::Service(service) => service.retry.as_ref(),
            _ => None,
        }
    }

    /// How long this attempt may take once it has been sent.
    pub fn attempt_time(&self) -> Option<Duration> {
        self.retry().and_then(|retry| retry.time(self.retries))
    }
}

impl Engine {
    /// The response that has just been read is none for the caller.
    pub fn repeat_answered(&mut self, id: ExchangeId) -> bool {
        let Some(exchange) = self.exchanges.get(id).filter(|exchange| exchange.retry().is_some()) else { return false };
        let grpc = exchange.grpc_status.filter(|_| exchange.grpc);
        let outcome = Outcome::Answered { status: exchange.status, grpc };
        self.repeat(id, outcome, exchange.status, exchange.failure)
    }

    /// The attempt came to nothing, and this is what the caller would be told.
    pub fn repeat_broken(&mut self, id: ExchangeId, failure: &Failure) -> bool {
        let Some(exchange) = self.exchanges.get(id) else { return false };
        let grpc = exchange.grpc.then(|| failure.grpc_status());
        let outcome = Outcome::Broken { status: failure.status(), grpc };
        self.repeat(id, outcome, 0, Some((failure.author, failure.cause.reason)))
    }

    /// Nobody can have processed it.
    pub fn repeat_unsent(&mut self, id: ExchangeId, failure: &Failure) -> bool {
        self.repeat(id, Outcome::Unsent, 0, Some((failure.author, failure.cause.reason)))
    }

    /// The time of this attempt is over.
    pub fn repeat_late(&mut self, id: ExchangeId) -> bool {
        let late = Some((telemetry::Author::Application, telemetry::Reason::Timeout));
        self.repeat(id, Outcome::Late, 0, late)
    }

    /// False when the route wants no other attempt, or there can be none; then nothing has changed.
    fn repeat(
        &mut self,
        id: ExchangeId,
        outcome: Outcome,
        status: u16,
        failure: Option<(telemetry::Author, telemetry::Reason)>,
    ) -> bool {
        let (now, rng) = (self.now, self.random());
        let Some(exchange) = self.exchanges.get_mut(id) else { return false };
        let Some(retry) = exchange.retry().filter(|_| !exchange.answered && !exchange.tunnel).cloned() else {
            return false;
        };
        if !retry.follows(outcome, exchange.retries) {
            if retry.wants(outcome)
                && let Some(edge) = &exchange.edge
            {
                edge.retries_spent();
            }
            return false;
        }
        if !exchange.requesting.rewind(&mut self.pool) {
            return false;
        }
        if let Some(edge) = exchange.edge.as_ref().filter(|_| exchange.counted) {
            edge.retried(Response {
                status,
                grpc_status: exchange.grpc_status,
                latency_us: now.saturating_sub(exchange.attempted) / 1000,
                failure,
            });
        }
        let delay = retry.delay(exchange.retries, rng);
        exchange.retries += 1;
        exchange.failed = exchange.lease;
        (exchange.attempts, exchange.counted) = (0, false);
        (exchange.status, exchange.grpc_status, exchange.failure) = (0, None, None);
        (exchange.try_until, exchange.respond_by) = (0, 0);
        exchange.queued = now + delay.as_nanos() as u64;
        let up = exchange.up;
        self.abandon(id, up, H2Reason::CANCEL);
        self.give_lease_back(id);
        if delay.is_zero() {
            self.later(Task::Retry(Waiter::Exchange(id)))
        } else {
            self.wait_at_most(id, delay)
        }
        true
    }
}
