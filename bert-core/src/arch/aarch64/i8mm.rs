//! `smmla`: two rows times two channels times eight inputs.
//!
//! Two quads of four channels are zipped into two registers of two channels with eight inputs each.
//! Eight rows share that work, and half a panel at a time leaves registers for their sums.

use core::arch::aarch64::*;
use core::arch::asm;
use core::mem::MaybeUninit;

use super::dotprod::Dotprod;
use crate::arch::panels::Tile;
use crate::format::{PANEL, QUAD};

/// Bytes of four weights of every channel.
const STEP: usize = PANEL * QUAD;
/// Most pairs of rows.
const PAIRS: usize = 4;

pub(super) struct I8mm;

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
        out: &mut MaybeUninit<[[i32; PANEL]; M]>,
    ) {
        if M == 1 {
            // A second row would be wasted.
            // SAFETY: as the caller says.
            return unsafe { Dotprod::sums::<M>(inputs, stride, panel, quads, out) };
        }
        let out = out.write([[0; PANEL]; M]);
        // SAFETY: as the caller says.
        unsafe {
            for half in 0..2 {
                let panel = panel.add(half * STEP / 2);
                let mut sums = [[vdupq_n_s32(0); 4]; PAIRS];
                let mut quad = 0;
                while quad + 2 <= quads {
                    let (inputs, panel) = (inputs.add(quad * QUAD), panel.add(quad * STEP));
                    eight_inputs::<M, true>(&mut sums, inputs, stride, panel);
                    quad += 2;
                }
                if quad < quads {
                    let (inputs, panel) = (inputs.add(quad * QUAD), panel.add(quad * STEP));
                    eight_inputs::<M, false>(&mut sums, inputs, stride, panel);
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
        }
    }
}

/// Adds the products of M rows and eight channels over eight inputs, or, if not `WHOLE`, over four.
///
/// # Safety
/// As of [`Tile::sums`].
#[inline(always)]
unsafe fn eight_inputs<const M: usize, const WHOLE: bool>(
    sums: &mut [[int32x4_t; 4]; PAIRS],
    inputs: *const i8,
    stride: usize,
    panel: *const i8,
) {
    // SAFETY: as the caller says.
    unsafe {
        let mut weights = [vdupq_n_s8(0); 4];
        for g in 0..2 {
            let at = panel.add(g * 16).cast::<i32>();
            let first = vld1q_s32(at);
            let second = if WHOLE { vld1q_s32(at.add(PANEL)) } else { vdupq_n_s32(0) };
            weights[2 * g] = vreinterpretq_s8_s32(vzip1q_s32(first, second));
            weights[2 * g + 1] = vreinterpretq_s8_s32(vzip2q_s32(first, second));
        }
        for p in 0..M.div_ceil(2) {
            // An odd row is its own companion.
            let next = if 2 * p + 1 < M { stride } else { 0 };
            let at = inputs.add(2 * p * stride);
            let pair = if WHOLE {
                let first = vcombine_s64(vld1_s64(at.cast()), vdup_n_s64(0));
                vld1q_lane_s64::<1>(at.add(next).cast(), first)
            } else {
                let four = |at: *const i8| vcreate_s64(at.cast::<u32>().read_unaligned() as u64);
                vcombine_s64(four(at), four(at.add(next)))
            };
            for c in 0..4 {
                smmla!(sums[p][c], vreinterpretq_s8_s64(pair), weights[c]);
            }
        }
    }
}
