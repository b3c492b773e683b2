//! Gradient of a bias: `d_bias[j] += Σ_t d_out[t, j]`.
//!
//! A unit adds a few neighbouring vectors of columns over a run of rows. A CPU has one run; a GPU
//! has many, whose sums go through the workspace and are added in their order.

use cubecl::prelude::*;

use super::dropout::expect_act;
use crate::lanes::{expect_u32, lanes, my_items, spread, with_act};
use crate::{Buffer, Context, DType, KernelError};

/// Operands of [`bias_backward`].
pub struct BiasBackward<'a> {
    /// Gradient of the sum `[T, n]`, f32, bf16 or f16.
    pub d_out: &'a Buffer,
    /// Gradient of the bias `[n]` f32, added to.
    pub d_bias: &'a Buffer,
    /// Columns.
    pub n: usize,
    /// Scratch of [`bias_workspace_len`] f32.
    pub workspace: &'a Buffer,
}

/// Rows of one run on a GPU.
const RUN: usize = 64;
/// Most runs: their sums are added one after another.
const MAX_RUNS: usize = 128;

fn runs(ctx: &Context, rows: usize) -> usize {
    if ctx.shape().is_cpu() { 1 } else { rows.div_ceil(RUN).clamp(1, MAX_RUNS) }
}

/// Elements of [`BiasBackward::workspace`] for `rows` rows of `n` columns.
pub fn bias_workspace_len(ctx: &Context, rows: usize, n: usize) -> usize {
    match runs(ctx, rows) {
        1 => 0,
        runs => runs * n,
    }
}

/// `d_bias[j] += Σ_t d_out[t, j]`.
///
/// # Errors
///
/// Lengths or types that do not fit together, or n = 0.
pub fn bias_backward(ctx: &Context, args: BiasBackward<'_>) -> Result<(), KernelError> {
    const OP: &str = "bias_backward";
    let BiasBackward { d_out, d_bias, n, workspace } = args;
    expect_act(OP, "d_out", d_out)?;
    d_bias.expect_dtype(OP, "d_bias", DType::F32)?;
    d_bias.expect_len(OP, "d_bias", n)?;
    if n == 0 || !d_out.len().is_multiple_of(n) {
        return Err(KernelError::Size {
            op: OP,
            what: "n",
            expected: "a divisor of the elements",
            found: n,
        });
    }
    let rows = d_out.len() / n;
    workspace.expect_dtype(OP, "workspace", DType::F32)?;
    workspace.expect_len(OP, "workspace", bias_workspace_len(ctx, rows, n))?;
    expect_u32(OP, "elements", d_out.len())?;
    if rows > 0 {
        column_sums(ctx, d_out, rows, n, n, d_bias, workspace);
    }
    Ok(())
}

/// `into[j] += Σ_t x[t, j]` for j < n, with rows of `x` `stride` elements apart.
pub(crate) fn column_sums(
    ctx: &Context,
    x: &Buffer,
    rows: usize,
    n: usize,
    stride: usize,
    into: &Buffer,
    workspace: &Buffer,
) {
    let width = lanes(ctx, x.dtype(), n).min(lanes(ctx, x.dtype(), stride));
    let columns = n / width;
    // Neighbouring vectors whose sums a CPU unit keeps in registers, so that it reads longer runs.
    let block = if ctx.shape().is_cpu() {
        [4, 2, 1].into_iter().find(|&block| columns.is_multiple_of(block)).unwrap_or(1)
    } else {
        1
    };
    let runs = runs(ctx, rows);
    let target = if runs == 1 { into } else { workspace };
    let work = spread(ctx, runs * columns / block);
    with_act!(x.dtype(), E => sum_runs::launch::<E>(
        ctx.client(),
        work.count,
        work.dim,
        width,
        x.arg(),
        target.arg(),
        rows,
        rows.div_ceil(runs),
        columns,
        stride / width,
        runs * columns / block,
        block,
        runs == 1,
        work.contiguous,
    ));
    if runs > 1 {
        add_sums(ctx, workspace, into, runs, n);
    }
}

/// `into[j] += Σ_r sums[r, j]`, r from 0 on, for j < n; both f32.
pub(crate) fn add_sums(ctx: &Context, sums: &Buffer, into: &Buffer, runs: usize, n: usize) {
    let width = lanes(ctx, DType::F32, n);
    let work = spread(ctx, n / width);
    add_runs::launch(
        ctx.client(),
        work.count,
        work.dim,
        width,
        sums.arg(),
        into.arg(),
        runs,
        n / width,
        work.contiguous,
    );
}

#[cube(launch)]
fn sum_runs<E: Float, N: Size>(
    x: &[Vector<E, N>],
    sums: &mut [Vector<f32, N>],
    rows: usize,
    run: usize,
    columns: usize,
    stride: usize,
    blocks: usize,
    #[comptime] block: usize,
    #[comptime] accumulate: bool,
    #[comptime] contiguous: bool,
) {
    let items = my_items(blocks, contiguous);
    let mut i = items.first;
    while i < items.end {
        let first = i * block;
        let column = first % columns;
        let from = first / columns * run;
        let end = min(from + run, rows);
        let mut total = Array::<Vector<f32, N>>::new(block);
        #[unroll]
        for j in 0..block {
            total[j] = Vector::new(0.0f32);
        }
        for row in from..end {
            #[unroll]
            for j in 0..block {
                total[j] += Vector::cast_from(x[row * stride + column + j]);
            }
        }
        #[unroll]
        for j in 0..block {
            if accumulate {
                sums[first + j] += total[j];
            } else {
                sums[first + j] = total[j];
            }
        }
        i += items.step;
    }
}

#[cube(launch)]
fn add_runs<N: Size>(
    sums: &[Vector<f32, N>],
    into: &mut [Vector<f32, N>],
    runs: usize,
    columns: usize,
    #[comptime] contiguous: bool,
) {
    let items = my_items(columns, contiguous);
    let mut column = items.first;
    while column < items.end {
        let mut total = Vector::<f32, N>::new(0.0f32);
        for run in 0..runs {
            total += sums[run * columns + column];
        }
        into[column] += total;
        column += items.step;
    }
}

/// The sums in f64.
#[cfg(feature = "cases")]
pub(crate) mod reference {
    /// Σ over rows of each of `n` columns.
    pub(crate) fn column_sums(x: &[f64], n: usize) -> Vec<f64> {
        let mut sums = vec![0.0; n];
        for row in x.chunks(n) {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += x;
            }
        }
        sums
    }
}
