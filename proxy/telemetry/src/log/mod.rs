//! The log: one line per event, plain or JSON, with levels per target that can change while running.
//!
//! A line never waits: what cannot be written at once is dropped and counted. Control characters are escaped, so an
//! event is one line whatever a peer put into it (security A-62). Never log headers, paths' queries, keys or tokens.

mod filter;
mod line;

pub use filter::{Filter, InvalidFilter};
use line::Line;

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Lines of one call site per second; the next second's first line says how many were left out.
const MAX_LINES_PER_SITE: u32 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    Error = 1,
    Warn = 2,
    Info = 3,
    Debug = 4,
    Trace = 5,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "ERROR",
            Level::Warn => "WARN",
            Level::Info => "INFO",
            Level::Debug => "DEBUG",
            Level::Trace => "TRACE",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Plain,
    Json,
}

struct Logger {
    filter: Mutex<Filter>,
    format: Format,
    out: Mutex<Out>,
}

struct Out {
    fd: OwnedFd,
    /// A file of ours is emptied when it has grown to this; `None` for what others own.
    bound: Option<u64>,
}

static LOGGER: OnceLock<Logger> = OnceLock::new();
/// The most verbose level any target has; 0 before [`start`].
static VERBOSITY: AtomicU8 = AtomicU8::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Starts writing to `out`: a pipe, file, terminal or socket. `bound`: a file that is appended to is emptied when it
/// has grown to that many bytes. A second call changes the filter only.
pub fn start(filter: Filter, format: Format, out: OwnedFd, bound: Option<u64>) {
    LOGGER.get_or_init(|| Logger {
        filter: Mutex::new(filter.clone()),
        format,
        out: Mutex::new(Out { fd: out, bound }),
    });
    set_filter(filter);
}

/// Changes what is written from now on.
pub fn set_filter(filter: Filter) {
    if let Some(logger) = LOGGER.get() {
        VERBOSITY.store(filter.most_verbose(), Ordering::Relaxed);
        *logger.filter.lock().unwrap_or_else(PoisonError::into_inner) = filter;
    }
}

/// The filter in force, as it was written; empty before [`start`].
pub fn filter() -> String {
    LOGGER.get().map_or_else(String::new, |logger| {
        logger.filter.lock().unwrap_or_else(PoisonError::into_inner).as_str().to_owned()
    })
}

/// Lines that could not be written at once.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Whether any target writes this level: one relaxed load.
pub fn may(level: Level) -> bool {
    level as u8 <= VERBOSITY.load(Ordering::Relaxed)
}

/// Where a line comes from, and how often it was written lately; made by the macros.
pub struct Site {
    level: Level,
    target: &'static str,
    /// Second (upper half) and lines in it (lower half).
    rate: AtomicU64,
}

impl Site {
    pub const fn new(level: Level, target: &'static str) -> Site {
        Site { level, target, rate: AtomicU64::new(0) }
    }

    /// How many lines were left out before this one; `None` when this one is, too.
    fn admit(&self, second: u32) -> Option<u32> {
        let held = self.rate.load(Ordering::Relaxed);
        let (last, lines) = ((held >> 32) as u32, held as u32);
        let next = if last == second { lines.saturating_add(1) } else { 1 };
        self.rate.store(u64::from(second) << 32 | u64::from(next), Ordering::Relaxed);
        if last == second {
            return (lines < MAX_LINES_PER_SITE).then_some(0);
        }
        Some(lines.saturating_sub(MAX_LINES_PER_SITE))
    }

    /// Writes one line if the filter and the rate allow it.
    pub fn write(&self, message: fmt::Arguments<'_>) {
        let Some(logger) = LOGGER.get() else { return };
        if !logger.filter.lock().unwrap_or_else(PoisonError::into_inner).enabled(self.level, self.target) {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let Some(omitted) = self.admit(now.as_secs() as u32) else { return };
        let mut line = Line { text: String::with_capacity(256), format: logger.format };
        line.compose(self, (now.as_secs(), now.subsec_micros()), omitted, message);
        logger.out.lock().unwrap_or_else(PoisonError::into_inner).put(line.text.as_bytes());
    }
}

impl Out {
    /// Writes without waiting. Only one thread is here at a time, so what was writable stays so: a pipe with room takes
    /// a whole line.
    fn put(&mut self, line: &[u8]) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut ready = [PollFd::from_borrowed_fd(self.fd.as_fd(), PollFlags::OUT)];
        let polled = matches!(poll(&mut ready, Some(&now)), Ok(n) if n > 0);
        let writable = polled && ready[0].revents().contains(PollFlags::OUT);
        if !writable || rustix::io::write(&self.fd, line) != Ok(line.len()) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        self.keep_bound();
    }

    /// Only a file that is appended to can be emptied under its writer; what a shell's `2>` opened is left alone.
    fn keep_bound(&mut self) {
        use rustix::fs::{OFlags, fcntl_getfl, fstat, ftruncate};
        let Some(bound) = self.bound else { return };
        let size = fstat(&self.fd).ok().and_then(|stat| u64::try_from(stat.st_size).ok());
        if size.is_none_or(|size| size < bound) {
            return;
        }
        let appends = fcntl_getfl(&self.fd).is_ok_and(|flags| flags.contains(OFlags::APPEND));
        if !appends || ftruncate(&self.fd, 0).is_err() {
            self.bound = None;
        }
    }
}

/// `log!(Level::Info, "format {}", value)`: the target is `gossamer::` and the caller's module.
#[macro_export]
macro_rules! log {
    ($level:expr, $($message:tt)+) => {{
        static SITE: $crate::log::Site = $crate::log::Site::new($level, concat!("gossamer::", module_path!()));
        if $crate::log::may($level) {
            SITE.write(format_args!($($message)+));
        }
    }};
}

#[macro_export]
macro_rules! error {
    ($($message:tt)+) => { $crate::log!($crate::log::Level::Error, $($message)+) };
}

#[macro_export]
macro_rules! warn {
    ($($message:tt)+) => { $crate::log!($crate::log::Level::Warn, $($message)+) };
}

#[macro_export]
macro_rules! info {
    ($($message:tt)+) => { $crate::log!($crate::log::Level::Info, $($message)+) };
}

#[macro_export]
macro_rules! debug {
    ($($message:tt)+) => { $crate::log!($crate::log::Level::Debug, $($message)+) };
}

#[macro_export]
macro_rules! trace {
    ($($message:tt)+) => { $crate::log!($crate::log::Level::Trace, $($message)+) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_line_is_bounded_per_second_and_says_what_it_left_out() {
        let site = Site::new(Level::Info, "gossamer::test");
        let written = (0..100).filter(|_| site.admit(7).is_some()).count();
        assert_eq!(written, MAX_LINES_PER_SITE as usize);
        assert_eq!(site.admit(8), Some(100 - MAX_LINES_PER_SITE));
        assert_eq!(site.admit(8), Some(0));
    }

    fn file(name: &str, append: bool) -> (std::path::PathBuf, Out) {
        let path = std::env::temp_dir().join(format!("gossamer-log-{name}-{}", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        let file = if append { options.append(true) } else { options.write(true) }.create(true).open(&path).unwrap();
        (path, Out { fd: file.into(), bound: Some(100) })
    }

    #[test]
    fn a_file_of_ours_is_emptied_when_it_has_grown_to_its_bound() {
        let (path, mut out) = file("ours", true);
        (0..25).for_each(|_| out.put(b"ten bytes\n"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "ten bytes\n".repeat(5));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_that_is_not_appended_to_is_left_alone() {
        let (path, mut out) = file("theirs", false);
        (0..25).for_each(|_| out.put(b"ten bytes\n"));
        assert_eq!(std::fs::read(&path).unwrap().len(), 250);
        std::fs::remove_file(path).unwrap();
    }
}
