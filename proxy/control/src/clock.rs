//! Wall time and chance, made here once and handed down (seams §4).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use settings::Backoff;
use tokio::time::Instant;

/// Reads wall time; replaced in tests.
#[derive(Clone)]
pub struct Wall(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Wall {
    pub fn system() -> Wall {
        Wall(Arc::new(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()))
    }

    #[cfg(test)]
    pub fn from(read: impl Fn() -> Duration + Send + Sync + 'static) -> Wall {
        Wall(Arc::new(read))
    }

    /// Since the Unix epoch.
    pub fn now(&self) -> Duration {
        (self.0)()
    }
}

/// The moments at which an idle thread wakes: everything that looks at something now and then does so together.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    start: Instant,
    period: Duration,
}

impl Beat {
    pub fn new(period: Duration) -> Beat {
        Beat { start: Instant::now(), period }
    }

    /// The next moment, at most a period away.
    pub fn next(&self) -> Instant {
        let passed = self.start.elapsed().as_millis() / self.period.as_millis().max(1);
        self.start + self.period * (passed as u32).saturating_add(1)
    }
}

/// A number in `0.0..1.0`.
pub fn chance() -> f64 {
    let mut bytes = [0; 8];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => (u64::from_le_bytes(bytes) >> 11) as f64 / (1u64 << 53) as f64,
        Err(_) => 0.5,
    }
}

/// Growing pauses between attempts.
#[derive(Debug)]
pub struct Pauses {
    backoff: Backoff,
    next: Duration,
}

impl Pauses {
    pub fn new(backoff: Backoff) -> Pauses {
        Pauses { next: backoff.min, backoff }
    }

    /// After success the next pause is the shortest again.
    pub fn reset(&mut self) {
        self.next = self.backoff.min;
    }

    /// Between the base and the base with its jitter; the base doubles up to the maximum. `chance` is in `0..1`.
    pub fn pause(&mut self, chance: f64) -> Duration {
        let base = self.next;
        self.next = (base * 2).min(self.backoff.max);
        base.mul_f64(1.0 + self.backoff.jitter * chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_their_maximum_and_jitter_only_adds() {
        let backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_millis(350), jitter: 0.5 };
        let mut pauses = Pauses::new(backoff);
        let bases: Vec<u128> = (0..4).map(|_| pauses.pause(0.0).as_millis()).collect();
        assert_eq!(bases, [100, 200, 350, 350]);
        pauses.reset();
        assert_eq!(pauses.pause(1.0).as_millis(), 150);
    }

    #[tokio::test(start_paused = true)]
    async fn beats_are_shared_by_all_and_never_further_than_a_period() {
        let beat = Beat::new(Duration::from_secs(10));
        let first = beat.next();
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(beat.next(), first);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(beat.next() - first, Duration::from_secs(10));
    }

    #[test]
    fn chance_stays_below_one() {
        assert!((0..1000).all(|_| (0.0..1.0).contains(&chance())));
    }
}
