//! Fine-tuning: a new head on a pre-trained encoder, all parameters trained (Devlin et al. 2018,
//! section 3.2).

mod history;
mod plan;
mod rates;
mod record;
mod teacher;
mod trainer;
mod weights;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bert_kernels::Context;

pub use plan::{ClassWeights, Distillation, FinetunePlan, Keep};

use super::{Optimizer, OptimizerOptions, Schedule};
use crate::checkpoint;
use crate::config::Config;
use crate::data::tasks::{self, EncodeOptions, TaskData, TaskLabels};
use crate::data::{DataError, TextTokenizer};
use crate::evaluate::{
    HostPredictor, Prediction, Predictor as _, TaskMetrics, answers_for, detail, larger_is_better,
    score,
};
use crate::log::Progress;
use crate::model::{
    Additions, LoadedCheckpoint, Model, PROJECTION, ParameterTable, Precision, checkpoint_config,
    fill_initial, head_of, name_task, write_checkpoint,
};
use history::{Epoch, History};
use rates::Rates;
use record::Record;
use teacher::{Student, Teacher};
use trainer::Trainer;
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
    ensure!(
        !plan.quantize_aware || plan.precision == Precision::F32,
        "--quantize-aware: int8 values need --precision f32"
    );
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
    let rates = Rates::new(config.num_hidden_layers, plan.layer_decay, plan.freeze_layers)?;
    let positions = config.max_position_embeddings;
    ensure!(
        (1..=plan.batch_size).contains(&plan.accumulate),
        "--accumulate {}: expected at least 1 and at most the {} examples of --batch-size",
        plan.accumulate,
        plan.batch_size
    );
    // Weighted labels and rows of logits have different shares of a step's parts.
    ensure!(
        plan.accumulate == 1
            || plan.distillation.is_none()
            || plan.class_weights == ClassWeights::Uniform,
        "--accumulate: with a --teacher, --class-weights has to be uniform"
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

    let student =
        Student { labels: &labels, tokenizer: &tokenizer, options, raw: &train, data: &data };
    let teacher = Teacher::open(ctx, plan, student)?;
    let additions = Additions {
        projection: teacher.as_ref().and_then(|teacher| teacher.projection(config.hidden_size)),
        quantize_aware: plan.quantize_aware,
    };
    let values = values_with(&checkpoint, additions.projection, plan.seed);
    let mut model =
        Model::with_additions(ctx, &config, checkpoint.head, plan.precision, &values, additions)?
            .with_recompute(plan.recompute);
    if let Some(layers) = plan.freeze_layers {
        model.freeze(layers);
    }
    let options = OptimizerOptions { weight_decay: plan.weight_decay, ..Default::default() };
    let mut optimizer = Optimizer::new(&model, options);
    if let Some(blocks) = rates.blocks(model.table()) {
        optimizer.set_rates(&model, &blocks);
    }
    let steps_per_epoch = data.steps_per_epoch(plan.batch_size);
    let total_steps = steps_per_epoch * u64::from(plan.epochs);
    let mut trainer = Trainer {
        ctx,
        plan,
        config: &config,
        model: &model,
        optimizer,
        schedule: Schedule {
            peak: plan.learning_rate,
            warmup_steps: (total_steps as f64 * f64::from(plan.warmup_ratio)) as u64,
            total_steps,
        },
        weights,
        teacher: teacher.as_ref(),
        step: 0,
    };

    let mut predictor = HostPredictor::new(&model, plan.task, &labels, &tokenizer, max_length);
    predictor.set_answer_options(answers_for(plan.answers, &eval));
    let mut history = History::begin(plan, &model, [train.len(), eval.len()])?;
    let mut record =
        Record::open(ctx, &plan.output, teacher.as_ref().map_or(0.0, Teacher::weight))?;
    let mut progress = Progress::new("finetune", total_steps);
    for lost in data.lost() {
        progress.note(&format!("{}: {lost}", plan.train.display()));
    }
    let mut best: Option<(u32, TaskMetrics)> = None;
    let mut kept: Option<Kept> = None;
    let mut epoch = 0;
    while epoch < plan.epochs {
        let order = data.epoch(plan.seed, u64::from(epoch), plan.batch_size);
        epoch += 1;
        for examples in order {
            let batch = data.batch(&examples);
            let (losses, overflow) = trainer.train(&examples, &batch)?;
            if let Some(overflow) = overflow {
                progress.note(&format!("step {}: {overflow}", trainer.step));
            }
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
        history.add(
            &plan.output,
            &Epoch {
                number: epoch,
                step: trainer.step,
                loss,
                learning_rate: trainer.learning_rate(),
                metrics: &metrics,
                is_best: better,
            },
        )?;
        if better {
            best = Some((epoch, metrics.clone()));
        }
        if better && plan.keep == Keep::Best {
            save(plan, &model)?;
        }
        if better || plan.keep == Keep::Last {
            kept = Some(Kept { epoch, loss, metrics, predicted });
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
    let kept = kept.context("no epoch was trained")?;
    let evaluations = detail(plan.task, &labels, &eval, &kept.predicted);
    history.finish(plan, kept.epoch, &kept.metrics, evaluations)?;
    Ok(FinetuneSummary {
        metrics: kept.metrics,
        loss: kept.loss,
        epoch: kept.epoch,
        epochs: epoch,
        train_examples: train.len(),
        eval_examples: eval.len(),
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// The epoch whose checkpoint is kept, and what it says of the evaluation file.
struct Kept {
    epoch: u32,
    loss: f64,
    metrics: TaskMetrics,
    predicted: Vec<Prediction>,
}

/// Whether the metric a task is judged by got better; any number is better than none.
fn is_better(found: &TaskMetrics, best: &TaskMetrics) -> bool {
    let (name, found) = found.headline();
    let (_, best) = best.headline();
    if best.is_nan() {
        return !found.is_nan();
    }
    if larger_is_better(name) { found > best } else { found < best }
}

fn save(plan: &FinetunePlan, model: &Model) -> anyhow::Result<()> {
    let values = model.context().read_f32(model.parameters())?;
    // What training added lies behind the tensors of this table.
    let table = ParameterTable::new(model.config(), &model.head());
    write_checkpoint(&plan.output, model.config(), &table, &values, &plan.model)
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

/// The checkpoint's values with initial ones for a projection to a teacher of this width.
fn values_with(checkpoint: &LoadedCheckpoint, teacher: Option<usize>, seed: u64) -> Vec<f32> {
    let table = ParameterTable::with_projection(&checkpoint.config, &checkpoint.head, teacher);
    let mut values = checkpoint.values().to_vec();
    values.resize(table.len(), 0.0);
    for parameter in table.parameters().iter().filter(|one| one.name.starts_with(PROJECTION)) {
        fill_initial(&mut values[parameter.range()], parameter, &checkpoint.config, seed);
    }
    values
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
