//! What stands on the encoder: the pre-training heads and one more layer for each task.

pub(super) mod imitation;
mod loss;
pub(super) mod masked_lm;
pub(super) mod sequence;
pub(super) mod span;
pub(super) mod token;

use bert_kernels::{Buffer, Context, DType, KernelError, ops};

pub(super) use imitation::Imitated;
pub use imitation::{Imitation, Teaching};
pub use loss::Shaping;
pub(super) use loss::{Goal, Loss};

/// Which head a model has, and how wide it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Masked language model and next sentence prediction.
    Pretraining,
    /// One label a sequence, from the pooled `[CLS]` (`BertForSequenceClassification`).
    Classify {
        /// Number of labels.
        labels: usize,
    },
    /// Any number of labels a sequence, each by itself (the same class of `transformers` with
    /// `problem_type` `multi_label_classification`).
    MultiLabel {
        /// Number of labels.
        labels: usize,
    },
    /// Numbers for a sequence (the same class with `problem_type` `regression`).
    Regress {
        /// How many numbers.
        outputs: usize,
    },
    /// One label a word, from its first piece (`BertForTokenClassification`).
    Tag {
        /// Number of tags.
        labels: usize,
    },
    /// Intent of the sequence and slot of every word.
    Joint {
        /// Number of intents.
        intents: usize,
        /// Number of BIO slot tags.
        slots: usize,
    },
    /// First and last token of an answer (`BertForQuestionAnswering`).
    Span,
    /// Nothing: the hidden states are what is asked for.
    Encoder,
}

impl Head {
    /// Whether the model uses BERT's pooler. What reads single tokens does not.
    pub fn has_pooler(self) -> bool {
        !matches!(self, Self::Tag { .. } | Self::Span | Self::Encoder)
    }
}

/// Losses and hits of one head, a value a row, still on the device.
#[derive(Debug, Clone)]
pub struct Term {
    /// Loss of each row: a cross-entropy in nats or a mean squared error, `[R]`.
    pub loss: Buffer,
    /// 1 where the prediction is the target, `[R]`; none where a loss knows no right and wrong.
    pub correct: Option<Buffer>,
    /// R; rows behind them, if there are any, do not count.
    pub rows: usize,
}

impl Term {
    fn new(ctx: &Context, rows: usize) -> Self {
        let correct = Some(ctx.empty(DType::U32, rows));
        Self { loss: ctx.empty(DType::F32, rows), correct, rows }
    }

    /// The same in memory of its own, which no later pass has for its work.
    pub(super) fn copied(&self, ctx: &Context) -> Result<Self, KernelError> {
        let copied = |from: &Buffer| {
            let into = ctx.empty(from.dtype(), from.len());
            ops::copy(ctx, from, &into)?;
            Ok::<_, KernelError>(into)
        };
        let correct = self.correct.as_ref().map(copied).transpose()?;
        Ok(Self { loss: copied(&self.loss)?, correct, rows: self.rows })
    }

    /// The same memory, which later passes may have for their work.
    pub(super) fn released(&self) -> Self {
        let correct = self.correct.as_ref().map(Buffer::released);
        Self { loss: self.loss.released(), correct, rows: self.rows }
    }

    /// Sum of losses, number of hits and number of rows.
    ///
    /// # Errors
    ///
    /// What the device reports for anything queued before.
    pub fn read(&self, ctx: &Context) -> Result<Tally, KernelError> {
        let loss = ctx.read_f32(&self.loss)?.iter().map(|&loss| f64::from(loss)).sum();
        let correct = match &self.correct {
            Some(correct) => ctx.read_u32(correct)?.iter().map(|&hit| u64::from(hit)).sum(),
            None => 0,
        };
        Ok(Tally { loss, correct, rows: self.rows as u64 })
    }
}

/// Sums over the rows of a head.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    /// Sum of the losses.
    pub loss: f64,
    /// Rows whose prediction is the target.
    pub correct: u64,
    /// Rows counted.
    pub rows: u64,
}

impl Tally {
    /// Adds another count.
    pub fn add(&mut self, other: Self) {
        self.loss += other.loss;
        self.correct += other.correct;
        self.rows += other.rows;
    }

    /// Mean loss; 0 without rows.
    pub fn mean_loss(&self) -> f64 {
        self.loss / (self.rows.max(1) as f64)
    }

    /// Share of hits; 0 without rows.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / (self.rows.max(1) as f64)
    }
}

/// The rows `index: [R]` of `x: [T, H]`.
pub(super) fn gather(
    ctx: &Context,
    x: &Buffer,
    index: &Buffer,
    hidden: usize,
) -> Result<Buffer, KernelError> {
    let out = ctx.empty(x.dtype(), index.len() * hidden);
    ops::gather_rows(ctx, ops::GatherRows { x, index, out: &out, hidden })?;
    Ok(out)
}

/// Adds `d_rows: [R, H]` to the rows `index` of `d_x: [T, H]`.
pub(super) fn scatter_add(
    ctx: &Context,
    d_rows: &Buffer,
    index: &Buffer,
    d_x: &Buffer,
    hidden: usize,
) -> Result<(), KernelError> {
    ops::scatter_add_rows(ctx, ops::ScatterAddRows { d_out: d_rows, index, d_x, hidden })
}
