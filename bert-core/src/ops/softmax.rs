//! Softmax of rows of attention scores, as two int8 digits.
//!
//! Of a row, with the integer products d of a query and the keys: xⱼ = dⱼ · (s · tⱼ), pⱼ = exp(xⱼ − max x),
//! Σ pⱼ in lanes. What multiplies the int8 value of token j is wⱼ = pⱼ · uⱼ, u its scale. It is
//! rounded to nⱼ = round(wⱼ · (L / max w)) with L levels, and split into nⱼ = 128·highⱼ + lowⱼ, so that
//! two int8 products give Σⱼ nⱼ vⱼ exactly.
//!
//! L = 16383 makes what is lost of a long flat tail smaller than any other rounding here (8 bits do
//! not: 127 tokens of 0.3 % each would vanish beside one of 1). For more than 1032 tokens L is so much
//! less that the sum still fits an i32.

use super::ROW_ALIGN;
use super::quantize_row::SMALLEST;
use crate::math::{exp, max, sum};

/// Most levels of a weight: two digits of seven bits.
const MOST_LEVELS: usize = (1 << 14) - 1;

/// Levels that let Σ nⱼ vⱼ of `tokens` tokens fit an i32.
#[inline(always)]
pub(crate) fn levels(tokens: usize) -> f32 {
    let fitting = (i32::MAX as usize / 127) / tokens.max(1);
    (if fitting < MOST_LEVELS { fitting } else { MOST_LEVELS }) as f32
}

/// What the T tokens are to be multiplied with.
#[derive(Clone, Copy)]
pub struct SoftmaxScales<'a> {
    /// t, the scale of each key \[T\].
    pub keys: &'a [f32],
    /// u, the scale of each value \[T\].
    pub values: &'a [f32],
}

/// Turns `scores`, rows of the bits of T i32 products, into `digits`, for each row those called high and
/// then the low ones, zeros beyond T. All rows are T rounded up to [`ROW_ALIGN`] long. `factors` has the
/// s of each row, the scale of its query times 1 / √D, and gets its factor f with
/// Σⱼ softmax(x)ⱼ uⱼ vⱼ ≈ f · Σⱼ nⱼ vⱼ. `scores` is overwritten.
#[inline(always)]
pub fn softmax_rows(
    scores: &mut [f32],
    scales: &SoftmaxScales<'_>,
    factors: &mut [f32],
    digits: &mut [i8],
) {
    let tokens = scales.keys.len();
    let stride = tokens.next_multiple_of(ROW_ALIGN);
    let rows = scores.chunks_exact_mut(stride).zip(digits.chunks_exact_mut(2 * stride));
    for ((scores, digits), factor) in rows.zip(factors) {
        let (high, low) = digits.split_at_mut(stride);
        *factor = softmax_row(&mut scores[..tokens], *factor, scales, high, low);
    }
}

#[inline(always)]
fn softmax_row(
    scores: &mut [f32],
    query: f32,
    scales: &SoftmaxScales<'_>,
    high: &mut [i8],
    low: &mut [i8],
) -> f32 {
    let tokens = scores.len();
    for (x, key) in scores.iter_mut().zip(scales.keys) {
        *x = x.to_bits() as i32 as f32 * (query * key);
    }
    let largest = max(scores);
    for x in scores.iter_mut() {
        *x = exp(*x - largest);
    }
    // At least 1: that of the largest score.
    let total = sum(scores, |p| p);
    for (p, value) in scores.iter_mut().zip(scales.values) {
        *p *= value;
    }
    let peak = max(scores);
    // A call for nothing is much of the time of a short row.
    for digits in [&mut *high, &mut *low] {
        if digits.len() > tokens {
            digits[tokens..].fill(0);
        }
    }
    if peak < SMALLEST {
        high.fill(0);
        low.fill(0);
        return 0.0;
    }
    let levels = levels(tokens);
    let inverse = levels / peak;
    for ((w, high), low) in scores.iter().zip(high).zip(low) {
        let n = crate::math::round_to_int(w * inverse);
        (*high, *low) = ((n >> 7) as i8, (n & 127) as i8);
    }
    peak / (levels * total)
}

/// Writes f · (128·high + low), the sums of a query over the values of one head, into `out` \[D\].
#[inline(always)]
pub fn combine_row(high: &[i32], low: &[i32], factor: f32, out: &mut [f32]) {
    for ((out, high), low) in out.iter_mut().zip(high).zip(low) {
        *out = high.wrapping_mul(128).wrapping_add(*low) as f32 * factor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against f64, for rows of one token to beyond 1032, with peaks and with long flat tails.
    #[test]
    fn weights_are_those_of_f64() {
        for tokens in [1, 2, 15, 16, 17, 100, 512, 1032, 1033, 3000] {
            for spread in [0, 1, 40, 4000] {
                let products: Vec<i32> = (0..tokens)
                    .map(|i| (i * 37 % 101) * spread / 10 + (i == 3) as i32 * 900)
                    .collect();
                let mut scores: Vec<f32> =
                    products.iter().map(|&d| f32::from_bits(d as u32)).collect();
                let keys: Vec<f32> = (0..tokens).map(|i| 0.01 + (i % 5) as f32 * 1e-4).collect();
                let values: Vec<f32> = (0..tokens).map(|i| 0.02 + (i % 7) as f32 * 3e-3).collect();
                let scales = SoftmaxScales { keys: &keys, values: &values };
                let room = (tokens as usize).next_multiple_of(ROW_ALIGN);
                scores.resize(room, f32::NAN);
                let (mut digits, mut factors) = (vec![1i8; 2 * room], [0.8]);
                softmax_rows(&mut scores, &scales, &mut factors, &mut digits);
                let ((high, low), [factor]) = (digits.split_at(room), factors);
                let exact: Vec<f64> = products
                    .iter()
                    .zip(&keys)
                    .map(|(&d, &t)| d as f64 * (0.8f32 * t) as f64)
                    .collect();
                let top = exact.iter().copied().fold(f64::MIN, f64::max);
                let total: f64 = exact.iter().map(|x| (x - top).exp()).sum();
                let mut worst = 0.0f64;
                let mut integer = 0i64;
                for (j, x) in exact.iter().enumerate() {
                    let n = 128 * high[j] as i64 + low[j] as i64;
                    integer += 127 * n;
                    assert!(low[j] >= 0 && high[j] >= 0);
                    let weight = (x - top).exp() / total * values[j] as f64;
                    worst = worst.max((weight - n as f64 * factor as f64).abs() / values[j] as f64);
                }
                assert!(integer <= i32::MAX as i64);
                // Half a level of the largest weight, at most 1 / total · 2 (the values' scales
                // differ by less than 2), and the error of the scores' rounding.
                let level = 1.0 / (levels(tokens as usize) as f64 * total);
                assert!(worst <= level + 2e-5 / total, "{tokens} {spread}: {worst:e} {level:e}");
                assert!(
                    high[tokens as usize..].iter().chain(&low[tokens as usize..]).all(|&n| n == 0)
                );
            }
        }
    }

    #[test]
    fn values_of_no_size_have_no_weight() {
        let scales = SoftmaxScales { keys: &[1.0; 3], values: &[0.0; 3] };
        let (mut scores, mut factors, mut digits) = ([0.0; 32], [1.0; 2], [5; 64]);
        softmax_rows(&mut scores, &scales, &mut factors, &mut digits);
        assert_eq!((factors, digits), ([0.0; 2], [0; 64]));
    }
}
