//! The losses of the small heads: what their outputs are compared with, and the way back.

use bert_kernels::{Buffer, Context, DType, KernelError, ops};

use super::{Imitated, Term};

/// Which loss a classifier learns by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum Loss {
    /// Softmax cross-entropy against one label a row, `[R]` u32.
    CrossEntropy,
    /// Binary cross-entropy against 0 or 1 for each label, `[R, C]` f32.
    BinaryCrossEntropy,
    /// Mean squared error against numbers, `[R, C]` f32.
    SquaredError,
}

/// How training shapes the loss of sequence labels; evaluation takes the plain one.
#[derive(Debug, Clone, Default)]
pub struct Shaping {
    /// Probability that is spread evenly over all labels (Szegedy et al. 2016), in [0, 1).
    pub label_smoothing: f32,
    /// Weight of each label, `[C]` f32: on rows of that label or, with several labels a row, on
    /// those where the label is present (`pos_weight` of PyTorch).
    pub class_weights: Option<Buffer>,
    /// Sum of the weights of the batch's labels, by which the loss is divided as in PyTorch; the
    /// number of rows if `None`.
    pub total: Option<f32>,
}

/// What R rows of outputs should be.
#[derive(Clone, Copy)]
pub(in crate::model) struct Goal<'a> {
    pub loss: Loss,
    pub targets: &'a Buffer,
    pub shaping: &'a Shaping,
    /// What a teacher says.
    pub teacher: Option<Imitated<'a>>,
}

/// Outputs with what their gradient needs.
pub(in crate::model) struct Scored {
    pub logits: Buffer,
    lse: Option<Buffer>,
    pub term: Term,
    /// The distance from the teacher.
    pub imitation: Option<Term>,
}

impl Goal<'_> {
    /// Losses of `logits: [rows, classes]`.
    pub fn score(
        &self,
        ctx: &Context,
        logits: Buffer,
        rows: usize,
        classes: usize,
    ) -> Result<Scored, KernelError> {
        let mut term = Term::new(ctx, rows);
        let mut lse = None;
        match (self.loss, &term.correct) {
            (Loss::CrossEntropy, Some(correct)) => {
                let sums = ctx.empty(DType::F32, rows);
                ops::cross_entropy_forward(
                    ctx,
                    ops::CrossEntropyForward {
                        logits: &logits,
                        targets: self.targets,
                        loss: &term.loss,
                        correct,
                        lse: &sums,
                        classes,
                        smoothing: self.shaping.label_smoothing,
                        weights: self.shaping.class_weights.as_ref(),
                    },
                )?;
                lse = Some(sums);
            }
            (Loss::BinaryCrossEntropy, Some(correct)) => ops::binary_cross_entropy_forward(
                ctx,
                ops::BinaryCrossEntropyForward {
                    logits: &logits,
                    targets: self.targets,
                    weights: self.shaping.class_weights.as_ref(),
                    loss: &term.loss,
                    correct,
                    classes,
                },
            )?,
            _ => {
                term.correct = None;
                ops::squared_error_forward(
                    ctx,
                    ops::SquaredErrorForward {
                        prediction: &logits,
                        target: self.targets,
                        loss: &term.loss,
                        rows,
                        width: classes,
                    },
                )?;
            }
        }
        let imitation = self.teacher.map(|teacher| teacher.score(ctx, &logits, rows, classes));
        Ok(Scored { imitation: imitation.transpose()?, logits, lse, term })
    }

    /// Gradient of `scale` times the mean of the losses, weighted with the distance from a teacher,
    /// with respect to the logits, `[rows, classes]`.
    pub fn gradient(
        &self,
        ctx: &Context,
        scored: &Scored,
        classes: usize,
        scale: f32,
    ) -> Result<Buffer, KernelError> {
        let rows = scored.term.loss.len();
        let d_logits = ctx.empty(scored.logits.dtype(), scored.logits.len());
        let taught =
            self.teacher.map(|teacher| teacher.gradient(ctx, &scored.logits, rows, classes, scale));
        let scale = scale * Imitated::rest(&self.teacher);
        let scale = scale / self.shaping.total.unwrap_or(rows as f32);
        match (self.loss, &scored.lse) {
            (Loss::CrossEntropy, Some(lse)) => ops::cross_entropy_backward(
                ctx,
                ops::CrossEntropyBackward {
                    logits: &scored.logits,
                    targets: self.targets,
                    lse,
                    d_logits: &d_logits,
                    scale,
                    classes,
                    smoothing: self.shaping.label_smoothing,
                    weights: self.shaping.class_weights.as_ref(),
                },
            )?,
            (Loss::BinaryCrossEntropy, _) => ops::binary_cross_entropy_backward(
                ctx,
                ops::BinaryCrossEntropyBackward {
                    logits: &scored.logits,
                    targets: self.targets,
                    weights: self.shaping.class_weights.as_ref(),
                    d_logits: &d_logits,
                    scale,
                    classes,
                },
            )?,
            _ => ops::squared_error_backward(
                ctx,
                ops::SquaredErrorBackward {
                    prediction: &scored.logits,
                    target: self.targets,
                    d_prediction: &d_logits,
                    scale,
                    rows,
                    width: classes,
                },
            )?,
        }
        if let Some(taught) = taught {
            ops::add_assign(ctx, &d_logits, &taught?)?;
        }
        Ok(d_logits)
    }
}
