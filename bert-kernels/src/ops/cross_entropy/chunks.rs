//! How chunks of the classes are launched.

use cubecl::prelude::*;

use super::kernels::{gradients, statistics};
use crate::lanes::{lanes, with_act};
use crate::teams::Teams;
use crate::{Buffer, Context, DType, KernelError};

/// What is asked of a row beside its target.
#[derive(Clone, Copy, Default)]
pub(super) struct Emphasis<'a> {
    /// ε, and its share of each class, ε / C.
    smoothing: f32,
    share: f32,
    weights: Option<&'a Buffer>,
}

impl<'a> Emphasis<'a> {
    pub(super) fn new(
        op: &'static str,
        smoothing: f32,
        weights: Option<&'a Buffer>,
        classes: usize,
    ) -> Result<Self, KernelError> {
        if !(0.0..=1.0).contains(&smoothing) {
            return Err(KernelError::Value {
                op,
                what: "smoothing",
                expected: "in [0, 1]",
                found: smoothing.to_string(),
            });
        }
        if let Some(weights) = weights {
            weights.expect_dtype(op, "weights", DType::F32)?;
            weights.expect_len(op, "weights", classes)?;
        }
        Ok(Self { smoothing, share: smoothing / classes as f32, weights })
    }
}

/// Some classes of every row.
pub(crate) struct Chunk {
    pub(crate) rows: usize,
    /// Classes in the chunk, and the first of them.
    pub(crate) classes: usize,
    pub(crate) offset: usize,
    /// Elements between rows; a multiple of the lanes where it is above `classes`.
    pub(crate) stride: usize,
    pub(crate) first: bool,
    pub(crate) last: bool,
}

impl Chunk {
    pub(super) fn whole(rows: usize, classes: usize) -> Self {
        Self { rows, classes, offset: 0, stride: classes, first: true, last: true }
    }
}

/// What is known of the rows. Before the last chunk, `loss` holds the target's logit, `correct` the
/// class of the largest logit so far and `best` that logit.
pub(crate) struct Rows<'a> {
    pub(crate) targets: &'a Buffer,
    pub(crate) loss: &'a Buffer,
    pub(crate) correct: &'a Buffer,
    pub(crate) lse: &'a Buffer,
    /// `[R]` f32; absent if one chunk is all.
    pub(crate) best: Option<&'a Buffer>,
}

/// Adds a chunk to what is known of the rows.
pub(crate) fn chunk_forward(ctx: &Context, logits: &Buffer, state: &Rows<'_>, chunk: &Chunk) {
    launch_forward(ctx, logits, state, chunk, Emphasis::default());
}

/// Smoothing and weights are for a chunk that is all.
pub(super) fn launch_forward(
    ctx: &Context,
    logits: &Buffer,
    state: &Rows<'_>,
    chunk: &Chunk,
    emphasis: Emphasis<'_>,
) {
    let width = lanes(ctx, logits.dtype(), chunk.stride);
    let vectors = chunk.classes.div_ceil(width);
    let teams = Teams::new(ctx, chunk.rows, vectors);
    with_act!(logits.dtype(), E => statistics::launch::<E>(
        ctx.client(),
        teams.count(),
        teams.dim(),
        width,
        logits.arg(),
        state.targets.arg(),
        state.loss.arg(),
        state.correct.arg(),
        state.lse.arg(),
        state.best.map(Buffer::arg).into(),
        emphasis.weights.map(Buffer::arg).into(),
        1.0 - emphasis.smoothing,
        emphasis.share,
        chunk.rows,
        chunk.stride / width,
        chunk.classes as u32,
        chunk.offset as u32,
        !chunk.classes.is_multiple_of(width),
        chunk.first,
        chunk.last,
        emphasis.smoothing > 0.0,
        teams.team,
    ));
}

/// Gradient of each row's loss: a number, times one in memory where a step that was recorded needs it.
#[derive(Clone, Copy)]
pub(crate) struct Scale<'a> {
    pub(crate) value: f32,
    /// `[1]` f32.
    pub(crate) factor: Option<&'a Buffer>,
}

/// Gradients of a chunk's logits, f32, bf16 or f16, zero past its classes.
pub(crate) fn chunk_backward(
    ctx: &Context,
    logits: &Buffer,
    targets: &Buffer,
    lse: &Buffer,
    d_logits: &Buffer,
    scale: Scale<'_>,
    chunk: &Chunk,
) {
    launch_backward(ctx, logits, targets, lse, d_logits, scale, chunk, Emphasis::default());
}

pub(super) fn launch_backward(
    ctx: &Context,
    logits: &Buffer,
    targets: &Buffer,
    lse: &Buffer,
    d_logits: &Buffer,
    scale: Scale<'_>,
    chunk: &Chunk,
    emphasis: Emphasis<'_>,
) {
    let width = lanes(ctx, logits.dtype(), chunk.stride);
    let vectors = chunk.classes.div_ceil(width);
    let teams = Teams::new(ctx, chunk.rows, vectors);
    let out =
        if d_logits.is_same(logits) { BufferArg::alias(0, d_logits.len()) } else { d_logits.arg() };
    with_act!(logits.dtype(), E => with_act!(d_logits.dtype(), D => gradients::launch::<E, D>(
        ctx.client(),
        teams.count(),
        teams.dim(),
        width,
        logits.arg(),
        targets.arg(),
        lse.arg(),
        out,
        emphasis.weights.map(Buffer::arg).into(),
        scale.factor.map(Buffer::arg).into(),
        scale.value,
        1.0 - emphasis.smoothing,
        emphasis.share,
        chunk.rows,
        chunk.stride / width,
        chunk.classes as u32,
        chunk.offset as u32,
        !chunk.classes.is_multiple_of(width),
        emphasis.smoothing > 0.0,
        teams.team,
    )));
}
