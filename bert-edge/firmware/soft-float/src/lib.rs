//! Addition, product and conversion of f32 in integers, for processors without floats.
//!
//! They give the bits that IEEE 754 asks for, rounded to the nearest, ties to even, as those of the
//! compiler's own library do, and are written for numbers that are neither zero nor subnormal, which
//! nearly all are. A NaN is [`NAN`], whatever it was made of.
//!
//! On RV32 the compiler calls these instead of its own where this crate is linked:
//! `use bert_soft_float as _;`.
#![cfg_attr(not(test), no_std)]

#[cfg(target_arch = "riscv32")]
mod calls;

/// The bits of every NaN that comes out.
pub const NAN: u32 = 0x7FC0_0000;

const SIGN: u32 = 1 << 31;
const INFINITY: u32 = 0x7F80_0000;
/// Bits of the fraction.
const FRACTION: u32 = 23;
/// The bit before the fraction, which is not stored.
const ONE: u32 = 1 << FRACTION;
/// The exponent of infinities and NaNs.
const SPECIAL: u32 = 255;
/// The exponent of 1.
const BIAS: u32 = 127;
/// Bits of a result behind those that are kept: enough that a half can be told from more and from less,
/// and one less than fit, so that rounding up has room.
const GUARD: u32 = 7;
/// The first bit of a result with those.
const TOP: u32 = ONE << GUARD;

/// The bits of a + b.
#[inline(always)]
#[must_use]
pub fn add(a: u32, b: u32) -> u32 {
    // Without signs; the magnitude of `larger` is not the smaller one.
    let (of_a, of_b) = (a << 1, b << 1);
    let (larger, large, small) = if of_a < of_b { (b, of_b, of_a) } else { (a, of_a, of_b) };
    let (mut exponent, of_small) = (large >> (FRACTION + 1), small >> (FRACTION + 1));
    if exponent == SPECIAL || of_small == 0 {
        return add_rare(larger, a ^ b ^ larger);
    }
    let number = |doubled: u32| doubled << 8 >> 2 | TOP;
    let distance = exponent - of_small;
    let small = number(small);
    // Of a distance that is too large it has no meaning.
    let mut other = small.wrapping_shr(distance);
    if distance > GUARD {
        if distance > FRACTION + 2 {
            return larger;
        }
        // What falls off leaves a bit, that it was there.
        other |= u32::from(other << distance != small);
    }
    let large = number(large);
    let mut sum;
    if (a ^ b) & SIGN == 0 {
        sum = large + other;
        if sum >= TOP << 1 {
            sum = halved(sum);
            exponent += 1;
        }
    } else {
        sum = large - other;
        if sum == 0 {
            return 0;
        }
        while sum < TOP {
            sum <<= 1;
            exponent = exponent.wrapping_sub(1);
        }
        if exponent as i32 <= 0 {
            // Subnormal, and exact: so near each other no bits of the smaller one fell off.
            return larger & SIGN | sum >> (GUARD + 1 + 0u32.wrapping_sub(exponent));
        }
    }
    larger & SIGN | packed(exponent, sum)
}

/// The sum where one is zero, subnormal, infinite or a NaN; |a| ≥ |b|.
#[cold]
#[inline(never)]
fn add_rare(a: u32, b: u32) -> u32 {
    let (larger, smaller) = (a & !SIGN, b & !SIGN);
    let opposite = (a ^ b) & SIGN != 0;
    if larger > INFINITY || larger == INFINITY && smaller == INFINITY && opposite {
        return NAN;
    }
    if larger == INFINITY {
        return a;
    }
    if larger == 0 {
        return a & b;
    }
    if larger == smaller && opposite {
        return 0;
    }
    if smaller == 0 {
        return a;
    }
    // In units of the smallest number, of which the smaller of the two is its bits.
    let large = match exponent_of(a) {
        0 => u64::from(larger),
        exponent if exponent > FRACTION + 3 => return a,
        exponent => u64::from(larger & (ONE - 1) | ONE) << (exponent - 1),
    };
    let sum = if opposite { large - u64::from(smaller) } else { large + u64::from(smaller) };
    a & SIGN | rounded(sum, 1)
}

/// The bits of a · b.
#[inline(always)]
#[must_use]
pub fn multiply(a: u32, b: u32) -> u32 {
    let sign = (a ^ b) & SIGN;
    let (of_a, of_b) = (exponent_of(a), exponent_of(b));
    if of_a.wrapping_sub(1) >= SPECIAL - 1 || of_b.wrapping_sub(1) >= SPECIAL - 1 {
        return multiply_rare(a, b);
    }
    let product = u64::from(a << 8 | SIGN) * u64::from(b << 8 | SIGN);
    let mut high = (product >> 32) as u32 | u32::from(product as u32 != 0);
    let mut exponent = (of_a + of_b).wrapping_sub(BIAS);
    if high >= TOP << 1 {
        high = halved(high);
        exponent = exponent.wrapping_add(1);
    }
    if exponent.wrapping_sub(1) >= SPECIAL - 1 {
        return multiply_rare(a, b);
    }
    sign | packed(exponent, high)
}

/// The product where a factor is no ordinary number, or the product may be none.
#[cold]
#[inline(never)]
fn multiply_rare(a: u32, b: u32) -> u32 {
    let sign = (a ^ b) & SIGN;
    let (a, b) = (a & !SIGN, b & !SIGN);
    if a > INFINITY || b > INFINITY || a == INFINITY && b == 0 || a == 0 && b == INFINITY {
        return NAN;
    }
    if a == INFINITY || b == INFINITY {
        return sign | INFINITY;
    }
    if a == 0 || b == 0 {
        return sign;
    }
    let parts = |x: u32| match exponent_of(x) {
        0 => (1, x),
        exponent => (exponent as i32, x & (ONE - 1) | ONE),
    };
    let ((of_a, a), (of_b, b)) = (parts(a), parts(b));
    // In units of 2^(exponent − 150), as a number of that exponent has them.
    sign | rounded(u64::from(a) * u64::from(b), of_a + of_b - (BIAS + FRACTION) as i32)
}

/// The bits of an integer as f32.
#[inline(always)]
#[must_use]
pub fn from_i32(x: i32) -> u32 {
    let sign = x as u32 & SIGN;
    let mut magnitude = x.unsigned_abs();
    if magnitude == 0 {
        return 0;
    }
    let mut exponent = BIAS + 31;
    // Halves, as far as there are zeros in front. No loop: what is compiled for size would have one.
    let mut halve = |step: u32| {
        if magnitude >> (32 - step) == 0 {
            magnitude <<= step;
            exponent -= step;
        }
    };
    halve(16);
    halve(8);
    halve(4);
    halve(2);
    halve(1);
    sign | packed(exponent, halved(magnitude))
}

#[inline(always)]
fn exponent_of(x: u32) -> u32 {
    x << 1 >> (FRACTION + 1)
}

/// Half of a number; what falls off leaves a bit, that it was there.
#[inline(always)]
fn halved(number: u32) -> u32 {
    number >> 1 | number & 1
}

/// The bits of a number whose first bit is that of [`TOP`], rounded. An exponent beyond the last becomes
/// that of infinity.
#[inline(always)]
fn packed(exponent: u32, number: u32) -> u32 {
    const BELOW_HALF: u32 = (1 << (GUARD - 1)) - 1;
    let odd = number >> GUARD & 1;
    // A carry out of the fraction is one more in the exponent.
    let bits = ((exponent - 1) << FRACTION) + ((number + BELOW_HALF + odd) >> GUARD);
    if bits >= INFINITY { INFINITY } else { bits }
}

/// The bits of `number` · 2^(`exponent` − 150), `number` not 0, with any exponent.
fn rounded(number: u64, exponent: i32) -> u32 {
    let first = 63 - number.leading_zeros() as i32;
    // The fraction's first bit at its place; but no exponent is below 1.
    let shift = (first - FRACTION as i32).max(1 - exponent);
    let exponent = exponent + shift;
    if exponent >= SPECIAL as i32 {
        return INFINITY;
    }
    if shift <= 0 {
        return ((exponent as u32 - 1) << FRACTION) + ((number << -shift) as u32);
    }
    if shift > 62 {
        return 0;
    }
    let kept = (number >> shift) as u32;
    let behind = number & ((1 << shift) - 1);
    let half = 1 << (shift - 1);
    let up = u32::from(behind > half || behind == half && kept & 1 == 1);
    let bits = ((exponent as u32 - 1) << FRACTION) + kept + up;
    if bits >= INFINITY { INFINITY } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers around everything that is special, and others of all exponents.
    fn numbers() -> impl Iterator<Item = u32> {
        let edges =
            [0, 1, 2, ONE - 1, ONE, ONE + 1, 2 * ONE, 0x3F7F_FFFF, 0x3F80_0000, 0x3F80_0001];
        let large = [INFINITY - 1, INFINITY, INFINITY + 1, NAN, 0x4B00_0000, 0x4B80_0001];
        let mut state = 1u32;
        let random = (0..2000).map(move |i| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Of a few neighbouring exponents, of all, and with few bits, so that halves occur.
            match i % 4 {
                0 => state >> 9 | (120 + i % 16) << FRACTION,
                1 => state,
                2 => state & 0xFFFF_F000,
                _ => state >> 8 & 0x00FF_FFFF,
            }
        });
        edges.into_iter().chain(large).chain(random).flat_map(|x| [x, x ^ SIGN])
    }

    fn check(name: &str, ours: u32, exact: f32, a: u32, b: u32) {
        let exact = if exact.is_nan() { NAN } else { exact.to_bits() };
        assert_eq!(ours, exact, "{name} {a:#x} {b:#x}: {ours:#x}, not {exact:#x}");
    }

    #[test]
    fn sums_and_products_have_the_bits_of_the_machine() {
        for a in numbers() {
            for b in numbers() {
                let (x, y) = (f32::from_bits(a), f32::from_bits(b));
                check("+", add(a, b), x + y, a, b);
                check("*", multiply(a, b), x * y, a, b);
            }
        }
    }

    #[test]
    fn integers_have_the_bits_of_the_machine() {
        for x in numbers().flat_map(|x| [x, x >> 7, x >> 15, x >> 23]) {
            assert_eq!(from_i32(x as i32), (x as i32 as f32).to_bits(), "{x}");
        }
    }
}
