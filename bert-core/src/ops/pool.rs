//! Mean over tokens, and the length of a vector: y\[h\] = (Σₜ x\[t, h\]) / T, y ← y / ‖y‖₂.
//!
//! The mean is over all tokens, `[CLS]` and `[SEP]` included, and the norm is at least 1e-12, both as
//! in sentence-transformers. Source: Reimers, Gurevych, *Sentence-BERT*, 2019.

use crate::math::{sqrt, sum};

/// Writes the mean of the rows of `x` \[T, H\] into `out` \[H\]; `column` is room for T floats.
///
/// A column is laid out in a row first, so that a sum over tokens is the sum of everything else.
pub fn mean_rows(x: &[f32], column: &mut [f32], out: &mut [f32]) {
    let count = column.len() as f32;
    let hidden = out.len();
    for (h, out) in out.iter_mut().enumerate() {
        for (value, row) in column.iter_mut().zip(x.chunks_exact(hidden)) {
            *value = row[h];
        }
        *out = sum(column, |v| v) / count;
    }
}

/// Divides `x` by its Euclidean length, for |x| whose squares are finite; zeros stay zeros.
pub fn l2_normalize_row(x: &mut [f32]) {
    const SMALLEST_LENGTH: f32 = 1e-12;
    let length = sqrt(sum(x, |v| v * v));
    let length = if length < SMALLEST_LENGTH { SMALLEST_LENGTH } else { length };
    for x in x {
        *x /= length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_is_that_of_f64() {
        for (tokens, hidden) in [(1, 1), (1, 30), (2, 3), (15, 8), (16, 5), (17, 30), (131, 7)] {
            let value = |i: usize| ((i * 37 % 101) as f32 - 50.0) * 0.37;
            let x: Vec<f32> = (0..tokens * hidden).map(value).collect();
            let (mut column, mut out) = (vec![0.0; tokens], vec![0.0; hidden]);
            mean_rows(&x, &mut column, &mut out);
            for (h, mean) in out.iter().enumerate() {
                let exact: f64 = (0..tokens).map(|t| x[t * hidden + h] as f64).sum();
                let exact = exact / tokens as f64;
                // T/16 + 4 additions of numbers below 20 and a quotient, half an ulp each.
                let bound = 20.0 * 6e-8 * (tokens as f64 / 16.0 + 6.0);
                assert!((*mean as f64 - exact).abs() < bound, "{tokens} {hidden}: {mean} {exact}");
            }
        }
    }

    #[test]
    fn length_becomes_one_or_stays_zero() {
        for n in [1, 15, 16, 17, 768] {
            let mut x: Vec<f32> = (0..n).map(|i| (i * 29 % 17) as f32 - 8.5).collect();
            l2_normalize_row(&mut x);
            let length: f64 = x.iter().map(|&v| (v as f64).powi(2)).sum::<f64>().sqrt();
            assert!((length - 1.0).abs() < 1e-5, "{length}");
        }
        let mut zeros = [0.0, -0.0, 0.0];
        l2_normalize_row(&mut zeros);
        assert_eq!(zeros, [0.0; 3]);
        let mut tiny = [1e-30, -1e-30];
        l2_normalize_row(&mut tiny);
        assert!(tiny.iter().all(|v| v.abs() < 1e-17));
    }
}
