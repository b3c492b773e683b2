//! Learning from a teacher: the mean squared error between its outputs and the model's.
//!
//! Of logits: Tang et al. 2019; Kim et al. 2021 find it better than the divergence of softened
//! distributions. Of the last hidden states, through a linear layer where the widths differ: Jiao et
//! al. 2020, whose code gives that layer a bias too.

use bert_kernels::{Buffer, Context, DType, KernelError, ops};

use super::Term;
use crate::model::flat::FlatBuffers;
use crate::model::modules::Linear;
use crate::model::parameters::PROJECTION;

/// What a teacher says of a batch. Where it says nothing, the task's loss is taken whole.
#[derive(Debug, Clone, Default)]
pub struct Teaching {
    /// w in `(1 − w) · task + w · (logits + hidden)`, in [0, 1].
    pub weight: f32,
    /// Logits of each sequence, `[B, C]`, f32 or in the model's precision.
    pub sequence: Option<Buffer>,
    /// Logits of the words of the batch's targets, `[W, C]`.
    pub words: Option<Buffer>,
    /// Logits of each token as start and as end of an answer, `[T, 2]`.
    pub spans: Option<Buffer>,
    /// Last hidden states, `[T, H′]`, H′ the width of the teacher.
    pub hidden: Option<Buffer>,
}

impl Teaching {
    pub(in crate::model) fn of<'a>(&self, target: &'a Option<Buffer>) -> Option<Imitated<'a>> {
        target.as_ref().map(|target| Imitated { target, weight: self.weight })
    }
}

/// Mean squared errors between the outputs of teacher and model, a term for each kind of output.
#[derive(Debug, Clone, Default)]
pub struct Imitation {
    /// Logits of sequences, `[B]`.
    pub sequence: Option<Term>,
    /// Logits of words, `[W]`.
    pub words: Option<Term>,
    /// Logits of starts and ends, `[T]`.
    pub spans: Option<Term>,
    /// Last hidden states, `[T]`.
    pub hidden: Option<Term>,
}

/// Outputs `[R, W]` to come close to.
#[derive(Clone, Copy)]
pub(in crate::model) struct Imitated<'a> {
    target: &'a Buffer,
    weight: f32,
}

impl Imitated<'_> {
    /// The weight that is left for the task's own loss.
    pub fn rest(imitated: &Option<Self>) -> f32 {
        imitated.as_ref().map_or(1.0, |imitated| 1.0 - imitated.weight)
    }

    /// The error of each row of `outputs: [rows, width]`, unweighted.
    pub fn score(
        &self,
        ctx: &Context,
        outputs: &Buffer,
        rows: usize,
        width: usize,
    ) -> Result<Term, KernelError> {
        let term = Term { loss: ctx.empty(DType::F32, rows), correct: None, rows };
        ops::squared_error_forward(
            ctx,
            ops::SquaredErrorForward {
                prediction: outputs,
                target: self.target,
                loss: &term.loss,
                rows,
                width,
            },
        )?;
        Ok(term)
    }

    /// The gradient of `scale · weight` times the mean of the errors, `[rows, width]`.
    pub fn gradient(
        &self,
        ctx: &Context,
        outputs: &Buffer,
        rows: usize,
        width: usize,
        scale: f32,
    ) -> Result<Buffer, KernelError> {
        let d_outputs = ctx.empty(outputs.dtype(), outputs.len());
        ops::squared_error_backward(
            ctx,
            ops::SquaredErrorBackward {
                prediction: outputs,
                target: self.target,
                d_prediction: &d_outputs,
                scale: scale * self.weight / rows as f32,
                rows,
                width,
            },
        )?;
        Ok(d_outputs)
    }
}

/// The last hidden states beside those of a teacher.
pub(in crate::model) struct HiddenImitation {
    /// From the width of the model to that of the teacher, where they differ.
    projection: Option<Linear>,
    /// H′.
    width: usize,
}

/// What the imitation of hidden states keeps for its backward pass.
pub(in crate::model) struct HiddenImitated {
    projected: Buffer,
    pub term: Term,
}

impl HiddenImitation {
    /// `teacher` is the width of the teacher, if the table has a projection to it.
    pub fn new(flat: &FlatBuffers, teacher: Option<usize>, hidden: usize) -> Self {
        let linear = |width| Linear::new(flat, &[PROJECTION.into()], width, hidden);
        Self { projection: teacher.map(linear), width: teacher.unwrap_or(hidden) }
    }

    /// `hidden: [T, H]`.
    pub fn forward(
        &self,
        ctx: &Context,
        hidden: &Buffer,
        tokens: usize,
        imitated: &Imitated<'_>,
    ) -> Result<HiddenImitated, KernelError> {
        let projected = match &self.projection {
            Some(projection) => projection.forward(ctx, hidden, tokens)?,
            None => hidden.clone(),
        };
        let term = imitated.score(ctx, &projected, tokens, self.width)?;
        Ok(HiddenImitated { projected, term })
    }

    /// The gradient of `hidden`, `[T, H]`.
    pub fn backward(
        &self,
        ctx: &Context,
        kept: &HiddenImitated,
        hidden: &Buffer,
        tokens: usize,
        imitated: &Imitated<'_>,
        scale: f32,
    ) -> Result<Buffer, KernelError> {
        let d_projected = imitated.gradient(ctx, &kept.projected, tokens, self.width, scale)?;
        match &self.projection {
            Some(projection) => projection.backward(ctx, hidden, &d_projected, tokens),
            None => Ok(d_projected),
        }
    }
}
