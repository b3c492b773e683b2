//! Masked language model and next sentence prediction on text the model has not seen.

use std::path::Path;

use bert_kernels::Context;
use serde::Serialize;

use crate::data::{PrepareOptions, PretrainData, PretrainOptions, prepare};
use crate::model::{DeviceBatch, Model, Shares, Tally, Targets};

/// How well a pre-trained model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PretrainingMetrics {
    /// Mean cross-entropy of masked tokens, nats.
    pub mlm_loss: f64,
    /// The entropy of the file's own token counts, nats: no model without context is below it.
    pub mlm_unigram_loss: f64,
    /// Share of masked tokens predicted right, in [0, 1].
    pub mlm_accuracy: f64,
    /// Mean cross-entropy of next-sentence answers, nats.
    pub nsp_loss: f64,
    /// Share of right next-sentence answers, in [0, 1].
    pub nsp_accuracy: f64,
    /// Sequences evaluated.
    #[serde(skip)]
    pub examples: u64,
}

/// Prepares `file` with the tokenizer in `tokenizer_dir` and evaluates all its sentence pairs once,
/// with masks and pairs that depend on no run's seed.
///
/// # Errors
///
/// If the file is missing, empty or not UTF-8; what the device reports.
pub fn evaluate_pretraining(
    model: &Model,
    tokenizer_dir: &Path,
    file: &Path,
    max_length: usize,
) -> anyhow::Result<PretrainingMetrics> {
    let place = tempfile::tempdir()?;
    let shards = place.path().join("shards");
    let options = PrepareOptions::new(vec![file.into()], tokenizer_dir.into(), shards.clone());
    let manifest = prepare(&options, |_| ())?;
    let options = PretrainOptions { max_length, batch_size: 32, ..PretrainOptions::default() };
    let data = PretrainData::open(&shards, options)?;
    let ctx: &Context = model.context();
    let (mut masked, mut next) = (Tally::default(), Tally::default());
    for batch in data.evaluation()? {
        let device_batch = DeviceBatch::upload(ctx, &batch.tokens);
        let (losses, _) =
            model.evaluate(&device_batch, &Targets::pretraining(ctx, &batch, Shares::default()))?;
        for (tally, term) in [(&mut masked, &losses.masked), (&mut next, &losses.sequence)] {
            if let Some(term) = term {
                tally.add(term.read(ctx)?);
            }
        }
    }
    Ok(PretrainingMetrics {
        mlm_loss: masked.mean_loss(),
        mlm_unigram_loss: manifest.unigram_entropy,
        mlm_accuracy: masked.accuracy(),
        nsp_loss: next.mean_loss(),
        nsp_accuracy: next.accuracy(),
        examples: next.rows,
    })
}
