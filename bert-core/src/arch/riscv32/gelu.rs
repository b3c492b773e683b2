//! GELU in fixed point: gelu(x) = max(x, 0) − r(|x|), r(a) = a · ½ (1 − erf(a / √2)).
//!
//! r is a parabola on each of 80 parts of [0, 5], fitted to the definition's own polynomial of erf when
//! the crate is compiled. Beyond 5, where the definition cuts erf, r is about a · 2⁻²³.

use crate::math::{ERF_CUT, ERF_POLYNOMIAL, ERF_TWO_OVER_CUT_SQUARED};

/// Bits behind the point of an argument and a result.
pub(super) const POINT: i32 = 20;

/// Bits behind the point of an argument within its part.
const PART: i32 = POINT - 4;
/// Parts of an argument below [`ERF_CUT`].
const PARTS: usize = (ERF_CUT as usize) << (POINT - PART);
/// Bits behind the point of slopes and curvatures.
const SLOPE: i32 = 15;

/// Largest error, in units of 2⁻²⁰, against the definition for an argument that is exact: the parabola's
/// 1.0, the rounded coefficients' 1.0 and the shifts' 2; and the definition's own, below
/// 5 · ½ · 6e-7 = 1.6 as `erf_sqrt_half` says, and 0.6 each for its sum and its product.
/// Beyond 5 they grow with the argument: [`error`].
const LEAST_ERROR: i32 = 7;

/// Largest error for arguments of magnitude up to `most`: the definition rounds to 24 bits, and r is
/// only near a · 2⁻²³. The first grows with the result, which may be as large.
#[inline]
pub(super) fn error(most: i32) -> i32 {
    LEAST_ERROR + (most >> 22)
}

/// Largest slope of GELU is 1.13: the error of a result for one of `argument`.
#[inline]
pub(super) fn widened(argument: i32) -> i32 {
    argument + argument / 4
}

#[derive(Clone, Copy)]
struct Part {
    /// r in its middle, its slope, and half its curvature.
    value: i32,
    slope: i16,
    curvature: i16,
}

static TABLE: [Part; PARTS] = {
    let mut table = [Part { value: 0, slope: 0, curvature: 0 }; PARTS];
    let width = 1.0 / (1 << (POINT - PART)) as f64;
    let mut i = 0;
    while i < PARTS {
        let middle = (i as f64 + 0.5) * width;
        // Through the three nodes of Chebyshev, in the middle and √3/2 of the way to both ends.
        let reach = width * 0.433_012_701_892_219_3;
        let [left, value, right] = [rest(middle - reach), rest(middle), rest(middle + reach)];
        let slope = (right - left) / (2.0 * reach);
        let curvature = (left - 2.0 * value + right) / (2.0 * reach * reach);
        table[i] = Part {
            value: rounded(value, POINT),
            slope: rounded(slope, SLOPE) as i16,
            curvature: rounded(curvature, SLOPE) as i16,
        };
        i += 1;
    }
    table
};

/// r(a) as the definition has it, without its roundings.
const fn rest(a: f64) -> f64 {
    let w = a * a * ERF_TWO_OVER_CUT_SQUARED as f64 - 1.0;
    let mut p = 0.0;
    let mut i = ERF_POLYNOMIAL.len();
    while i > 0 {
        i -= 1;
        p = p * w + ERF_POLYNOMIAL[i] as f64;
    }
    a * 0.5 * (1.0 - a * p)
}

const fn rounded(x: f64, point: i32) -> i32 {
    let x = x * (1 << point) as f64;
    (if x < 0.0 { x - 0.5 } else { x + 0.5 }) as i32
}

/// gelu(x), both in units of 2⁻²⁰, for any x but the least.
#[inline(always)]
pub(super) fn gelu(x: i32) -> i32 {
    let sign = x >> 31;
    let a = (x ^ sign) - sign;
    let rest = match TABLE.get((a >> PART) as usize) {
        Some(part) => {
            let distance = (a & ((1 << PART) - 1)) - (1 << (PART - 1));
            let slope = ((part.slope as i32) << (POINT - SLOPE))
                + ((part.curvature as i32 * distance) >> SLOPE);
            part.value + super::high(slope, distance << (32 - POINT))
        }
        None => a >> 23,
    };
    (x & !sign) - rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Activation;
    use crate::ops::activate;

    /// Every argument of some hundred millions is asked with `BERT_EXHAUSTIVE`, else one of many.
    #[test]
    fn is_within_its_error() {
        let step = if std::env::var_os("BERT_EXHAUSTIVE").is_some() { 1 } else { 97 };
        let mut worst = 0.0f64;
        for start in (0..1i32 << 30).step_by(1 << 14) {
            let xs: Vec<i32> =
                (start..start + (1 << 14)).step_by(step).flat_map(|x| [x, -x]).collect();
            let mut exact: Vec<f32> = xs.iter().map(|x| *x as f32 / (1 << POINT) as f32).collect();
            // A float of more than 24 bits is another number.
            let given: Vec<f64> = exact.iter().map(|x| *x as f64 * (1 << POINT) as f64).collect();
            activate(&mut exact, Activation::Gelu);
            for ((x, given), exact) in xs.into_iter().zip(given).zip(exact) {
                let found =
                    gelu(x) as f64 - (x as f64 - given).max(0.0) - (x as f64 - given).min(0.0);
                let off = (found - exact as f64 * (1 << POINT) as f64).abs();
                let bound = error(x.abs()) as f64;
                worst = worst.max(off / bound);
                assert!(off <= bound, "{x}: {off} of {bound}");
            }
        }
        println!("at most {worst:.2} of what is allowed");
    }
}
