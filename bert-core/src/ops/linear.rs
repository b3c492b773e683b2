//! y\[r, n\] = (Σₖ q\[r, k\] · w\[n, k\]) · (s\[r\] · t\[n\]) + b\[n\]: int8 rows times an int8 matrix.
//!
//! q \[R, K\] int8 with a scale s per row, w \[N, K\] int8 with a scale t per output channel, b \[N\]
//! f32, y \[R, N\] f32. The sum is exact in i32, see [`super::gemm`]; it is turned into f32 with one
//! rounding, multiplied by the product of the scales, and the bias is added.

use super::gemm::{Activations, Weights, multiply};
use crate::format::Int8Matrix;

impl<'a> Int8Matrix<'a> {
    /// The weights alone.
    #[inline(always)]
    #[must_use]
    pub fn operand(&self) -> Weights<'a> {
        Weights {
            values: self.weights,
            channels: self.rows,
            depth: self.columns,
            layout: self.layout,
        }
    }
}

/// Multiplies R = `scales.len()` rows; `out` holds R·N values.
#[inline(always)]
pub fn linear(q: &Activations<'_>, scales: &[f32], matrix: &Int8Matrix<'_>, out: &mut [f32]) {
    linear_at::<()>(q, scales, matrix, out);
}

/// As [`linear`], compiled in the crate that `Place` is a type of.
#[inline(always)]
pub(crate) fn linear_at<Place>(
    q: &Activations<'_>,
    scales: &[f32],
    matrix: &Int8Matrix<'_>,
    out: &mut [f32],
) {
    let q = Activations { values: &q.values[..scales.len() * q.stride], stride: q.stride };
    let channels = matrix.rows;
    multiply::<Place>(&q, &matrix.operand(), |r, n, sum| {
        let scale = scales[r] * matrix.scales.at(n);
        out[r * channels + n] = sum as f32 * scale + matrix.biases.at(n);
    });
}
