//! LAMB (You et al. 2020): Adam whose step is scaled a tensor by ‖p‖ / ‖u‖, for large batches.
//!
//! `u = (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε) + λ p`, `p ← p − lr · rate · r · u`
//! with `r = ‖p‖ / ‖u‖` over the tensor, `rate` of the block, and r = 1 where a norm is 0 or the tensor does not decay, as in
//! the authors' implementation.

use cubecl::prelude::*;

use super::{BLOCK, bias_correction, block_rate, check, freeze, gradient_factor, low_dtype};
use crate::lanes::{lanes, my_items, spread, with_act};
use crate::teams::{Keep, Teams, my_place, my_team, reduce_lanes, reduce_team, team_count};
use crate::{Buffer, Context, DType, KernelError};

/// Operands of [`lamb`].
pub struct Lamb<'a> {
    /// Parameters `[n]` f32, updated; n is a multiple of [`BLOCK`].
    pub param: &'a Buffer,
    /// Gradients `[n]` f32; holds the steps u afterwards.
    pub grad: &'a Buffer,
    /// First moments `[n]` f32, updated.
    pub m: &'a Buffer,
    /// Second moments `[n]` f32, updated.
    pub v: &'a Buffer,
    /// Norm of `grad` `[1]` f32, from [`global_norm`](super::global_norm).
    pub norm: &'a Buffer,
    /// Largest norm of the scaled gradient; 0 clips nothing.
    pub max_norm: f32,
    /// Multiplies the gradient first, as 1 / accumulated batches.
    pub grad_scale: f32,
    /// `[n / BLOCK]` f32: multiplies `weight_decay`, 0 or 1; blocks with 0 have r = 1.
    pub decay: &'a Buffer,
    /// `[n / BLOCK]` f32: multiplies `learning_rate`, decay included; 1 if absent. Where it is 0 a
    /// parameter keeps its bits, whatever its gradient is; its moments go on.
    pub rate: Option<&'a Buffer>,
    /// `[R + 1]` u32: tensor i is blocks `tensors[i]..tensors[i + 1]`, from 0 to n / BLOCK.
    pub tensors: &'a Buffer,
    /// `[n / BLOCK]` u32: the tensor of each block.
    pub tensor_of_block: &'a Buffer,
    /// Scratch `[R]` f32: r of each tensor.
    pub ratios: &'a Buffer,
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
    /// Copy of the parameters rounded to bf16 or f16 `[n]`, out.
    pub low: Option<&'a Buffer>,
}

/// One step of LAMB.
///
/// # Errors
///
/// Lengths or types that do not fit together, a length that is no multiple of [`BLOCK`], or step 0.
/// The tables' values are not checked.
pub fn lamb(ctx: &Context, args: Lamb<'_>) -> Result<(), KernelError> {
    const OP: &str = "lamb";
    let operands = [("param", args.param), ("grad", args.grad), ("m", args.m), ("v", args.v)];
    check(OP, operands, args.norm, [Some(args.decay), args.rate], args.low, args.step)?;
    let n = args.param.len();
    let tensors = args.ratios.len();
    args.ratios.expect_dtype(OP, "ratios", DType::F32)?;
    args.tensors.expect_dtype(OP, "tensors", DType::U32)?;
    args.tensors.expect_len(OP, "tensors", tensors + 1)?;
    args.tensor_of_block.expect_dtype(OP, "tensor_of_block", DType::U32)?;
    args.tensor_of_block.expect_len(OP, "tensor_of_block", n / BLOCK)?;
    if n == 0 {
        return Ok(());
    }
    let width = lanes(ctx, DType::F32, n);
    let work = spread(ctx, n / width);
    moments::launch(
        ctx.client(),
        work.count.clone(),
        work.dim,
        width,
        args.param.arg(),
        args.grad.arg(),
        args.m.arg(),
        args.v.arg(),
        args.norm.arg(),
        args.decay.arg(),
        args.max_norm,
        args.grad_scale,
        args.weight_decay,
        args.beta1,
        args.beta2,
        args.epsilon,
        (1.0 / bias_correction(args.beta1, args.step)) as f32,
        (1.0 / bias_correction(args.beta2, args.step).sqrt()) as f32,
        n / width,
        work.contiguous,
    );
    let teams = Teams::new(ctx, tensors, BLOCK);
    trust_ratios::launch(
        ctx.client(),
        teams.count(),
        teams.dim(),
        width,
        args.param.arg(),
        args.grad.arg(),
        args.decay.arg(),
        args.tensors.arg(),
        args.ratios.arg(),
        tensors,
        teams.team,
    );
    with_act!(low_dtype(args.low), L => apply::launch::<L>(
        ctx.client(),
        work.count,
        work.dim,
        width,
        args.param.arg(),
        args.grad.arg(),
        args.tensor_of_block.arg(),
        args.ratios.arg(),
        args.rate.map(Buffer::arg).into(),
        args.low.map(Buffer::arg).into(),
        args.learning_rate,
        n / width,
        work.contiguous,
    ));
    Ok(())
}

#[cube(launch)]
fn moments<N: Size>(
    param: &[Vector<f32, N>],
    grad: &mut [Vector<f32, N>],
    m: &mut [Vector<f32, N>],
    v: &mut [Vector<f32, N>],
    norm: &[f32],
    decay: &[f32],
    max_norm: f32,
    grad_scale: f32,
    weight_decay: f32,
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    m_scale: f32,
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
        let root = v_new.sqrt() * Vector::new(v_scale) + Vector::new(epsilon);
        let decayed = param[i] * Vector::new(weight_decay * decay[i / per_block]);
        m[i] = m_new;
        v[i] = v_new;
        grad[i] = m_new * Vector::new(m_scale) / root + decayed;
        i += items.step;
    }
}

#[cube(launch)]
fn trust_ratios<N: Size>(
    param: &[Vector<f32, N>],
    step: &[Vector<f32, N>],
    decay: &[f32],
    tensors: &[u32],
    ratios: &mut [f32],
    count: usize,
    #[comptime] team: usize,
) {
    let lanes = N::value();
    let per_block = comptime!(BLOCK / lanes);
    let mut tensor = my_team(team);
    while tensor < count {
        let first = tensors[tensor] as usize;
        let end = tensors[tensor + 1] as usize;
        let mut p_total = Vector::<f32, N>::new(0.0f32);
        let mut u_total = Vector::<f32, N>::new(0.0f32);
        for block in range_stepped(first + my_place(team), end, team) {
            let mut p_block = Vector::<f32, N>::new(0.0f32);
            let mut u_block = Vector::<f32, N>::new(0.0f32);
            for i in block * per_block..(block + 1) * per_block {
                p_block += param[i] * param[i];
                u_block += step[i] * step[i];
            }
            p_total += p_block;
            u_total += u_block;
        }
        let p = reduce_team::<f32>(reduce_lanes::<f32, N>(p_total, Keep::Sum), Keep::Sum, team);
        let u = reduce_team::<f32>(reduce_lanes::<f32, N>(u_total, Keep::Sum), Keep::Sum, team);
        if my_place(team) == 0 {
            let mut ratio = 1.0f32;
            if end > first && p > 0.0f32 && u > 0.0f32 {
                if decay[first] > 0.0f32 {
                    ratio = p.sqrt() / u.sqrt();
                }
            }
            ratios[tensor] = ratio;
        }
        tensor += team_count(team);
    }
}

#[cube(launch)]
fn apply<L: Float, N: Size>(
    param: &mut [Vector<f32, N>],
    step: &[Vector<f32, N>],
    tensor_of_block: &[u32],
    ratios: &[f32],
    rates: ComptimeOption<Box<[f32]>>,
    mut low: ComptimeOption<Box<[Vector<L, N>]>>,
    learning_rate: f32,
    vectors: usize,
    #[comptime] contiguous: bool,
) {
    let lanes = N::value();
    let per_block = comptime!(BLOCK / lanes);
    let items = my_items(vectors, contiguous);
    let mut i = items.first;
    while i < items.end {
        let block = i / per_block;
        let own = block_rate(&rates, block);
        let rate = learning_rate * own * ratios[tensor_of_block[block] as usize];
        let before = param[i];
        let p = freeze::<N>(&rates, own, before, before - step[i] * Vector::new(rate));
        param[i] = p;
        #[comptime]
        if let ComptimeOption::Some(low) = &mut low {
            low[i] = Vector::cast_from(p);
        }
        i += items.step;
    }
}
