//! Optimizers over flat buffers: all parameters of a model in one launch.
//!
//! Tensors lie one after another, each padded to whole [`BLOCK`]s, so that a table per block says
//! what belongs to an element: whether it decays, and for LAMB which tensor it is of.

mod adamw;
mod global_norm;
mod lamb;
#[cfg(feature = "cases")]
pub(crate) mod reference;

use cubecl::prelude::*;

pub use adamw::{AdamW, adamw};
pub use global_norm::{GlobalNorm, global_norm, global_norm_workspace_len};
pub use lamb::{Lamb, lamb};

use crate::{Buffer, DType, KernelError};

/// Elements that share one entry of a per-block table. Vectors of every device divide it.
pub const BLOCK: usize = 128;

/// As torch's clip_grad_norm_, which keeps the factor finite for a norm of 0.
const CLIP_EPSILON: f32 = 1e-6;

/// The factor of every gradient element: the caller's scale, and `max_norm` over the scaled norm
/// where that is below 1.
#[cube]
fn gradient_factor(norm: &[f32], grad_scale: f32, max_norm: f32) -> f32 {
    let mut factor = grad_scale;
    if max_norm > 0.0f32 {
        factor *= min(max_norm / (norm[0] * grad_scale + CLIP_EPSILON), 1.0f32);
    }
    factor
}

/// What AdamW and LAMB share, checked.
fn check(
    op: &'static str,
    operands: [(&'static str, &Buffer); 4],
    norm: &Buffer,
    decay: &Buffer,
    low: Option<&Buffer>,
    step: u32,
) -> Result<(), KernelError> {
    let n = operands[0].1.len();
    for (name, operand) in operands {
        operand.expect_dtype(op, name, DType::F32)?;
        operand.expect_len(op, name, n)?;
    }
    if !n.is_multiple_of(BLOCK) {
        return Err(KernelError::Size {
            op,
            what: "elements",
            expected: "a multiple of 128",
            found: n,
        });
    }
    crate::lanes::expect_u32(op, "elements", n)?;
    norm.expect_dtype(op, "norm", DType::F32)?;
    norm.expect_len(op, "norm", 1)?;
    decay.expect_dtype(op, "decay", DType::F32)?;
    decay.expect_len(op, "decay", n / BLOCK)?;
    if let Some(low) = low {
        low.expect_dtype(op, "low", DType::Bf16)?;
        low.expect_len(op, "low", n)?;
    }
    if step == 0 {
        return Err(KernelError::Size { op, what: "step", expected: "positive", found: 0 });
    }
    Ok(())
}

/// 1 − βᵗ, in f64 because it cancels at small t.
fn bias_correction(beta: f32, step: u32) -> f64 {
    1.0 - f64::from(beta).powf(f64::from(step))
}
