//! Model files that no writer of ours ever wrote and texts that nobody would send, thrown at
//! `bert-core`.

use anyhow::Result;

use crate::shell;

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub struct Args {
    /// What is hostile.
    #[arg(long, value_enum, default_value_t = Target::All)]
    target: Target,
    /// How long to go on with each target.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Another seed finds other files and texts.
    #[arg(long, default_value_t = 1)]
    seed: u32,
    /// Repeat this execution alone, as a finding prints it.
    #[arg(long)]
    only: Option<u64>,
    /// A call that takes longer is a finding.
    #[arg(long, default_value_t = 10.0)]
    hang_seconds: f64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Target {
    /// The bytes of the model file.
    Model,
    /// The text, for valid models of all heads, beside Hugging Face `tokenizers`.
    Text,
    /// A mutated file with right checksums, and the text.
    Pair,
    /// One after another.
    All,
}

/// Runs the fuzzer of `bert-core` for that long; it prints the execution that panicked or hung.
pub fn run(args: &Args) -> Result<()> {
    let target = match args.target {
        Target::Model => "model",
        Target::Text => "text",
        Target::Pair => "pair",
        Target::All => "all",
    };
    let mut command = shell::cargo(["run", "--release", "-p", "bert-core", "--features", "std"]);
    command.args(["--example", "fuzz", "--", "--target", target]);
    command.args(["--minutes", &args.minutes.to_string(), "--seed", &args.seed.to_string()]);
    command.args(["--hang-seconds", &args.hang_seconds.to_string()]);
    if let Some(execution) = args.only {
        command.args(["--only", &execution.to_string()]);
    }
    shell::run(&mut command)
}
