//! Evaluation with the field's metrics, of a checkpoint in f32 and of an exported model through
//! `bert-core` itself: the same files, the same counting.

mod detail;
mod device;
mod embed;
mod fill_mask;
mod host;
mod next_sentence;
mod noise;
mod pretraining;
mod score;
mod vectors;

pub use detail::detail;
pub use device::{DevicePredictor, Timing};
pub use embed::{DeviceEmbedder, Embedder, HostEmbedder, TextVector};
pub use fill_mask::{Candidate, FilledMask, FilledText, MASK, fill_masks};
pub use host::HostPredictor;
pub use next_sentence::next_sentence;
pub use noise::{LayerNoise, layer_noise};
pub use pretraining::{PretrainingMetrics, evaluate_pretraining};
pub use score::{TaskMetrics, larger_is_better, score};
pub use vectors::{TENSOR, VectorFormat, VectorSink, json_line, write_vectors};

use std::path::Path;

use bert_core::AnswerOptions;

use crate::data::tasks::{Gold, RawExample, TaskKind, TaskLabels};

/// What a model says about one example.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prediction {
    /// Label of the text or the pair, if the task has one.
    pub label: Option<String>,
    /// Labels of the text that are more likely than not, if it may have several.
    pub labels: Vec<String>,
    /// Probability of each label, in the order of the model's labels; empty without labels.
    pub probabilities: Vec<f32>,
    /// The number of a regression.
    pub value: Option<f64>,
    /// Tag of each word of the example, as many as it has words; empty if the task has none.
    pub tags: Vec<String>,
    /// Answers to the question, the best first; empty for other tasks.
    pub answers: Vec<FoundAnswer>,
    /// Whether the best answer is one: the model does not rather say that there is none.
    pub has_answer: bool,
    /// Score of no answer less that of the best one; 0 for other tasks.
    pub no_answer: f32,
}

/// A span of the context.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundAnswer {
    /// The text of the span.
    pub text: String,
    /// First byte in the context.
    pub start: u32,
    /// Byte after the last one.
    pub end: u32,
    /// Logit of its start plus logit of its end.
    pub score: f32,
    /// Its share among the answers found and, where it is allowed, no answer.
    pub probability: f32,
}

impl Prediction {
    /// The text of the answer; empty if there is none.
    pub fn answer(&self) -> &str {
        let best = self.answers.first().filter(|_| self.has_answer);
        best.map_or("", |answer| answer.text.as_str())
    }

    /// What `bert-core` found in a context.
    fn of_answers<const N: usize>(answers: &bert_core::Answers<N>, context: &str) -> Self {
        let best = answers.spans.first().map_or(answers.null_score, |best| best.score);
        let found = |span: &bert_core::Answer| FoundAnswer {
            text: context[span.start as usize..span.end as usize].to_owned(),
            start: span.start,
            end: span.end,
            score: span.score,
            probability: span.probability,
        };
        Self {
            answers: answers.spans.iter().map(found).collect(),
            has_answer: answers.best().is_some(),
            no_answer: answers.null_score - best,
            ..Self::default()
        }
    }
}

/// Answers that are kept for a question, as in `run_qa.py`.
pub const ANSWERS: usize = 20;

/// Something that predicts a task: a checkpoint or an exported model.
pub trait Predictor {
    /// The task it was trained for.
    fn task(&self) -> TaskKind;

    /// The labels it knows.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    fn labels(&self) -> anyhow::Result<TaskLabels>;

    /// How to look for answers.
    fn set_answer_options(&mut self, options: AnswerOptions);

    /// A prediction for each example. Words that the model could not see (cut off at its maximal
    /// length, or without a piece) are tagged [`OUTSIDE`].
    ///
    /// # Errors
    ///
    /// What the device reports; a question that leaves no room for its context.
    fn predict(&mut self, examples: &[RawExample]) -> anyhow::Result<Vec<Prediction>>;
}

/// Predicts all examples and counts; `path`, where they come from, is named in errors.
///
/// # Errors
///
/// Labels that the model does not have, with file and line; what prediction reports.
pub fn evaluate(
    predictor: &mut dyn Predictor,
    path: &Path,
    examples: &[RawExample],
    answers: AnswerOptions,
) -> anyhow::Result<TaskMetrics> {
    let labels = predictor.labels()?;
    labels.check(path, examples)?;
    predictor.set_answer_options(answers_for(answers, examples));
    let predicted = predictor.predict(examples)?;
    Ok(score(predictor.task(), &labels, examples, &predicted))
}

/// `options`, with a threshold of 0 for no answer if some examples have none and it is not set.
pub fn answers_for(options: AnswerOptions, examples: &[RawExample]) -> AnswerOptions {
    let unanswerable = examples.iter().any(|example| example.gold == Gold::Answers(Vec::new()));
    let threshold = options.no_answer_threshold.or(unanswerable.then_some(0.0));
    AnswerOptions { no_answer_threshold: threshold, ..options }
}

/// The tag of a word that belongs to no span.
pub const OUTSIDE: &str = "O";
