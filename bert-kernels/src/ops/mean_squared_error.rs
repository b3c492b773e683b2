//! Mean squared error, for regression and for distillation.
//!
//! Forward, per row: `loss = Σ_w (p_w − t_w)² / W`. Backward: `d_p = 2 (p − t) / W · scale`.
//! A target that is NaN is none: its value has no loss and no gradient, and W stays what it is.
//! That is how a batch holds rows without a label.
//!
//! Distillation takes the logits of a teacher as targets (Tang et al. 2019) or its hidden states
//! (Jiao et al. 2020). A row is the work of one unit on a CPU and of one cube on a GPU.

use cubecl::prelude::*;

use super::dropout::expect_act;
use crate::lanes::{expect_u32, lanes, my_items, spread, with_act};
use crate::teams::{Keep, Teams, my_place, my_team, reduce_lanes, reduce_team, team_count};
use crate::{Buffer, Context, DType, KernelError};

/// Operands of [`squared_error_forward`].
pub struct SquaredErrorForward<'a> {
    /// `[R, W]`, f32, bf16 or f16.
    pub prediction: &'a Buffer,
    /// `[R, W]`, f32 or like `prediction`; NaN where there is no target.
    pub target: &'a Buffer,
    /// `[R]` f32, out.
    pub loss: &'a Buffer,
    /// R.
    pub rows: usize,
    /// W.
    pub width: usize,
}

/// Operands of [`squared_error_backward`].
pub struct SquaredErrorBackward<'a> {
    /// `[R, W]`, f32, bf16 or f16.
    pub prediction: &'a Buffer,
    /// `[R, W]`, f32 or like `prediction`; NaN where there is no target.
    pub target: &'a Buffer,
    /// `[R, W]`, like `prediction`, out.
    pub d_prediction: &'a Buffer,
    /// Gradient of each row's loss, as 1 / R for a mean.
    pub scale: f32,
    /// R.
    pub rows: usize,
    /// W.
    pub width: usize,
}

/// `loss = Σ_w (prediction − target)² / W`, row by row.
///
/// # Errors
///
/// Lengths or types that do not fit together, or W = 0.
pub fn squared_error_forward(
    ctx: &Context,
    args: SquaredErrorForward<'_>,
) -> Result<(), KernelError> {
    const OP: &str = "squared_error_forward";
    let SquaredErrorForward { prediction, target, loss, rows, width } = args;
    check(OP, prediction, target, rows, width)?;
    loss.expect_dtype(OP, "loss", DType::F32)?;
    loss.expect_len(OP, "loss", rows)?;
    if rows == 0 {
        return Ok(());
    }
    let vector = lanes(ctx, prediction.dtype(), width);
    let teams = Teams::new(ctx, rows, width / vector);
    with_act!(prediction.dtype(), E => with_act!(target.dtype(), F => mean_squares::launch::<E, F>(
        ctx.client(),
        teams.count(),
        teams.dim(),
        vector,
        prediction.arg(),
        target.arg(),
        loss.arg(),
        (1.0 / width as f64) as f32,
        rows,
        width / vector,
        teams.team,
    )));
    Ok(())
}

/// `d_prediction = 2 (prediction − target) / W · scale`.
///
/// # Errors
///
/// Lengths or types that do not fit together, or W = 0.
pub fn squared_error_backward(
    ctx: &Context,
    args: SquaredErrorBackward<'_>,
) -> Result<(), KernelError> {
    const OP: &str = "squared_error_backward";
    let SquaredErrorBackward { prediction, target, d_prediction, scale, rows, width } = args;
    check(OP, prediction, target, rows, width)?;
    d_prediction.expect_dtype(OP, "d_prediction", prediction.dtype())?;
    d_prediction.expect_len(OP, "d_prediction", rows * width)?;
    if rows == 0 {
        return Ok(());
    }
    let vector = lanes(ctx, prediction.dtype(), rows * width);
    let vectors = rows * width / vector;
    let work = spread(ctx, vectors);
    with_act!(prediction.dtype(), E => with_act!(target.dtype(), F => gradients::launch::<E, F>(
        ctx.client(),
        work.count,
        work.dim,
        vector,
        prediction.arg(),
        target.arg(),
        d_prediction.arg(),
        (2.0 * f64::from(scale) / width as f64) as f32,
        vectors,
        work.contiguous,
    )));
    Ok(())
}

fn check(
    op: &'static str,
    prediction: &Buffer,
    target: &Buffer,
    rows: usize,
    width: usize,
) -> Result<(), KernelError> {
    if width == 0 {
        return Err(KernelError::Size { op, what: "width", expected: "positive", found: 0 });
    }
    expect_act(op, "prediction", prediction)?;
    prediction.expect_len(op, "prediction", rows * width)?;
    if target.dtype() != DType::F32 && target.dtype() != prediction.dtype() {
        let expected = "f32 or like `prediction`";
        return Err(KernelError::DType { op, operand: "target", expected, found: target.dtype() });
    }
    target.expect_len(op, "target", rows * width)?;
    expect_u32(op, "elements", prediction.len())
}

/// Infinity's bits; a NaN's are above, but for the sign.
const INFINITY_BITS: u32 = 0x7F80_0000;
const WITHOUT_SIGN: u32 = 0x7FFF_FFFF;

/// `prediction − target`, 0 where the target is NaN.
#[cube]
fn difference<E: Float, F: Float, N: Size>(
    prediction: Vector<E, N>,
    target: Vector<F, N>,
) -> Vector<f32, N> {
    let target = Vector::<f32, N>::cast_from(target);
    // By its bits: a driver may assume that no number is NaN.
    let size = Vector::<u32, N>::reinterpret(target) & Vector::new(WITHOUT_SIGN);
    let missing = size.greater_than(&Vector::new(INFINITY_BITS));
    let apart = Vector::<f32, N>::cast_from(prediction) - target;
    select_many(missing, Vector::new(0.0f32), apart)
}

#[cube(launch)]
fn mean_squares<E: Float, F: Float, N: Size>(
    prediction: &[Vector<E, N>],
    target: &[Vector<F, N>],
    loss: &mut [f32],
    share: f32,
    rows: usize,
    vectors: usize,
    #[comptime] team: usize,
) {
    let place = my_place(team);
    let mut row = my_team(team);
    while row < rows {
        let base = row * vectors;
        let mut total = Vector::<f32, N>::new(0.0f32);
        for v in range_stepped(place, vectors, team) {
            let apart = difference::<E, F, N>(prediction[base + v], target[base + v]);
            total += apart * apart;
        }
        let total = reduce_team::<f32>(reduce_lanes::<f32, N>(total, Keep::Sum), Keep::Sum, team);
        if place == 0 {
            loss[row] = total * share;
        }
        row += team_count(team);
    }
}

#[cube(launch)]
fn gradients<E: Float, F: Float, N: Size>(
    prediction: &[Vector<E, N>],
    target: &[Vector<F, N>],
    d_prediction: &mut [Vector<E, N>],
    factor: f32,
    vectors: usize,
    #[comptime] contiguous: bool,
) {
    let items = my_items(vectors, contiguous);
    let mut i = items.first;
    while i < items.end {
        let apart = difference::<E, F, N>(prediction[i], target[i]);
        d_prediction[i] = Vector::cast_from(apart * Vector::new(factor));
        i += items.step;
    }
}

/// Both passes in f64.
#[cfg(feature = "cases")]
pub(crate) mod reference {
    fn difference(prediction: f64, target: f64) -> f64 {
        if target.is_nan() { 0.0 } else { prediction - target }
    }

    /// The loss of each row.
    pub(crate) fn forward(prediction: &[f64], target: &[f64], width: usize) -> Vec<f64> {
        let rows = prediction.chunks(width).zip(target.chunks(width));
        rows.map(|(p, t)| {
            let squares = p.iter().zip(t).map(|(&p, &t)| difference(p, t).powi(2));
            squares.sum::<f64>() / width as f64
        })
        .collect()
    }

    /// The gradient of the predictions.
    pub(crate) fn backward(
        prediction: &[f64],
        target: &[f64],
        scale: f64,
        width: usize,
    ) -> Vec<f64> {
        let pairs = prediction.iter().zip(target);
        pairs.map(|(&p, &t)| 2.0 * difference(p, t) / width as f64 * scale).collect()
    }
}
