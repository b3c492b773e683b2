//! Mutates model files and texts and runs whatever is accepted, on stable Rust:
//! `cargo run --release -p bert-core --features std --example fuzz -- --minutes 10 --seed 1`.
//!
//! Every second mutated file has its checksums made right, so mutations get behind them. A panic
//! prints the number of the execution; `--seed S --only N` repeats it alone.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use common::Random;
use common::hostile::{Outcome, execute, seeds};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let at = arguments.iter().position(|a| a == name)?;
        Some(arguments.get(at + 1)?.parse::<f64>().expect("a number"))
    };
    let limit = Duration::from_secs_f64(60.0 * option("--minutes").unwrap_or(1.0));
    let seed = option("--seed").unwrap_or(1.0) as u64;
    let only = option("--only").map(|n| n as u64);
    let seeds = seeds();
    let start = Instant::now();
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    let mut slowest = (Duration::ZERO, 0);
    let mut executions = 0u64;
    let random_of = |n: u64| Random(Random(seed).next() ^ Random(n).next());
    if let Some(n) = only {
        println!("{:?}", execute(&mut random_of(n), &seeds));
        return;
    }
    std::panic::set_hook(Box::new(|info| eprintln!("{info}")));
    while start.elapsed() < limit {
        let begin = Instant::now();
        let mut random = random_of(executions);
        let Ok(outcome) =
            std::panic::catch_unwind(AssertUnwindSafe(|| execute(&mut random, &seeds)))
        else {
            eprintln!("execution {executions} of seed {seed} panicked");
            std::process::exit(1);
        };
        let name = match outcome {
            Outcome::Refused(error) => {
                let text = format!("{error:?}");
                text.split([' ', '{']).next().unwrap_or("").to_string()
            }
            Outcome::Answered => "answered".into(),
        };
        *outcomes.entry(name).or_default() += 1;
        slowest = slowest.max((begin.elapsed(), executions));
        executions += 1;
    }
    println!("{executions} executions in {:.0?}, no panic", start.elapsed());
    println!("slowest: execution {} in {:.1?}", slowest.1, slowest.0);
    for (name, count) in outcomes {
        println!("{count:10}  {name}");
    }
}
