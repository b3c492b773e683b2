//! AVX-VNNI: `vpdpbusd` on 32 bytes, with the operands of the AVX-512 kernel.

use core::arch::x86_64::*;

use super::avx2::Channels;
use super::blocks::{self, Register};
use crate::format::Matrix;
use crate::ops::{Activations, Weights};

#[derive(Clone, Copy)]
struct Ymm(__m256i);

impl Register for Ymm {
    const LANES: usize = 8;
    // Twelve sums, two weights, one input and the flip of the top bit are all sixteen registers.
    const ROWS: usize = 6;
    type Weights = __m256i;

    #[inline(always)]
    fn start(row_sum: i32) -> i32 {
        -128 * row_sum
    }

    #[inline(always)]
    unsafe fn splat(value: i32) -> Self {
        // SAFETY: the CPU has AVX2, here and below.
        unsafe { Ymm(_mm256_set1_epi32(value)) }
    }

    #[inline(always)]
    unsafe fn weights(at: *const i8) -> __m256i {
        // SAFETY: 32 bytes are readable.
        unsafe { _mm256_xor_si256(_mm256_loadu_si256(at.cast()), _mm256_set1_epi8(-128)) }
    }

    #[inline(always)]
    unsafe fn add(self, weights: __m256i, inputs: *const i8) -> Self {
        // SAFETY: four bytes are readable; the CPU has AVX-VNNI.
        unsafe {
            let inputs = _mm256_set1_epi32(inputs.cast::<i32>().read_unaligned());
            Ymm(_mm256_dpbusd_avx_epi32(self.0, weights, inputs))
        }
    }

    #[inline(always)]
    unsafe fn load(from: *const i32) -> Self {
        // SAFETY: 8 sums are readable.
        unsafe { Ymm(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut i32) {
        // SAFETY: 8 sums have room.
        unsafe { _mm256_storeu_si256(to.cast(), self.0) }
    }

    type Channels = Channels;

    #[inline(always)]
    unsafe fn channels(scales: *const f32, biases: *const f32, count: usize) -> Channels {
        // SAFETY: as the caller says.
        unsafe { Channels::load(scales, biases, count) }
    }

    #[inline(always)]
    unsafe fn store_scaled(self, scale: f32, channels: Channels, to: *mut f32) {
        // SAFETY: as the caller says.
        unsafe { channels.store_scaled(self.0, scale, to) }
    }
}

/// As [`crate::ops::gemm`].
///
/// # Safety
/// The CPU has AVX2 and AVX-VNNI.
#[inline(always)]
pub(super) unsafe fn gemm(a: &Activations<'_>, w: &Weights<'_>, out: &mut [i32]) {
    // SAFETY: as the caller says.
    unsafe { blocks::gemm::<Ymm>(a, w, out) }
}

/// As [`crate::ops::linear`].
///
/// # Safety
/// The CPU has AVX2 and AVX-VNNI.
#[inline(always)]
pub(super) unsafe fn linear(
    q: &Activations<'_>,
    scales: &[f32],
    matrix: &Matrix<'_>,
    out: &mut [f32],
) {
    // SAFETY: as the caller says.
    unsafe { blocks::linear::<Ymm>(q, scales, matrix, out) }
}
