//! Predictions of a checkpoint, through the kernels.

use std::path::Path;

use bert_core::{AnswerOptions, AnswerSearch, SpanWindow};
use bert_kernels::{Buffer, Context};

use super::{ANSWERS, OUTSIDE, Prediction, Predictor};
use crate::data::TextTokenizer;
use crate::data::tasks::{
    EncodeOptions, Labels, RawExample, TaskData, TaskExample, TaskKind, TaskLabels,
};
use crate::model::{DeviceBatch, Logits, Model, Targets};

/// Sequences of a batch; evaluation keeps no activations for long, so it may be large.
const BATCH: usize = 64;

/// A model with its labels and its tokenizer.
pub struct HostPredictor<'a> {
    model: &'a Model,
    task: TaskKind,
    labels: &'a TaskLabels,
    tokenizer: &'a TextTokenizer,
    max_length: usize,
    answers: AnswerOptions,
}

impl<'a> HostPredictor<'a> {
    /// Predicts with `model`, which sees at most `max_length` tokens of a text (of a context, at a
    /// time).
    pub fn new(
        model: &'a Model,
        task: TaskKind,
        labels: &'a TaskLabels,
        tokenizer: &'a TextTokenizer,
        max_length: usize,
    ) -> Self {
        let answers = AnswerOptions::default();
        Self { model, task, labels, tokenizer, max_length, answers }
    }

    /// The best spans of the contexts, over all their windows.
    fn answer(&self, examples: &[RawExample], data: &TaskData) -> anyhow::Result<Vec<Prediction>> {
        let mut searches = vec![AnswerSearch::<ANSWERS>::new(&self.answers); examples.len()];
        for indices in data.in_order(BATCH) {
            let logits = self.logits(data, &indices)?;
            let logits = read(self.model.context(), logits.spans.as_ref())?;
            let mut tokens = logits.chunks_exact(2);
            for &index in &indices {
                let window = &data.examples[index as usize];
                let (start, end): (Vec<f32>, Vec<f32>) =
                    tokens.by_ref().take(window.ids.len()).map(|pair| (pair[0], pair[1])).unzip();
                add_window(&mut searches[window.source as usize], window, &start, &end);
            }
        }
        let found = examples.iter().zip(searches);
        Ok(found
            .map(|(example, search)| {
                Prediction::of_answers(&search.finish(), example.second.as_deref().unwrap_or(""))
            })
            .collect())
    }

    fn logits(&self, data: &TaskData, indices: &[u32]) -> anyhow::Result<Logits> {
        let ctx = self.model.context();
        let batch = data.batch(indices);
        let device_batch = DeviceBatch::upload(ctx, &batch.tokens);
        let targets = Targets::task(ctx, self.model.head(), &batch);
        Ok(self.model.evaluate(&device_batch, &targets)?.1)
    }

    fn predictions(
        &self,
        examples: &[RawExample],
        sequences: &[TaskExample],
        logits: &Logits,
    ) -> anyhow::Result<Vec<Prediction>> {
        let ctx = self.model.context();
        let rows = read(ctx, logits.sequence.as_ref())?;
        let words = read(ctx, logits.words.as_ref())?;
        let width = rows.len() / examples.len().max(1);
        let mut rows = rows.chunks_exact(width.max(1));
        let mut words = words.chunks_exact(self.labels.tags.as_ref().map_or(1, Labels::len));
        let mut predictions = Vec::with_capacity(examples.len());
        for (example, encoded) in examples.iter().zip(sequences) {
            let mut prediction = match rows.next() {
                Some(row) => self.of_row(row),
                None => Prediction::default(),
            };
            if let Some(tags) = &self.labels.tags {
                prediction.tags = vec![OUTSIDE.to_string(); example.words.len()];
                for (&word, row) in encoded.word_index.iter().zip(words.by_ref()) {
                    prediction.tags[word as usize].clone_from(&tags.names()[largest(row)]);
                }
            }
            predictions.push(prediction);
        }
        Ok(predictions)
    }

    /// What the outputs for a sequence say.
    fn of_row(&self, row: &[f32]) -> Prediction {
        let Some(classes) = &self.labels.classes else {
            return Prediction { value: row.first().copied().map(f64::from), ..Default::default() };
        };
        if self.task == TaskKind::MultiLabel {
            let probabilities: Vec<f32> = row.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
            let present = classes.names().iter().zip(row).filter(|(_, logit)| **logit > 0.0);
            let labels = present.map(|(name, _)| name.clone()).collect();
            return Prediction { labels, probabilities, ..Default::default() };
        }
        let best = largest(row);
        let total: f32 = row.iter().map(|x| (x - row[best]).exp()).sum();
        let probabilities = row.iter().map(|x| (x - row[best]).exp() / total).collect();
        let label = Some(classes.names()[best].clone());
        Prediction { label, probabilities, ..Default::default() }
    }
}

impl Predictor for HostPredictor<'_> {
    fn task(&self) -> TaskKind {
        self.task
    }

    fn labels(&self) -> anyhow::Result<TaskLabels> {
        Ok(self.labels.clone())
    }

    fn set_answer_options(&mut self, options: AnswerOptions) {
        self.answers = options;
    }

    fn predict(&mut self, examples: &[RawExample]) -> anyhow::Result<Vec<Prediction>> {
        let encode = |examples: &[RawExample]| {
            let options =
                EncodeOptions { max_length: self.max_length, stride: self.answers.stride };
            // Whatever labels the examples have, they are not looked at.
            let none = TaskLabels::default();
            TaskData::encode(
                Path::new("input"),
                examples,
                self.task,
                &none,
                self.tokenizer,
                options,
            )
        };
        if self.task == TaskKind::Span {
            return self.answer(examples, &encode(examples)?);
        }
        let mut predictions = Vec::with_capacity(examples.len());
        for examples in examples.chunks(BATCH) {
            let data = encode(examples)?.with_classes(self.labels);
            let logits = self.logits(&data, &(0..examples.len() as u32).collect::<Vec<_>>())?;
            predictions.extend(self.predictions(examples, &data.examples, &logits)?);
        }
        Ok(predictions)
    }
}

fn add_window<const N: usize>(
    search: &mut AnswerSearch<N>,
    window: &TaskExample,
    start: &[f32],
    end: &[f32],
) {
    let Some(context) = &window.context else {
        return;
    };
    let tokens = context.first as usize..context.first as usize + context.starts.len();
    search.add(&SpanWindow {
        start_logits: &start[tokens.clone()],
        end_logits: &end[tokens],
        starts: &context.starts,
        ends: &context.ends,
        null_score: start[0] + end[0],
    });
}

fn read(ctx: &Context, logits: Option<&Buffer>) -> anyhow::Result<Vec<f32>> {
    Ok(match logits {
        Some(logits) => ctx.read_f32(logits)?,
        None => Vec::new(),
    })
}

/// Index of the largest value; the first of equals.
fn largest(row: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = index;
        }
    }
    best
}
