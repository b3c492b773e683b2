//! AdamW (Loshchilov & Hutter 2019) with torch's order of operations.
//!
//! With `g = grad · factor` ([`clip`](AdamW::max_norm)):
//! `p ← p · (1 − lr · rate · λ · decay)`, `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`,
//! `p ← p − lr · rate / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)`; `decay` and `rate` are a block's.

use cubecl::prelude::*;

use super::{BLOCK, bias_correction, block_rate, check, freeze, gradient_factor, low_dtype};
use crate::lanes::{lanes, my_items, spread, with_act};
use crate::{Buffer, Context, DType, KernelError};

/// Operands of [`adamw`].
pub struct AdamW<'a> {
    /// Parameters `[n]` f32, updated; n is a multiple of [`BLOCK`].
    pub param: &'a Buffer,
    /// Gradients `[n]` f32.
    pub grad: &'a Buffer,
    /// First moments `[n]` f32, updated.
    pub m: &'a Buffer,
    /// Second moments `[n]` f32, updated.
    pub v: &'a Buffer,
    /// Norm of `grad` `[1]` f32, from [`global_norm`](super::global_norm).
    pub norm: &'a Buffer,
    /// Largest norm of the scaled gradient, as torch's `clip_grad_norm_`; 0 clips nothing.
    pub max_norm: f32,
    /// Multiplies the gradient first, as 1 / accumulated batches.
    pub grad_scale: f32,
    /// `[n / BLOCK]` f32: multiplies `weight_decay`, 0 or 1.
    pub decay: &'a Buffer,
    /// `[n / BLOCK]` f32: multiplies `learning_rate`, decay included; 1 if absent. Where it is 0 a
    /// parameter keeps its bits, whatever its gradient is; its moments go on.
    pub rate: Option<&'a Buffer>,
    /// lr.
    pub learning_rate: f32,
    /// β₁.
    pub beta1: f32,
    /// β₂.
    pub beta2: f32,
    /// ε.
    pub epsilon: f32,
    /// λ.
    pub weight_decay: f32,
    /// t, from 1.
    pub step: u32,
    /// Copy of the parameters rounded to bf16 or f16 `[n]`, out, written in the same pass.
    pub low: Option<&'a Buffer>,
}

/// One step of AdamW.
///
/// # Errors
///
/// Lengths or types that do not fit together, a length that is no multiple of [`BLOCK`], or step 0.
pub fn adamw(ctx: &Context, args: AdamW<'_>) -> Result<(), KernelError> {
    const OP: &str = "adamw";
    let operands = [("param", args.param), ("grad", args.grad), ("m", args.m), ("v", args.v)];
    check(OP, operands, args.norm, [Some(args.decay), args.rate], args.low, args.step)?;
    let n = args.param.len();
    if n == 0 {
        return Ok(());
    }
    let width = lanes(ctx, DType::F32, n);
    let spread = spread(ctx, n / width);
    let rate = f64::from(args.learning_rate) / bias_correction(args.beta1, args.step);
    with_act!(low_dtype(args.low), L => step_elements::launch::<L>(
        ctx.client(),
        spread.count,
        spread.dim,
        width,
        args.param.arg(),
        args.grad.arg(),
        args.m.arg(),
        args.v.arg(),
        args.norm.arg(),
        args.decay.arg(),
        args.rate.map(Buffer::arg).into(),
        args.low.map(Buffer::arg).into(),
        args.max_norm,
        args.grad_scale,
        args.learning_rate * args.weight_decay,
        rate as f32,
        args.beta1,
        args.beta2,
        args.epsilon,
        (1.0 / bias_correction(args.beta2, args.step).sqrt()) as f32,
        n / width,
        spread.contiguous,
    ));
    Ok(())
}

#[cube(launch)]
fn step_elements<L: Float, N: Size>(
    param: &mut [Vector<f32, N>],
    grad: &[Vector<f32, N>],
    m: &mut [Vector<f32, N>],
    v: &mut [Vector<f32, N>],
    norm: &[f32],
    decay: &[f32],
    rates: ComptimeOption<Box<[f32]>>,
    mut low: ComptimeOption<Box<[Vector<L, N>]>>,
    max_norm: f32,
    grad_scale: f32,
    decay_rate: f32,
    rate: f32,
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    v_scale: f32,
    vectors: usize,
    #[comptime] contiguous: bool,
) {
    let lanes = N::value();
    let per_block = comptime!(BLOCK / lanes);
    let factor = Vector::<f32, N>::new(gradient_factor(norm, grad_scale, max_norm));
    let items = my_items(vectors, contiguous);
    let mut i = items.first;
    while i < items.end {
        let g = grad[i] * factor;
        let m_new = m[i] * Vector::new(beta1) + g * Vector::new(1.0f32 - beta1);
        let v_new = v[i] * Vector::new(beta2) + g * g * Vector::new(1.0f32 - beta2);
        let block = i / per_block;
        let own = block_rate(&rates, block);
        let before = param[i];
        let kept = before * Vector::new(1.0f32 - decay_rate * own * decay[block]);
        let root = v_new.sqrt() * Vector::new(v_scale) + Vector::new(epsilon);
        let p = kept - Vector::new(rate * own) * m_new / root;
        let p = freeze::<N>(&rates, own, before, p);
        m[i] = m_new;
        v[i] = v_new;
        param[i] = p;
        #[comptime]
        if let ComptimeOption::Some(low) = &mut low {
            low[i] = Vector::cast_from(p);
        }
        i += items.step;
    }
}
