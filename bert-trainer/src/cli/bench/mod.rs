//! `bert-trainer bench`

pub(super) mod kernels;
mod lengths;
mod step;

use super::Report;

/// Measure a pre-training step on random tokens: forward, backward, clipping and AdamW.
///
/// The device memory of a step is predicted before it is run, and printed beside what it came to.
/// `bench kernels` measures the operations that a step is made of, one by one.
///
/// `tests/peers/torch_train.py` measures the same step in PyTorch.
///
/// Example: bert-trainer bench --config bert-tiny --device cpu
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    step: step::Args,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Kernels(kernels::Args),
}

pub(super) fn run(args: Args, json: bool) -> anyhow::Result<Report> {
    match args.what {
        Some(What::Kernels(args)) => kernels::run(&args, json),
        None => step::run(args.step),
    }
}
