//! Clocks that are wrong, and clocks that are set while we run (seams §4, faults F-25, F-26).

use std::sync::atomic::AtomicI64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wire::method::IDENTITY_CERTIFY;

use super::*;

/// A wall clock that is off by so many seconds.
#[derive(Clone, Default)]
struct Clock(Arc<AtomicI64>);

impl Clock {
    fn set(&self, seconds: i64) {
        self.0.store(seconds, Ordering::Relaxed);
    }

    fn wall(&self) -> Wall {
        let off = self.0.clone();
        Wall::from(move || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let off = off.load(Ordering::Relaxed);
            let length = Duration::from_secs(off.unsigned_abs());
            if off < 0 { now.saturating_sub(length) } else { now + length }
        })
    }
}

async fn started(clock: &Clock) -> (Rc<Plane>, Sidecar) {
    let (plane, path) = (Plane::new(), socket());
    plane.serve_unix(&path);
    plane.life.set(Duration::from_secs(24 * 3600));
    let env = Env::new(&plane, &format!("unix:{}", path.display()));
    (plane, Sidecar::start_at(env, clock.wall()).await)
}

/// Plays the launcher for a while.
async fn pass(sidecar: &mut Sidecar, time: Duration) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = sidecar.launcher.give_tokens() => panic!("the launcher's line ended"),
    }
}

#[test]
fn answers_that_a_wrong_clock_makes_useless_are_asked_for_every_ten_seconds_at_most_until_it_is_right() {
    for off in [-600, 25 * 3600, 26 * 3600] {
        local(async {
            let clock = Clock::default();
            clock.set(off);
            let (plane, mut sidecar) = started(&clock).await;
            pass(&mut sidecar, Duration::from_millis(1500)).await;
            assert!(sidecar.news.try_recv().is_err(), "nothing is served with it");
            assert_eq!(plane.count(IDENTITY_CERTIFY), 1, "{off}");
            clock.set(0);
            let credentials = tokio::time::timeout(Duration::from_secs(4), sidecar.certified()).await.unwrap();
            assert_eq!(credentials.identity.as_str(), WEB);
        });
    }
}

#[test]
fn a_clock_that_is_set_costs_nothing_but_a_question_and_the_next_setting_waits() {
    for step in [3600, -3600, 26 * 3600, -26 * 3600] {
        local(async {
            let clock = Clock::default();
            let (plane, mut sidecar) = started(&clock).await;
            let first = sidecar.certified().await;
            clock.set(step);
            pass(&mut sidecar, Duration::from_millis(2500)).await;
            let asked = plane.count(IDENTITY_CERTIFY);
            assert_eq!(asked, 2, "{step}");
            // By a clock that is an hour ahead the answer is good; by the others it is useless, and what is there stays.
            assert_eq!(sidecar.news.try_recv().is_ok(), step == 3600, "{step}");
            // Now and then again: a clock that is set all the time makes no storm.
            for again in 1..=5 {
                clock.set(step + 60 * again);
                pass(&mut sidecar, Duration::from_millis(150)).await;
            }
            assert_eq!(plane.count(IDENTITY_CERTIFY), asked);
            assert_eq!(first.identity.as_str(), WEB);
        });
    }
}
