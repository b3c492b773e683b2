//! GELU, in the operations of the definition, many registers side by side.

use core::arch::x86_64::*;

use super::LANES;
use crate::format::Activation;
use crate::math::{ERF_CUT, ERF_POLYNOMIAL, ERF_TWO_OVER_CUT_SQUARED};
use crate::ops;

/// Registers that go through a polynomial together: each step waits for the one before it, while the
/// others go on. More than there are registers for their squares too, which come from memory then; 8
/// take 1.7 times as long.
const TOGETHER: usize = 16;

/// As [`ops::activate`], in the same operations.
///
/// # Safety
/// The CPU has AVX-512 F.
#[inline(always)]
pub(in super::super) unsafe fn activate(x: &mut [f32], activation: Activation) {
    if activation != Activation::Gelu {
        return ops::activate(x, activation);
    }
    let (blocks, rest) = x.as_chunks_mut::<{ TOGETHER * LANES }>();
    for block in blocks {
        // SAFETY: a block is so many registers.
        unsafe { gelu(block.as_mut_ptr()) }
    }
    ops::activate(rest, activation);
}

/// # Safety
/// As [`activate`]; `TOGETHER` registers are readable and have room.
#[inline(always)]
unsafe fn gelu(at: *mut f32) {
    // SAFETY: as the caller says.
    unsafe {
        let one = _mm512_set1_ps(1.0);
        let clamped = |i: usize| {
            let x = _mm512_loadu_ps(at.add(i * LANES));
            _mm512_max_ps(_mm512_set1_ps(-ERF_CUT), _mm512_min_ps(_mm512_set1_ps(ERF_CUT), x))
        };
        let mut squares = [one; TOGETHER];
        for (i, square) in squares.iter_mut().enumerate() {
            let x = clamped(i);
            let scale = _mm512_set1_ps(ERF_TWO_OVER_CUT_SQUARED);
            *square = _mm512_sub_ps(_mm512_mul_ps(_mm512_mul_ps(x, x), scale), one);
        }
        let [rest @ .., highest] = &ERF_POLYNOMIAL;
        let mut sums = [_mm512_set1_ps(*highest); TOGETHER];
        for coefficient in rest.iter().rev() {
            let coefficient = _mm512_set1_ps(*coefficient);
            for (sum, square) in sums.iter_mut().zip(&squares) {
                *sum = _mm512_add_ps(_mm512_mul_ps(*sum, *square), coefficient);
            }
        }
        for (i, sum) in sums.into_iter().enumerate() {
            let erf = _mm512_mul_ps(sum, clamped(i));
            let half = _mm512_mul_ps(_mm512_set1_ps(0.5), _mm512_loadu_ps(at.add(i * LANES)));
            let gelu = _mm512_mul_ps(half, _mm512_add_ps(one, erf));
            _mm512_storeu_ps(at.add(i * LANES), gelu);
        }
    }
}
