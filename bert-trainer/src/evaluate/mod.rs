//! Evaluation with the field's metrics, of a checkpoint in f32 and of an exported model through
//! `bert-core` itself: the same files, the same counting.

mod device;
mod host;
mod pretraining;

pub use device::DevicePredictor;
pub use host::HostPredictor;
pub use pretraining::{PretrainingMetrics, evaluate_pretraining};

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::data::DataError;
use crate::data::tasks::{RawExample, TaskKind, TaskLabels};
use crate::metrics;

/// What a model says about one example.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prediction {
    /// Label of the text, if the task has one.
    pub label: Option<String>,
    /// Tag of each word of the example, as many as it has words; empty if the task has none.
    pub tags: Vec<String>,
}

/// Something that predicts a task: a checkpoint or an exported model.
pub trait Predictor {
    /// The task it was trained for.
    fn task(&self) -> TaskKind;

    /// A prediction for each example. Words that the model could not see (cut off at its maximal
    /// length, or without a piece) are tagged [`OUTSIDE`].
    ///
    /// # Errors
    ///
    /// What the device reports.
    fn predict(&mut self, examples: &[RawExample]) -> anyhow::Result<Vec<Prediction>>;
}

/// The tag of a word that belongs to no span.
pub const OUTSIDE: &str = "O";

/// Metrics of a task over a set of examples.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskMetrics {
    /// Share of texts with the right label, in [0, 1].
    pub accuracy: Option<f64>,
    /// Share of words with the right tag, in [0, 1].
    pub tag_accuracy: Option<f64>,
    /// F1 of whole spans as `seqeval` counts them, in [0, 1]; only for BIO tags.
    pub span_f1: Option<f64>,
}

/// Refuses examples with labels or tags that the model does not have.
///
/// # Errors
///
/// The first such label with file, line and the labels known.
pub fn unknown_labels(
    path: &Path,
    examples: &[RawExample],
    labels: &TaskLabels,
) -> Result<(), DataError> {
    for example in examples {
        if let (Some(known), Some(label)) = (&labels.classes, &example.label) {
            known.id_or_error("label", label, path, example.line)?;
        }
        if let Some(known) = &labels.tags {
            for (index, tag) in example.tags.iter().enumerate() {
                // The words of a CoNLL sentence stand on lines of their own.
                let line = example.line + if example.label.is_none() { index as u64 } else { 0 };
                known.id_or_error("tag", tag, path, line)?;
            }
        }
    }
    Ok(())
}

/// Counts predictions against what the examples say.
pub fn score(task: TaskKind, examples: &[RawExample], predicted: &[Prediction]) -> TaskMetrics {
    let accuracy = task.has_label().then(|| {
        let pairs = examples.iter().zip(predicted);
        let hits = pairs.filter(|(example, prediction)| example.label == prediction.label).count();
        hits as f64 / examples.len().max(1) as f64
    });
    if !task.has_tags() {
        return TaskMetrics { accuracy, tag_accuracy: None, span_f1: None };
    }
    let gold: Vec<&[String]> = examples.iter().map(|example| example.tags.as_slice()).collect();
    let found: Vec<&[String]> = predicted.iter().map(|one| one.tags.as_slice()).collect();
    let (mut hits, mut words) = (0usize, 0usize);
    for (gold, found) in gold.iter().zip(&found) {
        words += gold.len();
        hits += gold.iter().zip(*found).filter(|(gold, found)| gold == found).count();
    }
    let is_bio = gold
        .iter()
        .flat_map(|tags| tags.iter())
        .all(|tag| tag == OUTSIDE || tag.starts_with("B-") || tag.starts_with("I-"));
    TaskMetrics {
        accuracy,
        tag_accuracy: Some(hits as f64 / words.max(1) as f64),
        span_f1: is_bio.then(|| metrics::span_f1(&gold, &found)),
    }
}

impl TaskMetrics {
    /// The metrics under the names that `--json` gives them.
    pub fn to_json(&self, task: TaskKind) -> Map<String, Value> {
        let mut map = Map::new();
        if let Some(accuracy) = self.accuracy {
            let name = if task == TaskKind::Joint { "intent_accuracy" } else { "accuracy" };
            map.insert(name.into(), json!(accuracy));
        }
        if let Some(accuracy) = self.tag_accuracy {
            let name = if task == TaskKind::Tag { "accuracy" } else { "slot_accuracy" };
            map.insert(name.into(), json!(accuracy));
        }
        if let Some(f1) = self.span_f1 {
            let name = if task == TaskKind::Joint { "slot_f1" } else { "f1" };
            map.insert(name.into(), json!(f1));
        }
        map
    }

    /// The metrics in percent for a person.
    pub fn describe(&self, task: TaskKind) -> String {
        let parts = self.to_json(task);
        let part = |(name, value): (&String, &Value)| {
            format!("{} {:.2} %", name.replace('_', " "), value.as_f64().unwrap_or(0.0) * 100.0)
        };
        parts.iter().map(part).collect::<Vec<_>>().join(", ")
    }
}
