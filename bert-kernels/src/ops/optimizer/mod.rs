//! Optimizers over flat buffers: all parameters of a model in one launch.
//!
//! Tensors lie one after another, each padded to whole [`BLOCK`]s, so that a table per block says
//! what belongs to an element: whether it decays, how fast it learns (layer-wise rates, as of Clark et
//! al. 2020; 0 freezes), and for LAMB which tensor it is of.

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

/// The factor on the learning rate of a block.
#[cube]
fn block_rate(rates: &ComptimeOption<Box<[f32]>>, block: usize) -> f32 {
    let mut own = 1.0f32;
    #[comptime]
    if let ComptimeOption::Some(rates) = rates {
        own = rates[block];
    }
    own
}

/// The parameters after a step, which are those before it where the rate is 0: a step of 0 could
/// still turn −0 into 0, and of a gradient that is not finite it is NaN.
#[cube]
fn freeze<N: Size>(
    rates: &ComptimeOption<Box<[f32]>>,
    own: f32,
    before: Vector<f32, N>,
    after: Vector<f32, N>,
) -> Vector<f32, N> {
    let mut kept = after;
    #[comptime]
    if let ComptimeOption::Some(_rates) = rates {
        let still = Vector::<f32, N>::new(own).equal(&Vector::new(0.0f32));
        kept = select_many(still, before, after);
    }
    kept
}

/// The element type of a kernel's `low`, which some type must stand for where there is none.
fn low_dtype(low: Option<&Buffer>) -> DType {
    low.map_or(DType::Bf16, Buffer::dtype)
}

/// What AdamW and LAMB share, checked; `blocks` are `decay` and `rate`.
fn check(
    op: &'static str,
    operands: [(&'static str, &Buffer); 4],
    norm: &Buffer,
    blocks: [Option<&Buffer>; 2],
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
    for (name, table) in ["decay", "rate"].into_iter().zip(blocks) {
        if let Some(table) = table {
            table.expect_dtype(op, name, DType::F32)?;
            table.expect_len(op, name, n / BLOCK)?;
        }
    }
    if let Some(low) = low {
        if !matches!(low.dtype(), DType::Bf16 | DType::F16) {
            let (expected, found) = ("bf16 or f16", low.dtype());
            return Err(KernelError::DType { op, operand: "low", expected, found });
        }
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
