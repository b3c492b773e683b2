//! AVX-VNNI: `vpdpbusd` on 32 bytes, with the operands of the AVX-512 kernel.

use core::arch::x86_64::*;

use super::ymm::Product;

#[derive(Clone, Copy)]
pub(super) struct Dpbusd;

impl Product for Dpbusd {
    // Twelve sums, two weights, one input and the flip of the top bit are all sixteen registers.
    const ROWS: usize = 6;
    /// The weights + 128.
    type Weights = __m256i;

    #[inline(always)]
    fn start(row_sum: i32) -> i32 {
        -128 * row_sum
    }

    #[inline(always)]
    unsafe fn weights(weights: __m256i) -> __m256i {
        // SAFETY: the CPU has AVX2.
        unsafe { _mm256_xor_si256(weights, _mm256_set1_epi8(-128)) }
    }

    #[inline(always)]
    unsafe fn add(sums: __m256i, weights: __m256i, inputs: __m256i) -> __m256i {
        // SAFETY: the CPU has AVX-VNNI.
        unsafe { _mm256_dpbusd_avx_epi32(sums, weights, inputs) }
    }
}
