//! One label a word, from the hidden state of its first piece.

use bert_kernels::{Buffer, Context, KernelError, ops};

use super::loss::{Goal, Loss, Shaping};
use super::sequence::{Classified, Classifier};
use super::{Imitated, gather, scatter_add};
use crate::model::flat::FlatBuffers;

/// A classifier on chosen tokens.
pub(in crate::model) struct TokenClassifier {
    classifier: Classifier,
    hidden: usize,
}

/// Words to label: packed token index of each first piece, `[W]`, and its label, `[W]`.
pub(in crate::model) struct Words<'a> {
    pub index: &'a Buffer,
    pub target: &'a Buffer,
    /// What a teacher says of them.
    pub teacher: Option<Imitated<'a>>,
}

/// Tags are learned by the plain cross-entropy.
const PLAIN: Shaping = Shaping { label_smoothing: 0.0, class_weights: None, total: None };

impl<'a> Words<'a> {
    fn goal(&self) -> Goal<'a> {
        let (targets, teacher) = (self.target, self.teacher);
        Goal { loss: Loss::CrossEntropy, targets, shaping: &PLAIN, teacher }
    }
}

impl TokenClassifier {
    pub fn new(flat: &FlatBuffers, name: &str, classes: usize, hidden: usize) -> Self {
        Self { classifier: Classifier::new(flat, name, classes, hidden), hidden }
    }

    /// `hidden: [T, H]` to logits of the chosen tokens.
    pub fn forward(
        &self,
        ctx: &Context,
        hidden: &Buffer,
        words: &Words<'_>,
        dropout: Option<ops::DeviceDropout>,
    ) -> Result<Classified, KernelError> {
        let rows = gather(ctx, hidden, words.index, self.hidden)?;
        self.classifier.forward(ctx, &rows, words.index.len(), &words.goal(), dropout)
    }

    /// Adds to `d_hidden: [T, H]`.
    pub fn backward(
        &self,
        ctx: &Context,
        kept: &Classified,
        words: &Words<'_>,
        scale: f32,
        d_hidden: &Buffer,
    ) -> Result<(), KernelError> {
        let d_rows = self.classifier.backward(ctx, kept, &words.goal(), scale)?;
        scatter_add(ctx, &d_rows, words.index, d_hidden, self.hidden)
    }
}
