//! The activation of the feed-forward part, in place.
//!
//! Gelu: x · ½ · (1 + erf(x / √2)); GeluTanh: x · ½ · (1 + tanh(√(2/π) (x + 0.044715 x³)));
//! Relu: max(x, 0). Source: Hendrycks, Gimpel, *Gaussian Error Linear Units*, 2016.

use crate::format::Activation;
use crate::math::{erf_sqrt_half, tanh};

/// Applies `activation` to every element.
#[inline(always)]
pub fn activate(x: &mut [f32], activation: Activation) {
    match activation {
        Activation::Gelu => x.iter_mut().for_each(|x| *x = gelu(*x)),
        Activation::GeluTanh => x.iter_mut().for_each(|x| *x = gelu_tanh(*x)),
        Activation::Relu => x.iter_mut().for_each(|x| *x = if *x > 0.0 { *x } else { 0.0 }),
    }
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf_sqrt_half(x))
}

#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    // tanh is 1 far below this; the clamp keeps the cube finite.
    let z = x.clamp(-64.0, 64.0);
    0.5 * x * (1.0 + tanh(SQRT_2_OVER_PI * (z + 0.044_715 * (z * z * z))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::{MAX_ERF_ERROR, MAX_TANH_ERROR};

    #[test]
    fn close_to_the_formula() {
        for i in -8000..=8000 {
            let x = i as f64 * 1e-3;
            let mut row = [x as f32; 3];
            activate(&mut row[..1], Activation::Gelu);
            activate(&mut row[1..2], Activation::GeluTanh);
            activate(&mut row[2..], Activation::Relu);
            let x = x as f32 as f64;
            let exact = 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt()));
            let bound = 0.5 * x.abs() * (MAX_ERF_ERROR + 3e-7) + 1e-7;
            assert!((row[0] as f64 - exact).abs() <= bound, "{x}");
            let inner = (2.0 / core::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            let exact = 0.5 * x * (1.0 + inner.tanh());
            let bound = 0.5 * x.abs() * (MAX_TANH_ERROR + 1.2e-6) + 1e-7;
            assert!((row[1] as f64 - exact).abs() <= bound, "{x}");
            assert_eq!(row[2], x.max(0.0) as f32);
        }
    }
}
