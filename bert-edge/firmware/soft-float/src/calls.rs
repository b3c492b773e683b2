//! The names by which the compiler calls for floats on RV32. A float is passed as its bits.
#![allow(unsafe_code)]

use crate::SIGN;

// SAFETY: the name and the signature are those of the compiler's own function, which gives way.
#[unsafe(no_mangle)]
extern "C" fn __addsf3(a: u32, b: u32) -> u32 {
    crate::add(a, b)
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn __subsf3(a: u32, b: u32) -> u32 {
    crate::add(a, b ^ SIGN)
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn __mulsf3(a: u32, b: u32) -> u32 {
    crate::multiply(a, b)
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn __floatsisf(x: i32) -> u32 {
    crate::from_i32(x)
}
