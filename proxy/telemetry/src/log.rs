//! The log: one line per event, plain or JSON, with levels per target that can change while running.
//!
//! A line never waits: what cannot be written at once is dropped and counted. Control characters are escaped, so an
//! event is one line whatever a peer put into it (security A-62). Never log headers, paths' queries, keys or tokens.

use std::fmt::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of one line less its frame, so that the whole fits the 4,096 a pipe takes at once; the rest is cut.
const MAX_LINE: usize = 3_500;
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

/// Which levels are written, by target: `warn,linkerd=info,gossamer::control=debug`. The longest prefix decides.
///
/// `linkerd` and any target that begins with it stand for all of Gossamer's own; targets of others (`hickory`, `h2`)
/// and tracing's field filters (`[{headers}]=off`) are accepted and match nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    text: String,
    /// Longest target first; 0 is off.
    rules: Vec<(String, u8)>,
    default: u8,
}

/// Why a filter is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidFilter {
    pub directive: String,
}

impl fmt::Display for InvalidFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a log level; write LEVEL or TARGET=LEVEL with off, error, warn, info, debug or trace, separated by commas",
            self.directive
        )
    }
}

impl std::error::Error for InvalidFilter {}

impl Filter {
    /// Most bytes and directives of a filter.
    const MAX_TEXT: usize = 4_096;
    const MAX_RULES: usize = 64;

    pub fn parse(text: &str) -> Result<Filter, InvalidFilter> {
        let invalid = |directive: &str| InvalidFilter { directive: directive.chars().take(64).collect() };
        if text.len() > Filter::MAX_TEXT || text.split(',').count() > Filter::MAX_RULES {
            return Err(invalid(text));
        }
        let mut filter = Filter { text: text.trim().to_owned(), rules: Vec::new(), default: 0 };
        for directive in text.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
            filter.add(directive).ok_or_else(|| invalid(directive))?;
        }
        filter.rules.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.0.cmp(&b.0)));
        Ok(filter)
    }

    fn add(&mut self, directive: &str) -> Option<()> {
        let Some((target, level)) = directive.rsplit_once('=') else {
            match level_of(directive) {
                Some(level) => self.default = level,
                // tracing: a bare target means all of its levels.
                None if is_target(directive) => self.rule(directive, Level::Trace as u8),
                None => return None,
            }
            return Some(());
        };
        let level = level_of(level)?;
        if target.contains('[') {
            return Some(());
        }
        if !is_target(target) {
            return None;
        }
        self.rule(target, level);
        Some(())
    }

    fn rule(&mut self, target: &str, level: u8) {
        let ours = target.starts_with("linkerd");
        let target = if ours { "gossamer" } else { target };
        self.rules.retain(|(other, _)| other != target);
        self.rules.push((target.to_owned(), level));
    }

    pub fn enabled(&self, level: Level, target: &str) -> bool {
        let matches =
            |prefix: &str| target.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        let allowed = self.rules.iter().find(|(prefix, _)| matches(prefix)).map_or(self.default, |(_, level)| *level);
        level as u8 <= allowed
    }

    fn most_verbose(&self) -> u8 {
        self.rules.iter().map(|(_, level)| *level).fold(self.default, u8::max)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn level_of(text: &str) -> Option<u8> {
    let words = ["off", "error", "warn", "info", "debug", "trace"];
    words.iter().position(|word| word.eq_ignore_ascii_case(text.trim())).map(|level| level as u8)
}

fn is_target(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-' | b'.'))
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

struct Line {
    text: String,
    format: Format,
}

impl Line {
    fn compose(&mut self, site: &Site, now: (u64, u32), omitted: u32, message: fmt::Arguments<'_>) {
        let (json, level) = (self.format == Format::Json, site.level.as_str());
        let stamp = Stamp(now.0, now.1);
        let opened = if json {
            write!(self.text, r#"{{"timestamp":"{stamp}","level":"{level}","fields":{{"message":""#)
        } else {
            write!(self.text, "{stamp} {level:>5} {}: ", site.target)
        };
        let mut escape = Escape { out: &mut self.text, json };
        let said = opened.and_then(|()| escape.write_fmt(message)).and_then(|()| match omitted {
            0 => Ok(()),
            n => write!(escape, " ({n} lines like this left out)"),
        });
        // A formatter that fails (or a full line) leaves what it wrote; the event is still one line.
        if said.is_err() {
            self.text.push('…');
        }
        if json {
            self.text.push_str(r#""},"target":""#);
            self.text.push_str(site.target);
            self.text.push_str("\"}");
        }
        self.text.push('\n');
    }
}

/// Escapes control characters (and, for JSON, quotes and backslashes); an error once the line is full.
struct Escape<'a> {
    out: &'a mut String,
    json: bool,
}

impl fmt::Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.out.len() >= MAX_LINE {
                return Err(fmt::Error);
            }
            match c {
                '"' | '\\' if self.json => {
                    self.out.push('\\');
                    self.out.push(c);
                }
                '\n' => self.out.push_str("\\n"),
                '\t' => self.out.push_str("\\t"),
                c if hides(c) => write!(self.out, "\\u{:04x}", c as u32)?,
                c => self.out.push(c),
            }
        }
        Ok(())
    }
}

/// Control characters, and the formatting ones that reorder or hide text on a terminal.
fn hides(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// `2026-11-23T17:22:18.000001Z` from seconds and microseconds since the Unix epoch.
struct Stamp(u64, u32);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0 / 86_400, self.0 % 86_400);
        // Days since 0000-03-01 to a date, by eras of 400 years.
        let z = days + 719_468;
        let (era, doe) = (z / 146_097, z % 146_097);
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
        let year = yoe + era * 400 + u64::from(month <= 2);
        let (hour, minute) = (second / 3_600, second / 60 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{:06}Z", second % 60, self.1)
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

    fn enabled(filter: &str, level: Level, target: &str) -> bool {
        Filter::parse(filter).unwrap().enabled(level, target)
    }

    #[test]
    fn the_longest_target_decides() {
        let filter = "warn,gossamer=info,gossamer::control=debug,gossamer::control::names=off";
        assert!(
            enabled(filter, Level::Info, "gossamer::sidecar") && !enabled(filter, Level::Debug, "gossamer::sidecar")
        );
        assert!(enabled(filter, Level::Debug, "gossamer::control::watch"));
        assert!(!enabled(filter, Level::Error, "gossamer::control::names"));
        assert!(enabled(filter, Level::Warn, "other") && !enabled(filter, Level::Info, "gossamerx"));
    }

    #[test]
    fn linkerds_targets_stand_for_ours() {
        let filter = "warn,linkerd=info,hickory=error,[{headers}]=off,[{request}]=off";
        assert!(
            enabled(filter, Level::Info, "gossamer::sidecar") && !enabled(filter, Level::Debug, "gossamer::sidecar")
        );
        assert!(enabled("error,linkerd_app=TRACE", Level::Trace, "gossamer::x"));
    }

    #[test]
    fn what_is_not_a_filter_is_named() {
        for bad in ["loud=very", "warn,gossamer=verbose", "a b=info", "=info"] {
            assert!(Filter::parse(bad).is_err(), "{bad}");
        }
        assert!(Filter::parse(&"a=info,".repeat(100)).is_err());
        let error = Filter::parse("warn,gossamer=verbose").unwrap_err();
        assert_eq!(error.directive, "gossamer=verbose");
    }

    #[test]
    fn nothing_is_written_at_off() {
        assert!(!enabled("off", Level::Error, "gossamer::x") && !enabled("", Level::Error, "gossamer::x"));
    }

    fn compose(format: Format, message: &str) -> String {
        let site = Site::new(Level::Info, "gossamer::test");
        let mut line = Line { text: String::new(), format };
        line.compose(&site, (1_795_540_938, 1), 0, format_args!("{message}"));
        line.text
    }

    #[test]
    fn an_event_is_one_line_without_control_characters() {
        let plain = compose(Format::Plain, "a\r\nb\x1b[31m\u{202e}\"c\\");
        assert_eq!(plain, "2026-11-24T17:22:18.000001Z  INFO gossamer::test: a\\u000d\\nb\\u001b[31m\\u202e\"c\\\n");
        let json = compose(Format::Json, "a\n\"b\\\0");
        assert_eq!(
            json,
            "{\"timestamp\":\"2026-11-24T17:22:18.000001Z\",\"level\":\"INFO\",\"fields\":{\"message\":\"a\\n\\\"b\\\\\\u0000\"},\"target\":\"gossamer::test\"}\n"
        );
    }

    #[test]
    fn a_long_message_is_cut_to_what_a_pipe_takes_at_once() {
        for format in [Format::Plain, Format::Json] {
            let line = compose(format, &"x".repeat(100_000));
            assert!(line.len() <= 4_096 && line.contains("x…"), "{}", line.len());
        }
    }

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

    #[test]
    fn timestamps_are_calendar_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_798_761_599, "2026-12-31T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(Stamp(seconds, 0).to_string(), text);
        }
    }
}
