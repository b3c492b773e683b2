//! Start and end of an answer: two outputs a token, each with a softmax over the tokens of its
//! sequence (Devlin et al. 2018, section 4.2).

use bert_kernels::{Buffer, Context, DType, KernelError, ops};

use super::{Imitated, Term};
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
    /// The distance from the teacher, a row a token.
    pub imitation: Option<Term>,
}

/// What the outputs should be.
#[derive(Clone, Copy)]
pub(in crate::model) struct Spans<'a> {
    /// First and last token, `[B, 2]`.
    pub targets: &'a Buffer,
    /// What a teacher says.
    pub teacher: Option<Imitated<'a>>,
}

impl SpanHead {
    pub fn new(flat: &FlatBuffers, hidden: usize) -> Self {
        Self { linear: Linear::new(flat, &["qa_outputs".into()], 2, hidden) }
    }

    /// Logits of `hidden: [T, H]` and their losses.
    pub fn forward(
        &self,
        ctx: &Context,
        batch: &DeviceBatch,
        hidden: &Buffer,
        spans: &Spans<'_>,
    ) -> Result<Spanned, KernelError> {
        let term = Term::new(ctx, batch.sequences);
        let logits = self.linear.forward(ctx, hidden, batch.tokens)?;
        let imitation = spans.teacher.map(|teacher| teacher.score(ctx, &logits, batch.tokens, 2));
        let kept = Spanned {
            logits,
            lse: ctx.empty(DType::F32, 2 * batch.sequences),
            term,
            imitation: imitation.transpose()?,
        };
        if let Some(correct) = &kept.term.correct {
            ops::span_cross_entropy_forward(
                ctx,
                ops::SpanCrossEntropyForward {
                    logits: &kept.logits,
                    cu_seqlens: &batch.cu_seqlens,
                    targets: spans.targets,
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
        spans: &Spans<'_>,
        scale: f32,
    ) -> Result<Buffer, KernelError> {
        let d_logits = ctx.empty(kept.logits.dtype(), kept.logits.len());
        ops::span_cross_entropy_backward(
            ctx,
            ops::SpanCrossEntropyBackward {
                logits: &kept.logits,
                cu_seqlens: &batch.cu_seqlens,
                targets: spans.targets,
                lse: &kept.lse,
                d_logits: &d_logits,
                scale: scale * Imitated::rest(&spans.teacher) / batch.sequences as f32,
                sequences: batch.sequences,
                tokens: batch.tokens,
            },
        )?;
        if let Some(teacher) = &spans.teacher {
            let taught = teacher.gradient(ctx, &kept.logits, batch.tokens, 2, scale)?;
            ops::add_assign(ctx, &d_logits, &taught)?;
        }
        self.linear.backward(ctx, hidden, &d_logits, batch.tokens)
    }
}
