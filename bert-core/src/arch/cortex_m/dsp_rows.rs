//! Rows of floats with the FPU and the integers of a Cortex-M4, where they give the bits of the
//! definitions in half the instructions.

use core::arch::asm;

use crate::ops::{self, GROUP, SMALLEST};

/// Values of a turn of the loops.
const STEP: usize = 4;

/// As [`ops::quantize_row`].
#[inline(always)]
pub fn quantize_row(x: &[f32], q: &mut [i8]) -> f32 {
    let (steps, rest) = x.as_chunks::<STEP>();
    let (values, padding) = q.split_at_mut(x.len());
    let (bytes, _) = values.as_chunks_mut::<STEP>();
    let largest = f32::from_bits(largest_magnitude(steps));
    // A row with a NaN, of zeros, or whose end is not four values.
    if !(SMALLEST..=f32::MAX).contains(&largest) || !rest.is_empty() {
        return any_row(x, q);
    }
    // A call for nothing is most of the time of a short row.
    if !padding.is_empty() {
        padding.fill(0);
    }
    round(steps, 127.0 / largest, bytes);
    largest / 127.0
}

/// The definition. Apart, because there are few.
#[cold]
#[inline(never)]
fn any_row(x: &[f32], q: &mut [i8]) -> f32 {
    ops::quantize_row(x, q)
}

/// As [`ops::store_row`].
#[inline(always)]
pub fn store_row(x: &[f32], q: &mut [i8], scales: &mut [f32]) {
    let groups = x.chunks(GROUP).zip(q.chunks_mut(GROUP));
    for ((x, q), scale) in groups.zip(scales) {
        *scale = quantize_row(x, q);
    }
}

/// The largest of the bits of |xᵢ|, which have the order of the numbers; those of a NaN are larger.
#[inline(always)]
fn largest_magnitude(x: &[[f32; STEP]]) -> u32 {
    if x.is_empty() {
        return 0;
    }
    // Without the sign, twice as large.
    let mut largest = 0;
    // SAFETY: reads the values of `x`, of which there are some.
    unsafe {
        asm!(
            "2:",
            "ldrd {a}, {b}, [{x}], #8",
            "ldrd {c}, {d}, [{x}], #8",
            "cmp {largest}, {a}, lsl #1",
            "it lo",
            "lsllo {largest}, {a}, #1",
            "cmp {largest}, {b}, lsl #1",
            "it lo",
            "lsllo {largest}, {b}, #1",
            "cmp {largest}, {c}, lsl #1",
            "it lo",
            "lsllo {largest}, {c}, #1",
            "cmp {largest}, {d}, lsl #1",
            "it lo",
            "lsllo {largest}, {d}, #1",
            "cmp {x}, {end}",
            "bne 2b",
            x = inout(reg) x.as_ptr() => _,
            end = in(reg) x.as_ptr_range().end,
            largest = inout(reg) largest,
            a = out(reg) _,
            b = out(reg) _,
            c = out(reg) _,
            d = out(reg) _,
            options(readonly, nostack),
        );
    }
    largest >> 1
}

/// The products with `by` as the nearest integers, ties to even, of magnitude at most 127. What
/// [`crate::math`] adds to round leaves them in the lowest byte.
#[inline(always)]
fn round(x: &[[f32; STEP]], by: f32, q: &mut [[i8; STEP]]) {
    if x.is_empty() || x.len() != q.len() {
        return;
    }
    // SAFETY: reads the values of `x`, of which there are some, and writes as many; d0 to d2 are s0 to s5.
    unsafe {
        asm!(
            "vmov s4, {by}",
            "vmov s5, {half}",
            "2:",
            "vldmia {x}!, {{s0-s3}}",
            "vmul.f32 s0, s0, s4",
            "vmul.f32 s1, s1, s4",
            "vmul.f32 s2, s2, s4",
            "vmul.f32 s3, s3, s4",
            "vadd.f32 s0, s0, s5",
            "vadd.f32 s1, s1, s5",
            "vadd.f32 s2, s2, s5",
            "vadd.f32 s3, s3, s5",
            "vmov {by}, {half}, s0, s1",
            "strb {by}, [{q}], #1",
            "strb {half}, [{q}], #1",
            "vmov {by}, {half}, s2, s3",
            "strb {by}, [{q}], #1",
            "strb {half}, [{q}], #1",
            "cmp {x}, {end}",
            "bne 2b",
            x = inout(reg) x.as_ptr() => _,
            end = in(reg) x.as_ptr_range().end,
            q = inout(reg) q.as_mut_ptr() => _,
            by = inout(reg) by.to_bits() => _,
            half = inout(reg) crate::math::ROUND.to_bits() => _,
            out("d0") _, out("d1") _, out("d2") _,
            options(nostack),
        );
    }
}
