//! `sdot` by element: four channels times four inputs, which all channels share.
//!
//! A register of a row holds four quads, each of which an instruction names by its place, so an
//! input is loaded once for all sixteen channels.

use core::arch::aarch64::*;
use core::arch::asm;
use core::mem::MaybeUninit;

use crate::arch::panels::Tile;
use crate::format::{PANEL, QUAD};

/// Bytes of four weights of every channel.
const STEP: usize = PANEL * QUAD;

pub(super) struct Dotprod;

/// Adds the products of sixteen weights with the quad `$quad` of a register of inputs. The intrinsic
/// is not stable.
macro_rules! sdot {
    ($sum:expr, $weights:expr, $inputs:expr, $quad:literal) => {
        asm!(
            concat!("sdot {sum:v}.4s, {weights:v}.16b, {inputs:v}.4b[", $quad, "]"),
            sum = inout(vreg) $sum,
            weights = in(vreg) $weights,
            inputs = in(vreg) $inputs,
            options(pure, nomem, nostack, preserves_flags),
        )
    };
}

/// One quad of all rows and channels.
macro_rules! quad {
    ($sums:ident, $panel:expr, $inputs:ident, $quad:literal) => {
        for g in 0..4 {
            let weights = vld1q_s8($panel.add($quad * STEP + g * 16));
            for m in 0..M {
                sdot!($sums[m][g], weights, $inputs[m], $quad);
            }
        }
    };
}

impl Tile for Dotprod {
    // Sixteen registers of sums, four of inputs; more rows would leave none for weights to come.
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn sums<const M: usize>(
        inputs: *const i8,
        stride: usize,
        panel: *const i8,
        quads: usize,
        out: &mut MaybeUninit<[[i32; PANEL]; M]>,
    ) {
        let out = out.write([[0; PANEL]; M]);
        // SAFETY: as the caller says.
        unsafe {
            let mut sums = [[vdupq_n_s32(0); 4]; M];
            let mut quad = 0;
            while quad + 4 <= quads {
                let mut a = [vdupq_n_s8(0); M];
                for m in 0..M {
                    a[m] = vld1q_s8(inputs.add(m * stride + quad * QUAD));
                }
                let panel = panel.add(quad * STEP);
                quad!(sums, panel, a, 0);
                quad!(sums, panel, a, 1);
                quad!(sums, panel, a, 2);
                quad!(sums, panel, a, 3);
                quad += 4;
            }
            while quad < quads {
                let mut a = [vdupq_n_s8(0); M];
                for m in 0..M {
                    let at = inputs.add(m * stride + quad * QUAD).cast::<i32>();
                    a[m] = vreinterpretq_s8_s32(vdupq_n_s32(at.read_unaligned()));
                }
                let panel = panel.add(quad * STEP);
                quad!(sums, panel, a, 0);
                quad += 1;
            }
            for m in 0..M {
                for g in 0..4 {
                    vst1q_s32(out[m].as_mut_ptr().add(4 * g), sums[m][g]);
                }
            }
        }
    }
}
