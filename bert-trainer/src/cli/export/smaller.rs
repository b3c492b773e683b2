//! What makes the word table smaller, and what that costs.

use std::path::Path;

use anyhow::Context as _;
use bert_core::Model;
use bert_core::format::WordEncoding;
use serde_json::{Value, json};

use super::Args;
use super::measure::finite;
use crate::cli::prune;
use crate::data::tasks::{RawExample, TaskKind};
use crate::evaluate::{DevicePredictor, TaskMetrics};
use crate::export::{ExportOptions, export};
use crate::model::{checkpoint_config, task_of_config};
use crate::prune::Pruning;
use crate::report::WordTableCost;

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum EmbeddingsName {
    /// A scale for each piece.
    Int8,
    /// A scale for each 32 values, about half the bytes; for readers of version 4.
    Int4,
}

impl From<EmbeddingsName> for WordEncoding {
    fn from(name: EmbeddingsName) -> Self {
        match name {
            EmbeddingsName::Int8 => WordEncoding::Int8,
            EmbeddingsName::Int4 => WordEncoding::Int4,
        }
    }
}

/// What is to stay of the vocabulary, if files say so.
pub(super) fn pruning(args: &Args) -> anyhow::Result<Option<Pruning>> {
    if args.prune_vocabulary.is_empty() {
        return Ok(None);
    }
    let own = task_of_config(&checkpoint_config(&args.model)?, &args.model);
    let task = match args.embed {
        Some(_) => None,
        None => args.task.map(TaskKind::from).or(own?.map(|(task, _)| task)),
    };
    let files = &args.prune_vocabulary;
    Ok(Some(prune::pruning(&args.model, files, task, &args.read)?.0))
}

/// Pieces and bytes of the word table, of the whole vocabulary in int8 and as they are written.
pub(super) struct Sizes {
    pieces: [usize; 2],
    bytes: [u64; 2],
    /// Whether neither option made it smaller.
    pub is_plain: bool,
}

impl Sizes {
    pub fn of(path: &Path, file: &[u8], options: &ExportOptions<'_>) -> anyhow::Result<Self> {
        let model = Model::parse(file).with_context(|| path.display().to_string())?;
        let (after, hidden) = (model.config().vocabulary as usize, model.config().hidden.into());
        let before = options.pruning.map_or(after, Pruning::pieces_before);
        let bytes = [WordEncoding::Int8.bytes(before, hidden), options.words.bytes(after, hidden)];
        let is_plain = options.pruning.is_none() && options.words == WordEncoding::Int8;
        Ok(Self { pieces: [before, after], bytes, is_plain })
    }

    pub fn lines(&self) -> Vec<String> {
        let ([pieces, kept], [bytes, left]) = (self.pieces, self.bytes);
        let line = || {
            format!("vocabulary: {kept} of {pieces} pieces; word table: {left} of {bytes} bytes")
        };
        (!self.is_plain).then(line).into_iter().collect()
    }

    pub fn pieces(&self) -> Value {
        json!({ "before": self.pieces[0], "after": self.pieces[1] })
    }

    pub fn word_table_bytes(&self) -> Value {
        json!({ "before": self.bytes[0], "after": self.bytes[1] })
    }
}

/// A model with both, one or none of what makes the word table smaller, and what it scores.
pub(super) struct Cost {
    words: WordEncoding,
    is_pruned: bool,
    pieces: usize,
    word_table_bytes: u64,
    model_bytes: usize,
    metrics: TaskMetrics,
}

impl Cost {
    pub fn of(
        options: &ExportOptions<'_>,
        file: &[u8],
        metrics: TaskMetrics,
    ) -> anyhow::Result<Self> {
        let model = Model::parse(file)?;
        let (pieces, hidden) = (model.config().vocabulary as usize, model.config().hidden.into());
        Ok(Self {
            words: options.words,
            is_pruned: options.pruning.is_some(),
            pieces,
            word_table_bytes: options.words.bytes(pieces, hidden),
            model_bytes: file.len(),
            metrics,
        })
    }

    /// Neither, each by itself, and both as far as `options` has them, of which one is `written`.
    pub fn all(
        args: &Args,
        eval: &Path,
        examples: &[RawExample],
        options: &ExportOptions<'_>,
        written: Cost,
    ) -> anyhow::Result<Vec<Self>> {
        let int8 = WordEncoding::Int8;
        let mut others = vec![(int8, None)];
        if options.words != int8 && options.pruning.is_some() {
            others.extend([(options.words, None), (int8, options.pruning)]);
        }
        let measure = |(words, pruning)| {
            let options = ExportOptions { words, pruning, ..*options };
            let predictor =
                DevicePredictor::from_bytes(&args.output, export(&args.model, &options)?)?;
            let one = args.evaluated(predictor, eval, examples)?;
            Self::of(&options, one.predictor.bytes(), one.found)
        };
        let mut all = others.into_iter().map(measure).collect::<anyhow::Result<Vec<_>>>()?;
        all.push(written);
        Ok(all)
    }

    fn encoding(&self) -> &'static str {
        match self.words {
            WordEncoding::Int8 => "int8",
            WordEncoding::Int4 => "int4",
        }
    }

    pub fn line(&self) -> String {
        let pieces = if self.is_pruned { "pruned" } else { "whole" };
        format!(
            "  {} {pieces:6} {:>7} pieces, word table {:>10} of {:>10} bytes: {}",
            self.encoding(),
            self.pieces,
            self.word_table_bytes,
            self.model_bytes,
            self.metrics.describe()
        )
    }

    pub fn to_report(&self) -> WordTableCost {
        WordTableCost {
            encoding: self.encoding().to_owned(),
            is_pruned: self.is_pruned,
            pieces: self.pieces as u64,
            table_bytes: self.word_table_bytes,
            model_bytes: self.model_bytes as u64,
            metrics: finite(&self.metrics),
        }
    }

    pub fn to_json(&self) -> Value {
        json!({
            "embeddings": self.encoding(),
            "pruned": self.is_pruned,
            "pieces": self.pieces,
            "word_table_bytes": self.word_table_bytes,
            "model_bytes": self.model_bytes,
            "metrics": self.metrics.to_json(),
        })
    }
}
