//! Which lines are written: a filter in the words of Rust's `tracing`, as Linkerd's users know it.

use std::fmt;

use super::Level;

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

    /// The most verbose level any target has; 0 is off.
    pub(super) fn most_verbose(&self) -> u8 {
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
}
