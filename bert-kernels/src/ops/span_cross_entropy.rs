//! Cross-entropy of the first and the last token of an answer (Devlin et al. 2018, §4.2).
//!
//! Each token has two logits, of being the start and of being the end; the softmax of a side goes
//! over the tokens of its own sequence. Forward, per sequence and side:
//! `lse = log Σ_t exp(x_t)`, `loss = ½ Σ_sides (lse − x_target)`, and whether both largest logits
//! (the first of equals) are the targets'. Backward: `d_x = (exp(x − lse) − onehot) · scale / 2`.
//!
//! A side whose target is no token of its sequence, as [`IGNORE`] is not, has no loss and no
//! gradient: that is the part of a text that ends before its answer.
//!
//! A vector is a token with both its sides. A sequence is the work of one unit on a CPU and of one
//! cube on a GPU.

use cubecl::prelude::*;

use super::cross_entropy::{IGNORE, NOTHING};
use super::dropout::expect_act;
use crate::lanes::{expect_u32, with_act};
use crate::teams::{Keep, Teams, my_place, my_team, reduce_team, team_count};
use crate::{Buffer, Context, DType, KernelError, math};

/// Operands of [`span_cross_entropy_forward`].
pub struct SpanCrossEntropyForward<'a> {
    /// `[T, 2]`, f32, bf16 or f16: start and end of each token.
    pub logits: &'a Buffer,
    /// First token of each sequence, and T `[B + 1]` u32, ascending.
    pub cu_seqlens: &'a Buffer,
    /// `[B, 2]` u32: start and end as token of the sequence, from 0, or [`IGNORE`].
    pub targets: &'a Buffer,
    /// `[B]` f32, out: mean of both sides in nats, where an ignored side counts 0.
    pub loss: &'a Buffer,
    /// `[B]` u32, out: 1 where the largest logits of both sides are the targets', else 0.
    pub correct: &'a Buffer,
    /// `[B, 2]` f32, out: log Σ exp, for the backward pass; below any number that matters where a
    /// sequence is empty.
    pub lse: &'a Buffer,
    /// B.
    pub sequences: usize,
    /// T.
    pub tokens: usize,
}

/// Operands of [`span_cross_entropy_backward`].
pub struct SpanCrossEntropyBackward<'a> {
    /// `[T, 2]`, f32, bf16 or f16.
    pub logits: &'a Buffer,
    /// First token of each sequence, and T `[B + 1]` u32, ascending.
    pub cu_seqlens: &'a Buffer,
    /// `[B, 2]` u32, as in the forward pass.
    pub targets: &'a Buffer,
    /// `[B, 2]` f32 of the forward pass.
    pub lse: &'a Buffer,
    /// `[T, 2]`, like `logits`, out.
    pub d_logits: &'a Buffer,
    /// Gradient of each sequence's loss, as 1 / B for a mean.
    pub scale: f32,
    /// B.
    pub sequences: usize,
    /// T.
    pub tokens: usize,
}

/// Start and end: the lanes of a vector.
const SIDES: usize = 2;

/// Loss, exact match and log Σ exp of each sequence.
///
/// # Errors
///
/// Lengths or types that do not fit together. The values of `cu_seqlens` are not checked.
pub fn span_cross_entropy_forward(
    ctx: &Context,
    args: SpanCrossEntropyForward<'_>,
) -> Result<(), KernelError> {
    const OP: &str = "span_cross_entropy_forward";
    let SpanCrossEntropyForward {
        logits,
        cu_seqlens,
        targets,
        loss,
        correct,
        lse,
        sequences,
        tokens,
    } = args;
    check(OP, logits, cu_seqlens, targets, lse, sequences, tokens)?;
    loss.expect_dtype(OP, "loss", DType::F32)?;
    loss.expect_len(OP, "loss", sequences)?;
    correct.expect_dtype(OP, "correct", DType::U32)?;
    correct.expect_len(OP, "correct", sequences)?;
    if sequences == 0 {
        return Ok(());
    }
    let teams = Teams::new(ctx, sequences, tokens.div_ceil(sequences).max(1));
    with_act!(logits.dtype(), E => statistics::launch::<E>(
        ctx.client(),
        teams.count(),
        teams.dim(),
        SIDES,
        logits.arg(),
        cu_seqlens.arg(),
        targets.arg(),
        loss.arg(),
        correct.arg(),
        lse.arg(),
        sequences,
        teams.team,
    ));
    Ok(())
}

/// `d_logits = (exp(logits − lse) − onehot) · scale / 2`.
///
/// # Errors
///
/// Lengths or types that do not fit together. The values of `cu_seqlens` are not checked.
pub fn span_cross_entropy_backward(
    ctx: &Context,
    args: SpanCrossEntropyBackward<'_>,
) -> Result<(), KernelError> {
    const OP: &str = "span_cross_entropy_backward";
    let SpanCrossEntropyBackward {
        logits,
        cu_seqlens,
        targets,
        lse,
        d_logits,
        scale,
        sequences,
        tokens,
    } = args;
    check(OP, logits, cu_seqlens, targets, lse, sequences, tokens)?;
    d_logits.expect_dtype(OP, "d_logits", logits.dtype())?;
    d_logits.expect_len(OP, "d_logits", logits.len())?;
    if sequences == 0 || tokens == 0 {
        return Ok(());
    }
    let teams = Teams::new(ctx, sequences, tokens.div_ceil(sequences));
    with_act!(logits.dtype(), E => gradients::launch::<E>(
        ctx.client(),
        teams.count(),
        teams.dim(),
        SIDES,
        logits.arg(),
        cu_seqlens.arg(),
        targets.arg(),
        lse.arg(),
        d_logits.arg(),
        0.5 * scale,
        sequences,
        teams.team,
    ));
    Ok(())
}

fn check(
    op: &'static str,
    logits: &Buffer,
    cu_seqlens: &Buffer,
    targets: &Buffer,
    lse: &Buffer,
    sequences: usize,
    tokens: usize,
) -> Result<(), KernelError> {
    expect_act(op, "logits", logits)?;
    logits.expect_len(op, "logits", tokens * SIDES)?;
    cu_seqlens.expect_dtype(op, "cu_seqlens", DType::U32)?;
    cu_seqlens.expect_len(op, "cu_seqlens", sequences + 1)?;
    targets.expect_dtype(op, "targets", DType::U32)?;
    targets.expect_len(op, "targets", sequences * SIDES)?;
    lse.expect_dtype(op, "lse", DType::F32)?;
    lse.expect_len(op, "lse", sequences * SIDES)?;
    expect_u32(op, "elements", logits.len())
}

/// Reduction of each lane by itself over a team.
#[cube]
fn reduce_sides<T: Numeric, N: Size>(
    x: Vector<T, N>,
    #[comptime] how: Keep,
    #[comptime] team: usize,
) -> Vector<T, N> {
    let mut sides = Vector::<T, N>::empty();
    #[unroll]
    for side in 0..N::value() {
        sides.insert(side, reduce_team::<T>(x.extract(side), how, team));
    }
    sides
}

#[cube(launch)]
fn statistics<E: Float, N: Size>(
    logits: &[Vector<E, N>],
    cu_seqlens: &[u32],
    targets: &[Vector<u32, N>],
    loss: &mut [f32],
    correct: &mut [u32],
    lse: &mut [Vector<f32, N>],
    sequences: usize,
    #[comptime] team: usize,
) {
    let place = my_place(team);
    let mut sequence = my_team(team);
    while sequence < sequences {
        let first = cu_seqlens[sequence] as usize;
        let length = cu_seqlens[sequence + 1] as usize - first;
        let target = targets[sequence];
        let mut top = Vector::<f32, N>::new(NOTHING);
        for token in range_stepped(place, length, team) {
            top = max(top, Vector::<f32, N>::cast_from(logits[first + token]));
        }
        let top = reduce_sides::<f32, N>(top, Keep::Max, team);
        let mut total = Vector::<f32, N>::new(0.0f32);
        let mut picked = Vector::<f32, N>::new(0.0f32);
        let mut index = Vector::<u32, N>::new(IGNORE);
        for token in range_stepped(place, length, team) {
            let x = Vector::<f32, N>::cast_from(logits[first + token]);
            let position = Vector::<u32, N>::new(token as u32);
            total += math::exp::<N>(x - top);
            index = min(index, select_many(x.equal(&top), position, Vector::new(IGNORE)));
            picked += select_many(position.equal(&target), x, Vector::new(0.0f32));
        }
        let total = reduce_sides::<f32, N>(total, Keep::Sum, team);
        let picked = reduce_sides::<f32, N>(picked, Keep::Sum, team);
        let index = reduce_sides::<u32, N>(index, Keep::Min, team);
        if place == 0 {
            let mut both_lse = Vector::<f32, N>::empty();
            let mut sum = 0.0f32;
            let mut hits = 0u32;
            #[unroll]
            for side in 0..N::value() {
                let side_lse = top.extract(side) + math::ln(total.extract(side));
                both_lse.insert(side, side_lse);
                let wanted = target.extract(side);
                if wanted < length as u32 {
                    sum += side_lse - picked.extract(side);
                    if index.extract(side) == wanted {
                        hits += 1u32;
                    }
                }
            }
            lse[sequence] = both_lse;
            loss[sequence] = 0.5f32 * sum;
            correct[sequence] = select(hits == 2u32, 1u32, 0u32);
        }
        sequence += team_count(team);
    }
}

#[cube(launch)]
fn gradients<E: Float, N: Size>(
    logits: &[Vector<E, N>],
    cu_seqlens: &[u32],
    targets: &[Vector<u32, N>],
    lse: &[Vector<f32, N>],
    d_logits: &mut [Vector<E, N>],
    scale: f32,
    sequences: usize,
    #[comptime] team: usize,
) {
    let mut sequence = my_team(team);
    while sequence < sequences {
        let first = cu_seqlens[sequence] as usize;
        let length = cu_seqlens[sequence + 1] as usize - first;
        let target = targets[sequence];
        let both_lse = lse[sequence];
        let inside = target.less_than(&Vector::new(length as u32));
        let scales = select_many(inside, Vector::new(scale), Vector::new(0.0f32));
        for token in range_stepped(my_place(team), length, team) {
            let x = Vector::<f32, N>::cast_from(logits[first + token]);
            let softmax = math::exp::<N>(x - both_lse);
            let is_target = Vector::<u32, N>::new(token as u32).equal(&target);
            let onehot = select_many(is_target, Vector::new(1.0f32), Vector::new(0.0f32));
            d_logits[first + token] = Vector::cast_from((softmax - onehot) * scales);
        }
        sequence += team_count(team);
    }
}

/// Both passes in f64, out of the reference of one softmax a side.
#[cfg(feature = "cases")]
pub(crate) mod reference {
    use super::{IGNORE, SIDES};
    use crate::ops::cross_entropy::reference as softmax;

    /// What the forward pass writes.
    pub(crate) struct Forward {
        pub(crate) loss: Vec<f64>,
        pub(crate) correct: Vec<u32>,
        pub(crate) lse: Vec<f64>,
    }

    /// The logits and the target of one side of a sequence.
    fn side_of(
        logits: &[f64],
        cu_seqlens: &[u32],
        targets: &[u32],
        sequence: usize,
        side: usize,
    ) -> (Vec<f64>, u32) {
        let tokens = cu_seqlens[sequence] as usize..cu_seqlens[sequence + 1] as usize;
        let target = targets[sequence * SIDES + side];
        let target = if (target as usize) < tokens.len() { target } else { IGNORE };
        (tokens.map(|token| logits[token * SIDES + side]).collect(), target)
    }

    pub(crate) fn forward(logits: &[f64], cu_seqlens: &[u32], targets: &[u32]) -> Forward {
        let mut found = Forward { loss: Vec::new(), correct: Vec::new(), lse: Vec::new() };
        for sequence in 0..cu_seqlens.len() - 1 {
            let (mut loss, mut correct) = (0.0, 1);
            for side in 0..SIDES {
                let (x, target) = side_of(logits, cu_seqlens, targets, sequence, side);
                if x.is_empty() {
                    found.lse.push(f64::NEG_INFINITY);
                    correct = 0;
                    continue;
                }
                let one = softmax::forward(&x, &[target], x.len());
                loss += one.loss[0] / SIDES as f64;
                correct &= one.correct[0];
                found.lse.push(one.lse[0]);
            }
            found.loss.push(loss);
            found.correct.push(correct);
        }
        found
    }

    pub(crate) fn backward(
        logits: &[f64],
        cu_seqlens: &[u32],
        targets: &[u32],
        scale: f64,
    ) -> Vec<f64> {
        let mut d_logits = vec![0.0; logits.len()];
        for sequence in 0..cu_seqlens.len() - 1 {
            let first = cu_seqlens[sequence] as usize;
            for side in 0..SIDES {
                let (x, target) = side_of(logits, cu_seqlens, targets, sequence, side);
                if x.is_empty() {
                    continue;
                }
                let d = softmax::backward(&x, &[target], scale / SIDES as f64, x.len());
                for (token, d) in d.into_iter().enumerate() {
                    d_logits[(first + token) * SIDES + side] = d;
                }
            }
        }
        d_logits
    }
}
