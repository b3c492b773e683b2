//! What a pass is asked for, and what it gives: targets in, losses or logits out.

use bert_kernels::{Buffer, Context, KernelError};

use super::{Head, Imitation, Shaping, Shares, Teaching, Term};
use crate::data::{PretrainBatch, TaskBatch};

/// What the model should predict for a batch. Only what the head has is used.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    /// Masked positions and what stood there.
    pub masked: Option<MaskedTargets>,
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

/// Positions to predict and what stood there.
#[derive(Debug, Clone)]
pub struct MaskedTargets {
    /// Packed token index of each masked position, `[M]`, or [`IGNORE`](bert_kernels::ops::IGNORE).
    pub index: Buffer,
    /// The token that was there, `[M]`, or [`IGNORE`](bert_kernels::ops::IGNORE).
    pub target: Buffer,
    /// Gradient of each row's loss, `[1]` f32: 1 over their number, times the pass's share of the step.
    pub mean: Buffer,
    /// How many positions are not to be ignored; they come first.
    pub rows: usize,
}

impl MaskedTargets {
    /// Copies positions and targets to the device; `share` is that of the step's masked tokens.
    pub fn upload(ctx: &Context, index: &[u32], target: &[u32], share: f32) -> Self {
        Self {
            index: ctx.upload_u32(index),
            target: ctx.upload_u32(target),
            mean: ctx.upload_f32(&[share / index.len() as f32]),
            rows: index.len(),
        }
    }
}

impl Targets {
    /// The targets of a pre-training batch that is `shares` of a step.
    pub fn pretraining(ctx: &Context, batch: &PretrainBatch, shares: Shares) -> Self {
        Self {
            masked: Some(MaskedTargets::upload(
                ctx,
                &batch.masked_index,
                &batch.masked_target,
                shares.masked,
            )),
            sequence: Some(ctx.upload_u32(&batch.nsp_label)),
            shares,
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

impl Losses {
    /// The losses of pre-training in memory of their own, which no later pass has for its work.
    ///
    /// # Errors
    ///
    /// What the device reports.
    pub fn copied(&self, ctx: &Context) -> Result<Self, KernelError> {
        let copied = |term: &Option<Term>| term.as_ref().map(|term| term.copied(ctx)).transpose();
        Ok(Self {
            masked: copied(&self.masked)?,
            sequence: copied(&self.sequence)?,
            ..Self::default()
        })
    }

    /// The losses of pre-training in the same memory, which later passes may have for their work.
    #[must_use]
    pub fn released(&self) -> Self {
        let released = |term: &Option<Term>| term.as_ref().map(Term::released);
        Self {
            masked: released(&self.masked),
            sequence: released(&self.sequence),
            ..Self::default()
        }
    }

    /// The same losses of a batch with so many masked tokens.
    #[must_use]
    pub fn of_masked(mut self, rows: usize) -> Self {
        if let Some(term) = &mut self.masked {
            term.rows = rows;
        }
        self
    }
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
