//! Fine-tuning: a new head on a pre-trained encoder, all parameters trained (Devlin et al. 2018,
//! section 3.2).

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bert_kernels::Context;

use super::{Optimizer, OptimizerOptions, Schedule};
use crate::checkpoint;
use crate::config::Config;
use crate::data::TextTokenizer;
use crate::data::tasks::{self, Labels, TaskData, TaskKind, TaskLabels};
use crate::evaluate::{HostPredictor, Predictor as _, TaskMetrics, score};
use crate::log::Progress;
use crate::model::{
    DeviceBatch, DropoutPlan, Head, LoadedCheckpoint, Losses, Model, Precision, Tally, Targets,
    architecture, checkpoint_config, write_checkpoint,
};

/// What to train on and how.
#[derive(Debug, Clone)]
pub struct FinetunePlan {
    /// What to learn.
    pub task: TaskKind,
    /// Training examples.
    pub train: PathBuf,
    /// Examples to evaluate on after every epoch.
    pub eval: PathBuf,
    /// Checkpoint to start from.
    pub model: PathBuf,
    /// Directory of the fine-tuned checkpoint.
    pub output: PathBuf,
    /// Passes over the training examples.
    pub epochs: u32,
    /// Examples a step.
    pub batch_size: usize,
    /// Peak learning rate.
    pub learning_rate: f32,
    /// Share of the steps over which the learning rate rises.
    pub warmup_ratio: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Dropout probability, where it should differ from the checkpoint's.
    pub dropout: Option<f64>,
    /// Tokens of a sequence at most; the model's positions if `None`.
    pub max_length: Option<usize>,
    /// 1-based column of the tag in CoNLL files.
    pub tag_column: usize,
    /// Seed of the new head, shuffles and dropout.
    pub seed: u64,
    /// In which type products are computed.
    pub precision: Precision,
}

/// What a fine-tuning came to.
#[derive(Debug, Clone, PartialEq)]
pub struct FinetuneSummary {
    /// Metrics on the evaluation file after the last epoch.
    pub metrics: TaskMetrics,
    /// Mean training loss of the last epoch, nats, summed over the task's parts.
    pub loss: f64,
    /// Training examples.
    pub train_examples: usize,
    /// Evaluation examples.
    pub eval_examples: usize,
    /// Seconds in all.
    pub seconds: f64,
}

/// Fine-tunes and writes the checkpoint, evaluating after every epoch.
///
/// # Errors
///
/// Bad files or checkpoints, named with line and expectation; what the device reports.
pub fn finetune(ctx: &Context, plan: &FinetunePlan) -> anyhow::Result<FinetuneSummary> {
    let start = Instant::now();
    let train = tasks::read(&plan.train, plan.task, plan.tag_column)?;
    let eval = tasks::read(&plan.eval, plan.task, plan.tag_column)?;
    let labels = TaskLabels::collect(plan.task, &train);
    let tokenizer = TextTokenizer::open(&plan.model)?;
    let checkpoint = start_from(plan, &labels)?;
    let config = checkpoint.config.clone();
    ensure!(
        tokenizer.vocabulary_size() as usize <= config.vocab_size,
        "{}: vocab.txt has {} pieces, but config.json says vocab_size {}",
        plan.model.display(),
        tokenizer.vocabulary_size(),
        config.vocab_size
    );
    let positions = config.max_position_embeddings;
    let max_length = plan.max_length.unwrap_or(positions);
    ensure!(
        max_length <= positions,
        "--max-length {max_length}: the model has {positions} positions"
    );
    let data = TaskData::encode(&plan.train, &train, &labels, &tokenizer, max_length)?;
    // Labels that training never saw are an error before the hours of work, not after.
    TaskData::encode(&plan.eval, &eval, &labels, &tokenizer, max_length)?;

    let model = Model::new(ctx, &config, checkpoint.head, plan.precision, checkpoint.values())?;
    let options = OptimizerOptions { weight_decay: plan.weight_decay, ..Default::default() };
    let mut optimizer = Optimizer::new(&model, options);
    let steps_per_epoch = data.steps_per_epoch(plan.batch_size);
    let total_steps = steps_per_epoch * u64::from(plan.epochs);
    let schedule = Schedule {
        peak: plan.learning_rate,
        warmup_steps: (total_steps as f64 * f64::from(plan.warmup_ratio)) as u64,
        total_steps,
    };

    let table = model.table();
    let mut progress = Progress::new("finetune", total_steps);
    let mut predictor = HostPredictor::new(&model, plan.task, &labels, &tokenizer, max_length);
    let mut last = None;
    let mut step = 0;
    for epoch in 0..u64::from(plan.epochs) {
        let mut pending = Vec::new();
        for examples in data.epoch(plan.seed, epoch, plan.batch_size) {
            let batch = data.batch(&examples);
            let device_batch = DeviceBatch::upload(ctx, &batch.tokens);
            let targets = Targets::task(ctx, &batch);
            let dropout = DropoutPlan::training(&config, plan.seed, step);
            let losses = model.accumulate_gradients(&device_batch, &targets, &dropout, 1.0)?;
            optimizer.step(&model, schedule.learning_rate(step))?;
            pending.push(losses);
            step += 1;
            progress.step(step, batch.tokens.tokens() as u64);
        }
        let loss = mean_loss(ctx, &pending)?;
        ensure!(
            loss.is_finite(),
            "the loss is {loss} after epoch {}: lower --learning-rate {}",
            epoch + 1,
            plan.learning_rate
        );
        let metrics = score(plan.task, &eval, &predictor.predict(&eval)?);
        progress.note(&format!(
            "epoch {}/{}: loss {loss:.4}, {}",
            epoch + 1,
            plan.epochs,
            metrics.describe(plan.task)
        ));
        last = Some((loss, metrics));
    }
    progress.finish();
    let values = ctx.read_f32(model.parameters())?;
    write_checkpoint(&plan.output, &config, table, &values, &plan.model)?;
    let (loss, metrics) = last.context("no epoch was trained")?;
    Ok(FinetuneSummary {
        metrics,
        loss,
        train_examples: train.len(),
        eval_examples: eval.len(),
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Configuration of the fine-tuned model and its first values: the encoder of the checkpoint under a
/// new head.
fn start_from(plan: &FinetunePlan, labels: &TaskLabels) -> anyhow::Result<LoadedCheckpoint> {
    let head = head_of(labels);
    let names = |labels: &Labels| labels.names().to_vec();
    let mut config = checkpoint_config(&plan.model)?;
    config.architectures = Some(vec![architecture(head).to_string()]);
    let (classes, tags) = (labels.classes.as_ref().map(names), labels.tags.as_ref().map(names));
    (config.labels, config.intent_labels) = match plan.task {
        TaskKind::Joint => (tags, classes),
        _ => (tags.or(classes), None),
    };
    if let Some(dropout) = plan.dropout {
        config.hidden_dropout_prob = dropout;
        config.attention_probs_dropout_prob = dropout;
    }
    refuse_another_output(&plan.output, &config)?;
    let task = (plan.task, labels.clone());
    LoadedCheckpoint::with_new_head(&plan.model, config, head, task, plan.seed)
}

/// A directory that holds another model is refused before the work, not after it.
fn refuse_another_output(output: &Path, config: &Config) -> anyhow::Result<()> {
    if !output.join(checkpoint::WEIGHTS_FILE).exists() {
        return Ok(());
    }
    let same = Config::load(output).is_ok_and(|found| found == *config);
    ensure!(same, "{}: holds another model; choose another --output", output.display());
    Ok(())
}

fn head_of(labels: &TaskLabels) -> Head {
    match (&labels.classes, &labels.tags) {
        (Some(intents), Some(slots)) => Head::Joint { intents: intents.len(), slots: slots.len() },
        (None, Some(tags)) => Head::Tag { labels: tags.len() },
        (classes, None) => Head::Classify { labels: classes.as_ref().map_or(0, Labels::len) },
    }
}

/// Mean over the steps' examples and words, a sum over the parts of the task.
fn mean_loss(ctx: &Context, pending: &[Losses]) -> anyhow::Result<f64> {
    let (mut sequence, mut words) = (Tally::default(), Tally::default());
    for losses in pending {
        if let Some(term) = &losses.sequence {
            sequence.add(term.read(ctx)?);
        }
        if let Some(term) = &losses.words {
            words.add(term.read(ctx)?);
        }
    }
    Ok(sequence.mean_loss() + words.mean_loss())
}
