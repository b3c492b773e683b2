//! Rows of floats with Helium, where it gives the bits of the definitions.
//!
//! Its float instructions take subnormal numbers for zero, and the compiler is told not to use them.
//! Here they are used where there is no such number, or where it makes no difference: each function
//! says why.

use core::arch::asm;

use crate::format::Activation;
use crate::math::{ERF_CUT, ERF_POLYNOMIAL, ERF_TWO_OVER_CUT_SQUARED};
use crate::ops::{self, GROUP, SMALLEST};

/// As [`ops::quantize_row`].
///
/// A subnormal value of a row that is not all zeros is rounded to 0 either way: it is at most 2⁻¹²⁶, and
/// what it is multiplied with at most 127 / [`SMALLEST`].
#[inline(always)]
pub fn quantize_row(x: &[f32], q: &mut [i8]) -> f32 {
    let largest = f32::from_bits(largest_magnitude(x));
    // A row with a NaN, or of zeros.
    if !(SMALLEST..=f32::MAX).contains(&largest) {
        return ops::quantize_row(x, q);
    }
    let inverse = 127.0 / largest;
    let (q, rest) = q.split_at_mut(x.len());
    // A call for nothing is most of the time of a short row.
    if !rest.is_empty() {
        rest.fill(0);
    }
    // SAFETY: reads the values of `x` and writes as many to `q`; d0 and d1 are q0.
    unsafe {
        asm!(
            ".arch_extension mve.fp",
            "wlstp.32 lr, lr, 3f",
            "2:",
            "vldrw.u32 q0, [{x}], #16",
            "vmul.f32 q0, q0, {inverse}",
            "vcvtn.s32.f32 q0, q0",
            "vstrb.32 q0, [{q}], #4",
            "letp lr, 2b",
            "3:",
            x = inout(reg) x.as_ptr() => _,
            q = inout(reg) q.as_mut_ptr() => _,
            inverse = in(reg) inverse.to_bits(),
            inout("lr") x.len() => _,
            out("d0") _, out("d1") _,
            options(nostack),
        );
    }
    largest / 127.0
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
fn largest_magnitude(x: &[f32]) -> u32 {
    let mut largest = 0;
    // SAFETY: reads the values of `x`; d0 and d1 are q0.
    unsafe {
        asm!(
            "wlstp.32 lr, lr, 3f",
            "2:",
            "vldrw.u32 q0, [{x}], #16",
            "vbic.i32 q0, #0x80000000",
            "vmaxv.u32 {largest}, q0",
            "letp lr, 2b",
            "3:",
            x = inout(reg) x.as_ptr() => _,
            largest = inout(reg) largest,
            inout("lr") x.len() => _,
            out("d0") _, out("d1") _,
            options(readonly, nostack),
        );
    }
    largest
}

/// Values of a turn of the loop.
const STEP: usize = 8;

/// As [`ops::activate`].
///
/// Of a value of magnitude 2⁻⁶⁰ to 2⁶⁰ no intermediate result is subnormal: w is 0 or at least 2⁻²⁵, as a
/// difference from 1, and a sum of the polynomial is 0 or no less than its last bit. Other rows take the
/// definition.
#[inline(always)]
pub fn activate(x: &mut [f32], activation: Activation) {
    let (steps, rest) = x.as_chunks_mut::<STEP>();
    let least = f32::from_bits(67 << 23).to_bits();
    let most = f32::from_bits(187 << 23).to_bits();
    if activation != Activation::Gelu || steps.is_empty() {
        return ops::activate(x, activation);
    }
    let (smallest, largest) = magnitudes(steps);
    if smallest < least || largest > most {
        return ops::activate(x, activation);
    }
    gelu(steps);
    ops::activate(rest, activation);
}

/// The smallest and the largest of the bits of |xᵢ|.
#[inline(always)]
fn magnitudes(x: &[[f32; STEP]]) -> (u32, u32) {
    let (mut smallest, mut largest) = (u32::MAX, 0);
    // SAFETY: reads the values of `x`, of which there are some; d0 and d1 are q0.
    unsafe {
        asm!(
            "dls lr, lr",
            "2:",
            "vldrw.u32 q0, [{x}], #16",
            "vbic.i32 q0, #0x80000000",
            "vminv.u32 {smallest}, q0",
            "vmaxv.u32 {largest}, q0",
            "le lr, 2b",
            x = inout(reg) x.as_ptr() => _,
            smallest = inout(reg) smallest,
            largest = inout(reg) largest,
            inout("lr") x.len() * STEP / 4 => _,
            out("d0") _, out("d1") _,
            options(readonly, nostack),
        );
    }
    (smallest, largest)
}

/// The constants in the order of their use.
static CONSTANTS: [f32; 19] = {
    let mut constants = [0.0; 19];
    constants[0] = ERF_TWO_OVER_CUT_SQUARED;
    constants[1] = -1.0;
    let mut i = 0;
    while i < ERF_POLYNOMIAL.len() {
        constants[2 + i] = ERF_POLYNOMIAL[ERF_POLYNOMIAL.len() - 1 - i];
        i += 1;
    }
    constants[15] = 1.0;
    constants[16] = 0.5;
    constants[17] = ERF_CUT;
    constants[18] = -ERF_CUT;
    constants
};

/// p ← p · w + the constant at an offset, in both halves.
macro_rules! horner {
    ($offset:literal) => {
        concat!(
            "ldr {c}, [{constants}, #",
            $offset,
            "]\n",
            "vmul.f32 q2, q2, q0\n",
            "vmul.f32 q3, q3, q1\n",
            "vadd.f32 q2, q2, {c}\n",
            "vadd.f32 q3, q3, {c}",
        )
    };
}

/// ½ x (1 + erf(x / √2)), operation by operation as the definition.
#[inline(always)]
fn gelu(x: &mut [[f32; STEP]]) {
    // SAFETY: reads and writes the values of `x`, of which there are some; d0 to d15 are q0 to q7.
    unsafe {
        asm!(
            ".arch_extension mve.fp",
            "ldr {c}, [{constants}, #68]",
            "vdup.32 q6, {c}",
            "ldr {c}, [{constants}, #72]",
            "vdup.32 q7, {c}",
            "dls lr, lr",
            "2:",
            "vldrw.u32 q4, [{x}]",
            "vldrw.u32 q5, [{x}, #16]",
            "vminnm.f32 q4, q4, q6",
            "vminnm.f32 q5, q5, q6",
            "vmaxnm.f32 q4, q4, q7",
            "vmaxnm.f32 q5, q5, q7",
            "ldr {c}, [{constants}]",
            "vmul.f32 q0, q4, q4",
            "vmul.f32 q1, q5, q5",
            "vmul.f32 q0, q0, {c}",
            "vmul.f32 q1, q1, {c}",
            "ldr {c}, [{constants}, #4]",
            "vadd.f32 q0, q0, {c}",
            "vadd.f32 q1, q1, {c}",
            "ldr {c}, [{constants}, #8]",
            "vmul.f32 q2, q0, {c}",
            "vmul.f32 q3, q1, {c}",
            "ldr {c}, [{constants}, #12]",
            "vadd.f32 q2, q2, {c}",
            "vadd.f32 q3, q3, {c}",
            horner!(16), horner!(20), horner!(24), horner!(28), horner!(32), horner!(36),
            horner!(40), horner!(44), horner!(48), horner!(52), horner!(56),
            "vmul.f32 q2, q2, q4",
            "vmul.f32 q3, q3, q5",
            "vldrw.u32 q4, [{x}]",
            "vldrw.u32 q5, [{x}, #16]",
            "ldr {c}, [{constants}, #60]",
            "vadd.f32 q2, q2, {c}",
            "vadd.f32 q3, q3, {c}",
            "ldr {c}, [{constants}, #64]",
            "vmul.f32 q4, q4, {c}",
            "vmul.f32 q5, q5, {c}",
            "vmul.f32 q4, q4, q2",
            "vmul.f32 q5, q5, q3",
            "vstrw.32 q4, [{x}], #16",
            "vstrw.32 q5, [{x}], #16",
            "le lr, 2b",
            x = inout(reg) x.as_mut_ptr() => _,
            constants = in(reg) CONSTANTS.as_ptr(),
            c = out(reg) _,
            inout("lr") x.len() => _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _, out("d4") _, out("d5") _,
            out("d6") _, out("d7") _, out("d8") _, out("d9") _, out("d10") _, out("d11") _,
            out("d12") _, out("d13") _, out("d14") _, out("d15") _,
            options(nostack),
        );
    }
}
