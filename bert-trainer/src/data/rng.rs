//! Random draws without a state: each is a pure function of (seed, stream, a, b, counter).
//!
//! Two runs, or one run and its resumed half, ask for the same draws by the same names and so see
//! the same values, whatever the order, the thread or the number of draws in between.
//! The bits come from the 64-bit finalizer of SplitMix64 (Steele, Lea, Flood: *Fast Splittable
//! Pseudorandom Number Generators*, OOPSLA 2014), chained over the words of the name.

/// What a draw is for; draws of different streams are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Stream {
    /// Walk over a document that makes sentence pairs; a = epoch, b = document.
    Pairs = 1,
    /// Order of the pairs of an epoch; a = epoch.
    PairOrder = 2,
    /// Where a pair that is too long is cut; a = epoch, b = position in the epoch.
    Truncation = 3,
    /// Masks of a pair; a = epoch, b = position in the epoch.
    Masks = 4,
    /// Order of the examples of a task; a = epoch.
    ExampleOrder = 5,
    /// Initial values; a = tensor, b = element.
    Init = 6,
    /// Tokens of a benchmark; a = step.
    Bench = 7,
}

/// One draw: uniform over all of `u64`.
pub fn draw(seed: u64, stream: Stream, a: u64, b: u64, counter: u64) -> u64 {
    at(key(seed, stream, a, b), counter)
}

/// The draws of one name, with the counter going up by itself.
#[derive(Debug, Clone)]
pub struct Draws {
    key: u64,
    counter: u64,
}

impl Draws {
    /// Draws named (seed, stream, a, b), starting at counter 0.
    pub fn new(seed: u64, stream: Stream, a: u64, b: u64) -> Self {
        Draws { key: key(seed, stream, a, b), counter: 0 }
    }

    /// Uniform over all of `u64`.
    pub fn bits(&mut self) -> u64 {
        let bits = at(self.key, self.counter);
        self.counter += 1;
        bits
    }

    /// Uniform over `0..n`; `n` is at least 1.
    ///
    /// Each value's probability differs from 1/n by at most 2⁻⁶⁴, which is a relative bias of at
    /// most 2⁻³² for every n up to 2³².
    pub fn below(&mut self, n: u64) -> u64 {
        debug_assert!(n > 0);
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// Uniform over `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Uniform over the multiples of 2⁻⁵³ in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Puts `items` into a uniformly random order (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i as u64 + 1) as usize;
            items.swap(i, j);
        }
    }
}

/// A uniformly random order of `0..n`, named (seed, stream, a).
pub fn permutation(seed: u64, stream: Stream, a: u64, n: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n).collect();
    Draws::new(seed, stream, a, 0).shuffle(&mut order);
    order
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn key(seed: u64, stream: Stream, a: u64, b: u64) -> u64 {
    let mut key = mix(seed.wrapping_add(GOLDEN));
    for word in [stream as u64, a, b] {
        key = mix(key ^ mix(word.wrapping_add(GOLDEN)).rotate_left(23)).wrapping_add(GOLDEN);
    }
    key
}

fn at(key: u64, counter: u64) -> u64 {
    mix(key.wrapping_add(counter.wrapping_mul(GOLDEN)))
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_depends_on_each_part_of_its_name() {
        let base = draw(1, Stream::Masks, 2, 3, 4);
        assert_eq!(base, draw(1, Stream::Masks, 2, 3, 4));
        let others = [
            draw(2, Stream::Masks, 2, 3, 4),
            draw(1, Stream::Pairs, 2, 3, 4),
            draw(1, Stream::Masks, 3, 3, 4),
            draw(1, Stream::Masks, 2, 4, 4),
            draw(1, Stream::Masks, 3, 2, 4),
            draw(1, Stream::Masks, 2, 3, 5),
        ];
        for other in others {
            // About half of the 64 bits differ; 12 and 52 are five standard deviations away.
            assert!((12..=52).contains(&(base ^ other).count_ones()));
        }
    }

    #[test]
    fn the_counter_walks_through_the_same_draws() {
        let mut draws = Draws::new(7, Stream::Pairs, 1, 9);
        for counter in 0..10 {
            assert_eq!(draws.bits(), draw(7, Stream::Pairs, 1, 9, counter));
        }
    }

    #[test]
    fn ranges_are_uniform() {
        // Keyed by neighbouring names, as documents and positions are.
        const N: usize = 7;
        const DRAWS: u64 = 70_000;
        let mut counts = [0f64; N];
        for b in 0..DRAWS {
            counts[Draws::new(42, Stream::Masks, 0, b).below(N as u64) as usize] += 1.0;
        }
        let expected = DRAWS as f64 / N as f64;
        let chi_squared: f64 = counts.iter().map(|c| (c - expected).powi(2) / expected).sum();
        // 99.99 % point of chi-squared with 6 degrees of freedom.
        assert!(chi_squared < 27.9, "{chi_squared}");
        let mean = (0..DRAWS).map(|b| Draws::new(1, Stream::Pairs, b, 0).unit()).sum::<f64>()
            / DRAWS as f64;
        // Five standard deviations of the mean of uniform draws.
        assert!((mean - 0.5).abs() < 5.0 * (1.0 / 12.0 / DRAWS as f64).sqrt(), "{mean}");
    }

    #[test]
    fn permutations_are_permutations_and_differ() {
        let first = permutation(3, Stream::PairOrder, 0, 1000);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..1000));
        assert_ne!(first, permutation(3, Stream::PairOrder, 1, 1000));
        assert_eq!(first, permutation(3, Stream::PairOrder, 0, 1000));
        assert!(permutation(3, Stream::PairOrder, 0, 0).is_empty());
        assert_eq!(Draws::new(1, Stream::Pairs, 0, 0).between(5, 5), 5);
    }
}
