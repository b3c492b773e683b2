//! `exp(x)`: x = n·ln 2 + r, |r| ≤ ln 2 / 2, e^r by a polynomial, 2ⁿ by the exponent field.
//!
//! The polynomial interpolates (e^r − 1 − r)/r² at the five Chebyshev nodes of the interval
//! (relative error 1.0e-8 in exact arithmetic).

use super::ROUND;

/// Largest relative error of [`exp`] on [[`EXP_UNDERFLOW`], 88]: the polynomial's 1.0e-8, half an
/// ulp each (6e-8) for the last product and sum, and the rounding of r (about 3e-8).
pub const MAX_EXP_RELATIVE_ERROR: f64 = 2.0e-7;

/// Below this, [`exp`] is exactly zero; no result is ever subnormal.
pub const EXP_UNDERFLOW: f32 = -87.0;

/// 1 / ln 2.
pub const EXP_LOG2_E: f32 = core::f32::consts::LOG2_E;
/// ln 2 in two parts; the first has 9 significant bits, so n times it is exact.
pub const EXP_LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// (e^r − 1 − r)/r², from the lowest coefficient on.
pub const EXP_POLYNOMIAL: [f32; 5] =
    [0.5, 0.166_665_77, 0.041_666_554, 8.363_203e-3, 1.392_621_3e-3];

/// e^x; 0 below [`EXP_UNDERFLOW`]; inputs above 88 count as 88.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const P: [f32; 5] = EXP_POLYNOMIAL;
    let clamped = if x > 88.0 { 88.0 } else { x };
    let clamped = if clamped < EXP_UNDERFLOW { EXP_UNDERFLOW } else { clamped };
    let shifted = clamped * EXP_LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * EXP_LN2[0];
    let r = r - n * EXP_LN2[1];
    let q = P[4] * r + P[3];
    let q = q * r + P[2];
    let q = q * r + P[1];
    let q = q * r + P[0];
    let q = q * (r * r) + r;
    let q = q + 1.0;
    let exponent = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let power = f32::from_bits((exponent.wrapping_add(127) as u32) << 23);
    if x < EXP_UNDERFLOW { 0.0 } else { q * power }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_within_its_bound() {
        let mut worst = 0.0f64;
        for i in 0..2_000_000 {
            let x = -87.0 + i as f32 * (175.0 / 2_000_000.0);
            let exact = (x as f64).exp();
            worst = worst.max(((exp(x) as f64 - exact) / exact).abs());
        }
        assert!(worst <= MAX_EXP_RELATIVE_ERROR, "{worst:e}");
    }

    #[test]
    fn has_exact_ends() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-87.001), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(1e30).is_finite());
    }
}
