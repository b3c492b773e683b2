//! Bytes that no writer of ours ever wrote, thrown at the parser of the model file.

use anyhow::Result;

use crate::shell;

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub struct Args {
    /// How long to go on.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Another seed finds other files.
    #[arg(long, default_value_t = 1)]
    seed: u32,
}

/// Runs the fuzzer of `bert-core` for that long; it prints the execution that panicked.
pub fn run(args: &Args) -> Result<()> {
    let mut command = shell::cargo(["run", "--release", "-p", "bert-core", "--features", "std"]);
    command.args(["--example", "fuzz", "--", "--minutes", &args.minutes.to_string()]);
    command.args(["--seed", &args.seed.to_string()]);
    shell::run(&mut command)
}
