//! One label, several or numbers a sequence: the pooler and a linear layer. Next sentence prediction
//! is this too.

use bert_kernels::{Buffer, Context, KernelError, ops};

use super::loss::{Goal, Scored};
use super::{gather, scatter_add};
use crate::config::Config;
use crate::model::batch::DeviceBatch;
use crate::model::encoder::dropped;
use crate::model::flat::FlatBuffers;
use crate::model::modules::Linear;

/// BERT's pooler: `tanh(W h + b)` of the first token.
pub(in crate::model) struct Pooler {
    dense: Linear,
    hidden: usize,
}

pub(in crate::model) struct Pooled {
    first: Buffer,
    pre: Buffer,
    /// `[B, H]`.
    pub out: Buffer,
}

impl Pooler {
    pub fn new(flat: &FlatBuffers, config: &Config) -> Self {
        let hidden = config.hidden_size;
        let dense = Linear::new(flat, &["bert.pooler.dense".into()], hidden, hidden);
        Self { dense, hidden }
    }

    pub fn forward(
        &self,
        ctx: &Context,
        batch: &DeviceBatch,
        hidden: &Buffer,
    ) -> Result<Pooled, KernelError> {
        let first = gather(ctx, hidden, &batch.first, self.hidden)?;
        let (pre, out) =
            self.dense.forward_activated(ctx, &first, batch.sequences, ops::Activation::Tanh)?;
        Ok(Pooled { first, pre, out })
    }

    /// Adds to `d_hidden: [T, H]`.
    pub fn backward(
        &self,
        ctx: &Context,
        batch: &DeviceBatch,
        kept: &Pooled,
        d_out: &Buffer,
        d_hidden: &Buffer,
    ) -> Result<(), KernelError> {
        ops::activation_backward(
            ctx,
            ops::ActivationBackward {
                d_out,
                pre: &kept.pre,
                d_pre: d_out,
                activation: ops::Activation::Tanh,
            },
        )?;
        let d_first = self.dense.backward(ctx, &kept.first, d_out, batch.sequences)?;
        scatter_add(ctx, &d_first, &batch.first, d_hidden, self.hidden)
    }
}

/// A linear layer on rows of width H with a loss behind it.
pub(in crate::model) struct Classifier {
    linear: Linear,
    classes: usize,
}

pub(in crate::model) struct Classified {
    input: Buffer,
    pub scored: Scored,
    dropout: Option<ops::DeviceDropout>,
}

impl Classifier {
    pub fn new(flat: &FlatBuffers, name: &str, classes: usize, hidden: usize) -> Self {
        Self { linear: Linear::new(flat, &[name.into()], classes, hidden), classes }
    }

    /// Outputs of `x: [rows, H]` and their losses.
    pub fn forward(
        &self,
        ctx: &Context,
        x: &Buffer,
        rows: usize,
        goal: &Goal<'_>,
        dropout: Option<ops::DeviceDropout>,
    ) -> Result<Classified, KernelError> {
        let input = dropped(ctx, x, dropout.as_ref())?;
        let logits = self.linear.forward(ctx, &input, rows)?;
        let scored = goal.score(ctx, logits, rows, self.classes)?;
        Ok(Classified { input, scored, dropout })
    }

    /// The gradient of `x` for `scale` times the mean loss, `[rows, H]`.
    pub fn backward(
        &self,
        ctx: &Context,
        kept: &Classified,
        goal: &Goal<'_>,
        scale: f32,
    ) -> Result<Buffer, KernelError> {
        let d_logits = goal.gradient(ctx, &kept.scored, self.classes, scale)?;
        let rows = kept.scored.term.loss.len();
        let d_input = self.linear.backward(ctx, &kept.input, &d_logits, rows)?;
        dropped(ctx, &d_input, kept.dropout.as_ref())
    }
}
