//! Rows of floats to int8 and back, in integers.

use super::bits::{self, Factor};
use super::{PIECE, floats};
use crate::format::Floats;
use crate::math::round_to_int;
use crate::ops::{self, GROUP, Row, SMALLEST, WordRow, embedding_row_with};

/// As [`ops::quantize_row`].
#[inline]
pub(super) fn quantize_row(x: &[f32], q: &mut [i8]) -> f32 {
    let magnitude = |x: &f32| x.to_bits() & !(1 << 31);
    let largest = x.iter().map(magnitude).fold(0, u32::max);
    if largest >= f32::INFINITY.to_bits() {
        return by_definition(x, q);
    }
    let largest = f32::from_bits(largest);
    if largest < SMALLEST {
        q.fill(0);
        return 0.0;
    }
    let inverse = 127.0 / largest;
    let factor = Factor::new(inverse);
    let (q, rest) = q.split_at_mut(x.len());
    if !rest.is_empty() {
        rest.fill(0);
    }
    for (q, &x) in q.iter_mut().zip(x) {
        let sign = x.to_bits() as i32 >> 31;
        *q = match factor.integer(x.to_bits()) {
            Some(n) => ((n as i32 ^ sign) - sign) as i8,
            None => round_by_definition(x, inverse) as i8,
        };
    }
    largest / 127.0
}

/// Where something is no number.
#[cold]
#[inline(never)]
fn by_definition(x: &[f32], q: &mut [i8]) -> f32 {
    ops::quantize_row(x, q)
}

/// As [`ops::store_row`].
#[inline]
pub(super) fn store_row(x: &[f32], q: &mut [i8], scales: &mut [f32]) {
    for ((x, q), scale) in x.chunks(GROUP).zip(q.chunks_mut(GROUP)).zip(scales) {
        *scale = quantize_row(x, q);
    }
}

/// As [`ops::embedding_row`].
#[inline]
pub(super) fn embedding_row(
    word: WordRow<'_>,
    position: Row<'_>,
    segment: Row<'_>,
    out: &mut [f32],
) {
    embedding_row_with(word, position, segment, out, times);
}

/// As [`ops::load_row`].
#[inline]
pub(super) fn load_row(q: &[i8], scales: &[f32], x: &mut [f32]) {
    for ((x, q), scale) in x.chunks_mut(GROUP).zip(q.chunks(GROUP)).zip(scales) {
        let scale = Scale::new(*scale);
        for (x, &q) in x.iter_mut().zip(q) {
            *x = scale.times(q);
        }
    }
}

/// A positive float that int8 is multiplied with.
#[derive(Clone, Copy)]
struct Scale {
    scale: f32,
    /// Its fraction of 24 bits.
    fraction: u32,
    /// The exponent of a product whose first bit is that of a word; 0 where a product may have none.
    exponent: u32,
}

impl Scale {
    #[inline(always)]
    fn new(scale: f32) -> Self {
        /// A product's is larger by 8 at most.
        const MOST: u32 = 254 - 8;
        let bits = scale.to_bits();
        let exponent = bits::exponent(bits);
        Scale {
            scale,
            fraction: bits::fraction(bits) >> 8,
            exponent: if exponent.wrapping_sub(1) < MOST { exponent + 8 } else { 0 },
        }
    }

    /// q as a float, times the scale.
    #[inline(always)]
    fn times(self, q: i8) -> f32 {
        match self.bits(q) {
            Some(bits) => f32::from_bits(bits),
            None => times_by_definition(q as i32, self.scale),
        }
    }

    #[inline(always)]
    fn bits(self, q: i8) -> Option<u32> {
        if q == 0 || self.exponent == 0 {
            return None;
        }
        // All of the product: 24 bits times 8.
        let (mut product, mut left) = (self.fraction * q.unsigned_abs() as u32, 0);
        let mut halve = |step: u32| {
            if product >> (32 - step) == 0 {
                product <<= step;
                left += step;
            }
        };
        halve(4);
        halve(4);
        halve(2);
        halve(1);
        let fraction = bits::rounded_from(product, true)?;
        Some(bits::float(fraction, self.exponent - left) | q as u32 & bits::SIGN)
    }
}

/// As [`ops::combine_row`].
#[inline]
pub(super) fn combine_row(high: &[i32], low: &[i32], factor: f32, out: &mut [f32]) {
    for ((out, high), low) in out.iter_mut().zip(high).zip(low) {
        *out = times(high.wrapping_mul(128).wrapping_add(*low), factor);
    }
}

/// As [`ops::linear`] behind the sums: turns `row`, the bits of those of a row \[N\], into what they mean.
#[inline]
pub(super) fn scale_row(row: &mut [f32], s: f32, scales: Floats<'_>, biases: Floats<'_>) {
    let mut room = [[0.0; PIECE]; 2];
    let [of_scales, of_biases] = &mut room;
    let channels = scales.bytes().chunks(PIECE).zip(biases.bytes().chunks(PIECE));
    for (row, (scales, biases)) in row.chunks_mut(PIECE).zip(channels) {
        let (scales, biases) = (floats(scales, of_scales), floats(biases, of_biases));
        for ((x, t), bias) in row.iter_mut().zip(scales).zip(biases) {
            let sum = x.to_bits() as i32;
            let product = match bits::multiply(s.to_bits(), t.to_bits()) {
                Some(scale) => times(sum, f32::from_bits(scale)),
                None => times_by_definition(sum, s * t),
            };
            *x = product + bias;
        }
    }
}

/// n as a float, times x, finite and not negative.
#[inline(never)]
fn times(n: i32, x: f32) -> f32 {
    match bits::times(n, x.to_bits()) {
        Some(bits) => f32::from_bits(bits),
        None => times_by_definition(n, x),
    }
}

/// n · x in floats. A function of its own, as what calls others keeps registers for that, also where it
/// does not.
#[cold]
#[inline(never)]
pub(super) fn times_by_definition(n: i32, x: f32) -> f32 {
    n as f32 * x
}

/// x times the factor, rounded to the nearest integer, in floats.
#[cold]
#[inline(never)]
pub(super) fn round_by_definition(x: f32, factor: f32) -> i32 {
    round_to_int(x * factor)
}

#[cfg(test)]
mod tests {
    use super::super::common::Random;
    use super::*;
    use crate::format::{Int8Matrix, Layout};

    fn drawn(random: &mut Random, count: usize) -> Vec<f32> {
        let size = [1.0, 1.0, 1e-3, 1e-29, 1e-40, 1e30, 0.0][random.below(7)];
        let value = |random: &mut Random| match random.below(64) {
            0 => 0.0,
            1 => -0.0,
            2 => [f32::NAN, f32::INFINITY, 3e38][random.below(3)] * (size + 1.0) / size.max(1e-3),
            3 => random.below(127) as f32,
            _ => random.normal(size),
        };
        let ordinary = random.below(8) != 0;
        let value = |random: &mut Random| match value(random) {
            x if x.abs() < 1e37 || !ordinary => x,
            _ => 1.0,
        };
        (0..count).map(|_| value(random)).collect()
    }

    fn bits(x: &[f32]) -> Vec<u32> {
        x.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }).collect()
    }

    #[test]
    fn rows_have_the_bits_of_the_definition() {
        let mut random = Random(5);
        for _ in 0..100_000 {
            let n = 1 + random.below(70);
            let x = drawn(&mut random, n);
            let (mut a, mut b) = (vec![1; n + 3], vec![2; n + 3]);
            let scales = [ops::quantize_row(&x, &mut a), quantize_row(&x, &mut b)];
            assert_eq!(scales[0].to_bits(), scales[1].to_bits(), "{x:?}");
            assert_eq!(a, b, "{x:?}");

            let scales = drawn(&mut random, n.div_ceil(GROUP));
            // A file has no other scales, and a row gets none.
            let finite = |x: &[f32]| -> Vec<f32> {
                x.iter().map(|x| if x.abs() < f32::INFINITY { x.abs() } else { 1.0 }).collect()
            };
            let scales = finite(&scales);
            let q: Vec<i8> = (0..n).map(|_| random.next() as i8).collect();
            let (mut a, mut b) = (vec![0.0; n], vec![0.0; n]);
            ops::load_row(&q, &scales, &mut a);
            load_row(&q, &scales, &mut b);
            assert_eq!(bits(&a), bits(&b), "{q:?} {scales:?}");

            let shift = random.below(40) as u32 + 32;
            let sums: Vec<i32> = (0..n).map(|_| (random.next() as i64 >> shift) as i32).collect();
            ops::combine_row(&sums, &sums, scales[0], &mut a);
            combine_row(&sums, &sums, scales[0], &mut b);
            assert_eq!(bits(&a), bits(&b), "{sums:?} {scales:?}");

            let [t, biases] = [(); 2].map(|()| drawn(&mut random, n));
            let t = finite(&t);
            let mut row: Vec<f32> = sums.iter().map(|&sum| f32::from_bits(sum as u32)).collect();
            let expected: Vec<f32> =
                (0..n).map(|i| sums[i] as f32 * (scales[0] * t[i]) + biases[i]).collect();
            let bytes = |x: &[f32]| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>();
            let (t, biases) = (bytes(&t), bytes(&biases));
            scale_row(&mut row, scales[0], Floats::new(&t), Floats::new(&biases));
            assert_eq!(bits(&expected), bits(&row), "{sums:?} {scales:?}");
        }
    }

    /// Every int8 times numbers of every fraction in the last bits.
    #[test]
    fn integers_are_multiplied_as_floats_are() {
        let mut random = Random(6);
        for _ in 0..300_000 {
            let x = f32::from_bits(1 + (random.next() as u32 & 0x7F7F_FFFF));
            for n in [random.next() as i8 as i32, random.next() as i32 >> random.below(31)] {
                let (found, expected) = (times(n, x), n as f32 * x);
                assert_eq!(found.to_bits(), expected.to_bits(), "{n} {x:e}");
            }
        }
    }

    #[test]
    fn products_are_those_of_linear() {
        let mut random = Random(7);
        let (rows, columns) = (33, 130);
        let drawn = |random: &mut Random, scale: f32| -> Vec<u8> {
            random.normals(rows, scale, scale * 3.0).iter().flat_map(|x| x.to_le_bytes()).collect()
        };
        for layout in [Layout::Panels, Layout::Rows] {
            let (t, b) = (drawn(&mut random, 0.01), drawn(&mut random, 1.0));
            let weights: Vec<i8> =
                (0..layout.bytes(rows, columns)).map(|_| random.next() as i8).collect();
            let matrix = Int8Matrix {
                rows,
                columns,
                scales: Floats::new(&t),
                biases: Floats::new(&b),
                weights: &weights,
                layout,
            };
            let values: Vec<i8> = (0..5 * 144)
                .map(|i| if i % 144 < columns { random.next() as i8 / 2 } else { 0 })
                .collect();
            let q = ops::Activations { values: &values, stride: 144 };
            let scales = [0.1, 0.02, 0.3, 0.0, 1.5];
            let (mut a, mut b) = (vec![0.0; 5 * rows], vec![1.0; 5 * rows]);
            ops::linear(&q, &scales, &matrix, &mut a);
            super::super::linear::<()>(&q, &scales, &matrix, &mut b);
            assert_eq!(bits(&a), bits(&b));
        }
    }
}
