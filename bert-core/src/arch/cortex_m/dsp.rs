//! Cortex-M DSP: `smlad` adds two products of i16.
//!
//! `sxtb16` widens the bytes 0 and 2 of a word, with a rotation 1 and 3. The inputs of two rows are
//! widened once for all channels of a panel, a piece of the row at a time, into a buffer in the order
//! in which they are used; weights are widened as they are loaded. Two rows times two channels make
//! eight `smlad` of four weights and four inputs, and all that is at work has a register.

use core::arch::asm;

use crate::arch::panels::Tile;
use crate::format::{PANEL, QUAD};

/// Bytes of four weights of every channel.
const STEP: usize = PANEL * QUAD;
/// Quads that are widened at a time: a kilobyte of stack.
const PIECE: usize = 64;

/// A quad of each of two rows in i16: bytes 0 and 2 of the first, of the second, then 1 and 3.
type Wide = [u32; 4];

pub(super) struct Dsp;

/// Four weights of two channels, four inputs of two rows.
macro_rules! quad {
    () => {
        concat!(
            "ldrd {w0}, {w1}, [{panel}], #64\n",
            "ldrd {a0}, {a1}, [{wide}], #8\n",
            "sxtb16 {t}, {w0}\n",
            "smlad {s00}, {t}, {a0}, {s00}\n",
            "smlad {s10}, {t}, {a1}, {s10}\n",
            "sxtb16 {t}, {w1}\n",
            "smlad {s01}, {t}, {a0}, {s01}\n",
            "smlad {s11}, {t}, {a1}, {s11}\n",
            "ldrd {a0}, {a1}, [{wide}], #8\n",
            "sxtb16 {t}, {w0}, ror #8\n",
            "smlad {s00}, {t}, {a0}, {s00}\n",
            "smlad {s10}, {t}, {a1}, {s10}\n",
            "sxtb16 {t}, {w1}, ror #8\n",
            "smlad {s01}, {t}, {a0}, {s01}\n",
            "smlad {s11}, {t}, {a1}, {s11}",
        )
    };
}

/// A quad of two rows, written wide.
macro_rules! widened {
    () => {
        concat!(
            "ldr {a0}, [{a}], #4\n",
            "ldr {b0}, [{b}], #4\n",
            "sxtb16 {t}, {a0}\n",
            "sxtb16 {u}, {b0}\n",
            "strd {t}, {u}, [{wide}], #8\n",
            "sxtb16 {a0}, {a0}, ror #8\n",
            "sxtb16 {b0}, {b0}, ror #8\n",
            "strd {a0}, {b0}, [{wide}], #8",
        )
    };
}

impl Tile for Dsp {
    const ROWS: usize = 2;
    // Loads take words at multiples of four.
    const ALIGN: usize = 4;

    #[inline(always)]
    unsafe fn sums<const M: usize>(
        inputs: *const i8,
        stride: usize,
        panel: *const i8,
        quads: usize,
        out: &mut [[i32; PANEL]; M],
    ) {
        // A single row is multiplied twice.
        let (mut other, next) = ([0; PANEL], if M == 2 { stride } else { 0 });
        let [sums, rest @ ..] = &mut out[..] else { return };
        let others = rest.first_mut().unwrap_or(&mut other);
        (*sums, *others) = ([0; PANEL], [0; PANEL]);
        let mut first = 0;
        while first < quads {
            let count = if quads - first < PIECE { quads - first } else { PIECE };
            // SAFETY: `count` quads from here on are readable, of both rows and of the panel.
            unsafe {
                let inputs = inputs.add(first * QUAD);
                piece(inputs, inputs.add(next), panel.add(first * STEP), count, sums, others);
            }
            first += count;
        }
    }
}

/// Adds the products of `count` ≤ [`PIECE`] quads of two rows to the `sums` of the first and the `others`
/// of the second.
///
/// # Safety
/// So many quads of both rows and of the panel are readable; `count` is not 0.
#[inline(never)]
unsafe fn piece(
    first: *const i8,
    second: *const i8,
    panel: *const i8,
    count: usize,
    sums: &mut [i32; PANEL],
    others: &mut [i32; PANEL],
) {
    let mut wide = core::mem::MaybeUninit::<[Wide; PIECE]>::uninit();
    let wide = wide.as_mut_ptr().cast::<Wide>();
    // SAFETY: as the caller says; `count` elements of the buffer are written, then read.
    unsafe {
        asm!(
            // Two quads a turn; of an odd count the first turn is half.
            "cmp {t}, #0",
            "bne 3f",
            "2:",
            widened!(),
            "3:",
            widened!(),
            "cmp {a}, {end}",
            "bne 2b",
            a = inout(reg) first => _,
            b = inout(reg) second => _,
            end = in(reg) first.add(count * QUAD),
            wide = inout(reg) wide => _,
            a0 = out(reg) _,
            b0 = out(reg) _,
            t = inout(reg) count % 2 => _,
            u = out(reg) _,
            options(nostack),
        );
        let end = panel.add(count * STEP);
        let pairs = sums.as_chunks_mut::<2>().0.iter_mut().zip(others.as_chunks_mut::<2>().0);
        for (n, ([s00, s01], [s10, s11])) in pairs.enumerate() {
            let offset = n * 2 * QUAD;
            asm!(
                // Two quads a turn; of an odd count the first turn is half.
                "cmp {t}, #0",
                "bne 3f",
                "2:",
                quad!(),
                "3:",
                quad!(),
                "cmp {panel}, {end}",
                "bne 2b",
                panel = inout(reg) panel.add(offset) => _,
                wide = inout(reg) wide => _,
                end = in(reg) end.add(offset),
                s00 = inout(reg) *s00,
                s01 = inout(reg) *s01,
                s10 = inout(reg) *s10,
                s11 = inout(reg) *s11,
                w0 = out(reg) _,
                w1 = out(reg) _,
                a0 = out(reg) _,
                a1 = out(reg) _,
                t = inout(reg) count % 2 => _,
                options(readonly, nostack),
            );
        }
    }
}
