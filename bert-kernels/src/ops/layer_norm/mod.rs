//! Layer norm with the residual sum and dropout before it.
//!
//! Forward, per token: `s = residual + dropout(x)`, `mean = Σ s / H`, `var = Σ (s − mean)² / H`,
//! `rstd = 1 / √(var + ε)`, `x̂ = (s − mean) · rstd`, `y = x̂ · γ + β` (Ba et al. 2016).
//! `s` is rounded to its stored type before the statistics, so the backward pass differentiates what
//! the forward pass computed.
//!
//! Backward, with `g = d_y · γ`: `d_s = rstd · (g − mean(g) − x̂ · mean(g · x̂))`,
//! `d_x = dropout(d_s)`, `d_γ += Σ_t d_y · x̂`, `d_β += Σ_t d_y`.
//! The sums over tokens go through one partial row a cube in the workspace and are then added in the
//! order of the cubes.
//!
//! A token is the work of one unit on a CPU and of one cube on a GPU.

use cubecl::prelude::*;

use super::dropout::{DeviceDropout, DropMask, Mask, expect_act};
use crate::lanes::{expect_u32, lanes, my_items, spread, sum_lanes, with_act};
use crate::{Buffer, Context, DType, KernelError};

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

/// Operands of [`layer_norm_backward`].
pub struct LayerNormBackward<'a> {
    /// Gradient of y `[T, H]`, f32, bf16 or f16.
    pub d_out: &'a Buffer,
    /// A second gradient of y `[T, H]`, like `d_out`, added to the first; nothing if absent.
    pub d_residual_in: Option<&'a Buffer>,
    /// s of the forward pass `[T, H]`, like `d_out`.
    pub sum: &'a Buffer,
    /// Means of the forward pass `[T]` f32.
    pub mean: &'a Buffer,
    /// 1 / √(variance + ε) of the forward pass `[T]` f32.
    pub rstd: &'a Buffer,
    /// γ `[H]` f32.
    pub gamma: &'a Buffer,
    /// The dropout of the forward pass.
    pub dropout: Option<&'a DeviceDropout>,
    /// Gradient of s, which is that of the residual `[T, H]`, like `d_out`.
    pub d_sum: &'a Buffer,
    /// Gradient of x `[T, H]`, like `d_out`; required if something was dropped, else equal to `d_sum`.
    pub d_x: Option<&'a Buffer>,
    /// Gradient of γ `[H]` f32, added to.
    pub d_gamma: &'a Buffer,
    /// Gradient of β `[H]` f32, added to.
    pub d_beta: &'a Buffer,
    /// Scratch of [`layer_norm_workspace_len`] f32.
    pub workspace: &'a Buffer,
    /// H.
    pub hidden: usize,
}

/// Elements of [`LayerNormBackward::workspace`] for `rows` tokens of width `hidden`.
pub fn layer_norm_workspace_len(ctx: &Context, rows: usize, hidden: usize) -> usize {
    Rows::new(ctx, DType::F32, rows, hidden).workers * 2 * hidden
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
    let plan = Rows::new(ctx, dtype, rows, hidden);
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

/// Gradients of s, x, γ and β.
///
/// # Errors
///
/// Lengths or types that do not fit together, H = 0, a probability outside [0, 1), or a missing
/// `d_x` where something was dropped.
pub fn layer_norm_backward(ctx: &Context, args: LayerNormBackward<'_>) -> Result<(), KernelError> {
    const OP: &str = "layer_norm_backward";
    let LayerNormBackward {
        d_out,
        d_residual_in,
        sum,
        mean,
        rstd,
        gamma,
        dropout,
        d_sum,
        d_x,
        d_gamma,
        d_beta,
        workspace,
        hidden,
    } = args;
    expect_act(OP, "d_out", d_out)?;
    let dtype = d_out.dtype();
    let rows = mean.len();
    let acts = [
        ("d_out", Some(d_out)),
        ("d_residual_in", d_residual_in),
        ("sum", Some(sum)),
        ("d_sum", Some(d_sum)),
        ("d_x", d_x),
    ];
    let params = [("gamma", gamma), ("d_gamma", d_gamma), ("d_beta", d_beta)];
    check(OP, dtype, rows, hidden, &acts, &params, mean, rstd)?;
    let mask = Mask::new(OP, dropout, (1, rows * hidden))?;
    if mask.drops() && d_x.is_none() {
        return Err(KernelError::Length {
            op: OP,
            operand: "d_x",
            expected: rows * hidden,
            found: 0,
        });
    }
    let plan = Rows::new(ctx, dtype, rows, hidden);
    workspace.expect_dtype(OP, "workspace", DType::F32)?;
    workspace.expect_len(OP, "workspace", plan.workers * 2 * hidden)?;
    if rows == 0 {
        return Ok(());
    }
    with_act!(dtype, E => backward_rows::launch::<E>(
        ctx.client(),
        plan.count(),
        plan.dim(),
        plan.width,
        d_out.arg(),
        d_residual_in.map(Buffer::arg).into(),
        sum.arg(),
        mean.arg(),
        rstd.arg(),
        gamma.arg(),
        d_sum.arg(),
        d_x.map(Buffer::arg).into(),
        workspace.arg(),
        rows,
        mask.launch(),
        hidden,
        mask.drops(),
        plan.team,
    ));
    let columns = hidden / plan.width;
    let spread = spread(ctx, columns);
    add_partials::launch(
        ctx.client(),
        spread.count,
        spread.dim,
        plan.width,
        workspace.arg(),
        d_gamma.arg(),
        d_beta.arg(),
        plan.workers,
        columns,
        spread.contiguous,
    );
    Ok(())
}

fn check(
    op: &'static str,
    dtype: DType,
    rows: usize,
    hidden: usize,
    acts: &[(&'static str, Option<&Buffer>)],
    params: &[(&'static str, &Buffer)],
    mean: &Buffer,
    rstd: &Buffer,
) -> Result<(), KernelError> {
    if hidden == 0 {
        return Err(KernelError::Size {
            op,
            what: "hidden",
            expected: "at least 1",
            found: hidden,
        });
    }
    expect_u32(op, "rows · hidden", rows * hidden)?;
    for (operand, buffer) in acts {
        if let Some(buffer) = buffer {
            buffer.expect_dtype(op, operand, dtype)?;
            buffer.expect_len(op, operand, rows * hidden)?;
        }
    }
    for (operand, buffer) in params {
        buffer.expect_dtype(op, operand, DType::F32)?;
        buffer.expect_len(op, operand, hidden)?;
    }
    for (operand, buffer) in [("mean", mean), ("rstd", rstd)] {
        buffer.expect_dtype(op, operand, DType::F32)?;
        buffer.expect_len(op, operand, rows)?;
    }
    Ok(())
}

/// How tokens are shared out.
struct Rows {
    /// Lanes of a vector.
    width: usize,
    /// Units that share one token.
    team: usize,
    /// Teams, each of which takes every `workers`-th token; also the rows of partial sums.
    workers: usize,
    cube_units: u32,
}

/// Most units of a GPU cube on one token: a wider hidden size gives each unit more vectors.
const MAX_TEAM: usize = 256;
/// GPU cubes: enough to fill any device, few enough that their partial sums are soon added.
const MAX_TEAMS: usize = 512;

impl Rows {
    fn new(ctx: &Context, dtype: DType, rows: usize, hidden: usize) -> Self {
        let shape = ctx.shape();
        // Partial sums are f32 whatever the activations are.
        let width = lanes(ctx, dtype, hidden);
        if shape.is_cpu() {
            let cores = (shape.max_units_per_cube as usize).max(1);
            return Self { width, team: 1, workers: cores, cube_units: cores as u32 };
        }
        let team = (hidden / width)
            .next_power_of_two()
            .min(MAX_TEAM)
            .min(shape.max_units_per_cube as usize);
        Self { width, team, workers: rows.clamp(1, MAX_TEAMS), cube_units: team as u32 }
    }

    fn count(&self) -> CubeCount {
        CubeCount::Static((self.workers * self.team) as u32 / self.cube_units, 1, 1)
    }

    fn dim(&self) -> CubeDim {
        CubeDim::new_1d(self.cube_units)
    }
}

#[cube]
fn load<E: Float, N: Size>(x: &[Vector<E, N>], at: usize) -> Vector<f32, N> {
    Vector::<f32, N>::cast_from(x[at])
}

/// Sum over the units of a cube; every unit gets it. A team of one has nothing to add.
#[cube]
fn sum_team(value: f32, #[comptime] team: usize) -> f32 {
    if team == 1 {
        value
    } else {
        let mut shared = Shared::<[f32]>::new_slice(team);
        let unit = UNIT_POS as usize;
        shared[unit] = value;
        sync_cube();
        let levels = comptime!(team.trailing_zeros() as usize);
        #[unroll]
        for level in 0..levels {
            let half = comptime!(team >> (level + 1));
            if unit < half {
                shared[unit] += shared[unit + half];
            }
            sync_cube();
        }
        let sum = shared[0];
        // Nobody may overwrite before everybody has read.
        sync_cube();
        sum
    }
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
    #[comptime] team: usize,
) {
    let lanes = N::value();
    let columns = comptime!(hidden / lanes);
    let width = f32::cast_from(hidden);
    let member = ABSOLUTE_POS % team;
    let workers = CUBE_COUNT * CUBE_DIM as usize / team;
    let masked = mask.row(0u32.runtime());
    let mut row = ABSOLUTE_POS / team;
    while row < rows {
        let base = row * columns;
        let mut total = Vector::<f32, N>::new(0.0f32);
        for column in range_stepped(member, columns, team) {
            let at = base + column;
            let mut s = load(x, at);
            if drops {
                s = masked.apply::<N>(s, (at * N::value()) as u32);
            }
            #[comptime]
            if let ComptimeOption::Some(residual) = &residual {
                s += load(residual, at);
            }
            let stored = Vector::<E, N>::cast_from(s);
            sum[at] = stored;
            total += Vector::cast_from(stored);
        }
        let mean_row = sum_team(sum_lanes::<N>(total), team) / width;
        let mut squares = Vector::<f32, N>::new(0.0f32);
        for column in range_stepped(member, columns, team) {
            let deviation = Vector::<f32, N>::cast_from(sum[base + column]) - Vector::new(mean_row);
            squares += deviation * deviation;
        }
        let variance = sum_team(sum_lanes::<N>(squares), team) / width;
        let rstd_row = 1.0f32 / (variance + epsilon).sqrt();
        for column in range_stepped(member, columns, team) {
            let at = base + column;
            let normal = (Vector::<f32, N>::cast_from(sum[at]) - Vector::new(mean_row))
                * Vector::new(rstd_row);
            out[at] = Vector::cast_from(normal * gamma[column] + beta[column]);
        }
        if member == 0 {
            mean[row] = mean_row;
            rstd[row] = rstd_row;
        }
        row += workers;
    }
}

#[cube(launch)]
fn backward_rows<E: Float, N: Size>(
    d_out: &[Vector<E, N>],
    d_more: ComptimeOption<Box<[Vector<E, N>]>>,
    sum: &[Vector<E, N>],
    mean: &[f32],
    rstd: &[f32],
    gamma: &[Vector<f32, N>],
    d_sum: &mut [Vector<E, N>],
    mut d_x: ComptimeOption<Box<[Vector<E, N>]>>,
    partial: &mut [Vector<f32, N>],
    rows: usize,
    mask: DropMask,
    #[comptime] hidden: usize,
    #[comptime] drops: bool,
    #[comptime] team: usize,
) {
    let lanes = N::value();
    let columns = comptime!(hidden / lanes);
    let width = f32::cast_from(hidden);
    let member = ABSOLUTE_POS % team;
    let worker = ABSOLUTE_POS / team;
    let workers = CUBE_COUNT * CUBE_DIM as usize / team;
    let masked = mask.row(0u32.runtime());
    let gamma_sums = worker * 2 * columns;
    let beta_sums = gamma_sums + columns;
    for column in range_stepped(member, columns, team) {
        partial[gamma_sums + column] = Vector::new(0.0f32);
        partial[beta_sums + column] = Vector::new(0.0f32);
    }
    let mut row = worker;
    while row < rows {
        let base = row * columns;
        let mean_row = mean[row];
        let rstd_row = rstd[row];
        let mut g_total = Vector::<f32, N>::new(0.0f32);
        let mut gx_total = Vector::<f32, N>::new(0.0f32);
        for column in range_stepped(member, columns, team) {
            let at = base + column;
            let mut d_y = load(d_out, at);
            #[comptime]
            if let ComptimeOption::Some(d_more) = &d_more {
                d_y += load(d_more, at);
            }
            let normal = (load(sum, at) - Vector::new(mean_row)) * Vector::new(rstd_row);
            let g = d_y * gamma[column];
            g_total += g;
            gx_total += g * normal;
            partial[gamma_sums + column] += d_y * normal;
            partial[beta_sums + column] += d_y;
        }
        let g_mean = sum_team(sum_lanes::<N>(g_total), team) / width;
        let gx_mean = sum_team(sum_lanes::<N>(gx_total), team) / width;
        for column in range_stepped(member, columns, team) {
            let at = base + column;
            let mut d_y = load(d_out, at);
            #[comptime]
            if let ComptimeOption::Some(d_more) = &d_more {
                d_y += load(d_more, at);
            }
            let normal = (load(sum, at) - Vector::new(mean_row)) * Vector::new(rstd_row);
            let g = d_y * gamma[column];
            let d_s =
                (g - Vector::new(g_mean) - normal * Vector::new(gx_mean)) * Vector::new(rstd_row);
            d_sum[at] = Vector::cast_from(d_s);
            #[comptime]
            if let ComptimeOption::Some(d_x) = &mut d_x {
                if drops {
                    d_x[at] = Vector::cast_from(masked.apply::<N>(d_s, (at * N::value()) as u32));
                } else {
                    d_x[at] = Vector::cast_from(d_s);
                }
            }
        }
        row += workers;
    }
}

/// `d_γ` and `d_β` += the workers' partial sums, in the order of the workers.
#[cube(launch)]
fn add_partials<N: Size>(
    partial: &[Vector<f32, N>],
    d_gamma: &mut [Vector<f32, N>],
    d_beta: &mut [Vector<f32, N>],
    workers: usize,
    columns: usize,
    #[comptime] contiguous: bool,
) {
    let items = my_items(columns, contiguous);
    let mut column = items.first;
    while column < items.end {
        let mut gamma_sum = Vector::<f32, N>::new(0.0f32);
        let mut beta_sum = Vector::<f32, N>::new(0.0f32);
        for worker in 0..workers {
            gamma_sum += partial[worker * 2 * columns + column];
            beta_sum += partial[(worker * 2 + 1) * columns + column];
        }
        d_gamma[column] += gamma_sum;
        d_beta[column] += beta_sum;
        column += items.step;
    }
}

/// Both passes in f64.
#[cfg(feature = "cases")]
pub(crate) mod reference {
    use crate::ops::dropout::{Dropout, reference::factor};

    /// What the forward pass writes.
    pub(crate) struct Forward {
        pub(crate) sum: Vec<f64>,
        pub(crate) out: Vec<f64>,
        pub(crate) mean: Vec<f64>,
        pub(crate) rstd: Vec<f64>,
    }

    /// `s = residual + dropout(x)`.
    pub(crate) fn residual_sum(
        x: &[f64],
        residual: Option<&[f64]>,
        dropout: Option<Dropout>,
    ) -> Vec<f64> {
        x.iter()
            .enumerate()
            .map(|(at, x)| x * factor(dropout, at as u64) + residual.map_or(0.0, |r| r[at]))
            .collect()
    }

    /// Normalization of `sum`.
    pub(crate) fn forward(sum: Vec<f64>, gamma: &[f64], beta: &[f64], epsilon: f64) -> Forward {
        let hidden = gamma.len();
        let (mut out, mut means, mut rstds) = (Vec::new(), Vec::new(), Vec::new());
        for row in sum.chunks(hidden) {
            let mean = row.iter().sum::<f64>() / hidden as f64;
            let variance = row.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / hidden as f64;
            let rstd = 1.0 / (variance + epsilon).sqrt();
            let scaled = row.iter().zip(gamma).zip(beta);
            out.extend(scaled.map(|((s, gamma), beta)| (s - mean) * rstd * gamma + beta));
            means.push(mean);
            rstds.push(rstd);
        }
        Forward { sum, out, mean: means, rstd: rstds }
    }

    /// What the backward pass writes.
    pub(crate) struct Backward {
        pub(crate) d_sum: Vec<f64>,
        pub(crate) d_x: Vec<f64>,
        pub(crate) d_gamma: Vec<f64>,
        pub(crate) d_beta: Vec<f64>,
    }

    /// Gradients for the gradient `d_out` of y.
    pub(crate) fn backward(
        d_out: &[f64],
        sum: &[f64],
        mean: &[f64],
        rstd: &[f64],
        gamma: &[f64],
        dropout: Option<Dropout>,
    ) -> Backward {
        let hidden = gamma.len();
        let mut d_sum = Vec::new();
        let (mut d_gamma, mut d_beta) = (vec![0.0; hidden], vec![0.0; hidden]);
        for (row, (d_row, s_row)) in d_out.chunks(hidden).zip(sum.chunks(hidden)).enumerate() {
            let normal: Vec<f64> = s_row.iter().map(|s| (s - mean[row]) * rstd[row]).collect();
            let g: Vec<f64> = d_row.iter().zip(gamma).map(|(d, gamma)| d * gamma).collect();
            let g_mean = g.iter().sum::<f64>() / hidden as f64;
            let gx_mean = g.iter().zip(&normal).map(|(g, n)| g * n).sum::<f64>() / hidden as f64;
            for column in 0..hidden {
                d_gamma[column] += d_row[column] * normal[column];
                d_beta[column] += d_row[column];
                d_sum.push(rstd[row] * (g[column] - g_mean - normal[column] * gx_mean));
            }
        }
        let d_x = d_sum.iter().enumerate().map(|(at, d)| d * factor(dropout, at as u64)).collect();
        Backward { d_sum, d_x, d_gamma, d_beta }
    }
}
