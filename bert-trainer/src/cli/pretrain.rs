//! `bert-trainer pretrain`

use std::path::PathBuf;

use anyhow::ensure;

use super::{DeviceArgs, LaunchArgs, MemoryArgs, Report};
use crate::config::Config;
use crate::model::checkpoint_config;
use crate::train::collective::{self, Communicator};
use crate::train::{PretrainPaths, PretrainPlan, pretrain};

/// Pre-train BERT: masked language model and next sentence prediction.
///
/// The output directory is a Hugging Face directory with the training state beside it in trainer/,
/// loadable at every moment; `--resume` continues it bit for bit.
///
/// Example: bert-trainer pretrain --data shards --config bert-tiny --output model --steps 10000
///
/// Several processes share every batch and come to the same model: start it under `mpirun` (a build with
/// the feature mpi), or once for each GPU with RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT
/// set, as torchrun does (a build with the feature nccl). LOCAL_RANK picks the device where `--device`
/// has no index. Rank 0 writes; all read `--data` and `--output`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File with options of this command, `batch-size = 1024` for `--batch-size 1024`; what is on the
    /// command line counts more.
    #[arg(long, value_name = "FILE")]
    #[allow(dead_code, reason = "`recipe` has put its options into the command line before")]
    recipe: Option<PathBuf>,
    /// Directory that `prepare` wrote.
    #[arg(long)]
    data: PathBuf,
    /// bert-tiny, bert-mini, bert-small, bert-medium, bert-base, bert-large, or a config.json.
    #[arg(long, default_value = "bert-tiny")]
    config: String,
    /// Checkpoint to begin with, instead of random weights: the second phase of a training, with
    /// longer texts, or more training on the texts of a field. Its tokenizer must be that of the
    /// data; its heads go on where they stood.
    #[arg(long, conflicts_with_all = ["config", "initializer_range"])]
    model: Option<PathBuf>,
    /// Directory of the checkpoint.
    #[arg(long)]
    output: PathBuf,
    /// Optimizer steps.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Sequences a step, of all processes together.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
    #[command(flatten)]
    memory: MemoryArgs,
    #[command(flatten)]
    launch: LaunchArgs,
    /// Tokens of a sequence at most, [CLS] and [SEP] included.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(8..))]
    max_length: u32,
    /// Peak learning rate (paper: 1e-4 for bert-base at batch 256; small models take 1e-3).
    #[arg(long, default_value_t = 1e-4)]
    learning_rate: f32,
    /// Steps over which the learning rate rises; a tenth of all steps if not given.
    #[arg(long)]
    warmup_steps: Option<u64>,
    /// Decoupled weight decay of all but biases and layer norms.
    #[arg(long, default_value_t = 0.01)]
    weight_decay: f32,
    /// Seed of initial values, shuffles, pairs, masks and dropout.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Dropout probability of hidden states and attention; the config's if not given.
    #[arg(long)]
    dropout: Option<f64>,
    /// Standard deviation of the initial weights; the config's (0.02) if not given. Narrow models
    /// learn sooner from wider ones: bert-tiny takes 0.05.
    #[arg(long)]
    initializer_range: Option<f64>,
    /// Mask all pieces of a word together.
    #[arg(long)]
    whole_word: bool,
    /// Steps between checkpoints.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    save_steps: u64,
    /// Steps between lines of metrics.jsonl.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    log_steps: u64,
    /// Stop after this many seconds with a checkpoint; `--resume` goes on from there.
    #[arg(long)]
    max_seconds: Option<f64>,
    /// Continue the run in the output directory.
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// The report of rank 0; other ranks have nothing to say.
pub(super) fn run(args: Args) -> anyhow::Result<Option<Report>> {
    let mut config = match &args.model {
        Some(dir) => checkpoint_config(dir)?,
        None => Config::resolve(&args.config)?,
    };
    if let Some(dropout) = args.dropout {
        ensure!((0.0..1.0).contains(&dropout), "--dropout {dropout}: expected a value in [0, 1)");
        config.hidden_dropout_prob = dropout;
        config.attention_probs_dropout_prob = dropout;
    }
    if let Some(range) = args.initializer_range {
        ensure!(
            range > 0.0 && range <= 1.0,
            "--initializer-range {range}: expected a value above 0, at most 1"
        );
        config.initializer_range = range;
    }
    let plan = PretrainPlan {
        steps: args.steps,
        batch_size: args.batch_size,
        max_length: args.max_length,
        learning_rate: args.learning_rate,
        warmup_steps: args.warmup_steps.unwrap_or(args.steps / 10),
        weight_decay: args.weight_decay,
        seed: args.seed,
        whole_word: args.whole_word,
        log_steps: args.log_steps,
        accumulate: args.memory.accumulate,
    };
    let paths = PretrainPaths {
        data: args.data,
        model: args.model,
        output: args.output,
        save_steps: args.save_steps,
        max_seconds: args.max_seconds,
        resume: args.resume,
        recompute: args.memory.recompute,
        record: !args.launch.no_record,
    };
    let (ctx, ranks) = collective::join(&args.device.device)?;
    let (ctx, note) =
        args.device.tuning.apply(ctx).map_err(|error| failure(&*ranks, error.into()))?;
    if let Some(note) = note.filter(|_| ranks.rank() == 0) {
        eprintln!("{note}");
    }
    let summary = pretrain(&ctx, &*ranks, &config, args.device.precision, &plan, &paths)
        .map_err(|error| failure(&*ranks, error))?;
    if ranks.rank() > 0 {
        return Ok(None);
    }
    Ok(Some(Report {
        lines: vec![
            format!(
                "{} of {} steps: MLM loss {:.3} (first {:.3}, unigram {:.3}), accuracy \
                 {:.1} %; NSP accuracy {:.1} %",
                summary.steps,
                plan.steps,
                summary.mlm_loss,
                summary.mlm_loss_first,
                summary.mlm_unigram_loss,
                summary.mlm_accuracy * 100.0,
                summary.nsp_accuracy * 100.0
            ),
            format!(
                "{} tokens in {:.0} s, {:.0} tokens/s; checkpoint in {}",
                summary.tokens,
                summary.seconds,
                summary.tokens_per_second,
                paths.output.display()
            ),
        ],
        json: serde_json::to_value(&summary)?,
    }))
}

/// Tells the other ranks of a failure of this one, and names it.
fn failure(ranks: &dyn Communicator, error: anyhow::Error) -> anyhow::Error {
    if ranks.world_size() == 1 {
        return error;
    }
    let error = error.context(format!("rank {} of {}", ranks.rank(), ranks.world_size()));
    ranks.fail(&format!("{error:#}").replace('\n', " "));
    error
}
