//! The value of a stored f16 as f32, which holds it exactly.

/// Turns the two little-endian bytes of a finite f16 into its value.
///
/// In integers and one exact subtraction, without a branch, so that compilers widen whole registers of
/// them; and without a subnormal f32, which some machines would count as zero.
#[inline(always)]
#[must_use]
pub fn widen(bytes: [u8; 2]) -> f32 {
    /// Exponents of f32 begin 112 below those of f16.
    const OFFSET: u32 = 112 << 23;
    /// The least magnitude with an exponent, 2⁻¹⁴, as it is shifted.
    const LEAST: u32 = 1 << 23;
    let half = u16::from_le_bytes(bytes) as u32;
    let (sign, magnitude) = ((half & 0x8000) << 16, (half & 0x7FFF) << 13);
    let whole = f32::from_bits(magnitude + OFFSET);
    // A number without an exponent is put behind 2⁻¹⁴, which is taken away again.
    let small = f32::from_bits(magnitude + OFFSET + LEAST) - f32::from_bits(OFFSET + LEAST);
    let value = if magnitude < LEAST { small } else { whole };
    f32::from_bits(value.to_bits() | sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_half_has_its_value() {
        for bits in 0..=u16::MAX {
            let half = half::f16::from_bits(bits);
            if half.is_finite() {
                assert_eq!(widen(bits.to_le_bytes()).to_bits(), half.to_f32().to_bits(), "{bits}");
            }
        }
    }
}
