//! `bert-trainer bench`

use std::time::Instant;

use serde_json::json;

use super::{DeviceArgs, Report};
use crate::config::Config;
use crate::data::{PackedBatch, PretrainBatch, rng};
use crate::model::{DeviceBatch, DropoutPlan, Head, Model, Targets, initial_values};
use crate::train::{Optimizer, OptimizerOptions};

/// Measure a pre-training step on random tokens: forward, backward, clipping and AdamW.
///
/// `tests/peers/torch_train.py` measures the same step in PyTorch.
///
/// Example: bert-trainer bench --config bert-tiny --device cpu
#[derive(Debug, clap::Args)]
pub struct Args {
    /// bert-tiny, bert-mini, bert-small, bert-medium, bert-base, bert-large, or a config.json.
    #[arg(long, default_value = "bert-tiny")]
    config: String,
    /// Rows of the word embedding table; the config's if not given.
    #[arg(long)]
    vocab_size: Option<usize>,
    /// Sequences a step.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
    /// Tokens of the longest sequence.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(8..))]
    max_length: u32,
    /// Lengths between a fifth of --max-length and all of it instead of all of it.
    #[arg(long)]
    ragged: bool,
    /// Steps measured, after 3 to warm up.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(super) fn run(args: Args) -> anyhow::Result<Report> {
    let mut config = Config::resolve(&args.config)?;
    if let Some(size) = args.vocab_size {
        config.vocab_size = size;
    }
    let ctx = args.device.open()?;
    let values = {
        let table = crate::model::ParameterTable::new(&config, &Head::Pretraining);
        initial_values(&table, &config, 1)
    };
    let model = Model::new(&ctx, &config, Head::Pretraining, args.device.precision, &values)?;
    let mut optimizer = Optimizer::new(&model, OptimizerOptions::default());

    let mut seconds = Vec::new();
    let mut tokens = 0;
    for step in 0..u64::from(args.steps) + 3 {
        let batch = random_batch(&args, &config, step);
        let start = Instant::now();
        let device_batch = DeviceBatch::upload(&ctx, &batch.tokens);
        let targets = Targets::pretraining(&ctx, &batch);
        let dropout = DropoutPlan::training(&config, 1, step);
        let losses = model.accumulate_gradients(&device_batch, &targets, &dropout, 1.0)?;
        optimizer.step(&model, 1e-4)?;
        if let Some(term) = &losses.masked {
            term.read(&ctx)?;
        }
        ctx.sync()?;
        if step >= 3 {
            seconds.push(start.elapsed().as_secs_f64());
            tokens += batch.tokens.tokens();
        }
    }
    let total: f64 = seconds.iter().sum();
    let mut sorted = seconds.clone();
    sorted.sort_by(f64::total_cmp);
    let median_ms = sorted[sorted.len() / 2] * 1e3;
    let tokens_per_second = tokens as f64 / total;
    Ok(Report {
        lines: vec![
            format!(
                "{} on {}: {} sequences of up to {} tokens, {}",
                args.config,
                ctx.name(),
                args.batch_size,
                args.max_length,
                if args.ragged { "ragged" } else { "full length" }
            ),
            format!("{tokens_per_second:.0} tokens/s, {median_ms:.1} ms a step (median)"),
        ],
        json: json!({
            "config": args.config,
            "device": ctx.name(),
            "batch_size": args.batch_size,
            "max_length": args.max_length,
            "ragged": args.ragged,
            "steps": args.steps,
            "tokens_per_second": tokens_per_second,
            "median_step_ms": median_ms,
        }),
    })
}

/// Random tokens with 15 % of them masked.
fn random_batch(args: &Args, config: &Config, step: u64) -> PretrainBatch {
    let mut draws = rng::Draws::new(1, rng::Stream::Bench, step, 0);
    let mut batch = PretrainBatch {
        tokens: PackedBatch::new(),
        masked_index: Vec::new(),
        masked_target: Vec::new(),
        nsp_label: Vec::new(),
    };
    for _ in 0..args.batch_size {
        let longest = u64::from(args.max_length);
        let length = if args.ragged { draws.between(longest / 5, longest) } else { longest };
        let mut token = || draws.below(config.vocab_size as u64) as u32;
        let ids: Vec<u32> = (0..length).map(|_| token()).collect();
        let segments: Vec<u32> = (0..length).map(|at| u32::from(at > length / 2)).collect();
        let first = batch.tokens.push(&ids, &segments);
        // Every seventh token is close to 15 %.
        for at in (3..length as u32).step_by(7) {
            batch.masked_index.push(first + at);
            batch.masked_target.push(token());
        }
        batch.nsp_label.push(token() % 2);
    }
    batch
}
