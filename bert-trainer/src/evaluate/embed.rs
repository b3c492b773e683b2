//! Texts as vectors, of a checkpoint through the kernels and of an exported model through `bert-core`:
//! BERT as a feature extractor (Devlin et al. 2018, 5.3).
//!
//! Which rows of which layers make a vector is said by `bert-core`'s [`EmbedOptions`] for both.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use bert_core::format::{Head, Model as DeviceModel, Pooling};
use bert_core::{EmbedOptions, Layers, ScratchVec, Session};

use crate::data::{PackedBatch, TextTokenizer};
use crate::model::{DeviceBatch, Model, Targets};

/// Tokens of a batch: hidden states of every layer stay on the device until it is read.
const BATCH_TOKENS: usize = 4096;

/// The vector of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct TextVector {
    /// As many numbers as [`Embedder::width`] says.
    pub values: Vec<f32>,
    /// Tokens that were read, `[CLS]` and `[SEP]` included.
    pub tokens: usize,
    /// Whether the text was cut.
    pub truncated: bool,
}

/// Something that turns texts into vectors: a checkpoint or an exported model.
pub trait Embedder {
    /// Numbers of a vector.
    fn width(&self) -> usize;

    /// Hands the vector of each text to `sink`, in order.
    ///
    /// # Errors
    ///
    /// What the device reports; what `sink` returns.
    fn embed(
        &mut self,
        texts: &[String],
        sink: &mut dyn FnMut(&str, TextVector) -> anyhow::Result<()>,
    ) -> anyhow::Result<()>;
}

/// A checkpoint's encoder with its tokenizer.
pub struct HostEmbedder<'a> {
    model: &'a Model,
    tokenizer: &'a TextTokenizer,
    options: EmbedOptions,
    max_length: usize,
}

impl<'a> HostEmbedder<'a> {
    /// Reads at most `max_length` tokens of a text, 3 or more.
    ///
    /// # Errors
    ///
    /// If the model has not the layers that are asked for.
    pub fn new(
        model: &'a Model,
        tokenizer: &'a TextTokenizer,
        options: EmbedOptions,
        max_length: usize,
    ) -> Result<Self, bert_core::Error> {
        options.range(layers_of(model))?;
        Ok(Self { model, tokenizer, options, max_length })
    }

    /// `[CLS] text [SEP]`, and whether the text was cut.
    fn encode(&self, text: &str) -> (Vec<u32>, bool) {
        let special = self.tokenizer.special();
        let mut ids = vec![special.cls];
        self.tokenizer.encode(text, &mut ids);
        let truncated = ids.len() > self.max_length - 1;
        ids.truncate(self.max_length - 1);
        ids.push(special.sep);
        (ids, truncated)
    }

    /// Vectors of the sequences of a batch, one after another.
    fn vectors(&self, batch: &PackedBatch) -> anyhow::Result<Vec<Vec<f32>>> {
        let ctx = self.model.context();
        let device_batch = DeviceBatch::upload(ctx, batch);
        let (_, logits) = self.model.evaluate(&device_batch, &Targets::default())?;
        let (first, last) = self.options.range(layers_of(self.model))?;
        let hidden = self.model.config().hidden_size;
        let mut sums = vec![vec![0.0; self.width()]; batch.sequences()];
        for layer in first..=last {
            let rows = ctx.read_f32(&logits.hidden[usize::from(layer)])?;
            // Side by side or on top of each other.
            let at = match self.options.layers {
                Layers::ConcatLastFour => usize::from(layer - first) * hidden,
                _ => 0,
            };
            for (sum, ends) in sums.iter_mut().zip(batch.cu_seqlens.windows(2)) {
                let rows = &rows[ends[0] as usize * hidden..ends[1] as usize * hidden];
                add_pooled(rows, self.options.pooling, &mut sum[at..at + hidden]);
            }
        }
        let narrow = |sum: Vec<f64>| sum.into_iter().map(|value| value as f32).collect();
        Ok(sums.into_iter().map(narrow).collect())
    }
}

/// L of a model; a config has at most 512.
fn layers_of(model: &Model) -> u16 {
    u16::try_from(model.config().num_hidden_layers).unwrap_or(u16::MAX)
}

/// Adds the pooled rows of a sequence, `[T, H]`, to `sum`, `[H]`.
fn add_pooled(rows: &[f32], pooling: Pooling, sum: &mut [f64]) {
    let hidden = sum.len();
    let (rows, count) = match pooling {
        Pooling::First => (&rows[..hidden], 1),
        Pooling::Mean => (rows, rows.len() / hidden),
    };
    for row in rows.chunks_exact(hidden) {
        for (sum, value) in sum.iter_mut().zip(row) {
            *sum += f64::from(*value) / count as f64;
        }
    }
}

impl Embedder for HostEmbedder<'_> {
    fn width(&self) -> usize {
        self.options.out_len(self.model.config().hidden_size)
    }

    fn embed(
        &mut self,
        texts: &[String],
        sink: &mut dyn FnMut(&str, TextVector) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut waiting = texts.iter().peekable();
        while waiting.peek().is_some() {
            let mut batch = PackedBatch::new();
            let mut read = Vec::new();
            while let Some(text) = waiting.next_if(|_| batch.tokens() < BATCH_TOKENS) {
                let (ids, truncated) = self.encode(text);
                batch.push(&ids, &vec![0; ids.len()]);
                read.push((text, ids.len(), truncated));
            }
            for ((text, tokens, truncated), values) in read.into_iter().zip(self.vectors(&batch)?) {
                sink(text, TextVector { values, tokens, truncated })?;
            }
        }
        Ok(())
    }
}

/// A model file in memory.
pub struct DeviceEmbedder {
    path: PathBuf,
    bytes: Vec<u8>,
    options: EmbedOptions,
    width: usize,
    limit: usize,
}

impl DeviceEmbedder {
    /// Reads and checks a model file. Without `pooling` it is the one that the file was made for, else
    /// the mean; without `max_length` all of the file's.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is not a whole model file, or the model has not the layers or the
    /// positions that are asked for.
    pub fn open(
        path: &Path,
        pooling: Option<Pooling>,
        layers: Layers,
        max_length: Option<usize>,
    ) -> anyhow::Result<Self> {
        let named = || path.display().to_string();
        let bytes = std::fs::read(path).with_context(|| format!("{}: cannot read", named()))?;
        let model = DeviceModel::parse(&bytes).with_context(named)?;
        let config = model.config();
        let own = match config.head {
            Head::Embed { pooling } => pooling,
            _ => Pooling::Mean,
        };
        let options = EmbedOptions { pooling: pooling.unwrap_or(own), layers };
        options.range(config.layers).with_context(named)?;
        let width = options.out_len(config.hidden as usize);
        let limit = max_length.unwrap_or(usize::from(config.max_length));
        let most = usize::from(config.max_length);
        if !(3..=most).contains(&limit) {
            return Err(anyhow!("--max-length {limit}: {} is for {most} tokens", named()));
        }
        Ok(Self { path: path.into(), bytes, options, width, limit })
    }
}

impl Embedder for DeviceEmbedder {
    fn width(&self) -> usize {
        self.width
    }

    fn embed(
        &mut self,
        texts: &[String],
        sink: &mut dyn FnMut(&str, TextVector) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let named = || self.path.display().to_string();
        let model = DeviceModel::parse(&self.bytes).with_context(named)?;
        let mut scratch = ScratchVec::of(&model);
        let mut session =
            Session::with_limit(&model, &mut scratch, self.limit).with_context(named)?;
        for text in texts {
            let mut values = vec![0.0; self.width];
            let found = session.embed(text, self.options, &mut values).with_context(named)?;
            let (tokens, truncated) = (found.tokens, found.truncated);
            sink(text, TextVector { values, tokens, truncated })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_takes_the_first_row_or_the_mean_and_adds() {
        let rows = [1.0, 2.0, 3.0, 4.0, 8.0, 0.0];
        let mut sum = [10.0, 0.0];
        add_pooled(&rows, Pooling::First, &mut sum);
        assert_eq!(sum, [11.0, 2.0]);
        let mut sum = [0.0, 1.0];
        add_pooled(&rows, Pooling::Mean, &mut sum);
        assert_eq!(sum, [4.0, 3.0]);
    }
}
