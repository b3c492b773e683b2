//! Whether one text follows another: what next sentence prediction was trained for (Devlin et al.
//! 2018, 3.1).

use std::path::Path;

use anyhow::{anyhow, ensure};

use crate::data::TextTokenizer;
use crate::data::tasks::{EncodeOptions, RawExample, TaskData, TaskKind, TaskLabels};
use crate::model::{DeviceBatch, Model, Targets};

/// Pairs of a batch.
const BATCH: usize = 64;

/// The probability that `second` follows `text` in each example, in [0, 1]; the longer text is cut
/// first where two are too long. Label 0 means that it follows, as in google-research/bert.
///
/// # Errors
///
/// A model without the head; what the device reports.
pub fn next_sentence(
    model: &Model,
    tokenizer: &TextTokenizer,
    pairs: &[RawExample],
    max_length: usize,
) -> anyhow::Result<Vec<f64>> {
    let ctx = model.context();
    let options = EncodeOptions::new(max_length);
    let none = TaskLabels::default();
    let data =
        TaskData::encode(Path::new("input"), pairs, TaskKind::Pair, &none, tokenizer, options)?;
    let mut probabilities = Vec::with_capacity(pairs.len());
    for indices in data.in_order(BATCH) {
        let batch = data.batch(&indices);
        // The head also gives a loss, which needs some label and is not looked at.
        let labels = vec![0; indices.len()];
        let targets = Targets { sequence: Some(ctx.upload_u32(&labels)), ..Targets::default() };
        let (_, logits) = model.evaluate(&DeviceBatch::upload(ctx, &batch.tokens), &targets)?;
        let logits = logits.sequence.ok_or_else(|| anyhow!("the model predicts no sentences"))?;
        let logits = ctx.read_f32(&logits)?;
        ensure!(logits.iter().all(|logit| logit.is_finite()), "the model's logits are not finite");
        // A softmax over two is the logistic function of their difference.
        let follows = |row: &[f32]| 1.0 / (1.0 + f64::from(row[1] - row[0]).exp());
        probabilities.extend(logits.chunks_exact(2).map(follows));
    }
    Ok(probabilities)
}
