//! Gradient of a bias: `d_bias[j] += Σ_t d_out[t, j]`.
//!
//! Its kernels are in [`column_sums`](crate::column_sums).

use super::dropout::expect_act;
use crate::column_sums::{column_sums, runs};
use crate::lanes::expect_u32;
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
