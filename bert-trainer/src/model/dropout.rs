//! Which dropout mask belongs to which place of which step.

use bert_kernels::ops;

/// Places of the model that drop activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// On the attention probabilities.
    Attention = 0,
    /// On the attention output, before the residual.
    AttentionOutput = 1,
    /// On the feed-forward output, before the residual.
    Output = 2,
    /// On the embeddings, after their layer norm.
    Embeddings = 3,
    /// On what enters a task's classifier.
    Classifier = 4,
}

/// The dropout of one forward and backward pass: masks are a pure function of (seed, pass, layer,
/// place, element), so the backward pass draws the same ones again and a resumed run too.
#[derive(Debug, Clone, Copy)]
pub struct DropoutPlan {
    active: Option<(u64, u64)>,
    hidden: f32,
    attention: f32,
    classifier: f32,
    /// Indices of the first element of the hidden states, and of the first row of attention
    /// probabilities, in those of the whole pass.
    first_element: u64,
    first_row: u64,
}

impl DropoutPlan {
    /// No dropout: evaluation.
    pub const OFF: Self = Self {
        active: None,
        hidden: 0.0,
        attention: 0.0,
        classifier: 0.0,
        first_element: 0,
        first_row: 0,
    };

    /// The dropout of training pass `pass` (a step, or one of its accumulated parts).
    pub fn training(config: &crate::config::Config, seed: u64, pass: u64) -> Self {
        Self {
            active: Some((seed, pass)),
            hidden: config.hidden_dropout(),
            attention: config.attention_dropout(),
            classifier: config.head_dropout(),
            ..Self::OFF
        }
    }

    /// The dropout of a slice of the pass that begins at this token: the masks are those that a whole
    /// batch would have there. For what the encoder drops; the classifier of a task has no slices.
    pub fn from_token(self, config: &crate::config::Config, token: u64) -> Self {
        Self {
            first_element: token * config.hidden_size as u64,
            first_row: token * config.num_attention_heads as u64,
            ..self
        }
    }

    pub(super) fn at(&self, layer: usize, place: Place) -> Option<ops::Dropout> {
        let (seed, pass) = self.active?;
        let (probability, first) = match place {
            // A row of probabilities is a row of the mask; all else is one row.
            Place::Attention => (self.attention, self.first_row << 32),
            Place::Classifier => (self.classifier, 0),
            _ => (self.hidden, self.first_element),
        };
        // Layers and places fill the low 16 bits, far more than any model has.
        let stream = pass << 16 | (layer as u64) << 3 | place as u64;
        (probability > 0.0).then_some(ops::Dropout { probability, seed, stream, first })
    }
}
