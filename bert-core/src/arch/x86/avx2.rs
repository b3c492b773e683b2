//! AVX2: `vpmaddubsw` on |w| and a with the sign of w, then `vpmaddwd` by ones.
//!
//! The pairs of products that `vpmaddubsw` adds in i16 are at most 2 · 128 · 127 < 2¹⁵, since a is
//! never −128: nothing saturates. −128 as a weight is 128 as the unsigned operand.

use core::arch::x86_64::*;

use super::ymm::Product;

#[derive(Clone, Copy)]
pub(super) struct Maddubs;

impl Product for Maddubs {
    // Eight sums, two weights and their magnitudes, an input, ones and a product are 15 registers.
    const ROWS: usize = 4;
    /// The weights and their magnitudes.
    type Weights = (__m256i, __m256i);

    #[inline(always)]
    fn start(_: i32) -> i32 {
        0
    }

    #[inline(always)]
    unsafe fn weights(weights: __m256i) -> (__m256i, __m256i) {
        // SAFETY: the CPU has AVX2.
        unsafe { (weights, _mm256_abs_epi8(weights)) }
    }

    #[inline(always)]
    unsafe fn add(
        sums: __m256i,
        (weights, magnitudes): (__m256i, __m256i),
        inputs: __m256i,
    ) -> __m256i {
        // SAFETY: the CPU has AVX2.
        unsafe {
            let signed = _mm256_sign_epi8(inputs, weights);
            let pairs = _mm256_maddubs_epi16(magnitudes, signed);
            let quads = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
            _mm256_add_epi32(sums, quads)
        }
    }
}
