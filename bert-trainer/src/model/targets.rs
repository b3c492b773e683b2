//! What a pass is asked for, and what it gives: targets in, losses or logits out.

use bert_kernels::{Buffer, Context};

use super::{Head, Imitation, Shaping, Shares, Teaching, Term};
use crate::data::{PretrainBatch, TaskBatch};

/// What the model should predict for a batch. Only what the head has is used.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    /// Masked positions (packed token index) and what stood there, `[M]` each.
    pub masked: Option<(Buffer, Buffer)>,
    /// Label of each sequence, `[B]` u32; of a multi-label head 0 or 1 for each label, of a
    /// regression its numbers, `[B, C]` f32.
    pub sequence: Option<Buffer>,
    /// First pieces of words (packed token index) and their labels, `[W]` each.
    pub words: Option<(Buffer, Buffer)>,
    /// First and last token of each sequence's answer, relative to its start, `[B, 2]` u32.
    pub spans: Option<Buffer>,
    /// How the loss of `sequence` is shaped.
    pub shaping: Shaping,
    /// What a teacher says of the same batch.
    pub teaching: Teaching,
    /// Which part of a step this is.
    pub shares: Shares,
}

impl Targets {
    /// The targets of a pre-training batch.
    pub fn pretraining(ctx: &Context, batch: &PretrainBatch) -> Self {
        Self {
            masked: Some((
                ctx.upload_u32(&batch.masked_index),
                ctx.upload_u32(&batch.masked_target),
            )),
            sequence: Some(ctx.upload_u32(&batch.nsp_label)),
            ..Self::default()
        }
    }

    /// The targets of a task's batch, for the head that learns it.
    pub fn task(ctx: &Context, head: Head, batch: &TaskBatch) -> Self {
        let words = || (ctx.upload_u32(&batch.tag_index), ctx.upload_u32(&batch.tag_target));
        let none = Self::default();
        match head {
            Head::Pretraining | Head::Encoder => none,
            Head::Classify { .. } => Self { sequence: Some(ctx.upload_u32(&batch.labels)), ..none },
            Head::MultiLabel { .. } => {
                Self { sequence: Some(ctx.upload_f32(&batch.label_sets)), ..none }
            }
            Head::Regress { .. } => Self { sequence: Some(ctx.upload_f32(&batch.values)), ..none },
            Head::Tag { .. } => Self { words: Some(words()), ..none },
            Head::Joint { .. } => {
                Self { sequence: Some(ctx.upload_u32(&batch.labels)), words: Some(words()), ..none }
            }
            Head::Span => Self { spans: Some(ctx.upload_u32(&batch.spans)), ..none },
        }
    }
}

/// Losses of a pass, a term for each thing predicted.
#[derive(Debug, Clone, Default)]
pub struct Losses {
    /// Masked language model, `[M]`.
    pub masked: Option<Term>,
    /// Sequence label or next sentence, `[B]`.
    pub sequence: Option<Term>,
    /// Words, `[W]`.
    pub words: Option<Term>,
    /// Answers, `[B]`.
    pub spans: Option<Term>,
    /// Distance from a teacher.
    pub imitation: Imitation,
}

/// Logits of a pass, `[R, classes]` each, in the model's precision.
#[derive(Debug, Clone, Default)]
pub struct Logits {
    /// Sequence label, numbers or next sentence, `[B, labels]`.
    pub sequence: Option<Buffer>,
    /// Words, `[W, labels]`.
    pub words: Option<Buffer>,
    /// Start and end of an answer at each token, `[T, 2]`.
    pub spans: Option<Buffer>,
    /// Hidden states after the embeddings and each layer, `[T, H]` each.
    pub hidden: Vec<Buffer>,
    /// The pooler's output, `[B, H]`.
    pub pooled: Option<Buffer>,
}
