//! What an idle sidecar gives back: the pages of its own program that it does not need while nothing happens.

use std::time::Duration;

use crate::engine::{Engine, Timer};

/// Nothing for so long after the start: what only a start needs goes.
const STARTED: Duration = Duration::from_millis(500);
/// Later: the first request after a rest waits for pages (a fraction of a millisecond), so rests should be rare.
const IDLE: Duration = Duration::from_secs(30);

/// Whether anything has happened since the timer was last armed. At rest no timer is armed: a sidecar at rest sleeps.
#[derive(Default)]
pub struct Rest {
    armed: bool,
    stirred: bool,
    /// Pages have been given back before.
    again: bool,
}

impl Rest {
    /// Something happens. How long to look away, if nobody is looking yet.
    fn stir(&mut self) -> Option<Duration> {
        self.stirred = true;
        (!std::mem::replace(&mut self.armed, true)).then(|| self.period())
    }

    /// The time is over: how long to look away again, or `None` when it is time to rest.
    fn look(&mut self) -> Option<Duration> {
        if std::mem::take(&mut self.stirred) {
            return Some(self.period());
        }
        self.armed = false;
        self.again = true;
        None
    }

    fn period(&self) -> Duration {
        if self.again { IDLE } else { STARTED }
    }
}

impl Engine {
    pub fn stir(&mut self) {
        if let Some(period) = self.rest.stir() {
            self.arm(period, Timer::Rest);
        }
    }

    pub fn rest_timer(&mut self) {
        if self.credentials.is_none() {
            // Still starting.
            return self.arm(STARTED, Timer::Rest);
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
        assert_eq!(rest.stir(), Some(STARTED));
        assert_eq!(rest.stir(), None);
        assert_eq!(rest.look(), Some(STARTED));
        assert_eq!(rest.look(), None);
    }

    #[test]
    fn after_the_first_rest_the_next_ones_take_longer() {
        let mut rest = Rest::default();
        rest.stir();
        assert_eq!((rest.look(), rest.look()), (Some(STARTED), None));
        assert_eq!(rest.stir(), Some(IDLE));
        assert_eq!((rest.look(), rest.look()), (Some(IDLE), None));
    }
}
