//! One event as one line, plain or JSON, whatever a peer put into it (security A-62).

use std::fmt::{self, Write as _};

use super::{Format, Site};

/// Bytes of one line less its frame, so that the whole fits the 4,096 a pipe takes at once; the rest is cut.
const MAX_LINE: usize = 3_500;

/// A line that is being written.
pub(super) struct Line {
    pub text: String,
    pub format: Format,
}

impl Line {
    pub fn compose(&mut self, site: &Site, now: (u64, u32), omitted: u32, message: fmt::Arguments<'_>) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Level;

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
