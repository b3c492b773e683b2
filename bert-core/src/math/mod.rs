//! The float functions of the forward pass, defined once for every machine.
//!
//! Only IEEE-754 add, subtract, multiply, divide, compare and (correctly rounded) square root, in
//! the order written here, so the bits of a result do not depend on the instruction set, the
//! platform's libm or fused multiply-add. Rust never contracts `a * b + c` by itself.
//! The loops over [`LANES`] partial sums are the definition; SIMD code computes the same lanes.

mod erf;
mod exp;
mod half;
mod lanes;
mod sigmoid;
mod tanh;

pub use erf::{ERF_CUT, ERF_POLYNOMIAL, ERF_TWO_OVER_CUT_SQUARED, MAX_ERF_ERROR, erf_sqrt_half};
pub use exp::{EXP_LN2, EXP_LOG2_E, EXP_POLYNOMIAL, EXP_UNDERFLOW, MAX_EXP_RELATIVE_ERROR, exp};
pub use half::widen;
pub use lanes::{LANES, max, max_abs, reduce, sum};
pub use sigmoid::{MAX_SIGMOID_RELATIVE_ERROR, sigmoid};
pub use tanh::{MAX_TANH_ERROR, tanh};

/// 1.5 · 2²³: adding it rounds a float of magnitude below 2²² to the nearest integer (ties to
/// even) in the low bits of the sum.
pub(crate) const ROUND: f32 = 12_582_912.0;

/// Nearest integer of `x`, ties to even, for |x| < 2²².
#[inline(always)]
pub(crate) fn round_to_int(x: f32) -> i32 {
    if cfg!(target_arch = "riscv32") {
        return round_bits(x);
    }
    (x + ROUND).to_bits() as i32 - ROUND.to_bits() as i32
}

/// The same in integers, a third of the work where an addition of floats is a function.
#[inline(always)]
fn round_bits(x: f32) -> i32 {
    /// Bits of a float below the exponent.
    const FRACTION: u32 = 23;
    /// The exponent of ½, beside the last below which all rounds to 0.
    const HALF: u32 = 126;
    let bits = x.to_bits();
    let exponent = bits << 1 >> (FRACTION + 1);
    if exponent < HALF {
        return 0;
    }
    let whole = bits & ((1 << FRACTION) - 1) | 1 << FRACTION;
    // 1 to 24 bits are behind the point, and of what is no number here a count that must not panic.
    let behind = (HALF + FRACTION + 1).wrapping_sub(exponent) & 31;
    let floor = whole >> behind;
    // What is more than a half rounds up, and a half if that makes it even.
    let half = 1 << behind >> 1;
    let rounded = (whole + half - 1 + (floor & 1)) >> behind;
    if bits >> 31 == 0 { rounded as i32 } else { -(rounded as i32) }
}

/// Square root, correctly rounded, of `x` ≥ 0.
#[inline(always)]
pub fn sqrt(x: f32) -> f32 {
    // Both round correctly, so they agree. That of `std` is one instruction in the encoding of the code
    // around it; an SSE instruction among AVX ones would wait for all of a register.
    #[cfg(feature = "std")]
    return x.sqrt();
    // That of a Cortex-M with an FPU is one instruction too, to which `core` has no name.
    #[cfg(all(not(feature = "std"), cortex_m_fpu))]
    return crate::arch::sqrt(x);
    #[cfg(all(not(feature = "std"), not(cortex_m_fpu)))]
    libm::sqrtf(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_ties_to_even() {
        for x in [-2.5f32, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5, 126.5, 127.4, -127.5, 1e6] {
            assert_eq!(round_to_int(x), x.round_ties_even() as i32, "{x}");
        }
    }

    #[test]
    fn integers_round_as_floats_do() {
        for start in (0..0x4A80_0000u32).step_by(0x1_0000) {
            for bits in start.saturating_sub(3)..start + 3 {
                let x = f32::from_bits(bits);
                assert_eq!(round_bits(x), x.round_ties_even() as i32, "{x}");
                assert_eq!(round_bits(-x), (-x).round_ties_even() as i32, "-{x}");
            }
        }
    }
}
