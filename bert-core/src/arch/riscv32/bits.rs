//! Floats taken apart: the bits of a definition from integers alone, where that is cheap.
//!
//! A magnitude is M · 2^(k − 32) with a *fraction* M whose first bit is set; that of a float ends with eight
//! zeros. Results of operations are rounded as floats are, to 24 bits. What falls off below is not kept:
//! then a fraction in whose last byte stands just a half may be above or below a tie, and there is no
//! result. That is one of 256; callers ask the definition then.

/// The last byte of a fraction, and a half of what counts.
const LAST: u32 = 0xFF;
const HALF: u32 = 0x80;

/// The sign of a float, and the first bit of a fraction.
pub(super) const SIGN: u32 = 1 << 31;

/// The exponent of a float's bits, as they have it.
#[inline(always)]
pub(super) fn exponent(bits: u32) -> u32 {
    bits << 1 >> 24
}

/// The fraction of a float that has an exponent.
#[inline(always)]
pub(super) fn fraction(bits: u32) -> u32 {
    bits << 8 | SIGN
}

/// The bits of a positive float M · 2^(exponent − 158).
#[inline(always)]
pub(super) fn float(fraction: u32, exponent: u32) -> u32 {
    (exponent << 23) + (fraction >> 8) - (1 << 23)
}

/// Rounds to 24 bits what may have more below.
#[inline(always)]
pub(super) fn rounded(fraction: u32) -> Option<u32> {
    rounded_from(fraction, false)
}

/// Rounds to 24 bits what has no more below if it is `whole`: then a tie is one.
#[inline(always)]
pub(super) fn rounded_from(fraction: u32, whole: bool) -> Option<u32> {
    let mut up = fraction.wrapping_add(HALF);
    if up & LAST == 0 {
        if !whole {
            return None;
        }
        // A tie, to the even one.
        up &= !(LAST + 1);
    }
    up &= !LAST;
    // A carry out of the first bit is as rare as ties are.
    if up == 0 { None } else { Some(up) }
}

/// Moves the first bit of what is not 0 to its place; gives by how much.
#[inline(always)]
pub(super) fn normalized(mut x: u32) -> (u32, u32) {
    let mut left = 0;
    // No loop: what is compiled for size would have one.
    let mut halve = |step: u32| {
        if x >> (32 - step) == 0 {
            x <<= step;
            left += step;
        }
    };
    halve(16);
    halve(8);
    halve(4);
    halve(2);
    halve(1);
    (x, left)
}

/// The product of two fractions, and how much less its exponent is than the sum of theirs: 0 or 1.
#[inline(always)]
pub(super) fn product(a: u32, b: u32) -> Option<(u32, u32)> {
    let high = upper(a, b);
    let less = high >> 31 ^ 1;
    Some((rounded(high << less)?, less))
}

/// The upper half of a product.
#[inline(always)]
pub(super) fn upper(a: u32, b: u32) -> u32 {
    ((a as u64 * b as u64) >> 32) as u32
}

/// The bits of the magnitude of the product of two finite floats, if they are certain and all have
/// exponents.
#[inline(always)]
pub(super) fn multiply(a: u32, b: u32) -> Option<u32> {
    let (of_a, of_b) = (exponent(a), exponent(b));
    if of_a == 0 || of_b == 0 {
        return None;
    }
    let (fraction, less) = product(fraction(a), fraction(b))?;
    packed(fraction, (of_a + of_b).wrapping_sub(126 + less))
}

/// The bits of the sum of two finite floats from 0 up, if they are certain; a zero has no sign.
#[inline(always)]
pub(super) fn add(a: u32, b: u32) -> Option<u32> {
    let (a, b) = if a < b { (b, a) } else { (a, b) };
    let (of_a, of_b) = (exponent(a), exponent(b));
    if of_b == 0 {
        return if b == 0 { Some(a) } else { None };
    }
    let distance = of_a - of_b;
    if distance > 25 {
        return Some(a);
    }
    // Room for a carry, behind which seven zeros of the smaller number are left.
    let sum = (fraction(a) >> 1) + (fraction(b) >> 1 >> distance);
    let carry = sum >> 31;
    packed(rounded_from(sum << (carry ^ 1), distance <= 7)?, of_a + carry)
}

/// The bits of n as a float, rounded, times a finite float from 0 up, if they are certain and all have
/// exponents.
#[inline(always)]
pub(super) fn times(n: i32, x: u32) -> Option<u32> {
    if n == 0 || exponent(x) == 0 {
        return None;
    }
    let (whole, left) = normalized(n.unsigned_abs());
    let (fraction, less) = product(rounded_from(whole, true)?, fraction(x))?;
    let bits = packed(fraction, (exponent(x) + 32).wrapping_sub(left + less))?;
    Some(bits | n as u32 & SIGN)
}

/// As [`float`], if there is such an exponent.
#[inline(always)]
fn packed(fraction: u32, exponent: u32) -> Option<u32> {
    // As `float` has it; but what is checked is what is shifted.
    let less = exponent.wrapping_sub(1);
    if less < 254 { Some((less << 23) + (fraction >> 8)) } else { None }
}

/// A positive float to multiply with and round: the reciprocal of [`crate::ops::quantize_row`].
#[derive(Clone, Copy)]
pub(super) struct Factor {
    fraction: u32,
    exponent: u32,
}

impl Factor {
    /// Of a float that has an exponent.
    #[inline(always)]
    pub(super) fn new(factor: f32) -> Self {
        let bits = factor.to_bits();
        Factor { fraction: fraction(bits), exponent: exponent(bits) }
    }

    /// |x| times the factor, rounded to the nearest integer as the definition does, if that is below 2¹⁵
    /// and certain.
    #[inline(always)]
    pub(super) fn integer(self, x: u32) -> Option<u32> {
        /// The definition's product is less than 2⁷ off, this one less than 1.
        const ERROR: u32 = 129;
        let half_product = upper(fraction(x), self.fraction) >> 1;
        // Bits behind the point: those of two fractions less the exponents of both.
        let point = (126 + 126 + 31u32).wrapping_sub(exponent(x)).wrapping_sub(self.exponent);
        if point.wrapping_sub(16) > 15 {
            // Below a quarter, also what has no exponent; or too large, or no number.
            return if (point as i32) > 31 { Some(0) } else { None };
        }
        let one = 1 << point;
        let sum = half_product + (one >> 1) + ERROR;
        if sum & (one - 1) <= 2 * ERROR { None } else { Some(sum >> point) }
    }
}
