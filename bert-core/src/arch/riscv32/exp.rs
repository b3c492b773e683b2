//! The bits of [`crate::math::exp`] of a difference x − y ≤ 0, in integers.
//!
//! Every rounding of the definition is made, with the fractions of [`super::bits`]. The exponents of the
//! polynomial's sums are known, and those of what is added to them are less.

use super::bits::{exponent, float, fraction, normalized, product, rounded, rounded_from, upper};
use crate::math::{EXP_LN2, EXP_LOG2_E, EXP_POLYNOMIAL, EXP_UNDERFLOW};

/// A constant as a fraction and its power of two.
const fn constant(x: f32) -> (u32, u32) {
    let bits = x.to_bits();
    (bits << 8 | 1 << 31, bits << 1 >> 24)
}

const P: [(u32, u32); 5] = [
    constant(EXP_POLYNOMIAL[0]),
    constant(EXP_POLYNOMIAL[1]),
    constant(EXP_POLYNOMIAL[2]),
    constant(EXP_POLYNOMIAL[3]),
    constant(EXP_POLYNOMIAL[4]),
];

/// The exponent of ½, whose fraction is the least: a fraction alone is a number from there to 1.
const HALF: u32 = 126;

/// The bits of exp(x − y), if they are certain; x ≤ y are floats, neither of them infinite.
#[inline(always)]
pub(super) fn exp(x: f32, y: f32) -> Option<u32> {
    let (x, y) = (x.to_bits(), y.to_bits());
    if x == y {
        return Some(1f32.to_bits());
    }
    let (a, power) = difference(x, y)?;
    // a · 2^(power − 32): the first bit of 87 is that of 2⁶.
    const LEAST: (u32, u32) = constant(-EXP_UNDERFLOW);
    const LEAST_POWER: i32 = (LEAST.1 - HALF) as i32;
    if power > LEAST_POWER || power == LEAST_POWER && a > LEAST.0 {
        return Some(0);
    }
    /// So small an r is that no step of the polynomial is beyond a word.
    const LEAST_REST: i32 = -12;
    if power < LEAST_REST {
        return None;
    }
    match whole(a, power)? {
        0 => polynomial(u32::MAX, a, -power as u32, 0),
        n => {
            let (sign, r, below) = rest(a, power, n)?;
            polynomial(sign, r, below, n)
        }
    }
}

/// y − x, rounded.
#[inline(always)]
fn difference(x: u32, y: u32) -> Option<(u32, i32)> {
    let (of_x, of_y) = (exponent(x), exponent(y));
    let most = of_x.max(of_y);
    // Of the same unit, which is below the last bit of the larger one. What falls off of the other one
    // makes it small, and the difference so large that it is rounded well above.
    let fixed = |bits: u32, exponent: u32| {
        let whole = if exponent == 0 { 0 } else { fraction(bits) >> 1 };
        let distance = (most - exponent).min(31);
        let magnitude = (whole >> distance) as i32;
        let sign = bits as i32 >> 31;
        ((magnitude ^ sign) - sign, (magnitude as u32) << distance == whole)
    };
    let ((x, x_whole), (y, y_whole)) = (fixed(x, of_x), fixed(y, of_y));
    let difference = y.wrapping_sub(x) as u32;
    if difference == 0 {
        return None;
    }
    let (a, left) = normalized(difference);
    // That of opposite numbers often is a tie.
    let a = rounded_from(a, x_whole && y_whole)?;
    Some((a, most as i32 + 1 - HALF as i32 - left as i32))
}

/// The whole number nearest to a / ln 2.
#[inline(always)]
fn whole(a: u32, power: i32) -> Option<u32> {
    const LOG2_E: (u32, u32) = constant(EXP_LOG2_E);
    /// The definition's product is less than 2⁷ off, this one less than 1.
    const ERROR: u32 = 129;
    if power < -1 {
        return Some(0);
    }
    let product = upper(a, LOG2_E.0) >> 1;
    let point = 31 - power as u32 - (LOG2_E.1 - HALF);
    let one = 1 << point;
    let sum = product + (one >> 1) + ERROR;
    if sum & (one - 1) <= 2 * ERROR { None } else { Some(sum >> point) }
}

/// r = n ln 2 − a as its sign, its fraction, and how far it is below ½ … 1.
#[inline(always)]
fn rest(a: u32, power: i32, n: u32) -> Option<(u32, u32, u32)> {
    // In units of 2⁻³², modulo 1: no r is as large as a half. The last byte of a is zero, and a above ¼.
    let a = if power < 0 { a >> -power } else { a << power };
    /// The first part of ln 2 has nine bits.
    const FIRST: u32 = (EXP_LN2[0] * 512.0) as u32;
    let first = ((n * FIRST) << (32 - 9)).wrapping_sub(a) as i32;
    // The second part times n, rounded to 24 bits, in units of 2⁻³⁶.
    const SECOND: (u32, u32) = constant(-EXP_LN2[1]);
    const _: () = assert!(SECOND.1 == HALF - 36 + 24);
    let mut second = n * (SECOND.0 >> 8);
    let mut over = 0;
    while second >> over >= 1 << 24 {
        over += 1;
    }
    let last = second >> over & 1;
    second = (second + ((1 << over >> 1) + last).saturating_sub(1)) >> over << over;
    let sum = first - ((second + 15) >> 4) as i32;
    let sign = (sum >> 31) as u32;
    if sum == 0 {
        return None;
    }
    let (r, below) = normalized(sum.unsigned_abs());
    // Something may have fallen off, which must not be a bit of r.
    if below < 8 { Some((sign, rounded(r)?, below)) } else { None }
}

/// (((P₄ r + P₃) r + P₂) r + P₁) r + P₀, times r², and r, and 1; divided by 2ⁿ.
#[inline(always)]
fn polynomial(sign: u32, r: u32, below: u32, n: u32) -> Option<u32> {
    // A float's last byte is zero: shifted so far, nothing of it falls off, and ties are frequent.
    const WHOLE: u32 = 8;
    let mut q = P[4].0;
    for i in [3, 2, 1] {
        let (step, less) = product(q, r)?;
        let down = P[i].1 - P[i + 1].1 + below + less;
        let step = step >> down;
        q = rounded_from(P[i].0.wrapping_add(step ^ sign).wrapping_sub(sign), down <= WHOLE)?;
    }
    // A half and a little more, or a half less a little, which is of the binade below.
    let (step, less) = product(q, r)?;
    let down = P[0].1 - P[1].1 + below + less - (sign & 1);
    let step = step >> down;
    let q = if sign == 0 { P[0].0 + step } else { 0u32.wrapping_sub(step) };
    let q = rounded_from(q, down <= WHOLE)?;
    let (square, less) = product(r, r)?;
    let mut under = 2 * below + less;
    let (step, less) = product(q, square)?;
    // Powers of two below ½ … 1, as `below` is.
    under += less + (sign & 1);
    // Beside r there is room for a carry.
    let down = under + 1 - below;
    let step = step >> down;
    let y = if sign == 0 { (r >> 1) + step } else { (r >> 1) - step };
    let (y, left) = normalized_by_two(y);
    let y = rounded_from(y, down <= WHOLE)?;
    let down = below + left - (sign & 1);
    let q = if sign == 0 { (1 << 31) + (y >> down) } else { 0u32.wrapping_sub(y >> down) };
    let exponent = HALF + 1 - (sign & 1);
    if n >= exponent {
        return None;
    }
    Some(float(rounded_from(q, down <= WHOLE)?, exponent - n))
}

/// As [`normalized`], for what lacks at most two bits.
#[inline(always)]
fn normalized_by_two(x: u32) -> (u32, u32) {
    let left = if x >> 31 != 0 {
        0
    } else if x >> 30 != 0 {
        1
    } else {
        2
    };
    (x << left, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_bits_of_the_definition() {
        let check = |x: f32, y: f32| {
            let Some(found) = exp(x, y) else { return 1u64 };
            let expected = crate::math::exp(x - y);
            assert_eq!(found, expected.to_bits(), "{x:e} {y:e}: not {expected:e}");
            0
        };
        let mut state = 1u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as f32 / (1u32 << 30) as f32 - 1.0
        };
        let exhaustive = std::env::var_os("BERT_EXHAUSTIVE").is_some();
        let rounds = if exhaustive { 300_000_000 } else { 3_000_000 };
        for size in [0.1f32, 1.0, 5.0, 20.0, 100.0, 1000.0] {
            let by_definition: u64 = (0..rounds)
                .map(|_| {
                    let (a, b) = (random() * size, random() * size);
                    check(a.min(b), a.max(b))
                })
                .sum();
            println!("{size}: {by_definition} of {rounds} by the definition");
            assert!(by_definition * 10 < rounds, "{size}: {by_definition} of {rounds}");
        }
        for bits in (0..0x4340_0000u32).step_by(if exhaustive { 1 } else { 101 }) {
            check(-f32::from_bits(bits), 0.0);
            check(-f32::from_bits(bits), 1.0);
        }
    }
}
