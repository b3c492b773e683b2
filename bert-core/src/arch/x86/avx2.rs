//! AVX2: `vpmaddubsw` on |w| and a with the sign of w, then `vpmaddwd` by ones.
//!
//! The pairs of products that `vpmaddubsw` adds in i16 are at most 2 · 128 · 127 < 2¹⁵, since a is
//! never −128: nothing saturates. −128 as a weight is 128 as the unsigned operand.

use core::arch::x86_64::*;

use super::blocks::{self, Register};
use crate::format::Matrix;
use crate::ops::{Activations, Weights};

#[derive(Clone, Copy)]
struct Ymm(__m256i);

impl Register for Ymm {
    const LANES: usize = 8;
    // Eight sums, two weights and their magnitudes, an input, ones and a product are 15 registers.
    const ROWS: usize = 4;
    /// The weights and their magnitudes.
    type Weights = (__m256i, __m256i);

    #[inline(always)]
    fn start(_: i32) -> i32 {
        0
    }

    #[inline(always)]
    unsafe fn splat(value: i32) -> Self {
        // SAFETY: the CPU has AVX2, here and below.
        unsafe { Ymm(_mm256_set1_epi32(value)) }
    }

    #[inline(always)]
    unsafe fn weights(at: *const i8) -> (__m256i, __m256i) {
        // SAFETY: 32 bytes are readable.
        unsafe {
            let weights = _mm256_loadu_si256(at.cast());
            (weights, _mm256_abs_epi8(weights))
        }
    }

    #[inline(always)]
    unsafe fn add(self, (weights, magnitudes): (__m256i, __m256i), inputs: *const i8) -> Self {
        // SAFETY: four bytes are readable.
        unsafe {
            let inputs = _mm256_set1_epi32(inputs.cast::<i32>().read_unaligned());
            let signed = _mm256_sign_epi8(inputs, weights);
            let pairs = _mm256_maddubs_epi16(magnitudes, signed);
            let quads = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
            Ymm(_mm256_add_epi32(self.0, quads))
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

/// Scales and biases of up to eight channels, and which lanes are channels.
#[derive(Clone, Copy)]
pub(super) struct Channels {
    scales: __m256,
    biases: __m256,
    mask: __m256i,
}

impl Channels {
    /// # Safety
    /// `count` ≤ 8 scales and biases are readable; the CPU has AVX2.
    #[inline(always)]
    pub(super) unsafe fn load(scales: *const f32, biases: *const f32, count: usize) -> Self {
        /// A mask of n lanes begins 8 − n from the front.
        const MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        // SAFETY: as the caller says; the mask's eight words lie inside the constant for count ≤ 8.
        unsafe {
            let mask = _mm256_loadu_si256(MASKS.as_ptr().add(8 - count).cast());
            let (scales, biases) =
                (_mm256_maskload_ps(scales, mask), _mm256_maskload_ps(biases, mask));
            Channels { scales, biases, mask }
        }
    }

    /// Writes sum · (scale · scales) + biases of the lanes that are channels.
    ///
    /// # Safety
    /// Those lanes have room; the CPU has AVX2.
    #[inline(always)]
    pub(super) unsafe fn store_scaled(self, sums: __m256i, scale: f32, to: *mut f32) {
        // SAFETY: as the caller says.
        unsafe {
            let scales = _mm256_mul_ps(_mm256_set1_ps(scale), self.scales);
            let product = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), scales);
            _mm256_maskstore_ps(to, self.mask, _mm256_add_ps(product, self.biases));
        }
    }
}

/// As [`crate::ops::gemm`].
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn gemm(a: &Activations<'_>, w: &Weights<'_>, out: &mut [i32]) {
    // SAFETY: as the caller says.
    unsafe { blocks::gemm::<Ymm>(a, w, out) }
}

/// As [`crate::ops::linear`].
///
/// # Safety
/// The CPU has AVX2.
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
