//! Counting predictions against what the examples say.

use serde_json::{Map, Value, json};

use super::Prediction;
use crate::data::tasks::{Gold, RawExample, TaskKind, TaskLabels};
use crate::metrics::{self, Confusion, MultiLabel, Scheme, squad};

/// Metrics of a task over a set of examples, the task's own one first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskMetrics {
    values: Vec<(&'static str, f64)>,
}

impl TaskMetrics {
    /// The metric a task is judged by: what early stopping watches.
    pub fn headline(&self) -> (&'static str, f64) {
        self.values.first().copied().unwrap_or(("none", 0.0))
    }

    /// The metric of a name.
    pub fn find(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(found, _)| *found == name).map(|(_, value)| *value)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        self.values.iter().copied()
    }

    /// The metrics under the names that `--json` gives them.
    pub fn to_json(&self) -> Map<String, Value> {
        self.iter().map(|(name, value)| (name.into(), json!(value))).collect()
    }

    /// The metrics for a person: shares in percent, the rest as they are.
    pub fn describe(&self) -> String {
        let part = |(name, value): (&str, f64)| {
            let shown = name.replace('_', " ");
            if is_share(name) {
                format!("{shown} {:.2} %", value * 100.0)
            } else {
                format!("{shown} {value:.4}")
            }
        };
        self.iter().map(part).collect::<Vec<_>>().join(", ")
    }
}

/// Whether larger values of a metric are better.
pub fn larger_is_better(name: &str) -> bool {
    !name.ends_with("_error")
}

/// Whether a metric is a share of something, which people read in percent.
fn is_share(name: &str) -> bool {
    !["matthews_correlation", "pearson", "spearman"].contains(&name)
        && larger_is_better(name)
        && !name.ends_with("_threshold")
}

/// Counts predictions against what the examples say; `labels` are those of the model.
pub fn score(
    task: TaskKind,
    labels: &TaskLabels,
    examples: &[RawExample],
    predicted: &[Prediction],
) -> TaskMetrics {
    let values = match task {
        TaskKind::Classify | TaskKind::Pair => classes(labels, examples, predicted),
        TaskKind::MultiLabel => label_sets(labels, examples, predicted),
        TaskKind::Regress => numbers(examples, predicted),
        TaskKind::Tag => tags(examples, predicted, ["f1", "accuracy", "strict_f1"]),
        TaskKind::Joint => {
            let mut values = vec![("intent_accuracy", label_accuracy(examples, predicted))];
            values.extend(tags(
                examples,
                predicted,
                ["slot_f1", "slot_accuracy", "strict_slot_f1"],
            ));
            values
        }
        TaskKind::Span => answers(examples, predicted),
    };
    TaskMetrics { values }
}

fn label_accuracy(examples: &[RawExample], predicted: &[Prediction]) -> f64 {
    let pairs = examples.iter().zip(predicted);
    let hits = pairs.filter(|(example, found)| example.label() == found.label.as_deref()).count();
    hits as f64 / examples.len().max(1) as f64
}

type Values = Vec<(&'static str, f64)>;

/// The labels of examples and predictions as ids, those that the model knows.
fn label_ids(
    labels: &TaskLabels,
    examples: &[RawExample],
    predicted: &[Prediction],
) -> Vec<(usize, usize)> {
    let id = |name: Option<&str>| Some(labels.classes.as_ref()?.id(name?)? as usize);
    let pairs = examples.iter().zip(predicted);
    pairs
        .filter_map(|(gold, found)| Some((id(gold.label())?, id(found.label.as_deref())?)))
        .collect()
}

fn classes(labels: &TaskLabels, examples: &[RawExample], predicted: &[Prediction]) -> Values {
    let count = labels.classes.as_ref().map_or(0, |classes| classes.len());
    let confusion = Confusion::from_pairs(count, label_ids(labels, examples, predicted));
    let mut values = vec![("accuracy", label_accuracy(examples, predicted))];
    if count == 2 {
        // Of the second label, as scikit-learn has it by default and GLUE for MRPC and QQP.
        values.push(("f1", confusion.class(1).f1()));
    }
    values.push(("macro_f1", confusion.macro_average().f1));
    values.push(("matthews_correlation", confusion.matthews_correlation()));
    values
}

fn label_sets(labels: &TaskLabels, examples: &[RawExample], predicted: &[Prediction]) -> Values {
    let Some(classes) = &labels.classes else {
        return Vec::new();
    };
    let row = |names: &[String]| -> Vec<bool> {
        classes.names().iter().map(|class| names.contains(class)).collect()
    };
    let gold: Vec<Vec<bool>> = examples.iter().map(|example| row(example.labels())).collect();
    let found: Vec<Vec<bool>> = predicted.iter().map(|one| row(&one.labels)).collect();
    let rows = gold.iter().zip(&found).map(|(gold, found)| (gold.as_slice(), found.as_slice()));
    let counted = MultiLabel::from_rows(classes.len(), rows);
    vec![
        ("micro_f1", counted.micro().f1()),
        ("macro_f1", counted.macro_average().f1),
        ("samples_f1", counted.samples_average().f1),
        ("subset_accuracy", counted.subset_accuracy()),
    ]
}

fn numbers(examples: &[RawExample], predicted: &[Prediction]) -> Values {
    let pairs = examples.iter().zip(predicted);
    let (gold, found): (Vec<f64>, Vec<f64>) =
        pairs.filter_map(|(gold, found)| Some((gold.value()?, found.value?))).unzip();
    vec![
        ("pearson", metrics::pearson(&gold, &found)),
        ("spearman", metrics::spearman(&gold, &found)),
        ("mean_squared_error", metrics::mean_squared_error(&gold, &found)),
        ("mean_absolute_error", metrics::mean_absolute_error(&gold, &found)),
    ]
}

/// F1 of spans, if the tags mark any; then the share of words with the right tag; then F1 of spans
/// read strictly, which differs from the first by what the model tags against its scheme.
fn tags(examples: &[RawExample], predicted: &[Prediction], names: [&'static str; 3]) -> Values {
    let gold: Vec<&[String]> = examples.iter().map(|example| example.tags.as_slice()).collect();
    let found: Vec<&[String]> = predicted.iter().map(|one| one.tags.as_slice()).collect();
    let (mut hits, mut words) = (0usize, 0usize);
    for (gold, found) in gold.iter().zip(&found) {
        words += gold.len();
        hits += gold.iter().zip(*found).filter(|(gold, found)| gold == found).count();
    }
    // The scheme of the truth may have no tag for what the model says.
    let every_tag = gold.iter().chain(&found).flat_map(|tags| tags.iter());
    let scheme = Scheme::detect(every_tag);
    let mut values = Vec::new();
    if scheme.is_some() {
        values.push((names[0], metrics::span_f1(&gold, &found)));
    }
    values.push((names[1], hits as f64 / words.max(1) as f64));
    let strict = |scheme| metrics::strict_span_scores(scheme, &gold, &found).ok();
    if let Some(scores) = scheme.and_then(strict) {
        values.push((names[2], scores.total.f1()));
    }
    values
}

fn answers(examples: &[RawExample], predicted: &[Prediction]) -> Values {
    let texts = |example: &RawExample| -> Vec<String> {
        example.answers().iter().map(|answer| answer.text.clone()).collect()
    };
    let gold: Vec<Vec<String>> = examples.iter().map(texts).collect();
    let questions: Vec<squad::Answered<'_>> = gold
        .iter()
        .zip(predicted)
        .map(|(gold, found)| squad::Answered {
            gold,
            predicted: found.answer(),
            no_answer: f64::from(found.no_answer),
        })
        .collect();
    let is_unanswerable = |example: &RawExample| example.gold == Gold::Answers(Vec::new());
    if !examples.iter().any(is_unanswerable) {
        let scores = squad::scores_v1(&questions);
        return vec![("f1", scores.f1), ("exact_match", scores.exact_match)];
    }
    // Refusing is in the prediction already, so no threshold is applied again.
    let scores = squad::scores_v2(&questions, f64::INFINITY);
    let mut values = vec![("f1", scores.total.f1), ("exact_match", scores.total.exact_match)];
    if let Some(part) = scores.has_answer {
        values.extend([("has_answer_f1", part.f1), ("has_answer_exact_match", part.exact_match)]);
    }
    if let Some(part) = scores.no_answer {
        values.push(("no_answer_accuracy", part.exact_match));
    }
    values
}
