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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_to_the_nearest_with_ties_to_even() {
        // A tie goes to the even neighbour; one bit more or less decides.
        let cases = [
            (0x3F80_8000, 0x3F80),
            (0x3F81_8000, 0x3F82),
            (0x3F80_8001, 0x3F81),
            (0x3F80_7FFF, 0x3F80),
            (0xBF81_8000, 0xBF82),
            // The largest f32 is beyond the largest bfloat16, and the smallest is nothing.
            (0x7F7F_FFFF, 0x7F80),
            (0x0000_0001, 0x0000),
            (0x8000_0000, 0x8000),
            (0x7F80_0000, 0x7F80),
        ];
        for (bits, expected) in cases {
            let found = __truncsfbf2(f32::from_bits(bits)).to_bits();
            assert_eq!(found, expected, "{bits:08x} became {found:08x}");
        }
        let nan = __truncsfbf2(f32::from_bits(0x7F80_0001)).to_bits();
        assert!(nan & 0x7FFF > 0x7F80, "a NaN became {nan:04x}");
    }
}
