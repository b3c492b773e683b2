//! Mean over tokens, and the length of a vector: y\[h\] = (Σₜ x\[t, h\]) / T, y ← y / ‖y‖₂.
//!
//! The mean is over all tokens, `[CLS]` and `[SEP]` included, and the norm is at least 1e-12, both as
//! in sentence-transformers. Source: Reimers, Gurevych, *Sentence-BERT*, 2019.

use crate::math::{sqrt, sum};

/// Adds a row `x` to the sum of the rows before it, `out` \[H\]; token after token.
#[inline(always)]
pub fn add_row(x: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += x;
    }
}

/// Turns the sum of the rows of `tokens` tokens into their mean.
#[inline(always)]
pub fn divide_row(out: &mut [f32], tokens: usize) {
    let count = tokens as f32;
    for out in out {
        *out /= count;
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
            let mut out = vec![0.0; hidden];
            x.chunks_exact(hidden).for_each(|row| add_row(row, &mut out));
            divide_row(&mut out, tokens);
            for (h, mean) in out.iter().enumerate() {
                let exact: f64 = (0..tokens).map(|t| x[t * hidden + h] as f64).sum();
                let exact = exact / tokens as f64;
                // T additions of numbers below 20 and a quotient, half an ulp each.
                let bound = 20.0 * 6e-8 * (tokens as f64 + 2.0);
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
