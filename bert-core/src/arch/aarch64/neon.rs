//! NEON without more: `smull` and `smlal` multiply two quads into i16, `sadalp` adds pairs into i32.
//!
//! The two products that meet in i16 are at most 2 · 128 · 127 < 2¹⁵, since inputs are never −128.

use core::arch::aarch64::*;
use core::mem::MaybeUninit;

use crate::arch::panels::Tile;
use crate::format::{PANEL, QUAD};

/// Bytes of four weights of every channel.
const STEP: usize = PANEL * QUAD;

/// Pairs of channels, which an instruction multiplies.
const PAIRS: usize = PANEL / 2;

pub(super) struct Neon;

impl Tile for Neon {
    // Sixteen registers of sums: a channel has two, of its first and its last two inputs.
    const ROWS: usize = 2;

    #[inline(always)]
    unsafe fn sums<const M: usize>(
        inputs: *const i8,
        stride: usize,
        panel: *const i8,
        quads: usize,
        out: &mut MaybeUninit<[[i32; PANEL]; M]>,
    ) {
        let out = out.write([[0; PANEL]; M]);
        // SAFETY: as the caller says; every aarch64 with floats has NEON.
        unsafe {
            let mut sums = [[vdupq_n_s32(0); PAIRS]; M];
            let mut quad = 0;
            while quad + 2 <= quads {
                let mut a = [[vdup_n_s8(0); 2]; M];
                for m in 0..M {
                    let at = inputs.add(m * stride + quad * QUAD);
                    a[m] = [broadcast(at), broadcast(at.add(QUAD))];
                }
                for c in 0..PAIRS {
                    let at = panel.add(quad * STEP + c * 2 * QUAD);
                    let (first, second) = (vld1_s8(at), vld1_s8(at.add(STEP)));
                    for m in 0..M {
                        let products = vmlal_s8(vmull_s8(first, a[m][0]), second, a[m][1]);
                        sums[m][c] = vpadalq_s16(sums[m][c], products);
                    }
                }
                quad += 2;
            }
            if quad < quads {
                for m in 0..M {
                    let a = broadcast(inputs.add(m * stride + quad * QUAD));
                    for c in 0..PAIRS {
                        let weights = vld1_s8(panel.add(quad * STEP + c * 2 * QUAD));
                        sums[m][c] = vpadalq_s16(sums[m][c], vmull_s8(weights, a));
                    }
                }
            }
            for m in 0..M {
                for g in 0..4 {
                    let folded = vpaddq_s32(sums[m][2 * g], sums[m][2 * g + 1]);
                    vst1q_s32(out[m].as_mut_ptr().add(4 * g), folded);
                }
            }
        }
    }
}

/// Four inputs, twice.
///
/// # Safety
/// Four bytes are readable.
#[inline(always)]
unsafe fn broadcast(inputs: *const i8) -> int8x8_t {
    // SAFETY: as the caller says; the load needs no alignment.
    unsafe { vreinterpret_s8_s32(vdup_n_s32(inputs.cast::<i32>().read_unaligned())) }
}
