//! Rows of `ops/activation.rs`; the forward pass has its rows in `gemm`.

use super::{Bound, Case, CaseFailure, Random, check_gradient, compare, upload, widen};
use crate::ops::activation::reference;
use crate::ops::{self, Activation, ActivationBackward};
use crate::{Context, DType};

/// erf within 1.5e-7 (halved), exp and tanh within 4 ulp of values up to 1, and a few roundings of
/// derivatives up to 1.13 make 1e-6. The tanh form multiplies the rounding of 1 − c, 2⁻²³, by
/// 2 x u′ ≤ 12 where the product is not yet 0, |x| ≤ 3: 1.4e-6 more.
const ACTIVATION_BACKWARD_ERROR: f64 = 3e-6;

const ALL: [Activation; 4] =
    [Activation::Gelu, Activation::GeluTanh, Activation::Tanh, Activation::Relu];

pub(super) fn rows() -> Vec<Case> {
    let mut rows = Vec::new();
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        for activation in ALL {
            for len in [1, 16, 1000, 4099, 70_000] {
                for in_place in [false, true] {
                    let how = if in_place { " in place" } else { "" };
                    rows.push(Case::new(
                        "activation",
                        format!("backward {activation:?} n={len}{how}"),
                        dtype,
                        move |ctx| backward(ctx, activation, len, in_place, dtype),
                    ));
                }
            }
        }
    }
    rows.push(Case::new("activation", "gradients", DType::F32, |_| gradients()));
    rows
}

fn backward(
    ctx: &Context,
    activation: Activation,
    len: usize,
    in_place: bool,
    dtype: DType,
) -> Result<(), CaseFailure> {
    let mut random = Random::new(len as u64);
    let d_out = random.values(len, 1.0, dtype);
    let pre = random.values(len, 6.0, dtype);
    let d_out_buffer = upload(ctx, &d_out, dtype);
    let d_pre = if in_place { d_out_buffer.clone() } else { ctx.empty(dtype, len) };
    ops::activation_backward(
        ctx,
        ActivationBackward {
            d_out: &d_out_buffer,
            pre: &upload(ctx, &pre, dtype),
            d_pre: &d_pre,
            activation,
        },
    )?;
    let expected: Vec<f64> = widen(&d_out)
        .iter()
        .zip(&widen(&pre))
        .map(|(d, &x)| d * reference::derivative(x, activation))
        .collect();
    let bound = Bound::relative("ACTIVATION_BACKWARD_ERROR", 0.0)
        .stored_as(dtype)
        .or_absolute(ACTIVATION_BACKWARD_ERROR);
    compare("d_pre", &ctx.read_f32(&d_pre)?, &expected, bound)
}

fn gradients() -> Result<(), CaseFailure> {
    let x = widen(&Random::new(5).values(24, 4.0, DType::F32));
    for activation in ALL {
        let loss = |x: &[f64]| x.iter().map(|&x| reference::activate(x, activation)).sum();
        let gradient: Vec<f64> = x.iter().map(|&x| reference::derivative(x, activation)).collect();
        check_gradient(&format!("{activation:?}"), loss, &x, &gradient)?;
    }
    Ok(())
}
