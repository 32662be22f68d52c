//! What the kernel says of this process, from `/proc/self`. What cannot be read is left out.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use crate::prometheus::single;

pub(crate) fn write(out: &mut String) {
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::parse) {
        let seconds = stat.ticks as f64 / clock_ticks_per_second() as f64;
        single(out, "process_cpu_seconds_total", "counter", "CPU time, user and system.", format_args!("{seconds:.2}"));
        single(out, "process_threads", "gauge", "Threads.", stat.threads);
        single(out, "process_virtual_memory_bytes", "gauge", "Address space.", stat.virtual_bytes);
        let resident = stat.resident_pages.saturating_mul(page_size() as u64);
        single(out, "process_resident_memory_bytes", "gauge", "Memory in use.", resident);
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // One of them is the folder being read.
        single(out, "process_open_fds", "gauge", "Open descriptors.", entries.count().saturating_sub(1));
    }
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        single(out, "process_max_fds", "gauge", "Limit of open descriptors.", limit);
    }
}

/// Fields of `/proc/self/stat` (proc(5)).
struct Stat {
    ticks: u64,
    threads: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Stat> {
        // The program's name may hold anything, but nothing after it holds a parenthesis.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at - 3)?.parse::<u64>().ok();
        Some(Stat {
            ticks: number(14)? + number(15)?,
            threads: number(20)?,
            virtual_bytes: number(23)?,
            resident_pages: number(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_described() {
        let mut out = String::new();
        write(&mut out);
        for name in
            ["process_cpu_seconds_total", "process_threads", "process_resident_memory_bytes", "process_open_fds"]
        {
            assert!(out.contains(&format!("\n{name} ")), "{name} in {out}");
        }
    }

    #[test]
    fn a_program_name_with_parentheses_does_not_shift_the_fields() {
        let stat = Stat::parse("1 (a) b) S 0 1 1 0 -1 0 0 0 0 0 7 8 0 0 20 0 3 0 99 4096 5 0").unwrap();
        assert_eq!((stat.ticks, stat.threads, stat.virtual_bytes, stat.resident_pages), (15, 3, 4096, 5));
    }
}
