//! The backward pass.

use cubecl::prelude::*;

use super::check;
use super::team::{Rows, Team, sum_team};
use crate::column_sums::{Tile, join_rows, sum_of_tile};
use crate::lanes::{sum_lanes, with_act};
use crate::ops::dropout::{DeviceDropout, DropMask, Mask, expect_act};
use crate::{Buffer, Context, DType, KernelError};

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
    let shape = ctx.shape();
    let cores = shape.max_units_per_cube.max(1) as usize;
    let partial_rows = if shape.is_cpu() { cores } else { rows.clamp(1, MOST_CUBES) };
    partial_rows * 2 * hidden
}

/// Cubes of a GPU: enough to fill any device, few enough that their partial sums are a small part of what
/// is read and written.
const MOST_CUBES: usize = 512;

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
    workspace.expect_dtype(OP, "workspace", DType::F32)?;
    workspace.expect_len(OP, "workspace", layer_norm_workspace_len(ctx, rows, hidden))?;
    if rows == 0 {
        return Ok(());
    }
    let plan = Rows::new(ctx, dtype, rows, hidden, MOST_CUBES);
    let teams = Tile { wide: plan.team.units(), tall: plan.teams_of_cube() };
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
        teams,
    ));
    let columns = hidden / plan.width;
    let tile = Tile::new(ctx);
    add_partials::launch(
        ctx.client(),
        CubeCount::Static(tile.cubes(2 * columns), 1, 1),
        tile.dim(),
        plan.width,
        workspace.arg(),
        d_gamma.arg(),
        d_beta.arg(),
        partial_rows(ctx, &plan),
        columns,
        tile,
    );
    Ok(())
}

/// A row of partial sums for each cube, on a CPU for each core.
fn partial_rows(ctx: &Context, plan: &Rows) -> usize {
    match plan.team {
        Team::Alone => ctx.shape().max_units_per_cube.max(1) as usize,
        _ => plan.cubes,
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
    #[comptime] team: Team,
    #[comptime] teams: Tile,
) {
    let lanes = N::value();
    let columns = comptime!(hidden / lanes);
    let units = comptime!(team.units());
    let share = comptime!(team.share(columns));
    let unroll = comptime!(team.holds_few());
    let width = f32::cast_from(hidden);
    let member = ABSOLUTE_POS % units;
    let all_teams = CUBE_COUNT * CUBE_DIM as usize / units;
    let masked = mask.row(0u32.runtime());
    // This unit's part of s and of d_y, and of the sums over its team's tokens.
    let mut own_sum = Array::<Vector<E, N>>::new(share);
    let mut own_d_y = Array::<Vector<f32, N>>::new(share);
    let mut gamma_sums = Array::<Vector<f32, N>>::new(share);
    let mut beta_sums = Array::<Vector<f32, N>>::new(share);
    #[unroll(unroll)]
    for i in 0..share {
        gamma_sums[i] = Vector::new(0.0f32);
        beta_sums[i] = Vector::new(0.0f32);
    }
    let mut row = ABSOLUTE_POS / units;
    while row < rows {
        let base = row * columns;
        let mean_row = mean[row];
        let rstd_row = rstd[row];
        let mut g_total = Vector::<f32, N>::new(0.0f32);
        let mut gx_total = Vector::<f32, N>::new(0.0f32);
        #[unroll(unroll)]
        for i in 0..share {
            let column = member + i * units;
            if column < columns {
                let at = base + column;
                let mut d_y = Vector::<f32, N>::cast_from(d_out[at]);
                #[comptime]
                if let ComptimeOption::Some(d_more) = &d_more {
                    d_y += Vector::cast_from(d_more[at]);
                }
                let s = sum[at];
                own_sum[i] = s;
                own_d_y[i] = d_y;
                let normal = (Vector::<f32, N>::cast_from(s) - Vector::new(mean_row))
                    * Vector::new(rstd_row);
                let g = d_y * gamma[column];
                g_total += g;
                gx_total += g * normal;
                gamma_sums[i] += d_y * normal;
                beta_sums[i] += d_y;
            }
        }
        let g_mean = sum_team(sum_lanes::<N>(g_total), team) / width;
        let gx_mean = sum_team(sum_lanes::<N>(gx_total), team) / width;
        #[unroll(unroll)]
        for i in 0..share {
            let column = member + i * units;
            if column < columns {
                let at = base + column;
                let normal = (Vector::<f32, N>::cast_from(own_sum[i]) - Vector::new(mean_row))
                    * Vector::new(rstd_row);
                let g = own_d_y[i] * gamma[column];
                let d_s = (g - Vector::new(g_mean) - normal * Vector::new(gx_mean))
                    * Vector::new(rstd_row);
                d_sum[at] = Vector::cast_from(d_s);
                #[comptime]
                if let ComptimeOption::Some(d_x) = &mut d_x {
                    if drops {
                        d_x[at] =
                            Vector::cast_from(masked.apply::<N>(d_s, (at * N::value()) as u32));
                    } else {
                        d_x[at] = Vector::cast_from(d_s);
                    }
                }
            }
        }
        row += all_teams;
    }

    // The sums over a cube's teams go to its first.
    let mut leads = true.runtime();
    let mut number = ABSOLUTE_POS;
    if comptime!(team != Team::Alone) {
        leads = (UNIT_POS as usize) < units;
        number = CUBE_POS;
    }
    if comptime!(teams.tall > 1) {
        let mut shared = Shared::<[Vector<f32, N>]>::new_slice(comptime!(teams.units()));
        #[unroll(unroll)]
        for i in 0..share {
            gamma_sums[i] = join_rows::<N>(&mut shared, gamma_sums[i], teams);
            beta_sums[i] = join_rows::<N>(&mut shared, beta_sums[i], teams);
        }
    }
    let gamma_at = number * 2 * columns;
    let beta_at = gamma_at + columns;
    #[unroll(unroll)]
    for i in 0..share {
        let column = member + i * units;
        if leads && column < columns {
            partial[gamma_at + column] = gamma_sums[i];
            partial[beta_at + column] = beta_sums[i];
        }
    }
}

/// `d_γ` and `d_β` += the partial rows.
#[cube(launch)]
fn add_partials<N: Size>(
    partial: &[Vector<f32, N>],
    d_gamma: &mut [Vector<f32, N>],
    d_beta: &mut [Vector<f32, N>],
    rows: usize,
    columns: usize,
    #[comptime] tile: Tile,
) {
    let unit = UNIT_POS as usize;
    let column = CUBE_POS_X as usize * comptime!(tile.wide) + unit % comptime!(tile.wide);
    let both = 2 * columns;
    let from = 0usize.runtime();
    let total = sum_of_tile::<f32, N>(partial, column, both, from, rows, both, tile);
    if unit < comptime!(tile.wide) && column < both {
        if column < columns {
            d_gamma[column] += total;
        } else {
            d_beta[column - columns] += total;
        }
    }
}
