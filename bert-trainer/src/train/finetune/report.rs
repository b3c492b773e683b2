//! What a fine-tuning tells its report: options, files, epochs, and how the evaluation file came out.

use serde_json::{Value, json};

use super::FinetunePlan;
use crate::data::tasks::{Labels, RawExample, TaskLabels};
use crate::evaluate::{Prediction, TaskMetrics};
use crate::model::Model;
use crate::report::{
    DataFile, EpochRecord, EvaluationRecord, ReportError, RunRecord, WorstExample, model_numbers,
};

/// Begins the record of a run.
///
/// # Errors
///
/// If a file of examples can no longer be read.
pub(super) fn begin(
    plan: &FinetunePlan,
    model: &Model,
    [train, eval]: [usize; 2],
) -> Result<RunRecord, ReportError> {
    let mut record = RunRecord::begin("finetune", plan.task.name(), &options(plan));
    record.model = model_numbers(model.config());
    record.parameters = model.table().parameter_count() as u64;
    record.data = vec![
        DataFile::of("train", &plan.train, train as u64)?,
        DataFile::of("eval", &plan.eval, eval as u64)?,
    ];
    Ok(record)
}

/// An epoch with its metrics; those that are not finite (a correlation of equal numbers) are left out.
pub(super) fn epoch(
    (number, step): (u32, u64),
    train_loss: f64,
    learning_rate: f32,
    metrics: &TaskMetrics,
    is_best: bool,
) -> EpochRecord {
    EpochRecord {
        epoch: u64::from(number),
        step,
        train_loss,
        metrics: metrics.iter().filter(|(_, value)| value.is_finite()).collect(),
        learning_rate: f64::from(learning_rate),
        is_best,
        ..EpochRecord::default()
    }
}

/// Which label was taken for which, of the texts and of the words, as far as the task has them.
pub(super) fn evaluations(
    labels: &TaskLabels,
    examples: &[RawExample],
    predicted: &[Prediction],
) -> Vec<EvaluationRecord> {
    let pairs = || examples.iter().zip(predicted);
    let mut records = Vec::new();
    if let Some(classes) = &labels.classes {
        let found =
            pairs().filter_map(|(gold, found)| Some((gold.label()?, found.label.as_deref()?)));
        let part = if labels.tags.is_some() { "intent" } else { "label" };
        records.extend(
            counted(part, classes, found)
                .map(|record| record.with_worst(pairs().filter_map(wrong).collect())),
        );
    }
    if let Some(tags) = &labels.tags {
        let found = pairs().flat_map(|(gold, found)| {
            gold.tags.iter().map(String::as_str).zip(found.tags.iter().map(String::as_str))
        });
        let part = if labels.classes.is_some() { "slot" } else { "tag" };
        records.extend(counted(part, tags, found));
    }
    records
}

/// Counts pairs of names that are both labels; none if there is no such pair.
fn counted<'a>(
    part: &str,
    labels: &Labels,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> Option<EvaluationRecord> {
    let id = |name| labels.id(name).map(|id| id as usize);
    let (gold, found): (Vec<usize>, Vec<usize>) =
        pairs.filter_map(|(gold, found)| Some((id(gold)?, id(found)?))).unzip();
    (!gold.is_empty()).then(|| EvaluationRecord::from_labels(part, labels.names(), &gold, &found))
}

fn wrong((example, prediction): (&RawExample, &Prediction)) -> Option<WorstExample> {
    let (gold, found) = (example.label()?, prediction.label.as_deref()?);
    let largest = prediction.probabilities.iter().copied().fold(0.0f32, f32::max);
    (gold != found).then(|| WorstExample {
        line: example.line,
        text: example.text.clone(),
        second: example.second.clone(),
        gold: gold.to_owned(),
        found: found.to_owned(),
        loss: None,
        confidence: Some(f64::from(largest)),
    })
}

/// The plan under the names of the command line.
fn options(plan: &FinetunePlan) -> Value {
    json!({
        "task": plan.task,
        "train": plan.train,
        "eval": plan.eval,
        "model": plan.model,
        "output": plan.output,
        "epochs": plan.epochs,
        "batch_size": plan.batch_size,
        "accumulate": plan.accumulate,
        "learning_rate": plan.learning_rate,
        "warmup_ratio": plan.warmup_ratio,
        "weight_decay": plan.weight_decay,
        "dropout": plan.dropout,
        "label_smoothing": plan.label_smoothing,
        "class_weights": format!("{:?}", plan.class_weights).to_lowercase(),
        "max_length": plan.max_length,
        "stride": plan.answers.stride,
        "keep": format!("{:?}", plan.keep).to_lowercase(),
        "patience": plan.patience,
        "seed": plan.seed,
        "precision": format!("{:?}", plan.precision).to_lowercase(),
    })
}
