//! Deadlines in ticks of 2 ms: four rings of 64 slots, each with a bitmap, so that the next deadline is
//! found without a search and an idle process sets no timer at all.
//!
//! Owners keep their own deadline and look at it when an entry fires; nothing is ever cancelled here.

use std::time::Duration;

pub const TICK: Duration = Duration::from_millis(2);
const RINGS: usize = 4;
const SLOTS: usize = 64;
const BITS: u32 = 6;
/// The farthest entry; what lies beyond fires early, and its owner sets it again.
const HORIZON: u64 = 1 << (BITS * RINGS as u32);

/// Ticks since the process started; 0 means "none" wherever a deadline is stored.
pub type Tick = u64;

pub fn tick_of(nanoseconds: u64) -> Tick {
    nanoseconds / TICK.as_nanos() as u64
}

/// The first tick not earlier than `after` from `nanoseconds`, and never 0.
pub fn deadline(nanoseconds: u64, after: Duration) -> Tick {
    let ticks = (after.as_nanos() / TICK.as_nanos()).min(u128::from(u32::MAX)) as u64;
    tick_of(nanoseconds) + ticks + 1
}

pub struct Wheel<T> {
    now: Tick,
    rings: [[Vec<(Tick, T)>; SLOTS]; RINGS],
    occupied: [u64; RINGS],
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Wheel { now: 0, rings: std::array::from_fn(|_| std::array::from_fn(|_| Vec::new())), occupied: [0; RINGS] }
    }
}

impl<T> Wheel<T> {
    /// A deadline that has passed fires at the next tick.
    pub fn insert(&mut self, at: Tick, item: T) {
        let at = at.clamp(self.now + 1, self.now + HORIZON - 1);
        self.place(at, item);
    }

    fn place(&mut self, at: Tick, item: T) {
        let distance = at ^ self.now;
        let ring = if distance == 0 { 0 } else { ((63 - distance.leading_zeros()) / BITS) as usize }.min(RINGS - 1);
        let slot = (at >> (BITS * ring as u32)) as usize % SLOTS;
        self.occupied[ring] |= 1 << slot;
        self.rings[ring][slot].push((at, item));
    }

    /// The tick at which `advance` has something to do, or `None` while nothing is set.
    pub fn next(&self) -> Option<Tick> {
        for ring in 0..RINGS {
            let shift = BITS * ring as u32;
            let here = (self.now >> shift) % SLOTS as u64;
            let later = self.occupied[ring].checked_shr(here as u32 + 1).unwrap_or(0);
            if later != 0 {
                return Some(((self.now >> shift) + 1 + u64::from(later.trailing_zeros())) << shift);
            }
            if ring == RINGS - 1 && self.occupied[ring] != 0 {
                let wrapped = u64::from(self.occupied[ring].trailing_zeros());
                return Some(((self.now >> shift) - here + SLOTS as u64 + wrapped) << shift);
            }
        }
        None
    }

    /// Moves to `now` and appends every entry due by then to `due`, in order of ticks.
    pub fn advance(&mut self, now: Tick, due: &mut Vec<T>) {
        while let Some(next) = self.next() {
            if next > now {
                break;
            }
            self.now = next;
            for ring in (0..RINGS).rev() {
                let shift = BITS * ring as u32;
                if ring > 0 && next & ((1 << shift) - 1) != 0 {
                    continue;
                }
                let slot = (next >> shift) as usize % SLOTS;
                self.occupied[ring] &= !(1 << slot);
                let entries = std::mem::take(&mut self.rings[ring][slot]);
                for (at, item) in entries {
                    if at <= next { due.push(item) } else { self.place(at, item) }
                }
            }
        }
        self.now = self.now.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_fires_once_and_at_its_tick() {
        let mut wheel = Wheel::default();
        let mut seed = 7u64;
        let mut expected = Vec::new();
        let mut fired = Vec::new();
        let mut due = Vec::new();
        for step in 0..200_000u64 {
            if step % 3 == 0 {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = step + 1 + (seed >> 40) % [3, 70, 5000, 150_000][(seed >> 33) as usize % 4];
                wheel.insert(at, at);
                expected.push(at);
            }
            if wheel.next().is_some_and(|next| next <= step) || step % 7 == 0 {
                wheel.advance(step, &mut due);
                for at in due.drain(..) {
                    assert!(at <= step && step < at + 7, "{at} fired at {step}");
                    fired.push(at);
                }
            }
        }
        wheel.advance(1_000_000, &mut due);
        fired.append(&mut due);
        fired.sort_unstable();
        expected.sort_unstable();
        assert_eq!(fired, expected);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn the_next_deadline_is_never_later_than_the_earliest_entry() {
        let mut wheel = Wheel::default();
        let mut due: Vec<u64> = Vec::new();
        wheel.advance(63, &mut due);
        wheel.insert(64, 64);
        wheel.insert(130, 130);
        assert_eq!(wheel.next(), Some(64));
        wheel.advance(64, &mut due);
        assert_eq!(due, [64]);
        assert!(wheel.next().is_some_and(|next| next <= 130));
    }
}
