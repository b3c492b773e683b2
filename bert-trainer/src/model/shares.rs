//! Which part of an optimizer step a pass is, where gradients accumulate over several.

use crate::data::{PretrainBatch, TaskBatch};

/// The share of a step's rows that a pass has, for each thing predicted; all of them where a step is
/// one pass.
///
/// A pass's loss is a mean over its own rows. Passes have different numbers of masked tokens and words,
/// so the mean over the step's rows is the sum of their means times their shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares {
    /// Of the masked tokens.
    pub masked: f32,
    /// Of the sequences with a label or a number; where labels have weights, of the sum of those.
    pub sequence: f32,
    /// Of the words.
    pub words: f32,
    /// Of the sequences with an answer.
    pub spans: f32,
    /// Of all tokens.
    pub tokens: f32,
}

impl Default for Shares {
    fn default() -> Self {
        Self { masked: 1.0, sequence: 1.0, words: 1.0, spans: 1.0, tokens: 1.0 }
    }
}

impl Shares {
    /// Of a part of a batch of pre-training.
    pub fn pretraining(part: &PretrainBatch, step: &PretrainBatch) -> Self {
        Self::pretraining_of(part, step.masked_index.len(), step.nsp_label.len())
    }

    /// Of a part of a step that has so many masked tokens and sequences.
    pub fn pretraining_of(part: &PretrainBatch, masked: usize, sequences: usize) -> Self {
        Self {
            masked: share(part.masked_index.len(), masked),
            sequence: share(part.nsp_label.len(), sequences),
            ..Self::default()
        }
    }

    /// Of a part of a task's batch.
    pub fn task(part: &TaskBatch, step: &TaskBatch) -> Self {
        let sequences = share(part.tokens.sequences(), step.tokens.sequences());
        Self {
            sequence: sequences,
            spans: sequences,
            words: share(part.tag_index.len(), step.tag_index.len()),
            tokens: share(part.tokens.tokens(), step.tokens.tokens()),
            ..Self::default()
        }
    }
}

fn share(part: usize, step: usize) -> f32 {
    part as f32 / step.max(1) as f32
}
