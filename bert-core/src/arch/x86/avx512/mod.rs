//! AVX-512 VNNI: `vpdpbusd` on 64 bytes, unsigned times signed.
//!
//! Weights are the unsigned operand: w + 128, made by flipping the top bit as they are loaded. A sum
//! starts at −128 · Σ a to make up for it.

mod activation;
mod softmax;

use core::arch::x86_64::*;

pub(super) use self::activation::activate;
pub(super) use self::softmax::softmax_rows;
use super::blocks::Register;

/// Floats of a register.
const LANES: usize = 16;

#[derive(Clone, Copy)]
pub(super) struct Zmm(__m512i);

impl Register for Zmm {
    const LANES: usize = LANES;
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
