//! y\[r, n\] = (Σₖ q\[r, k\] · w\[n, k\]) · (s\[r\] · t\[n\]) + b\[n\]: int8 rows times an int8 matrix.
//!
//! q \[R, K\] int8 with a scale s per row, w \[N, K\] int8 with a scale t per output channel, b \[N\]
//! f32, y \[R, N\] f32. The sum is exact in i32 for K ≤ 2¹⁷; it is turned into f32 with one
//! rounding, multiplied by the product of the scales, and the bias is added.

use crate::format::Matrix;

/// Multiplies R = `scales.len()` rows; `q` holds R·K values and `out` R·N.
///
/// A row of the matrix meets all R rows before the next one is read.
pub fn linear(q: &[i8], scales: &[f32], matrix: &Matrix<'_>, out: &mut [f32]) {
    let (width, channels) = (matrix.columns, matrix.rows);
    for (n, weights) in matrix.weights.chunks_exact(width).enumerate() {
        let (channel_scale, bias) = (matrix.scales.at(n), matrix.biases.at(n));
        let rows = q.chunks_exact(width).zip(scales).zip(out.chunks_exact_mut(channels));
        for ((q, &scale), out) in rows {
            out[n] = dot(q, weights) as f32 * (scale * channel_scale) + bias;
        }
    }
}

/// Values multiplied at once by [`dot`].
const STEP: usize = 16;

/// Σ aᵢ bᵢ in i32.
///
/// Products of two i8 fit i16 (|p| ≤ 2¹⁴); the two halves of a step are added in i32 lane by lane,
/// a form that compilers turn into pair-wise multiply-add instructions, but only in a function of
/// its own: inlined into other loops, LLVM leaves it scalar.
#[inline(never)]
pub(super) fn dot(a: &[i8], b: &[i8]) -> i32 {
    const HALF: usize = STEP / 2;
    let mut lanes = [0i32; HALF];
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<STEP>(), b.as_chunks::<STEP>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..HALF {
            let low = (a[i] as i16 * b[i] as i16) as i32;
            let high = (a[i + HALF] as i16 * b[i + HALF] as i16) as i32;
            lanes[i] += low + high;
        }
    }
    let tail = a_tail.iter().zip(b_tail).map(|(&a, &b)| a as i32 * b as i32);
    lanes.iter().sum::<i32>() + tail.sum::<i32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_is_exact_for_every_length_and_the_extremes() {
        for n in [0, 1, 7, 15, 16, 17, 31, 32, 33, 128, 131] {
            for value in [-128i32, -127, -1, 0, 1, 127] {
                let a: Vec<i8> = (0..n).map(|i| (i * 73 % 256 - 128) as i8).collect();
                let b = vec![value as i8; n as usize];
                let exact: i64 = a.iter().map(|&a| a as i64 * value as i64).sum();
                assert_eq!(dot(&a, &b) as i64, exact, "{n} {value}");
                assert_eq!(dot(&b, &b) as i64, n as i64 * (value * value) as i64);
            }
        }
    }
}
