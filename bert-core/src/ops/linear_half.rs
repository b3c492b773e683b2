//! y\[r, n\] = Σₖ x\[r, k\] · w\[n, k\] + b\[n\]: f32 rows times an f16 matrix, for what int8 loses too
//! much of.
//!
//! x \[R, K\] f32, w \[N, K\] f16, b \[N\] f32, y \[R, N\] f32. A weight is an f32 without rounding, a
//! product is rounded once, and the sum has the lanes and the tree of [`crate::math::sum`].

use crate::format::HalfMatrix;
use crate::math::{LANES, reduce, widen};

/// Rows whose sums are formed together, so that a weight is widened once for all of them.
/// On microcontrollers one: such layers are rare, and flash is not.
const ROWS: usize = if cfg!(any(target_arch = "arm", target_arch = "riscv32")) { 1 } else { 4 };

/// Multiplies the rows of `x`; `out` holds R·N values.
#[inline(always)]
pub fn linear_half(x: &[f32], matrix: &HalfMatrix<'_>, out: &mut [f32]) {
    let (depth, channels) = (matrix.columns, matrix.rows);
    let rows = x.len() / depth;
    for (n, weights) in matrix.weights.chunks_exact(depth).enumerate() {
        let bias = matrix.biases.at(n);
        let mut r = 0;
        while r + ROWS <= rows {
            let block = &x[r * depth..(r + ROWS) * depth];
            for (i, sum) in sums::<ROWS>(block, weights).into_iter().enumerate() {
                out[(r + i) * channels + n] = sum + bias;
            }
            r += ROWS;
        }
        while r < rows {
            let [sum] = sums::<1>(&x[r * depth..(r + 1) * depth], weights);
            out[r * channels + n] = sum + bias;
            r += 1;
        }
    }
}

/// Σ x · w of R rows, which lie one after another.
#[inline(always)]
fn sums<const R: usize>(x: &[f32], weights: &[[u8; 2]]) -> [f32; R] {
    let depth = weights.len();
    let mut lanes = [[0.0f32; LANES]; R];
    let (chunks, tail) = weights.as_chunks::<LANES>();
    for (i, chunk) in chunks.iter().enumerate() {
        let mut wide = [0.0f32; LANES];
        for lane in 0..LANES {
            wide[lane] = widen(chunk[lane]);
        }
        for r in 0..R {
            let x = &x[r * depth + i * LANES..][..LANES];
            for lane in 0..LANES {
                lanes[r][lane] += x[lane] * wide[lane];
            }
        }
    }
    let mut sums = [0.0; R];
    for r in 0..R {
        let x = &x[(r + 1) * depth - tail.len()..];
        for ((lane, x), weight) in lanes[r].iter_mut().zip(x).zip(tail) {
            *lane += x * widen(*weight);
        }
        sums[r] = reduce(&lanes[r]);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Floats;
    use crate::math::sum;

    /// Value `i` of a row that repeats itself late.
    fn value(i: usize) -> f32 {
        ((i * 7919 + 13) % 997) as f32 * 0.004 - 2.0
    }

    /// Rounding a sum of K products in lanes of f32: each product once, at most K / 16 + 4 sums and the
    /// bias, all relative to Σ |x·w| + |b|.
    fn bound(depth: usize, magnitude: f64) -> f64 {
        (depth as f64 / LANES as f64 + 6.0) * f64::from(f32::EPSILON) * magnitude
    }

    #[test]
    fn close_to_f64_and_in_the_order_of_the_definition() {
        for (rows, channels, depth) in
            [(1, 1, 1), (2, 3, 15), (3, 2, 16), (4, 5, 17), (5, 7, 31), (9, 4, 33), (13, 17, 130)]
        {
            let x: Vec<f32> = (0..rows * depth).map(value).collect();
            let halves: Vec<half::f16> =
                (0..channels * depth).map(|i| half::f16::from_f32(0.1 * value(i + 5))).collect();
            let weights: Vec<u8> = halves.iter().flat_map(|w| w.to_le_bytes()).collect();
            let biases: Vec<u8> = (0..channels).flat_map(|n| value(n).to_le_bytes()).collect();
            let matrix = HalfMatrix {
                rows: channels,
                columns: depth,
                biases: Floats::new(&biases),
                weights: weights.as_chunks().0,
            };
            let mut out = vec![f32::NAN; rows * channels];
            linear_half(&x, &matrix, &mut out);
            for (i, found) in out.iter().enumerate() {
                let (r, n) = (i / channels, i % channels);
                let (x, w) = (&x[r * depth..][..depth], &halves[n * depth..][..depth]);
                let products: Vec<f32> = x.iter().zip(w).map(|(x, w)| x * w.to_f32()).collect();
                assert_eq!(*found, sum(&products, |p| p) + value(n), "{rows}×{channels}×{depth}");
                let exact = x.iter().zip(w).map(|(x, w)| f64::from(*x) * w.to_f64());
                let exact = exact.sum::<f64>() + f64::from(value(n));
                let magnitude = products.iter().map(|p| f64::from(p.abs())).sum::<f64>() + 2.0;
                assert!((f64::from(*found) - exact).abs() <= bound(depth, magnitude));
            }
        }
    }
}
