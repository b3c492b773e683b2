//! Activations and their derivatives, elementwise.
//!
//! | | f(x) | source |
//! |---|---|---|
//! | `Gelu` | x · Φ(x) = x/2 · (1 + erf(x/√2)) | Hendrycks & Gimpel 2016 |
//! | `GeluTanh` | x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))) | same |
//! | `Tanh` | tanh x | |
//! | `Relu` | max(x, 0) | |
//!
//! The forward pass is an epilogue of [`gemm`](super::gemm); here is the backward pass,
//! `d_pre = d_out · f′(pre)`. erf comes from a rational approximation whose absolute error is
//! below 1.5e-7 (Abramowitz & Stegun 7.1.26), which vectors of every runtime compute.

use cubecl::prelude::*;

use super::dropout::expect_act;
use crate::lanes::{expect_u32, lanes, my_items, spread, with_act};
use crate::{Buffer, Context, KernelError, math};

/// An elementwise nonlinearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// x · Φ(x) with the normal distribution's Φ: BERT's own.
    Gelu,
    /// The tanh form of [`Gelu`](Self::Gelu).
    GeluTanh,
    /// Hyperbolic tangent: the pooler's.
    Tanh,
    /// max(x, 0).
    Relu,
}

/// Operands of [`activation_backward`].
pub struct ActivationBackward<'a> {
    /// Gradient of the activation's result, any length, f32, bf16 or f16.
    pub d_out: &'a Buffer,
    /// The value before the activation, like `d_out`.
    pub pre: &'a Buffer,
    /// Gradient of `pre`, like `d_out`; may be `d_out` itself.
    pub d_pre: &'a Buffer,
    /// The nonlinearity.
    pub activation: Activation,
}

/// `d_pre = d_out · f′(pre)`.
///
/// # Errors
///
/// Unequal lengths or types.
pub fn activation_backward(ctx: &Context, args: ActivationBackward<'_>) -> Result<(), KernelError> {
    const OP: &str = "activation_backward";
    let ActivationBackward { d_out, pre, d_pre, activation } = args;
    expect_act(OP, "d_out", d_out)?;
    for (name, operand) in [("pre", pre), ("d_pre", d_pre)] {
        operand.expect_dtype(OP, name, d_out.dtype())?;
        operand.expect_len(OP, name, d_out.len())?;
    }
    expect_u32(OP, "elements", d_out.len())?;
    if d_out.is_empty() {
        return Ok(());
    }
    let width = lanes(ctx, d_out.dtype(), d_out.len());
    let vectors = d_out.len() / width;
    let spread = spread(ctx, vectors);
    let out = if d_pre.is_same(d_out) { BufferArg::alias(0, d_pre.len()) } else { d_pre.arg() };
    with_act!(d_out.dtype(), E => backward_elements::launch::<E>(
        ctx.client(),
        spread.count,
        spread.dim,
        width,
        d_out.arg(),
        pre.arg(),
        out,
        vectors,
        activation,
        spread.contiguous,
    ));
    Ok(())
}

/// √½.
const SQRT_HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;
/// 1 / √(2π): the normal density at 0.
const DENSITY_AT_0: f32 = 0.398_942_3;
/// √(2/π).
const SQRT_2_OVER_PI: f32 = 0.797_884_6;
/// The cubic coefficient of the tanh form.
const CUBIC: f32 = 0.044_715;

/// f(x).
#[cube]
pub(crate) fn activate<N: Size>(
    x: Vector<f32, N>,
    #[comptime] activation: Activation,
) -> Vector<f32, N> {
    match comptime!(activation) {
        Activation::Gelu => x * normal_cdf::<N>(x),
        Activation::GeluTanh => x * tanh_cdf::<N>(x),
        Activation::Tanh => math::tanh::<N>(x),
        Activation::Relu => max(x, Vector::new(0.0f32)),
    }
}

/// f′(x).
#[cube]
pub(crate) fn derivative<N: Size>(
    x: Vector<f32, N>,
    #[comptime] activation: Activation,
) -> Vector<f32, N> {
    let one = Vector::<f32, N>::new(1.0f32);
    match comptime!(activation) {
        Activation::Gelu => {
            let density = math::exp::<N>(x * x * Vector::new(-0.5f32)) * Vector::new(DENSITY_AT_0);
            normal_cdf::<N>(x) + x * density
        }
        Activation::GeluTanh => {
            let cdf = tanh_cdf::<N>(x);
            // With c = (1 + tanh u) / 2: c′ = 2 c (1 − c) u′.
            let du = Vector::new(SQRT_2_OVER_PI) * (one + Vector::new(3.0f32 * CUBIC) * x * x);
            cdf + x * (cdf + cdf) * (one - cdf) * du
        }
        Activation::Tanh => {
            let y = math::tanh::<N>(x);
            one - y * y
        }
        Activation::Relu => {
            select_many(x.greater_than(&Vector::new(0.0f32)), one, Vector::new(0.0f32))
        }
    }
}

#[cube]
fn normal_cdf<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let half = Vector::<f32, N>::new(0.5f32);
    half + half * math::erf::<N>(x * Vector::new(SQRT_HALF))
}

#[cube]
fn tanh_cdf<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let half = Vector::<f32, N>::new(0.5f32);
    let u = Vector::new(SQRT_2_OVER_PI) * (x + Vector::new(CUBIC) * x * x * x);
    half + half * math::tanh::<N>(u)
}

#[cube(launch)]
fn backward_elements<E: Float, N: Size>(
    d_out: &[Vector<E, N>],
    pre: &[Vector<E, N>],
    d_pre: &mut [Vector<E, N>],
    vectors: usize,
    #[comptime] activation: Activation,
    #[comptime] contiguous: bool,
) {
    let items = my_items(vectors, contiguous);
    let mut i = items.first;
    while i < items.end {
        let slope = derivative::<N>(Vector::cast_from(pre[i]), activation);
        d_pre[i] = Vector::cast_from(Vector::<f32, N>::cast_from(d_out[i]) * slope);
        i += items.step;
    }
}

/// The same functions in f64.
#[cfg(feature = "cases")]
pub(crate) mod reference {
    use super::Activation;

    /// erf by its series Σ (−1)ⁿ x²ⁿ⁺¹ / (n! (2n + 1)) · 2/√π below 3, and by the continued fraction
    /// of erfc above: both to about 1e-12.
    pub(crate) fn erf(x: f64) -> f64 {
        let a = x.abs();
        let positive = if a < 3.0 {
            let (mut term, mut sum, mut n) = (a, a, 0.0);
            while term.abs() > 1e-18 {
                n += 1.0;
                term *= -a * a / n;
                sum += term / (2.0 * n + 1.0);
            }
            sum * 2.0 / std::f64::consts::PI.sqrt()
        } else {
            let fraction = (1..=60).rev().fold(a, |tail, n| a + f64::from(n) / 2.0 / tail);
            1.0 - (-a * a).exp() / std::f64::consts::PI.sqrt() / fraction
        };
        positive.copysign(x)
    }

    /// f(x).
    pub(crate) fn activate(x: f64, activation: Activation) -> f64 {
        match activation {
            Activation::Gelu => 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
            Activation::GeluTanh => {
                let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                0.5 * x * (1.0 + u.tanh())
            }
            Activation::Tanh => x.tanh(),
            Activation::Relu => x.max(0.0),
        }
    }

    /// f′(x).
    pub(crate) fn derivative(x: f64, activation: Activation) -> f64 {
        match activation {
            Activation::Gelu => {
                let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
                0.5 * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)) + x * density
            }
            Activation::GeluTanh => {
                let c = (2.0 / std::f64::consts::PI).sqrt();
                let tanh = (c * (x + 0.044715 * x.powi(3))).tanh();
                0.5 * (1.0 + tanh)
                    + 0.5 * x * (1.0 - tanh * tanh) * c * (1.0 + 3.0 * 0.044715 * x * x)
            }
            Activation::Tanh => 1.0 - x.tanh().powi(2),
            Activation::Relu => f64::from(u8::from(x > 0.0)),
        }
    }
}
