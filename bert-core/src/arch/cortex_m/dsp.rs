//! Cortex-M DSP: `smlad` adds two products of i16.
//!
//! `sxtb16` widens the bytes 0 and 2 of a word, with a rotation 1 and 3. The inputs of two rows are
//! widened once for all channels of a panel, a piece of the row at a time, into a buffer in the order
//! in which they are used; weights are widened as they are loaded. Two rows times two channels make
//! eight `smlad` of four weights and four inputs, and all that is at work has a register.

use core::arch::asm;
use core::hint::black_box;
use core::marker::PhantomData;
use core::mem::MaybeUninit;

use crate::arch::panels::Tile;
#[cfg(cortex_m_fpu)]
use crate::arch::panels::put_scaled;
use crate::format::{PANEL, QUAD};

/// Bytes of four weights of every channel.
const STEP: usize = PANEL * QUAD;
/// Quads that are widened at a time: a kilobyte of stack.
const PIECE: usize = 64;

/// A quad of each of two rows in i16: bytes 0 and 2 of the first, of the second, then 1 and 3.
type Wide = [u32; 4];

/// `Place` is a type of the crate that compiles it: functions that are not inlined are compiled where that is.
pub struct Dsp<Place = ()>(PhantomData<Place>);

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

impl<Place> Tile for Dsp<Place> {
    const ROWS: usize = 2;
    // Loads take words at multiples of four.
    const ALIGN: usize = 4;

    #[inline(always)]
    unsafe fn sums<const M: usize>(
        inputs: *const i8,
        stride: usize,
        panel: *const i8,
        quads: usize,
        out: &mut MaybeUninit<[[i32; PANEL]; M]>,
    ) {
        if quads == 0 {
            out.write([[0; PANEL]; M]);
            return;
        }
        // A single row is multiplied twice.
        let mut other = MaybeUninit::<[i32; PANEL]>::uninit();
        let sums = out.as_mut_ptr().cast::<i32>();
        let (others, next) = match M {
            2 => (sums.wrapping_add(PANEL), stride),
            _ => (other.as_mut_ptr().cast(), 0),
        };
        let mut first = 0;
        while first < quads {
            let count = if quads - first < PIECE { quads - first } else { PIECE };
            // SAFETY: `count` quads from here on are readable, of both rows and of the panel; there is
            // room for the sums, which the first turn writes.
            unsafe {
                let inputs = inputs.add(first * QUAD);
                let rows = [inputs, inputs.add(next)];
                piece::<Place>(rows, panel.add(first * STEP), count, [sums, others], first > 0);
            }
            first += count;
        }
    }

    #[cfg(cortex_m_fpu)]
    #[inline(always)]
    fn scale(
        out: &mut [f32; PANEL],
        sums: &[i32; PANEL],
        scale: f32,
        scales: &[[u8; 4]; PANEL],
        biases: &[[u8; 4]; PANEL],
    ) {
        self::scale::<Place>(out, sums, scale, scales, biases);
    }
}

/// As [`crate::ops::linear`] of a row and the channels of a panel, with an FPU.
///
/// A number of a file lies anywhere, and these loads take words at multiples of four.
#[cfg(cortex_m_fpu)]
#[allow(clippy::extra_unused_type_parameters, reason = "it says where this is compiled")]
#[inline(never)]
pub(super) fn scale<Place>(
    out: &mut [f32; PANEL],
    sums: &[i32; PANEL],
    scale: f32,
    scales: &[[u8; 4]; PANEL],
    biases: &[[u8; 4]; PANEL],
) {
    let (t, b) = (scales.as_ptr().cast::<f32>(), biases.as_ptr().cast::<f32>());
    if !(t.is_aligned() && b.is_aligned()) {
        return put_scaled(out, sums, scale, scales, biases);
    }
    // SAFETY: reads the numbers of a panel, and writes as many.
    unsafe {
        asm!(
            "vmov s12, {scale}",
            "2:",
            "vldmia {scales}!, {{s4-s7}}",
            "vldmia {sums}!, {{s0-s3}}",
            "vldmia {biases}!, {{s8-s11}}",
            "vmul.f32 s4, s4, s12",
            "vmul.f32 s5, s5, s12",
            "vmul.f32 s6, s6, s12",
            "vmul.f32 s7, s7, s12",
            "vcvt.f32.s32 s0, s0",
            "vcvt.f32.s32 s1, s1",
            "vcvt.f32.s32 s2, s2",
            "vcvt.f32.s32 s3, s3",
            "vmul.f32 s0, s0, s4",
            "vmul.f32 s1, s1, s5",
            "vmul.f32 s2, s2, s6",
            "vmul.f32 s3, s3, s7",
            "vadd.f32 s0, s0, s8",
            "vadd.f32 s1, s1, s9",
            "vadd.f32 s2, s2, s10",
            "vadd.f32 s3, s3, s11",
            "vstmia {out}!, {{s0-s3}}",
            "cmp {out}, {end}",
            "bne 2b",
            scales = inout(reg) t => _,
            biases = inout(reg) b => _,
            sums = inout(reg) sums.as_ptr() => _,
            out = inout(reg) out.as_mut_ptr() => _,
            end = in(reg) out.as_mut_ptr().wrapping_add(PANEL),
            scale = in(reg) scale.to_bits(),
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            out("d6") _,
            options(nostack),
        );
    }
}

/// The products of `count` ≤ [`PIECE`] quads of two rows: adds them to the `sums` of the rows if `adds`, else
/// they are the sums.
///
/// # Safety
/// So many quads of both rows and of the panel are readable; `count` is not 0. There is room for the
/// [`PANEL`] sums of both rows, which were written if `adds`.
#[allow(clippy::extra_unused_type_parameters, reason = "it says where this is compiled")]
#[inline(never)]
unsafe fn piece<Place>(
    [first, second]: [*const i8; 2],
    panel: *const i8,
    count: usize,
    [sums, others]: [*mut i32; 2],
    adds: bool,
) {
    let mut wide = MaybeUninit::<[Wide; PIECE]>::uninit();
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
        // Two copies of this; eight would be a little faster, and a third of the code of all kernels.
        for pair in 0..black_box(PANEL) / 4 {
            for n in [4 * pair, 4 * pair + 2] {
                let offset = n * QUAD;
                let (at, other) = (sums.add(n), others.add(n));
                let [mut s00, mut s01, mut s10, mut s11] = match adds {
                    true => [*at, *at.add(1), *other, *other.add(1)],
                    false => [0; 4],
                };
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
                    s00 = inout(reg) s00,
                    s01 = inout(reg) s01,
                    s10 = inout(reg) s10,
                    s11 = inout(reg) s11,
                    w0 = out(reg) _,
                    w1 = out(reg) _,
                    a0 = out(reg) _,
                    a1 = out(reg) _,
                    t = inout(reg) count % 2 => _,
                    options(readonly, nostack),
                );
                (*at, *at.add(1), *other, *other.add(1)) = (s00, s01, s10, s11);
            }
        }
    }
}
