//! The log as a process has it: one sink, several threads, a reader that stops reading. One test, since there is one log.

use std::io::Read;
use std::os::fd::OwnedFd;

use telemetry::log::{self, Filter, Format};

#[test]
fn a_reader_that_stops_reading_costs_lines_but_no_waiting() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    telemetry::info!("before the start nothing is written");
    log::start(Filter::parse("warn,gossamer=info").unwrap(), Format::Plain, OwnedFd::from(writer), None);
    telemetry::info!("first {}", 1);
    telemetry::debug!("not enabled");
    log::set_filter(Filter::parse("debug").unwrap());
    assert_eq!(log::filter(), "debug");
    telemetry::debug!("enabled now");

    // More than any pipe holds; each macro is a site of its own, so the rate does not bound it.
    let filler = "x".repeat(3_000);
    macro_rules! many { ($($n:literal)*) => { $( for _ in 0..20 { telemetry::warn!("{} {filler}", $n); } )* } }
    many!(0 1 2 3 4 5 6 7);
    assert!(log::dropped() > 0);

    log::set_filter(Filter::parse("off").unwrap());
    let mut text = [0; 65_536];
    let length = reader.read(&mut text).unwrap();
    let lines: Vec<&str> = std::str::from_utf8(&text[..length]).unwrap().lines().collect();
    assert!(lines[0].ends_with(" INFO gossamer::log: first 1"), "{}", lines[0]);
    assert!(lines[1].ends_with("DEBUG gossamer::log: enabled now"), "{}", lines[1]);
    assert!(lines[2..lines.len() - 1].iter().all(|line| line.ends_with("xx")), "lines are whole");
}
