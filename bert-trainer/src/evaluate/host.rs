//! Predictions of a checkpoint, through the kernels.

use bert_kernels::Context;

use super::{OUTSIDE, Prediction, Predictor};
use crate::data::TextTokenizer;
use crate::data::tasks::{Labels, RawExample, TaskData, TaskKind, TaskLabels};
use crate::model::{DeviceBatch, Model, Targets};

/// Examples of a batch; evaluation keeps no activations for long, so it may be large.
const BATCH: usize = 64;

/// A model with its labels and its tokenizer.
pub struct HostPredictor<'a> {
    model: &'a Model,
    task: TaskKind,
    labels: &'a TaskLabels,
    tokenizer: &'a TextTokenizer,
    max_length: usize,
}

impl<'a> HostPredictor<'a> {
    /// Predicts with `model`, which sees at most `max_length` tokens of a text.
    pub fn new(
        model: &'a Model,
        task: TaskKind,
        labels: &'a TaskLabels,
        tokenizer: &'a TextTokenizer,
        max_length: usize,
    ) -> Self {
        Self { model, task, labels, tokenizer, max_length }
    }
}

impl Predictor for HostPredictor<'_> {
    fn task(&self) -> TaskKind {
        self.task
    }

    fn predict(&mut self, examples: &[RawExample]) -> anyhow::Result<Vec<Prediction>> {
        let ctx = self.model.context();
        let mut predictions = Vec::with_capacity(examples.len());
        for examples in examples.chunks(BATCH) {
            let data = TaskData::unlabelled(examples, self.tokenizer, self.max_length)?;
            let batch = data.batch(&(0..examples.len() as u32).collect::<Vec<_>>());
            let device_batch = DeviceBatch::upload(ctx, &batch.tokens);
            let targets = Targets::task(ctx, &batch);
            let (_, logits) = self.model.evaluate(&device_batch, &targets)?;
            let labels = best(ctx, logits.sequence.as_ref(), self.labels.classes.as_ref())?;
            let mut tags = best(ctx, logits.words.as_ref(), self.labels.tags.as_ref())?.into_iter();
            let mut labels = labels.into_iter();
            for (example, encoded) in examples.iter().zip(&data.examples) {
                let mut prediction = Prediction { label: labels.next(), tags: Vec::new() };
                if self.task.has_tags() {
                    prediction.tags = vec![OUTSIDE.to_string(); example.words.len()];
                    for &word in &encoded.word_index {
                        if let Some(tag) = tags.next() {
                            prediction.tags[word as usize] = tag;
                        }
                    }
                }
                predictions.push(prediction);
            }
        }
        Ok(predictions)
    }
}

/// The name of the largest logit of each row; the first of equals.
fn best(
    ctx: &Context,
    logits: Option<&bert_kernels::Buffer>,
    labels: Option<&Labels>,
) -> anyhow::Result<Vec<String>> {
    let (Some(logits), Some(labels)) = (logits, labels) else {
        return Ok(Vec::new());
    };
    let logits = ctx.read_f32(logits)?;
    let name = |row: &[f32]| {
        let mut best = 0;
        for (index, value) in row.iter().enumerate() {
            if *value > row[best] {
                best = index;
            }
        }
        labels.names()[best].clone()
    };
    Ok(logits.chunks(labels.len()).map(name).collect())
}
