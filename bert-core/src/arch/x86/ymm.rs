//! Registers of eight sums, with the products of AVX2 or of AVX-VNNI.

use core::arch::x86_64::*;
use core::marker::PhantomData;

use super::blocks::Register;

/// How four products are added to each of eight sums.
pub(super) trait Product: Copy {
    /// As [`Register::ROWS`].
    const ROWS: usize;
    /// As [`Register::Weights`].
    type Weights: Copy;

    /// As [`Register::start`].
    fn start(row_sum: i32) -> i32;
    /// Makes 32 weights ready.
    unsafe fn weights(weights: __m256i) -> Self::Weights;
    /// Adds the products of the weights and four inputs, which are the same in every lane.
    unsafe fn add(sums: __m256i, weights: Self::Weights, inputs: __m256i) -> __m256i;
}

#[derive(Clone, Copy)]
pub(super) struct Ymm<P>(__m256i, PhantomData<P>);

impl<P> Ymm<P> {
    #[inline(always)]
    fn of(sums: __m256i) -> Self {
        Ymm(sums, PhantomData)
    }
}

/// Scales and biases of up to eight channels, and which lanes are channels.
#[derive(Clone, Copy)]
pub(super) struct Channels {
    scales: __m256,
    biases: __m256,
    mask: __m256i,
}

impl<P: Product> Register for Ymm<P> {
    const LANES: usize = 8;
    const ROWS: usize = P::ROWS;
    type Weights = P::Weights;
    type Channels = Channels;

    #[inline(always)]
    fn start(row_sum: i32) -> i32 {
        P::start(row_sum)
    }

    #[inline(always)]
    unsafe fn splat(value: i32) -> Self {
        // SAFETY: the CPU has AVX2, here and below.
        unsafe { Self::of(_mm256_set1_epi32(value)) }
    }

    #[inline(always)]
    unsafe fn weights(at: *const i8) -> P::Weights {
        // SAFETY: 32 bytes are readable.
        unsafe { P::weights(_mm256_loadu_si256(at.cast())) }
    }

    #[inline(always)]
    unsafe fn add(self, weights: P::Weights, inputs: *const i8) -> Self {
        // SAFETY: four bytes are readable; the CPU has the instructions of P.
        unsafe {
            let inputs = _mm256_set1_epi32(inputs.cast::<i32>().read_unaligned());
            Self::of(P::add(self.0, weights, inputs))
        }
    }

    #[inline(always)]
    unsafe fn load(from: *const i32) -> Self {
        // SAFETY: 8 sums are readable.
        unsafe { Self::of(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut i32) {
        // SAFETY: 8 sums have room.
        unsafe { _mm256_storeu_si256(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn channels(scales: *const f32, biases: *const f32, count: usize) -> Channels {
        /// A mask of n lanes begins 8 − n from the front.
        const MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        // SAFETY: `count` ≤ 8 scales and biases are readable, and then the mask's eight words lie
        // inside the constant.
        unsafe {
            let mask = _mm256_loadu_si256(MASKS.as_ptr().add(8 - count).cast());
            let (scales, biases) =
                (_mm256_maskload_ps(scales, mask), _mm256_maskload_ps(biases, mask));
            Channels { scales, biases, mask }
        }
    }

    #[inline(always)]
    unsafe fn store_scaled(self, scale: f32, channels: Channels, to: *mut f32) {
        // SAFETY: the lanes of the mask have room.
        unsafe {
            let scales = _mm256_mul_ps(_mm256_set1_ps(scale), channels.scales);
            let product = _mm256_mul_ps(_mm256_cvtepi32_ps(self.0), scales);
            _mm256_maskstore_ps(to, channels.mask, _mm256_add_ps(product, channels.biases));
        }
    }
}
