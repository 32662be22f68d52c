//! Wall time, boot time and chance, made here once and handed down (seams §4).

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};
use settings::Backoff;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::Instant;

/// What wall and boot time may drift apart between two looks before the clock counts as set.
const DRIFT: Duration = Duration::from_secs(2);

type Read = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Reads wall time, and boot time beside it; replaced in tests.
#[derive(Clone)]
pub struct Wall {
    wall: Read,
    boot: Read,
}

impl Wall {
    pub fn system() -> Wall {
        Wall::from(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// With a wall clock of its own, and the machine's boot time.
    pub fn from(wall: impl Fn() -> Duration + Send + Sync + 'static) -> Wall {
        let boot = || {
            let time = clock_gettime(ClockId::Boottime);
            Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
        };
        Wall { wall: Arc::new(wall), boot: Arc::new(boot) }
    }

    /// Since the Unix epoch.
    pub fn now(&self) -> Duration {
        (self.wall)()
    }

    /// Since the machine was started, suspension included: never goes back, and nobody sets it.
    pub fn boot(&self) -> Duration {
        (self.boot)()
    }
}

/// How far somebody set the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Ahead(Duration),
    Back(Duration),
}

/// Notices that wall time went another way than boot time.
#[derive(Debug)]
pub struct Steps {
    wall: Duration,
    boot: Duration,
}

impl Steps {
    pub fn new(wall: Duration, boot: Duration) -> Steps {
        Steps { wall, boot }
    }

    /// What happened since the last look. Small corrections are none.
    pub fn look(&mut self, wall: Duration, boot: Duration) -> Option<Step> {
        let expected = self.wall + boot.saturating_sub(self.boot);
        *self = Steps { wall, boot };
        match (wall.checked_sub(expected), expected.checked_sub(wall)) {
            (Some(ahead), _) if ahead > DRIFT => Some(Step::Ahead(ahead)),
            (_, Some(back)) if back > DRIFT => Some(Step::Back(back)),
            _ => None,
        }
    }
}

/// A length of time as people say it: `10 min 3 s`, `26 h`, `3 d 4 h`.
pub fn words(length: Duration) -> String {
    let seconds = length.as_secs();
    let (size, unit, small, part) = match seconds {
        0..60 => return format!("{seconds} s"),
        60..3_600 => (60, "min", 1, "s"),
        3_600..172_800 => (3_600, "h", 60, "min"),
        _ => (86_400, "d", 3_600, "h"),
    };
    match seconds % size / small {
        0 => format!("{} {unit}", seconds / size),
        rest => format!("{} {unit} {rest} {part}", seconds / size),
    }
}

/// Counts how often the wall clock was set or the machine woke up; the future counts, and must be polled.
pub fn sets() -> (watch::Receiver<u64>, impl Future<Output = ()>) {
    let (count, seen) = watch::channel(0);
    let watching = async move {
        if let Err(error) = watch_sets(&count).await {
            telemetry::debug!("settings of the clock are noticed at the next look only: {error}");
        }
        // Whoever waits for the next one waits on.
        std::future::pending::<()>().await;
    };
    (seen, watching)
}

/// A timer that never fires, except that the kernel cancels it when wall time jumps (timerfd_create(2)).
async fn watch_sets(count: &watch::Sender<u64>) -> io::Result<()> {
    let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    let never = Timespec { tv_sec: i64::from(i32::MAX) * 1_000, tv_nsec: 0 };
    let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: never };
    timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &once)?;
    // Any descriptor that is read from will do for it.
    let timer = pipe::Receiver::from_owned_fd_unchecked(timer)?;
    loop {
        timer.readable().await?;
        match timer.try_read(&mut [0; 8]) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::CANCELED.raw_os_error()) => {
                count.send_modify(|count| *count += 1);
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Ok(_) | Err(_) => {}
        }
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
    fn a_clock_that_is_set_is_told_from_one_that_goes_on_and_from_a_machine_that_slept() {
        let at = Duration::from_secs;
        let mut steps = Steps::new(at(1_000_000), at(50));
        assert_eq!(steps.look(at(1_000_010), at(60)), None);
        assert_eq!(steps.look(at(1_000_011), at(60)), None, "a correction");
        assert_eq!(steps.look(at(1_007_211), at(7_260)), None, "slept for two hours");
        assert_eq!(steps.look(at(1_007_212 + 3_600), at(7_261)), Some(Step::Ahead(at(3_600))));
        assert_eq!(steps.look(at(1_007_213 + 3_600), at(7_262)), None);
        assert_eq!(steps.look(at(1_007_213 + 3_600 - 93_600), at(7_262)), Some(Step::Back(at(93_600))));
        assert_eq!(steps.look(at(0), at(7_263)).map(|step| matches!(step, Step::Back(_))), Some(true));
    }

    #[test]
    fn lengths_are_said_in_two_units_at_most() {
        let say = |seconds| words(Duration::from_secs(seconds));
        let said = [0, 59, 60, 603, 3_600, 93_600, 93_660, 266_400].map(say);
        assert_eq!(said, ["0 s", "59 s", "1 min", "10 min 3 s", "1 h", "26 h", "26 h 1 min", "3 d 2 h"]);
    }

    #[test]
    fn boot_time_goes_on() {
        let wall = Wall::system();
        let before = wall.boot();
        assert!(!before.is_zero() && wall.boot() >= before);
    }

    #[test]
    fn chance_stays_below_one() {
        assert!((0..1000).all(|_| (0.0..1.0).contains(&chance())));
    }
}
