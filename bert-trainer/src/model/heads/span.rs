//! Start and end of an answer: two outputs a token, each with a softmax over the tokens of its
//! sequence (Devlin et al. 2018, section 4.2).

use bert_kernels::{Buffer, Context, DType, KernelError, ops};

use super::Term;
use crate::model::batch::DeviceBatch;
use crate::model::flat::FlatBuffers;
use crate::model::modules::Linear;

/// The head of `BertForQuestionAnswering`.
pub(in crate::model) struct SpanHead {
    linear: Linear,
}

pub(in crate::model) struct Spanned {
    /// Start and end logit of each token, `[T, 2]`.
    pub logits: Buffer,
    lse: Buffer,
    pub term: Term,
}

impl SpanHead {
    pub fn new(flat: &FlatBuffers, hidden: usize) -> Self {
        Self { linear: Linear::new(flat, &["qa_outputs".into()], 2, hidden) }
    }

    /// Logits of `hidden: [T, H]` and their losses against `targets: [B, 2]`.
    pub fn forward(
        &self,
        ctx: &Context,
        batch: &DeviceBatch,
        hidden: &Buffer,
        targets: &Buffer,
    ) -> Result<Spanned, KernelError> {
        let term = Term::new(ctx, batch.sequences);
        let kept = Spanned {
            logits: self.linear.forward(ctx, hidden, batch.tokens)?,
            lse: ctx.empty(DType::F32, 2 * batch.sequences),
            term,
        };
        if let Some(correct) = &kept.term.correct {
            ops::span_cross_entropy_forward(
                ctx,
                ops::SpanCrossEntropyForward {
                    logits: &kept.logits,
                    cu_seqlens: &batch.cu_seqlens,
                    targets,
                    loss: &kept.term.loss,
                    correct,
                    lse: &kept.lse,
                    sequences: batch.sequences,
                    tokens: batch.tokens,
                },
            )?;
        }
        Ok(kept)
    }

    /// The gradient of `hidden` for `scale` times the mean loss, `[T, H]`.
    pub fn backward(
        &self,
        ctx: &Context,
        batch: &DeviceBatch,
        kept: &Spanned,
        hidden: &Buffer,
        targets: &Buffer,
        scale: f32,
    ) -> Result<Buffer, KernelError> {
        let d_logits = ctx.empty(kept.logits.dtype(), kept.logits.len());
        ops::span_cross_entropy_backward(
            ctx,
            ops::SpanCrossEntropyBackward {
                logits: &kept.logits,
                cu_seqlens: &batch.cu_seqlens,
                targets,
                lse: &kept.lse,
                d_logits: &d_logits,
                scale: scale / batch.sequences as f32,
                sequences: batch.sequences,
                tokens: batch.tokens,
            },
        )?;
        self.linear.backward(ctx, hidden, &d_logits, batch.tokens)
    }
}
