//! Helium: `vmladava` adds sixteen products of i8 to a register.
//!
//! Sixteen inputs of a channel are four words of a panel, 64 bytes apart: a gathering load takes them,
//! and steps its own addresses on. Four rows share it. The loop counts quads and leaves out, by
//! predication, those beyond the last, so it reads nothing that is not there.

use core::arch::asm;
use core::hint::black_box;
use core::marker::PhantomData;
use core::mem::MaybeUninit;

#[cfg(cortex_m_fpu)]
use super::dsp;
use crate::arch::panels::Tile;
use crate::format::{PANEL, QUAD};

/// Where the quads of a channel lie. The load steps 256 bytes on before it reads.
static PLACES: [u32; 4] = {
    const STEP: u32 = (PANEL * QUAD) as u32;
    const BACK: u32 = 0u32.wrapping_sub(4 * STEP);
    [BACK, BACK + STEP, BACK + 2 * STEP, BACK + 3 * STEP]
};

/// `Place` as that of [`dsp::Dsp`].
pub struct Helium<Place = ()>(PhantomData<Place>);

/// The sums of a channel and as many rows as there are sets of registers: the sum, which has to be in
/// a register of an even number, the inputs, and where the inputs go.
macro_rules! channel {
    ($weights:expr, $quads:expr, $($sum:ident $even:tt $inputs:tt $vector:tt: $at:expr),*) => {{
        $(let $sum: i32;)*
        asm!(
            "vldrw.u32 q1, [{places}]",
            "vdup.32 q0, {weights}",
            "vadd.i32 q0, q0, q1",
            "wlstp.32 lr, lr, 3f",
            "2:",
            "vldrw.u32 q1, [q0, #256]!",
            $(
                concat!("vldrb.u8 ", $vector, ", [", $inputs, "], #16"),
                concat!("vmladava.s8 ", $even, ", q1, ", $vector),
            )*
            "letp lr, 2b",
            "3:",
            places = in(reg) PLACES.as_ptr(),
            weights = in(reg) $weights,
            inout("lr") $quads => _,
            $(
                inout($even) 0 => $sum,
                inout($inputs) $at => _,
            )*
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            out("d6") _, out("d7") _,
            options(readonly, nostack),
        );
        [$($sum),*]
    }};
}

impl<Place> Tile for Helium<Place> {
    const ROWS: usize = 4;
    // Loads take words at multiples of four.
    const ALIGN: usize = 4;

    #[cfg(cortex_m_fpu)]
    #[inline(always)]
    fn scale(
        out: &mut [f32; PANEL],
        sums: &[i32; PANEL],
        scale: f32,
        scales: &[[u8; 4]; PANEL],
        biases: &[[u8; 4]; PANEL],
    ) {
        dsp::scale::<Place>(out, sums, scale, scales, biases);
    }

    #[inline(always)]
    unsafe fn sums<const M: usize>(
        inputs: *const i8,
        stride: usize,
        panel: *const i8,
        quads: usize,
        out: &mut MaybeUninit<[[i32; PANEL]; M]>,
    ) {
        // SAFETY: as the caller says.
        unsafe { self::sums::<Place, M>(inputs, stride, panel, quads, out.as_mut_ptr().cast()) }
    }
}

/// As [`Tile::sums`]. One function for all who need so many rows: most of the code is this.
///
/// # Safety
/// As there; there is room for the [`PANEL`] sums of M rows.
#[inline(never)]
unsafe fn sums<Place, const M: usize>(
    inputs: *const i8,
    stride: usize,
    panel: *const i8,
    quads: usize,
    out: *mut i32,
) {
    let at = |m: usize| inputs.wrapping_add(m * stride);
    for n in 0..black_box(PANEL) {
        let weights = panel.wrapping_add(n * QUAD);
        let put = |sums: &[i32]| {
            for (row, sum) in sums.iter().enumerate() {
                // SAFETY: there is room.
                unsafe { out.add(row * PANEL + n).write(*sum) };
            }
        };
        // SAFETY: as the caller says; d0 to d7 are q0 to q3.
        unsafe {
            match M {
                1 => put(&channel!(weights, quads, a "r0" "r1" "q2": at(0))),
                2 => put(&channel!(
                    weights,
                    quads,
                    a "r0" "r1" "q2": at(0),
                    b "r2" "r3" "q3": at(1)
                )),
                3 => put(&channel!(
                    weights,
                    quads,
                    a "r0" "r1" "q2": at(0),
                    b "r2" "r3" "q3": at(1),
                    c "r4" "r5" "q2": at(2)
                )),
                _ => put(&channel!(
                    weights,
                    quads,
                    a "r0" "r1" "q2": at(0),
                    b "r2" "r3" "q3": at(1),
                    c "r4" "r5" "q2": at(2),
                    d "r8" "r9" "q3": at(3)
                )),
            }
        }
    }
}
