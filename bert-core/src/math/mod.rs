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
    (x + ROUND).to_bits() as i32 - ROUND.to_bits() as i32
}

/// Square root, correctly rounded, of `x` ≥ 0.
#[inline(always)]
pub fn sqrt(x: f32) -> f32 {
    // Both round correctly, so they agree. That of `std` is one instruction in the encoding of the code
    // around it; an SSE instruction among AVX ones would wait for all of a register.
    #[cfg(feature = "std")]
    return x.sqrt();
    #[cfg(not(feature = "std"))]
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
}
