//! y = (x − μ) / √(σ² + ε) · γ + β over a row, σ² the mean of (x − μ)² (two passes).
//!
//! Source: Ba, Kiros, Hinton, *Layer Normalization*, 2016.

use crate::format::Norm;
use crate::math::{sqrt, sum};

/// Normalizes `x` \[H\] in place.
#[inline(always)]
pub fn layer_norm_row(x: &mut [f32], norm: &Norm<'_>, epsilon: f32) {
    let count = x.len() as f32;
    let mean = sum(x, |v| v) / count;
    let variance = sum(x, |v| (v - mean) * (v - mean)) / count;
    let inverse = 1.0 / sqrt(variance + epsilon);
    for ((x, gamma), beta) in x.iter_mut().zip(norm.gamma.iter()).zip(norm.beta.iter()) {
        *x = (*x - mean) * inverse * gamma + beta;
    }
}

/// Adds the residual `r` \[H\] to `x` and normalizes the sum.
#[inline(always)]
pub fn add_norm_row(x: &mut [f32], r: &[f32], norm: &Norm<'_>, epsilon: f32) {
    super::add_row(r, x);
    layer_norm_row(x, norm, epsilon);
}
