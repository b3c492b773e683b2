//! Functions that the counter of instructions watches for.
#![allow(unsafe_code)]

use core::hint::black_box;

/// What to call before and after the work whose instructions are to be counted, see `insncount.c`.
pub const MARKS: (fn(), fn()) = (|| measure_begin(), || measure_end());

// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn measure_begin() {
    black_box("begin");
}

/// The bodies differ, so that the two functions are not made one.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn measure_end() {
    black_box("end");
}
