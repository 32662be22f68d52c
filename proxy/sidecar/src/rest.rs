//! What an idle sidecar gives back: the pages of its own program that it does not need while nothing happens.

use std::time::Duration;

use crate::engine::{Engine, Timer};

/// Without traffic: what a start, a policy or a certificate needed goes soon.
const QUIET: Duration = Duration::from_millis(500);
/// After traffic: the first request after a rest waits for pages (a fraction of a millisecond), so rests should be rare.
const IDLE: Duration = Duration::from_secs(30);

/// Whether anything has happened since the timer was last armed. At rest no timer is armed: a sidecar at rest sleeps.
#[derive(Default)]
pub struct Rest {
    armed: bool,
    stirred: bool,
    /// A connection was open at some time since the last rest.
    served: bool,
}

impl Rest {
    /// Something happens, while connections are open or not. How long to look away, if nobody is looking yet.
    fn stir(&mut self, connected: bool) -> Option<Duration> {
        self.stirred = true;
        self.served |= connected;
        (!std::mem::replace(&mut self.armed, true)).then(|| self.period())
    }

    /// The time is over: how long to look away again, or `None` when it is time to rest.
    fn look(&mut self) -> Option<Duration> {
        if std::mem::take(&mut self.stirred) {
            return Some(self.period());
        }
        *self = Rest::default();
        None
    }

    fn period(&self) -> Duration {
        if self.served { IDLE } else { QUIET }
    }
}

impl Engine {
    pub fn stir(&mut self) {
        if let Some(period) = self.rest.stir(!self.conns.is_empty()) {
            self.arm(period, Timer::Rest);
        }
    }

    pub fn rest_timer(&mut self) {
        if self.credentials.is_none() {
            // Still starting.
            return self.arm(QUIET, Timer::Rest);
        }
        match self.rest.look() {
            Some(period) => self.arm(period, Timer::Rest),
            // Nothing depends on it: with the pages kept, the process is as it was.
            None => kernel::memory::release_file_pages().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sidecar_rests_when_nothing_happened_for_a_whole_period() {
        let mut rest = Rest::default();
        assert_eq!(rest.stir(false), Some(QUIET));
        assert_eq!(rest.stir(false), None);
        assert_eq!(rest.look(), Some(QUIET));
        assert_eq!(rest.look(), None);
        assert_eq!(rest.stir(false), Some(QUIET));
    }

    #[test]
    fn after_traffic_it_takes_longer_and_after_the_rest_no_more() {
        let mut rest = Rest::default();
        rest.stir(true);
        assert_eq!((rest.look(), rest.look()), (Some(IDLE), None));
        assert_eq!((rest.stir(false), rest.look(), rest.look()), (Some(QUIET), Some(QUIET), None));
    }
}
