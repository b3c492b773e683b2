//! The conversion to bfloat16 for processors that have no instruction for it.
//!
//! What LLVM compiles for them calls a function of the compiler's library, `__truncsfbf2`, which GCC has
//! since version 13. The CPU runtime looks for it among what the program exports, so that is where it is:
//! `build.rs` of each package with programs or tests has the linker export it.

/// `x` rounded to the nearest bfloat16, ties to even, in the lower half of the result: both are in the
/// first vector register, where the caller looks for 16 bits.
///
/// The name is the platform's, and nothing else in a program has it: a library's copy is not taken then.
#[unsafe(no_mangle)]
#[allow(unsafe_code)]
pub extern "C" fn __truncsfbf2(x: f32) -> f32 {
    f32::from_bits(u32::from(half::bf16::from_f32(x).to_bits()))
}

/// Lets no linker leave the function out.
pub(crate) fn keep() {
    std::hint::black_box(__truncsfbf2 as extern "C" fn(f32) -> f32);
}
