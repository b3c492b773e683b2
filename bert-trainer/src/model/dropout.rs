//! Which dropout mask belongs to which place of which step.

use bert_kernels::{Buffer, Context, ops};

use crate::config::Config;

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

/// Bits of a place in the number of a mask.
const PLACE_BITS: usize = 3;

/// The dropout of one forward and backward pass: masks are a pure function of (seed, pass, layer,
/// place, element), so the backward pass draws the same ones again and a resumed run too.
///
/// The keys of the masks are on the device: a pass that was recorded draws anew with new ones.
#[derive(Debug, Clone)]
pub struct DropoutPlan {
    /// [`ops::dropout_keys`] of each layer and place.
    keys: Option<Buffer>,
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
        keys: None,
        hidden: 0.0,
        attention: 0.0,
        classifier: 0.0,
        first_element: 0,
        first_row: 0,
    };

    /// The dropout of training pass `pass` (a step, or one of its accumulated parts).
    pub fn training(ctx: &Context, config: &Config, seed: u64, pass: u64) -> Self {
        Self::drawn(config, ctx.upload_u32(&Self::keys(config, seed, pass)))
    }

    /// The keys of all masks of a pass.
    pub(super) fn keys(config: &Config, seed: u64, pass: u64) -> Vec<u32> {
        // Two heads have a mask even where there is one layer.
        let layers = config.num_hidden_layers.max(2) as u64;
        // Layers and places fill the low 16 bits, far more than any model has.
        let streams = (0..layers << PLACE_BITS).map(|layer_and_place| pass << 16 | layer_and_place);
        streams.flat_map(|stream| ops::dropout_keys(seed, stream)).collect()
    }

    /// The dropout of a pass with these [`keys`](Self::keys).
    pub(super) fn drawn(config: &Config, keys: Buffer) -> Self {
        Self {
            keys: Some(keys),
            hidden: config.hidden_dropout(),
            attention: config.attention_dropout(),
            classifier: config.head_dropout(),
            ..Self::OFF
        }
    }

    /// The dropout of a slice of the pass that begins at this token: the masks are those that a whole
    /// batch would have there. For what the encoder drops; the classifier of a task has no slices.
    pub fn from_token(self, config: &Config, token: u64) -> Self {
        Self {
            first_element: token * config.hidden_size as u64,
            first_row: token * config.num_attention_heads as u64,
            ..self
        }
    }

    pub(super) fn at(&self, layer: usize, place: Place) -> Option<ops::DeviceDropout> {
        let keys = self.keys.as_ref()?;
        let (probability, first) = match place {
            // A row of probabilities is a row of the mask; all else is one row.
            Place::Attention => (self.attention, self.first_row << 32),
            Place::Classifier => (self.classifier, 0),
            _ => (self.hidden, self.first_element),
        };
        let mask = layer << PLACE_BITS | place as usize;
        (probability > 0.0).then(|| ops::DeviceDropout {
            probability,
            keys: keys.clone(),
            mask,
            first,
        })
    }
}
