//! The latency histogram: Linkerd's buckets refined by finer ones that contain them (seams §29).

use crate::cell::Counter;

/// Upper bounds in microseconds; a last bucket, not listed, holds what is slower.
pub const BOUNDS_US: [u64; 41] = [
    100, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000, 4_000, 5_000, 7_000, 10_000, 15_000, 20_000, 25_000, 30_000,
    40_000, 50_000, 70_000, 100_000, 150_000, 200_000, 250_000, 300_000, 400_000, 500_000, 700_000, 1_000_000,
    1_500_000, 2_000_000, 2_500_000, 3_000_000, 4_000_000, 5_000_000, 7_000_000, 10_000_000, 20_000_000, 30_000_000,
    40_000_000, 50_000_000,
];

/// Number of counts: one per bound and one for what is slower than all.
pub const BUCKETS: usize = BOUNDS_US.len() + 1;

/// Linkerd's `response_latency_ms` bounds, in milliseconds.
pub const LINKERD_MS: [u64; 25] = [
    1, 2, 3, 4, 5, 10, 20, 30, 40, 50, 100, 200, 300, 400, 500, 1_000, 2_000, 3_000, 4_000, 5_000, 10_000, 20_000,
    30_000, 40_000, 50_000,
];

#[derive(Debug)]
pub(crate) struct Histogram {
    counts: [Counter; BUCKETS],
    sum_us: Counter,
}

impl Histogram {
    pub fn new() -> Histogram {
        Histogram { counts: std::array::from_fn(|_| Counter::default()), sum_us: Counter::default() }
    }

    pub fn observe(&self, us: u64) {
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.counts[bucket].add(1);
        self.sum_us.add(us);
    }

    pub fn counts(&self) -> [u64; BUCKETS] {
        std::array::from_fn(|bucket| self.counts[bucket].get())
    }

    pub fn sum_us(&self) -> u64 {
        self.sum_us.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_finer_bounds_contain_linkerds() {
        for bound in LINKERD_MS {
            assert!(BOUNDS_US.contains(&(bound * 1_000)), "{bound} ms");
        }
        assert!(BOUNDS_US.is_sorted());
    }

    #[test]
    fn an_observation_counts_in_the_first_bucket_that_is_not_below_it() {
        let histogram = Histogram::new();
        for us in [0, 100, 101, 50_000_000, 50_000_001] {
            histogram.observe(us);
        }
        let counts = histogram.counts();
        assert_eq!((counts[0], counts[1], counts[BUCKETS - 2], counts[BUCKETS - 1]), (2, 1, 1, 1));
        assert_eq!(histogram.sum_us(), 100_000_202);
    }
}
