//! y = (x − μ) / √(σ² + ε) · γ + β over a row, σ² the mean of (x − μ)² (two passes).
//!
//! Source: Ba, Kiros, Hinton, *Layer Normalization*, 2016.

use crate::format::Floats;
use crate::math::{sqrt, sum};

/// Normalizes `x` \[H\] in place.
pub fn layer_norm_row(x: &mut [f32], gamma: Floats<'_>, beta: Floats<'_>, epsilon: f32) {
    let count = x.len() as f32;
    let mean = sum(x, |v| v) / count;
    let variance = sum(x, |v| (v - mean) * (v - mean)) / count;
    let inverse = 1.0 / sqrt(variance + epsilon);
    for ((x, gamma), beta) in x.iter_mut().zip(gamma.iter()).zip(beta.iter()) {
        *x = (*x - mean) * inverse * gamma + beta;
    }
}
