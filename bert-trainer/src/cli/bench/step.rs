//! A whole pre-training step.

use std::time::Instant;

use anyhow::ensure;
use bert_kernels::{Context, MemoryPeak, Profile};
use serde_json::{Value, json};

use super::super::{DeviceArgs, LaunchArgs, MemoryArgs, Report};
use super::lengths::ragged;
use crate::config::Config;
use crate::data::{PackedBatch, PretrainBatch, rng};
use crate::model::{
    Footprint, Head, Model, ParameterTable, PassInputs, PassShape, PassSize, Precision, Shares,
    initial_values,
};
use crate::train::{Optimizer, OptimizerOptions, RecordedPasses};

/// Steps before those that are measured; the first also tells the memory, which slows it down.
const WARM_UP_STEPS: u64 = 3;
/// Batches that take turns. Where passes are recorded, each comes twice before it is measured.
const BATCHES: u64 = 8;

/// What step to measure.
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
    #[command(flatten)]
    memory: MemoryArgs,
    #[command(flatten)]
    launch: LaunchArgs,
    /// Tokens of the longest sequence.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(8..))]
    max_length: u32,
    /// Lengths as texts have them, 60 % of --max-length on average, instead of all of it.
    #[arg(long)]
    ragged: bool,
    /// Steps measured, after 3 to warm up; 0 predicts the memory and runs nothing.
    #[arg(long, default_value_t = 20)]
    steps: u32,
    /// Tell the time of each kernel in one more step.
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(super) fn run(args: Args) -> anyhow::Result<Report> {
    let mut config = Config::resolve(&args.config)?;
    if let Some(size) = args.vocab_size {
        config.vocab_size = size;
        config.validate()?;
    }
    ensure!(
        args.memory.accumulate <= args.batch_size,
        "--accumulate {}: expected at most the {} sequences of --batch-size",
        args.memory.accumulate,
        args.batch_size
    );
    ensure!(
        args.max_length as usize <= config.max_position_embeddings,
        "--max-length {}: the config has {} positions",
        args.max_length,
        config.max_position_embeddings
    );
    let ctx = args.device.open()?;
    let predicted = Footprint::of_pretraining(
        &ctx,
        &config,
        args.device.precision,
        args.memory.recompute,
        largest_pass(&args),
    );
    // Before the work: it may be the last that is heard of it.
    eprintln!("{}", described(&predicted));
    let measured = if args.steps > 0 { Some(measure(&args, &config, &ctx)?) } else { None };
    Ok(report(&args, &ctx, &predicted, measured.as_ref()))
}

/// What the steps came to.
struct Measured {
    tokens: usize,
    seconds: Vec<f64>,
    memory: MemoryPeak,
    profile: Option<Profile>,
    /// Passes that were replayed, and the memory of what is between their launches.
    replays: u64,
    arena_bytes: u64,
}

impl Measured {
    fn median_seconds(&self) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.seconds.iter().sum::<f64>()
    }
}

fn measure(args: &Args, config: &Config, ctx: &Context) -> anyhow::Result<Measured> {
    let model = {
        let table = ParameterTable::new(config, &Head::Pretraining);
        let values = initial_values(&table, config, 1);
        Model::new(ctx, config, Head::Pretraining, args.device.precision, &values)?
            .with_recompute(args.memory.recompute)
    };
    let mut optimizer = Optimizer::new(&model, OptimizerOptions::default());
    let mut measured = Measured {
        tokens: 0,
        seconds: Vec::new(),
        memory: MemoryPeak::default(),
        profile: None,
        replays: 0,
        arena_bytes: 0,
    };
    let mut recorded = (!args.launch.no_record && ctx.can_record())
        .then(|| RecordedPasses::new(ctx, largest_pass(args), args.max_length as usize));
    let warm_up = if recorded.is_some() { WARM_UP_STEPS + 2 * BATCHES } else { WARM_UP_STEPS };
    for step in 0..warm_up + u64::from(args.steps) {
        let batch = random_batch(args, config, step % BATCHES);
        let start = Instant::now();
        if step == 0 {
            // Who watches wants to see each launch.
            let run = || train(args, &model, &mut optimizer, &batch, step, None);
            let (result, memory) = ctx.watch_memory(run);
            result?;
            measured.memory = memory;
        } else {
            train(args, &model, &mut optimizer, &batch, step, recorded.as_mut())?;
        }
        if step >= warm_up {
            measured.seconds.push(start.elapsed().as_secs_f64());
            measured.tokens += batch.tokens.tokens();
        }
    }
    if let Some(recorded) = &recorded {
        measured.replays = recorded.replays();
        measured.arena_bytes = recorded.arena_bytes();
    }
    if args.profile {
        let batch = random_batch(args, config, 0);
        let (result, profile) =
            ctx.profile(|| train(args, &model, &mut optimizer, &batch, 0, None))?;
        result?;
        measured.profile = Some(profile);
    }
    Ok(measured)
}

/// One step of the optimizer.
fn train(
    args: &Args,
    model: &Model,
    optimizer: &mut Optimizer,
    batch: &PretrainBatch,
    step: u64,
    mut recorded: Option<&mut RecordedPasses>,
) -> anyhow::Result<()> {
    let (ctx, config) = (model.context(), model.config());
    let passes = u64::from(args.memory.accumulate);
    for (number, part) in (0..).zip(batch.split(passes as usize)) {
        let shares = Shares::pretraining(&part, batch);
        let draws = (1, step * passes + number);
        let scale = optimizer.loss_scale();
        let losses = match &mut recorded {
            Some(recorded) => recorded.accumulate_gradients(model, &part, shares, draws, scale)?,
            None => {
                let inputs = PassInputs::new(config, &part, &PassShape::of(&part), shares, draws);
                let (device_batch, targets, dropout) = inputs.on(config, &inputs.upload(ctx), 0);
                model.accumulate_gradients(&device_batch, &targets, &dropout, scale)?
            }
        };
        if let Some(term) = &losses.masked {
            term.read(ctx)?;
        }
    }
    if let Some(overflow) = optimizer.step(model, 1e-4)? {
        eprintln!("bench: step {step}: {overflow}");
    }
    ctx.sync()?;
    Ok(())
}

/// The largest part of a step.
fn largest_pass(args: &Args) -> PassSize {
    let sequences = args.batch_size.div_ceil(args.memory.accumulate) as usize;
    let masked = masked_positions(args.max_length).count();
    PassSize { tokens: sequences * args.max_length as usize, sequences, masked: sequences * masked }
}

fn report(
    args: &Args,
    ctx: &Context,
    predicted: &Footprint,
    measured: Option<&Measured>,
) -> Report {
    let mut lines = vec![format!(
        "{} on {}: {} sequences of up to {} tokens, {}, {} passes a step{}",
        args.config,
        ctx.name(),
        args.batch_size,
        args.max_length,
        if args.ragged { "ragged" } else { "full length" },
        args.memory.accumulate,
        if args.memory.recompute { ", layers computed again" } else { "" }
    )];
    let mut memory = json!({ "predicted_bytes": predicted.total(), "predicted": predicted });
    let mut json = json!({
        "config": args.config,
        "device": ctx.name(),
        "batch_size": args.batch_size,
        "max_length": args.max_length,
        "ragged": args.ragged,
        "precision": precision_name(args.device.precision),
        "accumulate": args.memory.accumulate,
        "recompute": args.memory.recompute,
        "steps": args.steps,
    });
    if let Some(measured) = measured {
        let median_ms = measured.median_seconds() * 1e3;
        let tokens_per_second = measured.tokens_per_second();
        let peak = &measured.memory;
        lines.push(format!("{tokens_per_second:.0} tokens/s, {median_ms:.1} ms a step (median)"));
        lines.push(format!(
            "memory: {} MB predicted, {} MB in buffers at most, {} MB held by the allocator",
            megabytes(predicted.total()),
            megabytes(peak.in_use_bytes),
            megabytes(peak.reserved_bytes)
        ));
        if measured.replays > 0 {
            lines.push(format!(
                "{} passes were replayed, {} MB between their launches",
                measured.replays,
                megabytes(measured.arena_bytes)
            ));
            memory["arena_bytes"] = json!(measured.arena_bytes);
        }
        json["recorded"] = json!(measured.replays > 0);
        json["tokens_per_second"] = json!(tokens_per_second);
        json["median_step_ms"] = json!(median_ms);
        memory["in_use_bytes"] = json!(peak.in_use_bytes);
        memory["reserved_bytes"] = json!(peak.reserved_bytes);
        if let Some(profile) = &measured.profile {
            lines.extend(profile_lines(profile, median_ms));
            json["profile"] = profile_json(profile, median_ms);
        }
    }
    json["memory"] = memory;
    Report { lines, json }
}

fn precision_name(precision: Precision) -> String {
    precision.dtype().to_string()
}

/// The share of a step of `step_ms` in which no kernel ran. Each measured kernel has some microseconds
/// of the measurement in it, so the true share is a little higher.
fn idle_share(profile: &Profile, step_ms: f64) -> f64 {
    (1.0 - profile.seconds() * 1e3 / step_ms).max(0.0)
}

fn profile_lines(profile: &Profile, step_ms: f64) -> Vec<String> {
    let total = profile.seconds();
    let clock = if profile.device_clock { "device's" } else { "host's" };
    let mut lines = vec![format!(
        "kernels: {:.2} ms of a step by the {clock} clock, so the device idles {:.1} % of it",
        total * 1e3,
        idle_share(profile, step_ms) * 100.0
    )];
    lines.extend(profile.kernels.iter().map(|kernel| {
        format!(
            "  {:<28} {:>5} launches {:>9.3} ms {:>5.1} %",
            kernel.name,
            kernel.launches,
            kernel.seconds * 1e3,
            kernel.seconds / total * 100.0
        )
    }));
    if profile.untimed > 0 {
        lines.push(format!("  {} launches could not be timed", profile.untimed));
    }
    lines
}

fn profile_json(profile: &Profile, step_ms: f64) -> Value {
    let kernels = profile.kernels.iter().map(|kernel| {
        json!({
            "name": kernel.name,
            "launches": kernel.launches,
            "ms": kernel.seconds * 1e3,
        })
    });
    json!({
        "clock": if profile.device_clock { "device" } else { "host" },
        "kernels_ms": profile.seconds() * 1e3,
        "idle_share": idle_share(profile, step_ms),
        "untimed_launches": profile.untimed,
        "kernels": kernels.collect::<Vec<_>>(),
    })
}

/// The prediction by its parts.
fn described(predicted: &Footprint) -> String {
    let part = |(name, bytes): &(&str, u64)| format!("{name} {}", megabytes(*bytes));
    let parts = [
        ("parameters", predicted.parameters),
        ("gradients", predicted.gradients),
        ("optimizer", predicted.optimizer),
        ("16-bit copy", predicted.low_precision),
        ("batch", predicted.batch),
        ("embeddings", predicted.embeddings),
        ("layers", predicted.layers),
        ("heads", predicted.heads),
        ("logits chunk", predicted.logits_chunk),
        ("within a layer", predicted.within_layer),
    ];
    format!(
        "memory of a step, predicted: {} MB ({}; of the last two the larger counts)",
        megabytes(predicted.total()),
        parts.iter().filter(|(_, bytes)| *bytes > 0).map(part).collect::<Vec<_>>().join(", ")
    )
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

/// Every seventh token is close to 15 %.
fn masked_positions(length: u32) -> impl Iterator<Item = u32> {
    (3..length).step_by(7)
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
    let (sequences, longest) = (args.batch_size as usize, args.max_length as usize);
    let lengths =
        if args.ragged { ragged(sequences, longest, step) } else { vec![longest; sequences] };
    for length in lengths {
        let length = length as u64;
        let mut token = || draws.below(config.vocab_size as u64) as u32;
        let ids: Vec<u32> = (0..length).map(|_| token()).collect();
        let segments: Vec<u32> = (0..length).map(|at| u32::from(at > length / 2)).collect();
        let first = batch.tokens.push(&ids, &segments);
        for at in masked_positions(length as u32) {
            batch.masked_index.push(first + at);
            batch.masked_target.push(token());
        }
        batch.nsp_label.push(token() % 2);
    }
    batch
}
