//! The forward pass.

use cubecl::prelude::*;

use super::check;
use super::team::{Rows, Team, sum_team};
use crate::lanes::{sum_lanes, with_act};
use crate::ops::dropout::{DeviceDropout, DropMask, Mask, expect_act};
use crate::{Buffer, Context, KernelError};

/// Operands of [`layer_norm_forward`].
pub struct LayerNormForward<'a> {
    /// Output of the sub-layer `[T, H]`, f32, bf16 or f16.
    pub x: &'a Buffer,
    /// What it is added to `[T, H]`, like `x`; nothing if absent.
    pub residual: Option<&'a Buffer>,
    /// Dropout of `x`; element index = token · H + column.
    pub dropout: Option<&'a DeviceDropout>,
    /// γ `[H]` f32.
    pub gamma: &'a Buffer,
    /// β `[H]` f32.
    pub beta: &'a Buffer,
    /// ε, added to the variance; positive.
    pub epsilon: f32,
    /// s `[T, H]`, like `x`, written for the backward pass.
    pub sum: &'a Buffer,
    /// y `[T, H]`, like `x`.
    pub out: &'a Buffer,
    /// Mean of each token `[T]` f32, written for the backward pass.
    pub mean: &'a Buffer,
    /// 1 / √(variance + ε) of each token `[T]` f32, written for the backward pass.
    pub rstd: &'a Buffer,
    /// H.
    pub hidden: usize,
}

/// `s = residual + dropout(x)`, `y = (s − mean) · rstd · γ + β`.
///
/// # Errors
///
/// Lengths or types that do not fit together, H = 0, a probability outside [0, 1), or an ε that is
/// not positive.
pub fn layer_norm_forward(ctx: &Context, args: LayerNormForward<'_>) -> Result<(), KernelError> {
    const OP: &str = "layer_norm_forward";
    let LayerNormForward {
        x,
        residual,
        dropout,
        gamma,
        beta,
        epsilon,
        sum,
        out,
        mean,
        rstd,
        hidden,
    } = args;
    expect_act(OP, "x", x)?;
    let dtype = x.dtype();
    let rows = mean.len();
    let acts = [("x", Some(x)), ("residual", residual), ("sum", Some(sum)), ("out", Some(out))];
    check(OP, dtype, rows, hidden, &acts, &[("gamma", gamma), ("beta", beta)], mean, rstd)?;
    let mask = Mask::new(OP, dropout, (1, rows * hidden))?;
    if !(epsilon > 0.0 && epsilon.is_finite()) {
        return Err(KernelError::Value {
            op: OP,
            what: "epsilon",
            expected: "positive",
            found: epsilon.to_string(),
        });
    }
    if rows == 0 {
        return Ok(());
    }
    let plan = Rows::new(ctx, dtype, rows, hidden, usize::MAX);
    with_act!(dtype, E => forward_rows::launch::<E>(
        ctx.client(),
        plan.count(),
        plan.dim(),
        plan.width,
        x.arg(),
        residual.map(Buffer::arg).into(),
        gamma.arg(),
        beta.arg(),
        sum.arg(),
        out.arg(),
        mean.arg(),
        rstd.arg(),
        rows,
        mask.launch(),
        epsilon,
        hidden,
        mask.drops(),
        plan.team,
    ));
    Ok(())
}

#[cube(launch)]
fn forward_rows<E: Float, N: Size>(
    x: &[Vector<E, N>],
    residual: ComptimeOption<Box<[Vector<E, N>]>>,
    gamma: &[Vector<f32, N>],
    beta: &[Vector<f32, N>],
    sum: &mut [Vector<E, N>],
    out: &mut [Vector<E, N>],
    mean: &mut [f32],
    rstd: &mut [f32],
    rows: usize,
    mask: DropMask,
    epsilon: f32,
    #[comptime] hidden: usize,
    #[comptime] drops: bool,
    #[comptime] team: Team,
) {
    let lanes = N::value();
    let columns = comptime!(hidden / lanes);
    let units = comptime!(team.units());
    let share = comptime!(team.share(columns));
    let unroll = comptime!(team.holds_few());
    let width = f32::cast_from(hidden);
    let member = ABSOLUTE_POS % units;
    let teams = CUBE_COUNT * CUBE_DIM as usize / units;
    let masked = mask.row(0u32.runtime());
    // This unit's part of s.
    let mut own = Array::<Vector<E, N>>::new(share);
    let mut row = ABSOLUTE_POS / units;
    while row < rows {
        let base = row * columns;
        let mut total = Vector::<f32, N>::new(0.0f32);
        #[unroll(unroll)]
        for i in 0..share {
            let column = member + i * units;
            if column < columns {
                let at = base + column;
                let mut s = Vector::<f32, N>::cast_from(x[at]);
                if drops {
                    s = masked.apply::<N>(s, (at * N::value()) as u32);
                }
                #[comptime]
                if let ComptimeOption::Some(residual) = &residual {
                    s += Vector::cast_from(residual[at]);
                }
                let stored = Vector::<E, N>::cast_from(s);
                sum[at] = stored;
                own[i] = stored;
                total += Vector::cast_from(stored);
            }
        }
        let mean_row = sum_team(sum_lanes::<N>(total), team) / width;
        let mut squares = Vector::<f32, N>::new(0.0f32);
        #[unroll(unroll)]
        for i in 0..share {
            if member + i * units < columns {
                let deviation = Vector::<f32, N>::cast_from(own[i]) - Vector::new(mean_row);
                squares += deviation * deviation;
            }
        }
        let variance = sum_team(sum_lanes::<N>(squares), team) / width;
        let rstd_row = 1.0f32 / (variance + epsilon).sqrt();
        #[unroll(unroll)]
        for i in 0..share {
            let column = member + i * units;
            if column < columns {
                let deviation = Vector::<f32, N>::cast_from(own[i]) - Vector::new(mean_row);
                let normal = deviation * Vector::new(rstd_row);
                out[base + column] = Vector::cast_from(normal * gamma[column] + beta[column]);
            }
        }
        if member == 0 {
            mean[row] = mean_row;
            rstd[row] = rstd_row;
        }
        row += teams;
    }
}
