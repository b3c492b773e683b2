//! WebAssembly with 128-bit vectors: `i32x4.dot_i16x8_s` on values widened to i16.
//!
//! Not the relaxed dot product of i8: its result is the engine's choice where inputs are negative.

use core::arch::wasm32::*;
use core::mem::MaybeUninit;

use super::Kernels;
use super::kernels::table;
use super::panels::{self, Tile};
use crate::format::{PANEL, QUAD};

table! {
    /// Four pairs of products in one instruction.
    pub(super) static SIMD128 = "simd128" {
        attributes: [target_feature(enable = "simd128")],
        gemm: panels::gemm::<Simd128>,
        linear: panels::linear::<Simd128>,
    }
}

/// All tables of this file.
const TABLES: [&Kernels; 1] = [&SIMD128];

/// The tables that this machine runs: a module with vectors loads nowhere else.
pub(super) fn available() -> impl Iterator<Item = &'static Kernels> {
    TABLES.into_iter()
}

/// Bytes of four weights of every channel.
const STEP: usize = PANEL * QUAD;
/// Registers of half a panel: each has two sums of two channels, of two inputs each.
const PAIRS: usize = PANEL / 4;

struct Simd128;

impl Tile for Simd128 {
    // Half a panel at a time; engines on x86-64 have sixteen registers.
    const ROWS: usize = 3;

    #[inline(always)]
    unsafe fn sums<const M: usize>(
        inputs: *const i8,
        stride: usize,
        panel: *const i8,
        quads: usize,
        out: &mut MaybeUninit<[[i32; PANEL]; M]>,
    ) {
        let out = out.write([[0; PANEL]; M]);
        for half in 0..2 {
            let mut sums = [[i32x4_splat(0); PAIRS]; M];
            for quad in 0..quads {
                // SAFETY: four inputs of each row and four weights of each channel are readable;
                // loads need no alignment.
                unsafe {
                    let mut a = [i32x4_splat(0); M];
                    for m in 0..M {
                        let at = inputs.add(m * stride + quad * QUAD);
                        a[m] = i16x8_extend_low_i8x16(v128_load32_splat(at.cast()));
                    }
                    let panel = panel.add(quad * STEP + half * STEP / 2);
                    for c in 0..PAIRS {
                        let weights = i16x8_load_extend_i8x8(panel.add(c * 2 * QUAD));
                        for m in 0..M {
                            sums[m][c] = i32x4_add(sums[m][c], i32x4_dot_i16x8(weights, a[m]));
                        }
                    }
                }
            }
            for m in 0..M {
                for g in 0..PAIRS / 2 {
                    let (a, b) = (sums[m][2 * g], sums[m][2 * g + 1]);
                    let first = i32x4_shuffle::<0, 2, 4, 6>(a, b);
                    let folded = i32x4_add(first, i32x4_shuffle::<1, 3, 5, 7>(a, b));
                    let to = &mut out[m][half * 8 + g * 4..half * 8 + g * 4 + 4];
                    // SAFETY: there is room for four sums.
                    unsafe { v128_store(to.as_mut_ptr().cast(), folded) };
                }
            }
        }
    }
}
