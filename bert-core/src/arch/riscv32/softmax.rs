//! As [`crate::ops::softmax_rows`], with the floats of a row made in integers.

use super::bits::{Factor, multiply, times};
use super::{exp, norm, rows};
use crate::math::max;
use crate::ops::{ROW_ALIGN, SMALLEST, SoftmaxScales, levels};

/// As [`crate::ops::softmax_rows`].
#[inline]
pub(super) fn softmax_rows(
    scores: &mut [f32],
    scales: &SoftmaxScales<'_>,
    factors: &mut [f32],
    digits: &mut [i8],
) {
    let stride = scales.keys.len().next_multiple_of(ROW_ALIGN);
    let rows = scores.chunks_exact_mut(stride).zip(digits.chunks_exact_mut(2 * stride));
    for ((scores, digits), factor) in rows.zip(factors) {
        let (high, low) = digits.split_at_mut(stride);
        *factor = softmax_row(&mut scores[..scales.keys.len()], *factor, scales, high, low);
    }
}

#[inline]
fn softmax_row(
    scores: &mut [f32],
    query: f32,
    scales: &SoftmaxScales<'_>,
    high: &mut [i8],
    low: &mut [i8],
) -> f32 {
    let tokens = scores.len();
    for (x, key) in scores.iter_mut().zip(scales.keys) {
        let d = x.to_bits() as i32;
        let scale = multiply(query.to_bits(), key.to_bits());
        *x = match scale.and_then(|scale| times(d, scale)) {
            Some(x) => f32::from_bits(x),
            None => rows::times_by_definition(d, query * key),
        };
    }
    let largest = max(scores);
    for x in scores.iter_mut() {
        *x = match exp::exp(*x, largest) {
            Some(p) => f32::from_bits(p),
            None => by_definition(*x, largest),
        };
    }
    let total = norm::sum(scores);
    for (p, value) in scores.iter_mut().zip(scales.values) {
        *p = norm::multiply(*p, *value);
    }
    let peak = max(scores);
    high[tokens..].fill(0);
    low[tokens..].fill(0);
    if peak < SMALLEST {
        high.fill(0);
        low.fill(0);
        return 0.0;
    }
    let levels = levels(tokens);
    let inverse = levels / peak;
    let factor = Factor::new(inverse);
    for ((w, high), low) in scores.iter().zip(high).zip(low) {
        let n = match factor.integer(w.to_bits()) {
            Some(n) => n as i32,
            None => rows::round_by_definition(*w, inverse),
        };
        (*high, *low) = ((n >> 7) as i8, (n & 127) as i8);
    }
    peak / (levels * total)
}

#[cold]
#[inline(never)]
fn by_definition(x: f32, largest: f32) -> f32 {
    crate::math::exp(x - largest)
}

#[cfg(test)]
mod tests {
    use super::super::common::Random;
    use super::*;
    use crate::ops;

    /// Rows that are flat, peaked, of equal scores, and of scales of any size.
    #[test]
    fn rows_have_the_bits_of_the_definition() {
        let mut random = Random(3);
        for round in 0..4000 {
            let tokens = [1, 2, 15, 16, 17, 64, 128, 1100][random.below(8)];
            let stride = usize::next_multiple_of(tokens, ROW_ALIGN);
            let spread = [1usize, 30, 1000, 40_000, 1 << 20, 1 << 25][random.below(6)];
            let size = [0.02, 1.0, 1e-4, 1e-20, 1e-37, 0.0][random.below(6)];
            let key_size = [0.01, 0.01, 1.0, 1e-20, 1e-39][random.below(5)];
            let product = |random: &mut Random| random.below(2 * spread) as i32 - spread as i32;
            let products: Vec<f32> =
                (0..3 * stride).map(|_| f32::from_bits(product(&mut random) as u32)).collect();
            let queries: Vec<f32> = (0..3).map(|_| random.normal(0.1).abs()).collect();
            let keys: Vec<f32> = match round % 3 {
                0 => vec![1.0 / 64.0; tokens],
                _ => (0..tokens).map(|_| random.normal(key_size).abs()).collect(),
            };
            let values: Vec<f32> = (0..tokens).map(|_| random.normal(size).abs()).collect();
            let scales = SoftmaxScales { keys: &keys, values: &values };
            let [expected, found] = [true, false].map(|by_definition| {
                let (mut scores, mut factors) = (products.clone(), queries.clone());
                let mut digits = vec![1; 6 * stride];
                if by_definition {
                    ops::softmax_rows(&mut scores, &scales, &mut factors, &mut digits);
                } else {
                    softmax_rows(&mut scores, &scales, &mut factors, &mut digits);
                }
                (digits, factors.iter().map(|f| f.to_bits()).collect::<Vec<_>>())
            });
            assert!(expected == found, "{tokens} {spread} {size} {key_size}");
        }
    }
}
