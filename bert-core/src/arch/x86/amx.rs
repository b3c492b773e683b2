//! AMX: `tdpbssd`, sixteen rows times sixteen channels times 64 inputs in one instruction.
//!
//! A panel is what a tile of weights has to be: sixteen lines of 64 bytes, each four inputs of sixteen
//! channels. Rust has no stable intrinsics for tiles yet, so the loop over the inputs is assembly; the
//! compiler itself never uses a tile. Few rows, and depths that are neither below 64 nor a multiple
//! of it, go to the AVX-512 kernel.
//!
//! A process asks the system once for the use of tiles, see [`permitted`].

use core::arch::asm;
use core::mem::MaybeUninit;

use super::avx512::Zmm;
use super::blocks::{self, Exact, Scaled, Sink};
use crate::format::{Int8Matrix, Layout, PANEL, QUAD};
use crate::ops::{Activations, Weights};

/// Rows of a tile, and bytes of one of its lines.
const TILE_ROWS: usize = 16;
const LINE: usize = 64;
/// Below this many rows the tiles are too empty to pay.
const FEWEST_ROWS: usize = 5;

/// As [`crate::ops::gemm`].
///
/// # Safety
/// The CPU has AVX-512 F, BW, VNNI and AMX INT8, and the process may use tiles.
#[inline(always)]
pub(super) unsafe fn gemm(a: &Activations<'_>, w: &Weights<'_>, out: &mut [i32]) {
    // SAFETY: as the caller says.
    unsafe {
        if !suits(a, w) {
            return blocks::gemm::<Zmm>(a, w, out);
        }
        let width = w.channels.next_multiple_of(PANEL);
        assert!(out.len() >= a.rows() * width, "room for the sums");
        tiles(a, w, &Exact { out: out.as_mut_ptr(), width });
    }
}

/// As [`crate::ops::linear`].
///
/// # Safety
/// As [`gemm`].
#[inline(always)]
pub(super) unsafe fn linear(
    q: &Activations<'_>,
    scales: &[f32],
    matrix: &Int8Matrix<'_>,
    out: &mut [f32],
) {
    // SAFETY: as the caller says.
    unsafe {
        if !suits(q, &matrix.operand()) {
            return blocks::linear::<Zmm>(q, scales, matrix, out);
        }
        tiles(q, &matrix.operand(), &Scaled::new(q, scales, matrix, out));
    }
}

fn suits(a: &Activations<'_>, w: &Weights<'_>) -> bool {
    let depth = w.depth.next_multiple_of(QUAD);
    a.rows() >= FEWEST_ROWS
        && w.layout == Layout::Panels
        && depth > 0
        && (depth <= LINE || depth.is_multiple_of(LINE))
}

/// Shape of the eight tiles. Source: Intel SDM, volume 1, 18.3.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    line_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Sums 0 … 3, inputs 4 and 5, weights 6 and 7, or inputs 4 and weights 5 … 7 for up to 16 rows.
impl Shapes {
    fn new(rows: [usize; 2], depth: usize) -> Self {
        let line = if depth < LINE { depth } else { LINE };
        let [first, second] = rows.map(|rows| rows as u8);
        let (inputs, quads) = (line as u16, (line / QUAD) as u8);
        let mut shapes = Shapes {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            line_bytes: [0; 16],
            rows: [0; 16],
        };
        let sum = LINE as u16;
        let all = match second {
            // One tile of rows, four panels: no second tile of inputs.
            0 => [(sum, first); 4].into_iter().chain([(inputs, first)]).chain([(sum, quads); 3]),
            _ => [(sum, first), (sum, first), (sum, second), (sum, second)]
                .into_iter()
                .chain([(inputs, first)])
                .chain([(inputs, second), (sum, quads), (sum, quads)]),
        };
        for (i, (bytes, rows)) in all.enumerate() {
            (shapes.line_bytes[i], shapes.rows[i]) = (bytes, rows);
        }
        shapes
    }
}

/// Sums of a block on their way from the tiles to the sink.
#[repr(C, align(64))]
struct Sums([i32; 4 * TILE_ROWS * PANEL]);

/// # Safety
/// As [`gemm`]; the sink has room for every row and channel.
#[inline(always)]
unsafe fn tiles(a: &Activations<'_>, w: &Weights<'_>, sink: &impl Sink) {
    let depth = w.depth.next_multiple_of(QUAD);
    let panels = w.channels.div_ceil(PANEL);
    assert!(w.values.len() >= panels * depth * PANEL && a.stride >= depth, "whole panels and rows");
    let steps = depth.div_ceil(LINE);
    // Every tile that is read was stored before.
    let mut sums = MaybeUninit::<Sums>::uninit();
    let sums: *mut i32 = sums.as_mut_ptr().cast();
    let mut shape = [0; 2];
    let rows = a.rows();
    let mut row = 0;
    while row < rows {
        let left = rows - row;
        let count = if left < 2 * TILE_ROWS { left } else { 2 * TILE_ROWS };
        let first = if count < TILE_ROWS { count } else { TILE_ROWS };
        let here = [first, count - first];
        if here != shape {
            shape = here;
            let shapes = Shapes::new(here, depth);
            // SAFETY: the 64 bytes describe tiles that the CPU has.
            unsafe {
                asm!("ldtilecfg [{}]", in(reg) &shapes, options(nostack, preserves_flags, readonly));
            }
        }
        let wide = if here[1] == 0 { 4 } else { 2 };
        let inputs = a.values.as_ptr().wrapping_add(row * a.stride);
        let mut panel = 0;
        while panel < panels {
            // Panels beyond the last are the last again, and their sums are left where they are.
            let weights = |i: usize| {
                let i = if panel + i < panels { panel + i } else { panels - 1 };
                w.values.as_ptr().wrapping_add(i * depth * PANEL)
            };
            // SAFETY: the tiles cover `here` rows from `row` on and the panels above over all of the
            // depth, which lie in `a` and `w`; `sums` has room for four tiles.
            unsafe {
                if wide == 4 {
                    asm!(
                        "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                        "2:",
                        "tileloadd tmm4, [{a} + {stride}]",
                        "tileloadd tmm5, [{w0} + {line}]",
                        "tileloadd tmm6, [{w1} + {line}]",
                        "tileloadd tmm7, [{w2} + {line}]",
                        "tdpbssd tmm0, tmm4, tmm5",
                        "tileloadd tmm5, [{w3} + {line}]",
                        "tdpbssd tmm1, tmm4, tmm6",
                        "tdpbssd tmm2, tmm4, tmm7",
                        "tdpbssd tmm3, tmm4, tmm5",
                        "add {a}, 64",
                        "add {w0}, 1024", "add {w1}, 1024", "add {w2}, 1024", "add {w3}, 1024",
                        "dec {steps}", "jnz 2b",
                        "tilestored [{sums} + {line}], tmm0",
                        "tilestored [{sums} + {line} + 1024], tmm1",
                        "tilestored [{sums} + {line} + 2048], tmm2",
                        "tilestored [{sums} + {line} + 3072], tmm3",
                        a = inout(reg) inputs => _, stride = in(reg) a.stride,
                        w0 = inout(reg) weights(0) => _, w1 = inout(reg) weights(1) => _,
                        w2 = inout(reg) weights(2) => _, w3 = inout(reg) weights(3) => _,
                        line = in(reg) LINE, steps = inout(reg) steps => _,
                        sums = in(reg) sums,
                        options(nostack),
                    );
                } else {
                    asm!(
                        "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                        "2:",
                        "tileloadd tmm4, [{a0} + {stride}]",
                        "tileloadd tmm6, [{w0} + {line}]",
                        "tileloadd tmm7, [{w1} + {line}]",
                        "tileloadd tmm5, [{a1} + {stride}]",
                        "tdpbssd tmm0, tmm4, tmm6",
                        "tdpbssd tmm1, tmm4, tmm7",
                        "tdpbssd tmm2, tmm5, tmm6",
                        "tdpbssd tmm3, tmm5, tmm7",
                        "add {a0}, 64", "add {a1}, 64", "add {w0}, 1024", "add {w1}, 1024",
                        "dec {steps}", "jnz 2b",
                        "tilestored [{sums} + {line}], tmm0",
                        "tilestored [{sums} + {line} + 1024], tmm1",
                        "tilestored [{sums} + {line} + 2048], tmm2",
                        "tilestored [{sums} + {line} + 3072], tmm3",
                        a0 = inout(reg) inputs => _,
                        a1 = inout(reg) inputs.wrapping_add(TILE_ROWS * a.stride) => _,
                        stride = in(reg) a.stride,
                        w0 = inout(reg) weights(0) => _, w1 = inout(reg) weights(1) => _,
                        line = in(reg) LINE, steps = inout(reg) steps => _,
                        sums = in(reg) sums,
                        options(nostack),
                    );
                }
                let here = if wide < panels - panel { wide } else { panels - panel };
                for p in 0..here {
                    let n = (panel + p) * PANEL;
                    sink.put_lines::<Zmm>(row, n, sums.add(p * TILE_ROWS * PANEL), first);
                    if count > first {
                        // The second tile of rows has its two panels behind those of the first.
                        let lines = sums.add((2 + p) * TILE_ROWS * PANEL);
                        sink.put_lines::<Zmm>(row + first, n, lines, count - first);
                    }
                }
            }
            panel += wide;
        }
        row += count;
    }
    // SAFETY: nothing is left in the tiles that anyone needs; empty ones are not saved at a switch.
    unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
}

/// Whether this process may use tiles, which have to be asked for: `arch_prctl` of Linux.
#[cfg(all(feature = "std", target_os = "linux"))]
pub(super) fn permitted() -> bool {
    const ARCH_PRCTL: usize = 158;
    const REQUEST_PERMISSION: usize = 0x1023;
    const TILE_DATA: usize = 18;
    let result: isize;
    // SAFETY: the call reads and writes no memory of ours; `syscall` overwrites rcx and r11.
    unsafe {
        asm!(
            "syscall",
            inout("rax") ARCH_PRCTL => result,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(all(feature = "std", target_os = "linux")))]
pub(super) fn permitted() -> bool {
    false
}
