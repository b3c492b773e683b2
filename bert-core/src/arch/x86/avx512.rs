//! AVX-512 VNNI: `vpdpbusd` on 64 bytes, unsigned times signed.
//!
//! Weights are the unsigned operand: w + 128, made by flipping the top bit as they are loaded. A sum
//! starts at −128 · Σ a to make up for it.

use core::arch::x86_64::*;

use super::blocks::Register;
use crate::format::Activation;
use crate::math::{ERF_CUT, ERF_POLYNOMIAL, ERF_TWO_OVER_CUT_SQUARED};
use crate::ops;

#[derive(Clone, Copy)]
pub(super) struct Zmm(__m512i);

impl Register for Zmm {
    const LANES: usize = 16;
    const ROWS: usize = 8;
    type Weights = __m512i;

    #[inline(always)]
    fn start(row_sum: i32) -> i32 {
        -128 * row_sum
    }

    #[inline(always)]
    unsafe fn splat(value: i32) -> Self {
        // SAFETY: the CPU has AVX-512, here and below.
        unsafe { Zmm(_mm512_set1_epi32(value)) }
    }

    #[inline(always)]
    unsafe fn weights(at: *const i8) -> __m512i {
        // SAFETY: 64 bytes are readable.
        unsafe { _mm512_xor_si512(_mm512_loadu_si512(at.cast()), _mm512_set1_epi8(-128)) }
    }

    #[inline(always)]
    unsafe fn add(self, weights: __m512i, inputs: *const i8) -> Self {
        // SAFETY: four bytes are readable.
        unsafe {
            let inputs = _mm512_set1_epi32(inputs.cast::<i32>().read_unaligned());
            Zmm(_mm512_dpbusd_epi32(self.0, weights, inputs))
        }
    }

    #[inline(always)]
    unsafe fn load(from: *const i32) -> Self {
        // SAFETY: 16 sums are readable.
        unsafe { Zmm(_mm512_loadu_si512(from.cast())) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut i32) {
        // SAFETY: 16 sums have room.
        unsafe { _mm512_storeu_si512(to.cast(), self.0) }
    }

    /// Scales, biases and which lanes are channels.
    type Channels = (__m512, __m512, __mmask16);

    #[inline(always)]
    unsafe fn channels(scales: *const f32, biases: *const f32, count: usize) -> Self::Channels {
        let mask = (0xFFFFu32 >> (16 - count)) as __mmask16;
        // SAFETY: `count` ≤ 16 scales and biases are readable.
        unsafe { (_mm512_maskz_loadu_ps(mask, scales), _mm512_maskz_loadu_ps(mask, biases), mask) }
    }

    #[inline(always)]
    unsafe fn store_scaled(self, scale: f32, (scales, biases, mask): Self::Channels, to: *mut f32) {
        // SAFETY: the lanes of the mask have room.
        unsafe {
            let scales = _mm512_mul_ps(_mm512_set1_ps(scale), scales);
            let product = _mm512_mul_ps(_mm512_cvtepi32_ps(self.0), scales);
            _mm512_mask_storeu_ps(to, mask, _mm512_add_ps(product, biases));
        }
    }
}

/// Registers that go through a polynomial together: each step waits for the one before it, while the
/// others go on. More than there are registers for their squares too, which come from memory then; 8
/// take 1.7 times as long.
const TOGETHER: usize = 16;
const LANES: usize = 16;

/// As [`ops::activate`], in the same operations.
///
/// # Safety
/// The CPU has AVX-512 F.
#[inline(always)]
pub(super) unsafe fn activate(x: &mut [f32], activation: Activation) {
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
