//! Regular expressions of policy: linear time, bounded text and bounded size (security A-33).

use std::sync::Arc;

use regex_automata::meta::{Config, Regex};
use regex_automata::util::syntax;

/// Bytes of a pattern's text.
pub const MAX_PATTERN: usize = 1_024;
/// Bytes of a compiled pattern.
const MAX_COMPILED: usize = 256 * 1_024;

/// A compiled, linear-time pattern of at most 1,024 bytes that matches whole values; equal when its text is equal.
#[derive(Clone, Debug)]
pub struct Pattern {
    pub text: Arc<str>,
    pub regex: Arc<Regex>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidPattern {
    TooLong,
    /// Its compiled form would be too large.
    TooComplex,
    Syntax,
}

impl std::fmt::Display for InvalidPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            InvalidPattern::TooLong => "the pattern is longer than 1,024 bytes",
            InvalidPattern::TooComplex => "the pattern is too complex",
            InvalidPattern::Syntax => "the pattern is not a regular expression",
        })
    }
}

impl std::error::Error for InvalidPattern {}

impl Pattern {
    /// Classes such as `\w` and the flag `i` are ASCII.
    pub fn compile(text: &str) -> Result<Pattern, InvalidPattern> {
        if text.len() > MAX_PATTERN {
            return Err(InvalidPattern::TooLong);
        }
        let limits = Config::new().nfa_size_limit(Some(MAX_COMPILED)).utf8_empty(false);
        let syntax = syntax::Config::new().unicode(false).utf8(false).nest_limit(32);
        let build = |text: &str| {
            let built = Regex::builder().configure(limits.clone()).syntax(syntax).build(text);
            built.map_err(|error| match error.size_limit() {
                Some(_) => InvalidPattern::TooComplex,
                None => InvalidPattern::Syntax,
            })
        };
        // Compiled alone first: a text such as `a)|(b` must not escape the group that anchors it.
        build(text)?;
        let regex = build(&format!(r"\A(?:{text})\z"))?;
        Ok(Pattern { text: text.into(), regex: Arc::new(regex) })
    }

    /// Whether all of `value` matches.
    pub fn matches(&self, value: &[u8]) -> bool {
        self.regex.is_match(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_values_only() {
        let pattern = Pattern::compile("/a|/ab[0-9]*").unwrap();
        assert!(pattern.matches(b"/a") && pattern.matches(b"/ab42"));
        assert!(Pattern::compile(r"(?i)\w+-\d+\b").unwrap().matches(b"Web-0"));
        assert!(!pattern.matches(b"/ab42/") && !pattern.matches(b"x/a") && !pattern.matches(b""));
    }

    #[test]
    fn the_anchors_cannot_be_escaped() {
        assert_eq!(Pattern::compile("a)|(b"), Err(InvalidPattern::Syntax));
        assert_eq!(Pattern::compile("(?x) a # )"), Err(InvalidPattern::Syntax));
        assert!(!Pattern::compile("(?m)^a$").unwrap().matches(b"b\na"));
    }

    #[test]
    fn patterns_are_bounded() {
        assert_eq!(Pattern::compile(&"a".repeat(1_025)), Err(InvalidPattern::TooLong));
        assert_eq!(Pattern::compile("((a{100}){100}){100}"), Err(InvalidPattern::TooComplex));
        assert_eq!(Pattern::compile("["), Err(InvalidPattern::Syntax));
        assert!(Pattern::compile(&"(".repeat(100)).is_err());
    }

    #[test]
    fn nested_quantifiers_take_linear_time() {
        let pattern = Pattern::compile("(a*)*b").unwrap();
        assert!(!pattern.matches(&[b'a'; 65_536]));
    }
}
