//! When to ask for the next certificate, and with which proof: decisions over time and chance that are given.

use std::time::Duration;

use settings::IdentitySettings;

use super::trust::Digest;

/// Below this, a life is too short for IDENTITY_MIN_REFRESH.
const SHORT_LIFE: Duration = Duration::from_secs(30);
/// Between questions whose answers cannot be used because clocks disagree (faults F-25).
pub const CALM: Duration = Duration::from_secs(10);
/// In which sidecars of one machine ask after its clock was set.
const SPREAD: Duration = Duration::from_secs(2);

/// The moments that matter of one certificate, since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub renew_at: Duration,
    pub not_after: Duration,
    /// To which the certificate chains.
    anchor: Digest,
    /// The active anchor for which a moment was drawn.
    drawn: Option<Digest>,
}

impl Schedule {
    pub fn new(
        now: Duration,
        not_after: Duration,
        anchor: Digest,
        settings: &IdentitySettings,
        chance: f64,
    ) -> Schedule {
        let renew_at = now + renewal_after(not_after.saturating_sub(now), settings, chance);
        Schedule { renew_at, not_after, anchor, drawn: None }
    }

    /// What certificates should chain to now. Under another anchor, ours is replaced at a moment drawn by chance, once
    /// for each active anchor: a second bundle does not bring it forward, and none puts it off.
    pub fn follow(&mut self, active: Option<Digest>, within: Duration, now: Duration, chance: f64) {
        match active {
            Some(active) if active != self.anchor => {
                if self.drawn.replace(active) != Some(active) {
                    self.renew_at = self.renew_at.min(now + within.mul_f64(chance));
                }
            }
            _ => self.drawn = None,
        }
    }

    /// The same certificate under another bundle may lead to another anchor.
    pub fn chains_to(&mut self, anchor: Digest) {
        self.anchor = anchor;
    }

    /// How long until the time has come; zero when it has.
    pub fn wait(&self, now: Duration) -> Duration {
        self.renew_at.saturating_sub(now)
    }
}

/// Before when nothing is asked, in boot time: no clock that is wrong, or set all the time, may make a storm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calm {
    until: Duration,
    /// When a clock that was set last made us ask.
    stepped: Option<Duration>,
}

impl Calm {
    /// Somebody set the clock: what was planned by it means nothing any more, and whether the certificate is valid for
    /// others cannot be known, so another is asked for soon. What was wrong before may be right now.
    pub fn clock_was_set(&mut self, boot: Duration, chance: f64) {
        let earliest = self.stepped.map_or(Duration::ZERO, |at| at + CALM);
        self.until = (boot + SPREAD.mul_f64(chance)).max(earliest);
        self.stepped = Some(self.until);
    }

    /// The answer cannot be used because clocks disagree.
    pub fn skewed(&mut self, boot: Duration) {
        self.until = self.until.max(boot + CALM);
    }

    pub fn wait(&self, boot: Duration) -> Duration {
        self.until.saturating_sub(boot)
    }
}

/// Half of what is left, ± 10 % of it, within the clamp; a life too short for the clamp ignores its lower end.
fn renewal_after(left: Duration, settings: &IdentitySettings, chance: f64) -> Duration {
    let wait = left.mul_f64(0.4 + 0.2 * chance);
    let least = if left < SHORT_LIFE { Duration::ZERO } else { settings.min_refresh };
    wait.max(least).min(settings.max_refresh.max(least))
}

#[cfg(test)]
mod tests {
    use super::*;
    use settings::{Anchors, Token};

    const OLD: Digest = [1; 32];
    const NEW: Digest = [2; 32];

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn settings() -> IdentitySettings {
        IdentitySettings {
            name: crate::testing::identity("web"),
            server_name: "web".into(),
            anchors: Anchors::Pem(String::new()),
            dir: None,
            token: Token::None,
            spire: None,
            min_refresh: at(10),
            max_refresh: at(86_400),
        }
    }

    #[test]
    fn renewal_is_at_half_of_the_life_within_a_tenth_and_within_the_clamp() {
        let after = |left, chance| renewal_after(at(left), &settings(), chance).as_secs_f64();
        assert_eq!(after(1000, 0.0), 400.0);
        assert_eq!(after(1000, 0.5), 500.0);
        assert!(after(1000, 0.999) < 600.0);
        assert_eq!(after(10 * 86_400, 0.5), 86_400.0);
        assert_eq!(after(31, 0.0), 12.4);
        assert_eq!(after(4, 0.5), 2.0);
        assert_eq!(after(0, 0.5), 0.0);
    }

    #[test]
    fn a_new_active_anchor_draws_one_moment_within_the_window_and_an_abort_draws_again() {
        let mut plan = Schedule::new(at(1_000), at(1_000 + 86_400), OLD, &settings(), 0.5);
        let planned = plan.renew_at;
        plan.follow(Some(OLD), at(60), at(1_000), 0.5);
        assert_eq!((plan.renew_at, plan.drawn), (planned, None));
        plan.follow(Some(NEW), at(60), at(1_000), 0.5);
        assert_eq!((plan.renew_at, plan.drawn), (at(1_030), Some(NEW)));
        // More bundles with the same word change nothing, and the window does not begin anew.
        plan.follow(Some(NEW), at(60), at(1_010), 0.1);
        assert_eq!(plan.renew_at, at(1_030));
        plan.follow(Some(OLD), at(60), at(1_020), 0.9);
        assert_eq!(plan.drawn, None);
        plan.follow(Some(NEW), at(60), at(1_025), 0.0);
        assert_eq!(plan.renew_at, at(1_025));
        plan.follow(None, at(60), at(1_025), 0.0);
        assert_eq!(plan.drawn, None);
    }

    #[test]
    fn moments_are_within_the_window_for_every_chance_and_never_later_than_planned() {
        for percent in 0..100 {
            let chance = f64::from(percent) / 100.0;
            let mut plan = Schedule::new(at(1_000), at(1_040), OLD, &settings(), chance);
            let planned = plan.renew_at;
            plan.follow(Some(NEW), at(3_600), at(1_000), chance);
            assert!(plan.renew_at <= planned && plan.renew_at < plan.not_after);
        }
    }

    #[test]
    fn a_clock_that_jumps_every_second_makes_a_question_in_ten_seconds() {
        let mut calm = Calm::default();
        let mut asked = vec![];
        for second in 0..60 {
            calm.clock_was_set(at(second), 0.0);
            if calm.wait(at(second)).is_zero() {
                asked.push(second);
            }
        }
        assert_eq!(asked.first(), Some(&0));
        assert!(asked.len() <= 6, "{asked:?}");
    }

    #[test]
    fn answers_that_cannot_be_used_calm_until_the_clock_is_set_right() {
        let mut calm = Calm::default();
        calm.skewed(at(100));
        assert_eq!(calm.wait(at(101)), at(9));
        calm.clock_was_set(at(102), 0.0);
        assert_eq!(calm.wait(at(102)), Duration::ZERO);
    }
}
