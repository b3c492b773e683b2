//! Softmax cross-entropy of explicit logits, for the small heads.
//!
//! Forward, per row: `lse = log Σ_c exp(x_c)`, `loss = lse − x_target`, and whether the largest
//! logit (the first of equals) is the target's. Backward: `d_x = (exp(x − lse) − onehot) · scale`.
//! Rows whose target is [`IGNORE`] have no loss and no gradient.
//!
//! The kernels take a chunk of the classes and carry what is known of a row from chunk to chunk;
//! [`linear_cross_entropy`](super::linear_cross_entropy) feeds them the vocabulary piece by piece.
//! A row is the work of one unit on a CPU and of one cube on a GPU.

use cubecl::prelude::*;

use super::dropout::expect_act;
use crate::lanes::{expect_u32, iota, lanes, with_act};
use crate::teams::{Keep, Teams, my_place, my_team, reduce_lanes, reduce_team, team_count};
use crate::{Buffer, Context, DType, KernelError, math};

/// The target of a row without a loss.
pub const IGNORE: u32 = u32::MAX;

/// Operands of [`cross_entropy_forward`].
pub struct CrossEntropyForward<'a> {
    /// `[R, C]`, f32 or bf16.
    pub logits: &'a Buffer,
    /// `[R]` u32, below C or [`IGNORE`].
    pub targets: &'a Buffer,
    /// `[R]` f32, out: in nats, 0 where ignored.
    pub loss: &'a Buffer,
    /// `[R]` u32, out: 1 where the largest logit is the target's, else 0.
    pub correct: &'a Buffer,
    /// `[R]` f32, out: log Σ exp, for the backward pass.
    pub lse: &'a Buffer,
    /// C.
    pub classes: usize,
}

/// Operands of [`cross_entropy_backward`].
pub struct CrossEntropyBackward<'a> {
    /// `[R, C]`, f32 or bf16.
    pub logits: &'a Buffer,
    /// `[R]` u32, below C or [`IGNORE`].
    pub targets: &'a Buffer,
    /// `[R]` f32 of the forward pass.
    pub lse: &'a Buffer,
    /// `[R, C]`, like `logits`, out; may be `logits` itself.
    pub d_logits: &'a Buffer,
    /// Gradient of each row's loss, as 1 / rows for a mean.
    pub scale: f32,
    /// C.
    pub classes: usize,
}

/// Loss, accuracy and log Σ exp of each row.
///
/// # Errors
///
/// Lengths or types that do not fit together, or C = 0. Targets are not checked: one past C counts
/// as a logit of 0.
pub fn cross_entropy_forward(
    ctx: &Context,
    args: CrossEntropyForward<'_>,
) -> Result<(), KernelError> {
    const OP: &str = "cross_entropy_forward";
    let CrossEntropyForward { logits, targets, loss, correct, lse, classes } = args;
    let rows = targets.len();
    check(OP, logits, targets, lse, classes)?;
    loss.expect_dtype(OP, "loss", DType::F32)?;
    loss.expect_len(OP, "loss", rows)?;
    correct.expect_dtype(OP, "correct", DType::U32)?;
    correct.expect_len(OP, "correct", rows)?;
    if rows == 0 {
        return Ok(());
    }
    let state = Rows { targets, loss, correct, lse, best: None };
    chunk_forward(ctx, logits, &state, &Chunk::whole(rows, classes));
    Ok(())
}

/// `d_logits = (exp(logits − lse) − onehot) · scale`.
///
/// # Errors
///
/// Lengths or types that do not fit together, or C = 0.
pub fn cross_entropy_backward(
    ctx: &Context,
    args: CrossEntropyBackward<'_>,
) -> Result<(), KernelError> {
    const OP: &str = "cross_entropy_backward";
    let CrossEntropyBackward { logits, targets, lse, d_logits, scale, classes } = args;
    let rows = targets.len();
    check(OP, logits, targets, lse, classes)?;
    d_logits.expect_dtype(OP, "d_logits", logits.dtype())?;
    d_logits.expect_len(OP, "d_logits", rows * classes)?;
    if rows == 0 {
        return Ok(());
    }
    let chunk = Chunk::whole(rows, classes);
    chunk_backward(ctx, logits, targets, lse, d_logits, scale, &chunk);
    Ok(())
}

fn check(
    op: &'static str,
    logits: &Buffer,
    targets: &Buffer,
    lse: &Buffer,
    classes: usize,
) -> Result<(), KernelError> {
    if classes == 0 {
        return Err(KernelError::Size { op, what: "classes", expected: "positive", found: 0 });
    }
    let rows = targets.len();
    expect_act(op, "logits", logits)?;
    logits.expect_len(op, "logits", rows * classes)?;
    targets.expect_dtype(op, "targets", DType::U32)?;
    lse.expect_dtype(op, "lse", DType::F32)?;
    lse.expect_len(op, "lse", rows)?;
    expect_u32(op, "elements", logits.len())
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
    fn whole(rows: usize, classes: usize) -> Self {
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
        chunk.rows,
        chunk.stride / width,
        chunk.classes as u32,
        chunk.offset as u32,
        !chunk.classes.is_multiple_of(width),
        chunk.first,
        chunk.last,
        teams.team,
    ));
}

/// Gradients of a chunk's logits, f32 or bf16, zero past its classes.
pub(crate) fn chunk_backward(
    ctx: &Context,
    logits: &Buffer,
    targets: &Buffer,
    lse: &Buffer,
    d_logits: &Buffer,
    scale: f32,
    chunk: &Chunk,
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
        scale,
        chunk.rows,
        chunk.stride / width,
        chunk.classes as u32,
        chunk.offset as u32,
        !chunk.classes.is_multiple_of(width),
        teams.team,
    )));
}

/// Below any logit, and its exponential is 0; finite, so that differences are.
const NOTHING: f32 = -1e30;

/// Logits of the chunk from class `class` on.
#[cube]
fn load<E: Float, N: Size>(
    logits: &[Vector<E, N>],
    at: usize,
    class: Vector<u32, N>,
    classes: u32,
    #[comptime] masked: bool,
) -> Vector<f32, N> {
    let value = Vector::<f32, N>::cast_from(logits[at]);
    if masked {
        let inside = class.less_than(&Vector::new(classes));
        select_many(inside, value, Vector::new(NOTHING))
    } else {
        value
    }
}

#[cube(launch)]
fn statistics<E: Float, N: Size>(
    logits: &[Vector<E, N>],
    targets: &[u32],
    loss: &mut [f32],
    correct: &mut [u32],
    lse: &mut [f32],
    mut best: ComptimeOption<Box<[f32]>>,
    rows: usize,
    stride: usize,
    classes: u32,
    offset: u32,
    #[comptime] masked: bool,
    #[comptime] first: bool,
    #[comptime] last: bool,
    #[comptime] team: usize,
) {
    let place = my_place(team);
    let vectors = (classes as usize).div_ceil(N::value());
    let lane = iota::<N>();
    let mut row = my_team(team);
    while row < rows {
        let base = row * stride;
        let target = targets[row];
        let mut top = Vector::<f32, N>::new(NOTHING);
        for v in range_stepped(place, vectors, team) {
            let class = Vector::<u32, N>::new((v * N::value()) as u32) + lane;
            top = max(top, load::<E, N>(logits, base + v, class, classes, masked));
        }
        let top = reduce_team::<f32>(reduce_lanes::<f32, N>(top, Keep::Max), Keep::Max, team);
        let mut total = Vector::<f32, N>::new(0.0f32);
        let mut picked = Vector::<f32, N>::new(0.0f32);
        let mut index = Vector::<u32, N>::new(IGNORE);
        for v in range_stepped(place, vectors, team) {
            let class = Vector::<u32, N>::new((v * N::value()) as u32) + lane;
            let x = load::<E, N>(logits, base + v, class, classes, masked);
            total += math::exp::<N>(x - Vector::new(top));
            let at_top = x.equal(&Vector::new(top));
            index = min(index, select_many(at_top, class, Vector::new(IGNORE)));
            let is_target = (class + Vector::new(offset)).equal(&Vector::new(target));
            picked += select_many(is_target, x, Vector::new(0.0f32));
        }
        let total = reduce_team::<f32>(reduce_lanes::<f32, N>(total, Keep::Sum), Keep::Sum, team);
        let picked = reduce_team::<f32>(reduce_lanes::<f32, N>(picked, Keep::Sum), Keep::Sum, team);
        let index = reduce_team::<u32>(reduce_lanes::<u32, N>(index, Keep::Min), Keep::Min, team);
        if place == 0 {
            let mut row_lse = top + math::ln(total);
            let mut row_index = index + offset;
            let mut row_picked = picked;
            let mut row_top = top;
            if !first {
                let before = lse[row];
                let high = max(before, row_lse);
                let sum = math::exp_scalar(before - high) + math::exp_scalar(row_lse - high);
                row_lse = high + math::ln(sum);
                row_picked += loss[row];
                #[comptime]
                if let ComptimeOption::Some(best) = &best {
                    // Of equal logits the first class counts.
                    if best[row] >= top {
                        row_top = best[row];
                        row_index = correct[row];
                    }
                }
            }
            lse[row] = row_lse;
            if last {
                loss[row] = select(target == IGNORE, 0.0f32, row_lse - row_picked);
                correct[row] = select(row_index == target, 1u32, 0u32);
            } else {
                loss[row] = row_picked;
                correct[row] = row_index;
                #[comptime]
                if let ComptimeOption::Some(best) = &mut best {
                    best[row] = row_top;
                }
            }
        }
        row += team_count(team);
    }
}

#[cube(launch)]
fn gradients<E: Float, D: Float, N: Size>(
    logits: &[Vector<E, N>],
    targets: &[u32],
    lse: &[f32],
    d_logits: &mut [Vector<D, N>],
    scale: f32,
    rows: usize,
    stride: usize,
    classes: u32,
    offset: u32,
    #[comptime] masked: bool,
    #[comptime] team: usize,
) {
    let place = my_place(team);
    let vectors = (classes as usize).div_ceil(N::value());
    let lane = iota::<N>();
    let mut row = my_team(team);
    while row < rows {
        let base = row * stride;
        let target = targets[row];
        let row_lse = lse[row];
        let row_scale = select(target == IGNORE, 0.0f32, scale);
        for v in range_stepped(place, vectors, team) {
            let class = Vector::<u32, N>::new((v * N::value()) as u32) + lane;
            let x = load::<E, N>(logits, base + v, class, classes, masked);
            let softmax = math::exp::<N>(x - Vector::new(row_lse));
            let is_target = (class + Vector::new(offset)).equal(&Vector::new(target));
            let onehot = select_many(is_target, Vector::new(1.0f32), Vector::new(0.0f32));
            d_logits[base + v] = Vector::cast_from((softmax - onehot) * Vector::new(row_scale));
        }
        row += team_count(team);
    }
}

/// Both passes in f64.
#[cfg(feature = "cases")]
pub(crate) mod reference {
    use super::IGNORE;

    /// What the forward pass writes.
    pub(crate) struct Forward {
        pub(crate) loss: Vec<f64>,
        pub(crate) correct: Vec<u32>,
        pub(crate) lse: Vec<f64>,
    }

    pub(crate) fn forward(logits: &[f64], targets: &[u32], classes: usize) -> Forward {
        let mut found = Forward { loss: Vec::new(), correct: Vec::new(), lse: Vec::new() };
        for (row, &target) in logits.chunks(classes).zip(targets) {
            let mut top = 0;
            for class in 1..classes {
                if row[class] > row[top] {
                    top = class;
                }
            }
            let sum: f64 = row.iter().map(|x| (x - row[top]).exp()).sum();
            let lse = row[top] + sum.ln();
            found.lse.push(lse);
            let ignored = target == IGNORE;
            found.loss.push(if ignored { 0.0 } else { lse - row[target as usize] });
            found.correct.push(u32::from(top as u32 == target));
        }
        found
    }

    pub(crate) fn backward(
        logits: &[f64],
        targets: &[u32],
        scale: f64,
        classes: usize,
    ) -> Vec<f64> {
        let lse = forward(logits, targets, classes).lse;
        logits
            .iter()
            .enumerate()
            .map(|(at, x)| {
                let (row, class) = (at / classes, at % classes);
                if targets[row] == IGNORE {
                    return 0.0;
                }
                let onehot = f64::from(u8::from(class as u32 == targets[row]));
                ((x - lse[row]).exp() - onehot) * scale
            })
            .collect()
    }
}
