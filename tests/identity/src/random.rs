//! Draws from a counter, in whole numbers.

/// SplitMix64 (Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, 2014).
pub struct Draws(u64);

/// A power of two near the standard deviation of four draws of 12 bits (2,365), so that dividing by
/// it is exact.
const DEVIATION: f32 = 2048.0;

impl Draws {
    /// The draws of a seed.
    pub fn new(seed: u64) -> Self {
        Draws(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`; the bias of the remainder is of no matter here.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// One of `items`, which are not empty.
    pub fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }

    /// `n` weights around `centre`, nearly normal with a standard deviation of about `scale`: the sum
    /// of four draws of 12 bits, so that no float function is needed.
    pub fn weights(&mut self, n: usize, scale: f32, centre: f32) -> Vec<f32> {
        let mut weight = || {
            let draws = self.next();
            let twelve = |shift: u32| (draws >> shift & 0xFFF) as i32;
            let sum = twelve(0) + twelve(12) + twelve(24) + twelve(36) - 2 * 4095;
            sum as f32 / DEVIATION * scale + centre
        };
        (0..n).map(|_| weight()).collect()
    }
}
