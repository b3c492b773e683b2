//! `bert-trainer predict --task fill-mask|nsp`: what a pre-trained model knows.

use std::path::Path;

use anyhow::{anyhow, bail, ensure};
use serde_json::{Value, json};

use super::{OpenCheckpoint, Report};
use crate::data::tasks::{RawExample, TaskKind};
use crate::evaluate::{FilledText, fill_masks, next_sentence};

/// The tasks of pre-training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pretraining {
    FillMask,
    NextSentence,
}

impl Pretraining {
    /// The task as the command line names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FillMask => "fill-mask",
            Self::NextSentence => "nsp",
        }
    }

    /// Whether a tensor is part of what predicts this.
    fn needs(self, tensor: &str) -> bool {
        match self {
            Self::FillMask => tensor.starts_with("cls.predictions."),
            Self::NextSentence => {
                tensor.starts_with("cls.seq_relationship.") || tensor.starts_with("bert.pooler.")
            }
        }
    }

    /// Classes of `transformers` that have all of it.
    fn classes(self) -> &'static str {
        match self {
            Self::FillMask => "BertForPreTraining or BertForMaskedLM",
            Self::NextSentence => "BertForPreTraining or BertForNextSentencePrediction",
        }
    }

    /// Predicts with a checkpoint that lies in `dir`; `top` pieces a mask.
    pub(super) fn predict(
        self,
        dir: &Path,
        open: &OpenCheckpoint,
        texts: &[String],
        top: usize,
    ) -> anyhow::Result<Report> {
        let (dir, name) = (dir.display(), self.name());
        if let Some((task, _)) = &open.task {
            bail!("{dir}: --task {name} was asked for, but this is a model of {}", task.name());
        }
        if let Some(lacking) = open.missing.iter().find(|tensor| self.needs(tensor)) {
            bail!("{dir}: lacks {lacking}; --task {name} needs a {}", self.classes());
        }
        match self {
            Self::FillMask => {
                let found = fill_masks(&open.model, &open.tokenizer, texts, top, open.max_length)?;
                Ok(filled_report(texts, &found))
            }
            Self::NextSentence => {
                let pairs = pairs(texts)?;
                let found = next_sentence(&open.model, &open.tokenizer, &pairs, open.max_length)?;
                Ok(sentence_report(&pairs, &found))
            }
        }
    }
}

/// A line for the text filled in, and one for each mask: its number, then pieces and probabilities.
fn filled_report(texts: &[String], found: &[FilledText]) -> Report {
    let mut lines = Vec::new();
    for filled in found {
        lines.push(filled.text.clone());
        for (index, mask) in filled.masks.iter().enumerate() {
            let mut line = format!("  [MASK] {}", index + 1);
            for candidate in &mask.candidates {
                line.push_str(&format!("\t{} {:.4}", candidate.piece, candidate.probability));
            }
            lines.push(line);
        }
    }
    let object = |(text, filled): (&String, &FilledText)| {
        let masks = filled.masks.iter().map(|mask| {
            let candidates = mask.candidates.iter().map(|candidate| {
                json!({
                    "piece": candidate.piece,
                    "id": candidate.id,
                    "probability": candidate.probability,
                })
            });
            let candidates: Value = candidates.collect();
            json!({ "start": mask.start, "end": mask.end, "candidates": candidates })
        });
        json!({ "text": text, "filled": filled.text, "masks": masks.collect::<Value>() })
    };
    let objects: Value = texts.iter().zip(found).map(object).collect();
    Report { lines, json: json!({ "predictions": objects }) }
}

fn pairs(texts: &[String]) -> anyhow::Result<Vec<RawExample>> {
    let read = |(index, text): (usize, &String)| {
        let number = index + 1;
        let pair = RawExample::unlabelled(text, TaskKind::Pair, number as u64)
            .map_err(|expected| anyhow!("text {number}: expected {expected}"))?;
        let second = pair.second.as_deref().unwrap_or_default();
        ensure!(!second.contains('\t'), "text {number}: expected two texts, `a<TAB>b`, found more");
        Ok(pair)
    };
    texts.iter().enumerate().map(read).collect()
}

/// A line a pair: its texts and the probability that the second follows the first.
fn sentence_report(pairs: &[RawExample], found: &[f64]) -> Report {
    let second = |pair: &RawExample| pair.second.clone().unwrap_or_default();
    let line = |(pair, follows): (&RawExample, &f64)| {
        format!("{}\t{}\t{follows:.4}", pair.text, second(pair))
    };
    let object = |(pair, follows): (&RawExample, &f64)| json!({ "text": pair.text, "second": second(pair), "probability": follows });
    let objects: Value = pairs.iter().zip(found).map(object).collect();
    Report {
        lines: pairs.iter().zip(found).map(line).collect(),
        json: json!({ "predictions": objects }),
    }
}
