//! `smmla`: two rows times two channels times eight inputs.
//!
//! Two quads of four channels are zipped into two registers of two channels with eight inputs each.
//! Eight rows share that work, and half a panel at a time leaves registers for their sums.

use core::arch::aarch64::*;
use core::arch::asm;

use super::dotprod::Dotprod;
use crate::arch::panels::{self, Tile};
use crate::format::{Matrix, PANEL, QUAD};
use crate::ops::{Activations, Weights};

/// Bytes of four weights of every channel.
const STEP: usize = PANEL * QUAD;
/// Most pairs of rows.
const PAIRS: usize = 4;

struct I8mm;

/// Adds the products of two rows and two channels. The intrinsic is not stable.
macro_rules! smmla {
    ($sum:expr, $inputs:expr, $weights:expr) => {
        asm!(
            "smmla {sum:v}.4s, {inputs:v}.16b, {weights:v}.16b",
            sum = inout(vreg) $sum,
            inputs = in(vreg) $inputs,
            weights = in(vreg) $weights,
            options(pure, nomem, nostack, preserves_flags),
        )
    };
}

impl Tile for I8mm {
    const ROWS: usize = 2 * PAIRS;

    #[inline(always)]
    unsafe fn sums<const M: usize>(
        inputs: *const i8,
        stride: usize,
        panel: *const i8,
        quads: usize,
    ) -> [[i32; PANEL]; M] {
        if M == 1 {
            // A second row would be wasted.
            // SAFETY: as the caller says.
            return unsafe { Dotprod::sums::<M>(inputs, stride, panel, quads) };
        }
        // SAFETY: as the caller says.
        unsafe {
            let mut out = [[0; PANEL]; M];
            for half in 0..2 {
                let panel = panel.add(half * STEP / 2);
                let mut sums = [[vdupq_n_s32(0); 4]; PAIRS];
                let mut quad = 0;
                while quad < quads {
                    let last = quad + 1 == quads;
                    let mut weights = [vdupq_n_s32(0); 4];
                    for g in 0..2 {
                        let at = panel.add(quad * STEP + g * 16).cast::<i32>();
                        let first = vld1q_s32(at);
                        let second = if last { vdupq_n_s32(0) } else { vld1q_s32(at.add(PANEL)) };
                        weights[2 * g] = vzip1q_s32(first, second);
                        weights[2 * g + 1] = vzip2q_s32(first, second);
                    }
                    for p in 0..M.div_ceil(2) {
                        // An odd row is its own companion.
                        let second = if 2 * p + 1 < M { 2 * p + 1 } else { 2 * p };
                        let [a, b] = [2 * p, second].map(|m| {
                            let at = inputs.add(m * stride + quad * QUAD);
                            if last {
                                vcreate_s8(at.cast::<u32>().read_unaligned() as u64)
                            } else {
                                vld1_s8(at)
                            }
                        });
                        let a = vcombine_s8(a, b);
                        for c in 0..4 {
                            smmla!(sums[p][c], a, weights[c]);
                        }
                    }
                    quad += 2;
                }
                for m in 0..M {
                    for g in 0..2 {
                        let [a, b] = [sums[m / 2][2 * g], sums[m / 2][2 * g + 1]]
                            .map(|sum| vreinterpretq_s64_s32(sum));
                        let row = if m % 2 == 0 { vzip1q_s64(a, b) } else { vzip2q_s64(a, b) };
                        let to = out[m].as_mut_ptr().add(half * 8 + g * 4);
                        vst1q_s32(to, vreinterpretq_s32_s64(row));
                    }
                }
            }
            out
        }
    }
}

/// As [`crate::ops::gemm`].
///
/// # Safety
/// The CPU has the dot-product and the matrix-product instructions.
#[inline(always)]
pub(super) unsafe fn gemm(a: &Activations<'_>, w: &Weights<'_>, out: &mut [i32]) {
    // SAFETY: as the caller says.
    unsafe { panels::gemm::<I8mm>(a, w, out) }
}

/// As [`crate::ops::linear`].
///
/// # Safety
/// The CPU has the dot-product and the matrix-product instructions.
#[inline(always)]
pub(super) unsafe fn linear(
    q: &Activations<'_>,
    scales: &[f32],
    matrix: &Matrix<'_>,
    out: &mut [f32],
) {
    // SAFETY: as the caller says.
    unsafe { panels::linear::<I8mm>(q, scales, matrix, out) }
}
