//! Pre-training: masked language model and next sentence prediction.
//!
//! A run is a pure function of (config, data, options, seed): batches, masks and dropout are counter
//! draws, so a run that was killed and resumed writes the same `metrics.jsonl` and the same weights,
//! bit for bit, as one that was not.

mod run;
mod shared;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use bert_kernels::Context;
use serde::{Deserialize, Serialize};

use super::Prefetch;
use super::collective::Communicator;
use crate::config::Config;
use crate::data::{DataError, PretrainBatch, PretrainData, PretrainOptions};
use crate::log::Progress;
use crate::model::{Head, Precision, architecture};
use run::Run;
use shared::{check_shares, expect_like_devices, slices};

/// Everything that decides the result of a run, and is therefore compared on resume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PretrainPlan {
    /// Optimizer steps.
    pub steps: u64,
    /// Sequences a step, of all processes together.
    pub batch_size: u32,
    /// Tokens of a sequence at most.
    pub max_length: u32,
    /// Peak learning rate.
    pub learning_rate: f32,
    /// Steps over which the learning rate rises.
    pub warmup_steps: u64,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Seed of everything random.
    pub seed: u64,
    /// Whether all pieces of a word are masked together.
    pub whole_word: bool,
    /// Steps between lines of `metrics.jsonl`.
    pub log_steps: u64,
    /// Passes that the batch of a step is cut into, to need less memory at once; each has dropout of
    /// its own, and is shared by all processes. A run of one pass a step is the same run as before there
    /// were several.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub accumulate: u32,
}

fn one() -> u32 {
    1
}

fn is_one(passes: &u32) -> bool {
    *passes == 1
}

/// Where a run reads and writes, how often, and what it keeps in memory: nothing of it changes a bit of
/// the result.
#[derive(Debug, Clone)]
pub struct PretrainPaths {
    /// What `prepare` wrote.
    pub data: PathBuf,
    /// Checkpoint whose parameters the run begins with, instead of random ones.
    pub model: Option<PathBuf>,
    /// The checkpoint directory.
    pub output: PathBuf,
    /// Steps between checkpoints.
    pub save_steps: u64,
    /// Stop with a checkpoint after this many seconds.
    pub max_seconds: Option<f64>,
    /// Go on from the checkpoint in `output`.
    pub resume: bool,
    /// Compute the layers again in the backward pass instead of keeping what they computed.
    pub recompute: bool,
    /// Let the device keep the launches of passes, if it can and the run is of one process: batches are
    /// filled up a little, which may change the order of sums.
    pub record: bool,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PretrainSummary {
    /// Steps taken in all, earlier parts of a resumed run included.
    pub steps: u64,
    /// Mean MLM loss of the first logged interval, nats.
    pub mlm_loss_first: f64,
    /// Mean MLM loss of the last logged interval, nats.
    pub mlm_loss: f64,
    /// Share of masked tokens predicted right in the last interval.
    pub mlm_accuracy: f64,
    /// Mean NSP loss of the last interval, nats.
    pub nsp_loss: f64,
    /// Share of next-sentence questions answered right in the last interval.
    pub nsp_accuracy: f64,
    /// Entropy of the corpus' tokens, nats: what a model without context reaches.
    pub mlm_unigram_loss: f64,
    /// Tokens trained on since this process began, by all processes.
    pub tokens: u64,
    /// Tokens a second since then, of all processes.
    pub tokens_per_second: f64,
    /// Seconds of this process.
    pub seconds: f64,
}

/// Pre-trains and writes the checkpoint, alone or as one rank of several, each with its share of every
/// batch. How many they are decides the order of sums and nothing else. Rank 0 writes; all ranks come to
/// the same summary.
///
/// # Errors
///
/// Bad data or a checkpoint of another run, named with the expectation; a loss that is not finite;
/// what the device reports; a rank that has other data or options, or is lost.
pub fn pretrain(
    ctx: &Context,
    communicator: &dyn Communicator,
    config: &Config,
    precision: Precision,
    plan: &PretrainPlan,
    paths: &PretrainPaths,
) -> anyhow::Result<PretrainSummary> {
    let start = Instant::now();
    let data = Arc::new(PretrainData::open(&paths.data, data_options(plan))?);
    let unigram = data.shards().manifest().unigram_entropy;
    let mut config = config.clone();
    config.vocab_size = data.tokenizer().vocabulary_size() as usize;
    config.architectures = Some(vec![architecture(Head::Pretraining).to_string()]);
    ensure!(
        plan.max_length as usize <= config.max_position_embeddings,
        "--max-length {}: the config has {} positions",
        plan.max_length,
        config.max_position_embeddings
    );
    check_shares(&config, plan, communicator.world_size())?;
    expect_like_devices(ctx, communicator)?;
    let mut run = Run::open(ctx, communicator, &data, &config, precision, plan, paths)?;

    let mut progress = (communicator.rank() == 0).then(|| Progress::new("pretrain", plan.steps));
    let first_step = run.step;
    if let Some(progress) = &mut progress {
        progress.start_at(first_step);
    }
    let source = Arc::clone(&data);
    let slices = slices(plan, communicator.rank(), communicator.world_size());
    let batches = Prefetch::new(first_step..plan.steps, move |step| {
        slices.iter().map(|slice| source.slice(step, slice.clone())).collect()
    });
    let mut tokens = 0;
    for passes in batches {
        let passes: Result<Vec<PretrainBatch>, DataError> = passes;
        let (taken_in, overflow) = run.train(&passes?)?;
        tokens += taken_in;
        if let Some(progress) = &mut progress {
            progress.step(run.step, taken_in);
            if let Some(overflow) = overflow {
                progress.note(&format!("step {}: {overflow}", run.step));
            }
        }
        let last = run.step == plan.steps;
        if run.step % plan.log_steps == 0 || last {
            let line = run.log()?;
            if let Some(progress) = &mut progress {
                progress.show(&line.reached());
            }
        }
        let late = match paths.max_seconds {
            // The clock of rank 0 decides for all.
            Some(most) => {
                let late = start.elapsed().as_secs_f64() > most;
                communicator.broadcast(&[u64::from(late)])? == [1]
            }
            None => false,
        };
        if run.step % paths.save_steps == 0 || last || late {
            run.save()?;
        }
        if late {
            break;
        }
    }
    // If rank 0 could not write the last checkpoint, no rank succeeds.
    communicator.barrier()?;
    if let Some(progress) = progress {
        progress.finish();
    }
    let seconds = start.elapsed().as_secs_f64();
    let last = run.last.unwrap_or_default();
    Ok(PretrainSummary {
        steps: run.step,
        mlm_loss_first: run.first_loss.unwrap_or(last.mlm_loss),
        mlm_loss: last.mlm_loss,
        mlm_accuracy: last.mlm_accuracy,
        nsp_loss: last.nsp_loss,
        nsp_accuracy: last.nsp_accuracy,
        mlm_unigram_loss: unigram,
        tokens,
        tokens_per_second: tokens as f64 / seconds,
        seconds,
    })
}

/// How a plan reads its data.
fn data_options(plan: &PretrainPlan) -> PretrainOptions {
    PretrainOptions {
        seed: plan.seed,
        max_length: plan.max_length as usize,
        batch_size: plan.batch_size as usize,
        whole_word: plan.whole_word,
        ..PretrainOptions::default()
    }
}
