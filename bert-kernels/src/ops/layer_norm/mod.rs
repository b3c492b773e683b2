//! Layer norm with the residual sum and dropout before it.
//!
//! Forward, per token: `s = residual + dropout(x)`, `mean = Σ s / H`, `var = Σ (s − mean)² / H`,
//! `rstd = 1 / √(var + ε)`, `x̂ = (s − mean) · rstd`, `y = x̂ · γ + β` (Ba et al. 2016).
//! `s` is rounded to its stored type before the statistics, so the backward pass differentiates what
//! the forward pass computed.
//!
//! Backward, with `g = d_y · γ`: `d_s = rstd · (g − mean(g) − x̂ · mean(g · x̂))`,
//! `d_x = dropout(d_s)`, `d_γ += Σ_t d_y · x̂`, `d_β += Σ_t d_y`.
//! The sums over tokens go through one partial row a cube in the workspace and are then added in an order
//! that follows from their number.
//!
//! A token is the work of a core on a CPU and of a plane on a GPU, or of a cube where a token is wide. Its
//! values are read once and stay in registers.

mod backward;
mod forward;
#[cfg(feature = "cases")]
pub(crate) mod reference;
mod team;

pub use backward::{LayerNormBackward, layer_norm_backward, layer_norm_workspace_len};
pub use forward::{LayerNormForward, layer_norm_forward};

use crate::lanes::expect_u32;
use crate::{Buffer, DType, KernelError};

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
