//! `sigmoid(x)` = 1 / (1 + e^(−x)): with e = e^(−|x|), 1 / (1 + e) from zero up and e / (1 + e)
//! below, so that small results keep their precision.

use super::exp;

/// Largest relative error of [`sigmoid`] from [`super::EXP_UNDERFLOW`] up: that of exp (2.0e-7)
/// where the result is small, and a rounding of 2⁻²⁴ = 6e-8 each for the sum and the quotient.
pub const MAX_SIGMOID_RELATIVE_ERROR: f64 = 3.2e-7;

/// Logistic function: the probability whose logit is `x`; 0 below [`super::EXP_UNDERFLOW`].
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    let e = exp(if x < 0.0 { x } else { -x });
    let numerator = if x < 0.0 { e } else { 1.0 };
    numerator / (1.0 + e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_within_its_bound() {
        let mut worst = 0.0f64;
        for i in 0..2_000_000 {
            let x = -87.0 + i as f32 * (175.0 / 2_000_000.0);
            let exact = 1.0 / (1.0 + (-x as f64).exp());
            worst = worst.max(((sigmoid(x) as f64 - exact) / exact).abs());
        }
        assert!(worst <= MAX_SIGMOID_RELATIVE_ERROR, "{worst:e}");
    }

    #[test]
    fn has_exact_ends_and_middle() {
        assert_eq!((sigmoid(0.0), sigmoid(-0.0)), (0.5, 0.5));
        assert_eq!((sigmoid(f32::MAX), sigmoid(f32::INFINITY)), (1.0, 1.0));
        assert_eq!((sigmoid(f32::MIN), sigmoid(f32::NEG_INFINITY)), (0.0, 0.0));
        assert_eq!(sigmoid(-87.001), 0.0);
        assert!(sigmoid(-87.0) >= f32::MIN_POSITIVE);
    }

    #[test]
    fn a_probability_and_its_opposite_make_one() {
        for i in -20_000..=20_000 {
            let x = i as f32 * 1e-3;
            assert!((sigmoid(x) + sigmoid(-x) - 1.0).abs() <= f32::EPSILON, "{x}");
        }
    }
}
