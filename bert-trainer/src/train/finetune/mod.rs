//! Fine-tuning: a new head on a pre-trained encoder, all parameters trained (Devlin et al. 2018,
//! section 3.2).

mod plan;
mod record;
mod report;
mod weights;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bert_kernels::Context;

pub use plan::{ClassWeights, FinetunePlan, Keep};

use super::{Optimizer, OptimizerOptions, Schedule};
use crate::checkpoint;
use crate::config::Config;
use crate::data::tasks::{self, EncodeOptions, TaskData, TaskLabels};
use crate::data::{DataError, TaskBatch, TextTokenizer};
use crate::evaluate::{
    HostPredictor, Predictor as _, TaskMetrics, answers_for, larger_is_better, score,
};
use crate::log::Progress;
use crate::model::{
    DeviceBatch, DropoutPlan, LoadedCheckpoint, Losses, Model, Targets, checkpoint_config, head_of,
    name_task, write_checkpoint,
};
use record::Record;
use weights::Weights;

/// What a fine-tuning came to.
#[derive(Debug, Clone, PartialEq)]
pub struct FinetuneSummary {
    /// Metrics of the checkpoint that was kept, on the evaluation file.
    pub metrics: TaskMetrics,
    /// Mean training loss of the epoch that was kept, summed over the task's parts.
    pub loss: f64,
    /// The epoch that was kept, from 1.
    pub epoch: u32,
    /// Epochs trained.
    pub epochs: u32,
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
    let train = tasks::read(&plan.train, plan.task, &plan.read)?;
    let eval = tasks::read(&plan.eval, plan.task, &plan.read)?;
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
    ensure!(
        (1..=plan.batch_size).contains(&plan.accumulate),
        "--accumulate {}: expected at least 1 and at most the {} examples of --batch-size",
        plan.accumulate,
        plan.batch_size
    );
    let max_length = plan.max_length.unwrap_or(positions);
    ensure!(
        max_length <= positions,
        "--max-length {max_length}: the model has {positions} positions"
    );
    let options = EncodeOptions { max_length, stride: plan.answers.stride };
    let encode = |path: &Path, examples: &[_]| -> Result<TaskData, DataError> {
        TaskData::encode(path, examples, plan.task, &labels, &tokenizer, options)
    };
    let data = encode(&plan.train, &train)?;
    // Labels that training never saw are an error before the hours of work, not after.
    encode(&plan.eval, &eval)?;
    let weights = Weights::new(ctx, plan.class_weights, plan.label_smoothing, plan.task, &data)?;

    let model = Model::new(ctx, &config, checkpoint.head, plan.precision, checkpoint.values())?
        .with_recompute(plan.recompute);
    let steps_per_epoch = data.steps_per_epoch(plan.batch_size);
    let total_steps = steps_per_epoch * u64::from(plan.epochs);
    let mut trainer = Trainer {
        ctx,
        plan,
        config: &config,
        model: &model,
        optimizer: Optimizer::new(
            &model,
            OptimizerOptions { weight_decay: plan.weight_decay, ..Default::default() },
        ),
        schedule: Schedule {
            peak: plan.learning_rate,
            warmup_steps: (total_steps as f64 * f64::from(plan.warmup_ratio)) as u64,
            total_steps,
        },
        weights,
        step: 0,
    };

    let mut predictor = HostPredictor::new(&model, plan.task, &labels, &tokenizer, max_length);
    predictor.set_answer_options(answers_for(plan.answers, &eval));
    let mut run = report::begin(plan, &model, [train.len(), eval.len()])?;
    let mut record = Record::open(ctx, &plan.output)?;
    let mut progress = Progress::new("finetune", total_steps);
    for lost in data.lost() {
        progress.note(&format!("{}: {lost}", plan.train.display()));
    }
    let mut best: Option<(u32, TaskMetrics)> = None;
    let mut kept: Option<(u32, f64, TaskMetrics)> = None;
    let mut epoch = 0;
    while epoch < plan.epochs {
        let order = data.epoch(plan.seed, u64::from(epoch), plan.batch_size);
        epoch += 1;
        for examples in order {
            let batch = data.batch(&examples);
            let losses = trainer.train(&batch)?;
            let tokens = batch.tokens.tokens() as u64;
            record.add(&trainer.optimizer, losses, trainer.learning_rate(), trainer.step)?;
            progress.step(trainer.step, tokens);
        }
        let loss = record.end_epoch(&trainer.optimizer, trainer.learning_rate(), trainer.step)?;
        ensure!(
            loss.is_finite(),
            "the loss is {loss} after epoch {epoch}: lower --learning-rate {}",
            plan.learning_rate
        );
        let predicted = predictor.predict(&eval)?;
        let metrics = score(plan.task, &labels, &eval, &predicted);
        record.evaluated(trainer.step, epoch, &metrics)?;
        progress.note(&format!(
            "epoch {epoch}/{}: loss {loss:.4}, {}",
            plan.epochs,
            metrics.describe()
        ));
        let better = best.as_ref().is_none_or(|(_, best)| is_better(&metrics, best));
        if better {
            best = Some((epoch, metrics.clone()));
        }
        if better && plan.keep == Keep::Best {
            save(plan, &model)?;
        }
        let is_kept = better || plan.keep == Keep::Last;
        let rate = trainer.learning_rate();
        run.push_epoch(report::epoch((epoch, trainer.step), loss, rate, &metrics, is_kept));
        if is_kept {
            run.evaluations = report::evaluations(&labels, &eval, &predicted);
            kept = Some((epoch, loss, metrics));
        }
        let waited = best.as_ref().map_or(0, |(best, _)| epoch - best);
        if plan.patience.is_some_and(|patience| waited >= patience) {
            progress.note(&format!("no better for {waited} epochs: stopped"));
            break;
        }
    }
    progress.finish();
    if plan.keep == Keep::Last {
        save(plan, &model)?;
    }
    let (kept, loss, metrics) = kept.context("no epoch was trained")?;
    run.finish(&plan.output)?;
    Ok(FinetuneSummary {
        metrics,
        loss,
        epoch: kept,
        epochs: epoch,
        train_examples: train.len(),
        eval_examples: eval.len(),
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Whether the metric a task is judged by got better.
fn is_better(found: &TaskMetrics, best: &TaskMetrics) -> bool {
    let (name, found) = found.headline();
    let (_, best) = best.headline();
    if larger_is_better(name) { found > best } else { found < best }
}

fn save(plan: &FinetunePlan, model: &Model) -> anyhow::Result<()> {
    let values = model.context().read_f32(model.parameters())?;
    write_checkpoint(&plan.output, model.config(), model.table(), &values, &plan.model)
}

/// The model in training.
struct Trainer<'a> {
    ctx: &'a Context,
    plan: &'a FinetunePlan,
    config: &'a Config,
    model: &'a Model,
    optimizer: Optimizer,
    schedule: Schedule,
    weights: Weights,
    step: u64,
}

impl Trainer<'_> {
    /// One step of the optimizer.
    fn train(&mut self, batch: &TaskBatch) -> anyhow::Result<Vec<Losses>> {
        let mut losses = Vec::with_capacity(self.plan.accumulate);
        for (number, part) in (0..).zip(batch.split(self.plan.accumulate)) {
            let device_batch = DeviceBatch::upload(self.ctx, &part.tokens);
            let mut targets = Targets::task(self.ctx, self.model.head(), &part);
            targets.shaping = self.weights.shaping(&part);
            targets.shares = self.weights.shares(&part, batch);
            let pass = self.step * self.plan.accumulate as u64 + number;
            let dropout = DropoutPlan::training(self.config, self.plan.seed, pass);
            let pass = self.model.accumulate_gradients(&device_batch, &targets, &dropout, 1.0)?;
            losses.push(pass);
        }
        self.optimizer.step(self.model, self.schedule.learning_rate(self.step))?;
        self.step += 1;
        Ok(losses)
    }

    /// The rate of the last step.
    fn learning_rate(&self) -> f32 {
        self.schedule.learning_rate(self.step.saturating_sub(1))
    }
}

/// Configuration of the fine-tuned model and its first values: the encoder of the checkpoint under a
/// new head.
fn start_from(plan: &FinetunePlan, labels: &TaskLabels) -> anyhow::Result<LoadedCheckpoint> {
    let mut config = checkpoint_config(&plan.model)?;
    name_task(&mut config, plan.task, labels);
    if let Some(dropout) = plan.dropout {
        config.hidden_dropout_prob = dropout;
        config.attention_probs_dropout_prob = dropout;
    }
    refuse_another_output(&plan.output, &config)?;
    let head = head_of(plan.task, labels);
    let task = (plan.task, labels.clone());
    let loaded = LoadedCheckpoint::with_new_head(&plan.model, config, head, task, plan.seed)?;
    if let Some(note) = loaded.missing_note(&plan.model) {
        eprintln!("finetune: {note}");
    }
    Ok(loaded)
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
