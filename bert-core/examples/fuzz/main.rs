//! Throws model files and texts at the core that nobody would send, on stable Rust:
//! `cargo run --release -p bert-core --features std --example fuzz -- --target all --minutes 10`.
//!
//! A target is what is hostile: `model` (bytes of the file), `text`, `pair` (both) or `all`, one after
//! another; see `targets.rs`. What must hold: no panic, finite numbers, spans inside the text, only
//! the errors that the documentation names, and an end. A panic, or a call that takes longer than
//! `--hang-seconds`, prints its execution and ends the program; `--target T --seed S --only N` repeats
//! that execution alone. Everything goes through the public interface.
#![allow(clippy::unwrap_used, missing_docs)]

mod calls;
#[path = "../../tests/common/mod.rs"]
mod common;
mod guard;
#[path = "../../tests/tokenizer/hostile_text.rs"]
mod hostile_text;
#[path = "../../tests/common/hugging_face.rs"]
mod reference;
mod targets;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use common::Random;
use targets::{Fixtures, Target};

struct Options {
    targets: Vec<Target>,
    minutes: f64,
    seed: u64,
    only: Option<u64>,
    hang_seconds: f64,
}

const USAGE: &str = "fuzz [--target model|text|pair|all] [--minutes M] [--seed S] [--only N] \
                     [--hang-seconds H]";

/// `None` for wrong usage.
fn options(arguments: &[String]) -> Option<Options> {
    let mut options = Options {
        targets: Target::ALL.to_vec(),
        minutes: 1.0,
        seed: 1,
        only: None,
        hang_seconds: 10.0,
    };
    for option in arguments.chunks(2) {
        let [name, value] = option else { return None };
        match name.as_str() {
            "--target" if value == "all" => {}
            "--target" => options.targets = vec![Target::named(value)?],
            "--minutes" => options.minutes = value.parse().ok()?,
            "--seed" => options.seed = value.parse().ok()?,
            "--only" => options.only = Some(value.parse().ok()?),
            "--hang-seconds" => options.hang_seconds = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(options)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(options) = options(&arguments) else {
        eprintln!("usage: {USAGE}");
        std::process::exit(2);
    };
    guard::watch(Duration::from_secs_f64(options.hang_seconds));
    let fixtures = Fixtures::new();
    std::panic::set_hook(Box::new(|info| eprintln!("{info}\n{}", guard::now())));
    for &target in &options.targets {
        match options.only {
            Some(execution) => println!("{}", execute(target, options.seed, execution, &fixtures)),
            None => fuzz(target, &options, &fixtures),
        }
    }
}

/// Runs executions of a target until its time is up.
fn fuzz(target: Target, options: &Options, fixtures: &Fixtures) {
    let limit = Duration::from_secs_f64(60.0 * options.minutes);
    let start = Instant::now();
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    let mut slowest = (Duration::ZERO, 0);
    let mut executions = 0;
    while start.elapsed() < limit {
        let begin = Instant::now();
        let outcome = execute(target, options.seed, executions, fixtures);
        *outcomes.entry(outcome).or_default() += 1;
        slowest = slowest.max((begin.elapsed(), executions));
        executions += 1;
    }
    println!("{target}: {executions} executions in {:.0?}, no panic, no hang", start.elapsed());
    println!("slowest: execution {} in {:.1?}", slowest.1, slowest.0);
    for (name, count) in outcomes {
        println!("{count:10}  {name}");
    }
}

/// One execution and what became of it; a panic ends the program.
fn execute(target: Target, seed: u64, execution: u64, fixtures: &Fixtures) -> String {
    guard::begin(format!("--target {target} --seed {seed} --only {execution}"));
    let mut random = Random(Random(seed).next() ^ Random(execution).next());
    let run = AssertUnwindSafe(|| targets::execute(target, &mut random, fixtures));
    let outcome = std::panic::catch_unwind(run).unwrap_or_else(|_| std::process::exit(1));
    guard::end();
    outcome
}
