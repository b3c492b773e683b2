//! Softmax of rows of attention scores, in the operations of the definition: what waits for each other
//! within a row, its largest score and its sum, is taken of many rows at a time.

use core::arch::x86_64::*;

use super::LANES;
use crate::math::{EXP_LN2, EXP_LOG2_E, EXP_POLYNOMIAL, EXP_UNDERFLOW, ROUND};
use crate::ops::{ROW_ALIGN, SMALLEST, SoftmaxScales, levels};

/// Scores of rows that are taken together: they stay in the first-level cache from step to step.
const GROUP: usize = 4096;
/// Registers that go through the exponential together: each step waits for the one before it, while
/// the others go on.
const TOGETHER: usize = 8;

/// As [`ops::softmax_rows`](crate::ops::softmax_rows), in the same operations.
///
/// # Safety
/// The CPU has AVX-512 F, BW, DQ and VL.
#[inline(always)]
pub(in super::super) unsafe fn softmax_rows(
    scores: &mut [f32],
    scales: &SoftmaxScales<'_>,
    factors: &mut [f32],
    digits: &mut [i8],
) {
    let tokens = scales.keys.len();
    let stride = tokens.next_multiple_of(ROW_ALIGN);
    assert!(tokens > 0 && scales.values.len() >= tokens, "a scale for each token");
    let rows = factors.len();
    assert!(
        scores.len() >= rows * stride && digits.len() >= 2 * rows * stride,
        "room for the rows"
    );
    let row = Row {
        keys: scales.keys.as_ptr(),
        values: scales.values.as_ptr(),
        whole: tokens / LANES * LANES,
        tail: (1 << (tokens % LANES)) - 1,
        levels: levels(tokens),
    };
    let together = if stride < GROUP { GROUP / stride } else { 1 };
    let scores = scores.chunks_mut(together * stride);
    let digits = digits.chunks_mut(together * 2 * stride);
    for ((scores, factors), digits) in scores.zip(factors.chunks_mut(together)).zip(digits) {
        let rows = factors.len();
        let (scores, digits) = (scores.as_mut_ptr(), digits.as_mut_ptr());
        // SAFETY: the rows of the group have `stride` scores and twice as many digits each, of which
        // `tokens`, in whole registers and a tail, have scales.
        unsafe {
            for (i, factor) in factors.iter().enumerate() {
                row.below_largest(scores.add(i * stride), *factor);
            }
            exponentials(scores, rows * stride);
            for (i, factor) in factors.iter_mut().enumerate() {
                let high = digits.add(2 * i * stride);
                *factor = row.digits(scores.add(i * stride), high, high.add(stride));
            }
        }
    }
}

/// What all rows have in common.
struct Row {
    keys: *const f32,
    values: *const f32,
    /// Tokens in whole registers, and the lanes of the others.
    whole: usize,
    tail: __mmask16,
    levels: f32,
}

/// The body for the first column and the lanes of each register of a row: all lanes, then the tail. A
/// macro, since a closure may stay a function without the wide registers.
macro_rules! each_register {
    ($row:expr, $at:ident, $lanes:ident => $body:block) => {
        let mut $at = 0;
        while $at < $row.whole {
            let $lanes: __mmask16 = !0;
            $body
            $at += LANES;
        }
        if $row.tail != 0 {
            let $lanes = $row.tail;
            $body
        }
    };
}

impl Row {
    /// Turns products into scores less the largest; zeros beyond the tokens.
    ///
    /// # Safety
    /// The CPU has the instructions; `x` and the scales have room for the registers.
    #[inline(always)]
    unsafe fn below_largest(&self, x: *mut f32, query: f32) {
        // SAFETY: as the caller says.
        unsafe {
            let query = _mm512_set1_ps(query);
            let mut largest = _mm512_set1_ps(f32::MIN);
            each_register!(self, at, lanes => {
                let products = _mm512_cvtepi32_ps(_mm512_loadu_si512(x.add(at).cast()));
                let scales = _mm512_mul_ps(query, _mm512_maskz_loadu_ps(lanes, self.keys.add(at)));
                let score = _mm512_mul_ps(products, scales);
                largest = _mm512_mask_max_ps(largest, lanes, score, largest);
                _mm512_storeu_ps(x.add(at), score);
            });
            let largest = _mm512_set1_ps(reduce_max(largest));
            each_register!(self, at, lanes => {
                let below = _mm512_maskz_sub_ps(lanes, _mm512_loadu_ps(x.add(at)), largest);
                _mm512_storeu_ps(x.add(at), below);
            });
        }
    }

    /// Turns exponentials into digits, zeros beyond the tokens, and gives the factor of the row.
    ///
    /// # Safety
    /// As [`Row::below_largest`], and the digits have room.
    #[inline(always)]
    unsafe fn digits(&self, p: *mut f32, high: *mut i8, low: *mut i8) -> f32 {
        // SAFETY: as the caller says.
        unsafe {
            let mut total = _mm512_setzero_ps();
            let mut peak = _mm512_set1_ps(f32::MIN);
            each_register!(self, at, lanes => {
                let exponential = _mm512_loadu_ps(p.add(at));
                total = _mm512_mask_add_ps(total, lanes, total, exponential);
                let values = _mm512_maskz_loadu_ps(lanes, self.values.add(at));
                let weight = _mm512_mul_ps(exponential, values);
                peak = _mm512_mask_max_ps(peak, lanes, weight, peak);
                _mm512_storeu_ps(p.add(at), weight);
            });
            let (total, peak) = (reduce_sum(total), reduce_max(peak));
            if peak < SMALLEST {
                each_register!(self, at, _lanes => {
                    _mm_storeu_si128(high.add(at).cast(), _mm_setzero_si128());
                    _mm_storeu_si128(low.add(at).cast(), _mm_setzero_si128());
                });
                return 0.0;
            }
            let inverse = _mm512_set1_ps(self.levels / peak);
            each_register!(self, at, lanes => {
                let levels = _mm512_mul_ps(_mm512_loadu_ps(p.add(at)), inverse);
                // The integer is in the low bits.
                let n = _mm512_castps_si512(_mm512_add_ps(levels, _mm512_set1_ps(ROUND)));
                let digit = _mm512_maskz_srli_epi32::<7>(lanes, n);
                _mm_storeu_si128(high.add(at).cast(), _mm512_cvtepi32_epi8(digit));
                let digit = _mm512_maskz_and_epi32(lanes, n, _mm512_set1_epi32(127));
                _mm_storeu_si128(low.add(at).cast(), _mm512_cvtepi32_epi8(digit));
            });
            peak / (self.levels * total)
        }
    }
}

/// Turns `count` values, whole registers of them that are not above 0, into their exponentials.
///
/// # Safety
/// The CPU has AVX-512 F; the values are readable and have room.
#[inline(always)]
unsafe fn exponentials(x: *mut f32, count: usize) {
    let mut at = 0;
    while at + TOGETHER * LANES <= count {
        // SAFETY: so many values are left.
        unsafe { exponential::<TOGETHER>(x.add(at)) }
        at += TOGETHER * LANES;
    }
    while at < count {
        // SAFETY: a register is left.
        unsafe { exponential::<1>(x.add(at)) }
        at += LANES;
    }
}

/// As [`exp`](crate::math::exp) of N registers of values that are not above 0.
///
/// # Safety
/// As [`exponentials`].
#[inline(always)]
unsafe fn exponential<const N: usize>(at: *mut f32) {
    // SAFETY: as the caller says.
    unsafe {
        let constant = |value: f32| _mm512_set1_ps(value);
        let mut shifted = [constant(0.0); N];
        let mut rest = shifted;
        for i in 0..N {
            let x = _mm512_loadu_ps(at.add(i * LANES));
            let x = _mm512_max_ps(constant(EXP_UNDERFLOW), x);
            let power = _mm512_mul_ps(x, constant(EXP_LOG2_E));
            shifted[i] = _mm512_add_ps(power, constant(ROUND));
            let n = _mm512_sub_ps(shifted[i], constant(ROUND));
            let r = _mm512_sub_ps(x, _mm512_mul_ps(n, constant(EXP_LN2[0])));
            rest[i] = _mm512_sub_ps(r, _mm512_mul_ps(n, constant(EXP_LN2[1])));
        }
        let [coefficients @ .., highest] = &EXP_POLYNOMIAL;
        let mut q = [constant(*highest); N];
        for coefficient in coefficients.iter().rev() {
            for i in 0..N {
                q[i] = _mm512_add_ps(_mm512_mul_ps(q[i], rest[i]), constant(*coefficient));
            }
        }
        for i in 0..N {
            let square = _mm512_mul_ps(rest[i], rest[i]);
            let q = _mm512_add_ps(_mm512_mul_ps(q[i], square), rest[i]);
            let q = _mm512_add_ps(q, constant(1.0));
            // 2ⁿ: n + 127 as the exponent.
            let bias = _mm512_set1_epi32(127i32.wrapping_sub(ROUND.to_bits() as i32));
            let n = _mm512_add_epi32(_mm512_castps_si512(shifted[i]), bias);
            let power = _mm512_castsi512_ps(_mm512_slli_epi32::<23>(n));
            let x = _mm512_loadu_ps(at.add(i * LANES));
            let under = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, constant(EXP_UNDERFLOW));
            _mm512_storeu_ps(at.add(i * LANES), _mm512_maskz_mul_ps(!under, q, power));
        }
    }
}

/// As [`math::reduce`](crate::math::reduce): halves, then their halves.
#[inline(always)]
unsafe fn reduce_sum(x: __m512) -> f32 {
    // SAFETY: the CPU has AVX-512 DQ.
    unsafe {
        let x = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
        let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
    }
}

/// The largest lane, in the same steps.
#[inline(always)]
unsafe fn reduce_max(x: __m512) -> f32 {
    // SAFETY: the CPU has AVX-512 DQ.
    unsafe {
        let x = _mm256_max_ps(_mm512_extractf32x8_ps::<1>(x), _mm512_castps512_ps256(x));
        let x = _mm_max_ps(_mm256_extractf128_ps::<1>(x), _mm256_castps256_ps128(x));
        let x = _mm_max_ps(_mm_movehl_ps(x, x), x);
        _mm_cvtss_f32(_mm_max_ss(_mm_movehdup_ps(x), x))
    }
}
