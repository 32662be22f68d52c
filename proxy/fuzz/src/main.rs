//! Runs every fuzz target with a deterministic mutation engine: `cargo run --release -p fuzz -- --executions 1000000`.
//!
//! Same seed, same inputs, on every machine. No coverage guidance: the seeds in `corpus/` and the words in them carry
//! the knowledge of each format. A panic prints the input that caused it and ends the run. See README.md.

mod corpus;
mod mutate;
mod targets;

use std::cell::RefCell;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use corpus::Corpus;
use mutate::Random;

/// An execution that takes longer is a failure (a hang, for security S-04).
const SLOW: Duration = Duration::from_secs(1);

thread_local! {
    /// The input being run, for the report of a panic.
    static CURRENT: RefCell<(&'static str, Vec<u8>)> = const { RefCell::new(("", Vec::new())) };
}

struct Options {
    executions: u64,
    seed: u64,
    only: Vec<String>,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(text) => {
            eprintln!("{text}\nusage: fuzz [TARGET...] [--executions N] [--seed S]");
            return ExitCode::from(64);
        }
    };
    report_panics();
    let chosen: Vec<_> = targets::all()
        .filter(|(name, _)| options.only.is_empty() || options.only.iter().any(|only| only == name))
        .collect();
    if chosen.is_empty() {
        eprintln!("no such target; there are: {}", targets::all().map(|(name, _)| name).collect::<Vec<_>>().join(" "));
        return ExitCode::from(64);
    }
    let start = Instant::now();
    let mut slow = 0;
    for (name, target) in &chosen {
        slow += u32::from(!run(name, *target, &options));
    }
    println!(
        "fuzz: {} targets, {} executions each, seed {}, {:.0} s: {slow} failed",
        chosen.len(),
        options.executions,
        options.seed,
        start.elapsed().as_secs_f64()
    );
    ExitCode::from(u8::from(slow > 0))
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { executions: 100_000, seed: 1, only: Vec::new() };
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<u64, String> {
            let text = arguments.next().ok_or_else(|| format!("{argument} needs a number"))?;
            text.parse().map_err(|_| format!("{argument} needs a number, not {text}"))
        };
        match argument.as_str() {
            "--executions" => options.executions = number()?,
            "--seed" => options.seed = number()?,
            _ if argument.starts_with('-') => return Err(format!("unknown option {argument}")),
            _ => options.only.push(argument),
        }
    }
    Ok(options)
}

/// Runs one target; false when an execution was too slow.
fn run(name: &'static str, target: fn(&[u8]) -> bool, options: &Options) -> bool {
    let corpus = Corpus::of(name);
    let mut random = Random::new(options.seed ^ mutate::hash(name.as_bytes()));
    let start = Instant::now();
    let mut input = Vec::new();
    let mut slowest = Duration::ZERO;
    let mut understood = 0u64;
    for n in 0..options.executions {
        match corpus.seeds.get(n as usize) {
            Some(seed) => input.clone_from(seed),
            None => mutate::input(&mut input, &corpus, &mut random),
        }
        CURRENT.with_borrow_mut(|current| {
            current.0 = name;
            current.1.clone_from(&input);
        });
        let begin = Instant::now();
        understood += u64::from(target(&input));
        slowest = slowest.max(begin.elapsed());
    }
    let seconds = start.elapsed().as_secs_f64().max(1e-9);
    let fits = slowest < SLOW;
    println!(
        "{name:<28} {:>10} executions, {:>2} % understood {:>9.0}/s  slowest {:>6.2} ms  {}",
        options.executions,
        understood * 100 / options.executions.max(1),
        options.executions as f64 / seconds,
        slowest.as_secs_f64() * 1e3,
        if fits { "ok" } else { "TOO SLOW" }
    );
    fits
}

fn report_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        CURRENT.with_borrow(|(name, input)| eprintln!("fuzz: {name} failed on b\"{}\"", input.escape_ascii()));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_survives_its_first_inputs() {
        let options = Options { executions: 2_000, seed: 7, only: Vec::new() };
        for (name, target) in targets::all() {
            assert!(run(name, target, &options), "{name}");
        }
    }

    #[test]
    fn options_are_numbers_and_names() {
        let parse = |line: &str| options(line.split(' ').map(str::to_owned));
        let good = parse("dns --executions 5 --seed 9 hpack").unwrap();
        assert_eq!((good.executions, good.seed, good.only.join(" ").as_str()), (5, 9, "dns hpack"));
        assert!(parse("--executions").is_err() && parse("--seed x").is_err() && parse("--what").is_err());
    }
}
