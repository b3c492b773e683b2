//! Dynamic symmetric int8 of a row: s = max|x| / 127, q = round(x · (127 / max|x|)), ties to even.
//!
//! A row whose largest magnitude is below [`SMALLEST`] becomes zeros with scale 0, so the
//! reciprocal is always finite. |q| ≤ 127 since x · (127 / max|x|) ≤ 127 (1 + 2⁻²³) rounds to 127.

use crate::math::{max_abs, round_to_int};

/// Magnitudes below this count as zero.
pub const SMALLEST: f32 = 1e-30;

/// Quantizes `x` into the front of `q`, fills the rest with zeros, and gives the scale s with x ≈ s · q.
#[inline(always)]
pub fn quantize_row(x: &[f32], q: &mut [i8]) -> f32 {
    let largest = max_abs(x);
    if largest < SMALLEST {
        q.fill(0);
        return 0.0;
    }
    let inverse = 127.0 / largest;
    let (q, rest) = q.split_at_mut(x.len());
    // A call for nothing is most of the time of a short row.
    if !rest.is_empty() {
        rest.fill(0);
    }
    for (q, &x) in q.iter_mut().zip(x) {
        *q = round_to_int(x * inverse) as i8;
    }
    largest / 127.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_is_at_most_half_a_step() {
        for n in [1, 7, 16, 128, 131] {
            let x: Vec<f32> = (0..n).map(|i| ((i * 71 + 13) % 97) as f32 * 0.21 - 9.0).collect();
            let mut q = vec![1i8; n + 5];
            let scale = quantize_row(&x, &mut q);
            assert_eq!(q[n..], [0; 5]);
            for (x, q) in x.iter().zip(&q) {
                assert!((x - scale * *q as f32).abs() <= scale * 0.5001);
                assert!(*q >= -127);
            }
            assert!(q.iter().any(|q| q.unsigned_abs() == 127));
        }
    }

    #[test]
    fn tiny_rows_are_zero() {
        let mut q = [1i8; 4];
        assert_eq!(quantize_row(&[1e-40, 0.0, -1e-38, 0.0], &mut q), 0.0);
        assert_eq!(q, [0; 4]);
    }

    #[test]
    fn extremes_stay_in_range() {
        let mut q = [0i8; 3];
        let scale = quantize_row(&[3.0e38, -3.0e38, 1.0], &mut q);
        assert_eq!(q, [127, -127, 0]);
        assert!(scale.is_finite());
    }
}
