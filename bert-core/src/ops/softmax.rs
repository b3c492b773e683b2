//! Softmax of a row without the last division: pⱼ = exp(xⱼ − max x), Σ pⱼ in lanes.

use crate::math::{exp, max, sum};

/// Replaces `x` by exp(x − max) and gives the sum; the probability of j is xⱼ / sum.
///
/// The sum is at least 1 for a row that is not empty.
pub fn softmax_row(x: &mut [f32]) -> f32 {
    let largest = max(x);
    for x in x.iter_mut() {
        *x = exp(*x - largest);
    }
    sum(x, |p| p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_sum_to_one() {
        for n in [1, 2, 16, 17, 100] {
            let mut x: Vec<f32> = (0..n).map(|i| ((i * 29) % 17) as f32 - 8.0).collect();
            let total = softmax_row(&mut x);
            let sum: f64 = x.iter().map(|&p| (p / total) as f64).sum();
            assert!((sum - 1.0).abs() < 1e-5);
            assert!(total >= 1.0);
        }
    }
}
