//! Rows that are only quantized: int8 straight from the sums of an int8 product, by way of fixed point.
//!
//! The definition makes floats of sums, x = sum · (s · t) + b, applies GELU or nothing, and rounds
//! x · (127 / max|x|). Here x is an integer with a proven error, and so is what it becomes. Where rounding
//! is not certain, which is one value of some thousands, and for the largest of a row, from which the
//! scale comes, the definition itself decides. So every result has the bits of the definition.
//!
//! With exponents of two powers as in floats: t = T · 2^(Eₜ − 157), b = B · 2^(E_b − 156) for all channels,
//! s = S · 2^(Eₛ − 157), P = T·S / 2³¹, v = (sum · 2^L) · P / 2³² and x = v · 2^F + B · 2^G.

mod channels;
mod row;

use core::ops::Range;

use channels::Channels;
use row::Row;

use crate::format::{Activation, Int8Matrix};
use crate::ops::Activations;

/// Rows for which the channels' numbers are made once.
const ROWS: usize = 4;

/// What [`quantize`] makes int8 of.
pub(crate) struct Sums<'a> {
    /// Of R rows, each of N; those of the columns at hand are of no meaning afterwards.
    pub sums: &'a mut [i32],
    /// s of each row \[R\].
    pub scales: &'a [f32],
    /// N channels.
    pub matrix: &'a Int8Matrix<'a>,
    /// The channels at hand.
    pub columns: Range<usize>,
    /// What is applied to x.
    pub activation: Option<Activation>,
}

/// Writes the sums \[R, N\] of quantized rows and a matrix.
#[inline]
pub(super) fn products<Place>(q: &Activations<'_>, matrix: &Int8Matrix<'_>, out: &mut [i32]) {
    super::products::products::<Place>(q, &matrix.operand(), out, matrix.rows, true);
}

/// As [`crate::ops::linear`] behind the sum, [`crate::ops::activate`], and [`crate::ops::quantize_row`] of
/// the columns, for each row: `q` has rows of `stride` bytes, and `scales` gets theirs.
#[inline(never)]
pub(super) fn quantize(all: Sums<'_>, q: &mut [i8], stride: usize, scales: &mut [f32]) {
    let Sums { sums, scales: given, matrix, columns, activation } = all;
    let gelu = activation == Some(Activation::Gelu);
    let channels = Channels::new(matrix, columns.clone(), gelu);
    let integers = (gelu || activation.is_none()) && channels.scales.len() == columns.len();
    let tiles = sums.chunks_mut(ROWS * matrix.rows).zip(q.chunks_mut(ROWS * stride));
    for ((sums, q), (given, scales)) in tiles.zip(given.chunks(ROWS).zip(scales.chunks_mut(ROWS))) {
        let mut rows = [Row::default(); ROWS];
        for (row, s) in rows.iter_mut().zip(given) {
            *row = Row::new(*s, &channels);
        }
        if integers {
            channels.tile(&mut rows, sums, q, stride);
        }
        let out = sums.chunks_exact_mut(matrix.rows).zip(q.chunks_exact_mut(stride));
        for (((sums, q), row), scale) in out.zip(&rows).zip(scales) {
            let sums = &mut sums[columns.clone()];
            *scale = if row.certain && integers {
                q[sums.len()..].fill(0);
                row.largest / 127.0
            } else {
                channels.by_definition(sums, row.s, activation, q)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::channels::PRODUCT;
    use super::*;
    use crate::format::{Floats, Layout};
    use crate::ops;

    thread_local! {
        pub(super) static ROWS_IN_FLOATS: Cell<usize> = const { Cell::new(0) };
        pub(super) static VALUES_IN_FLOATS: Cell<usize> = const { Cell::new(0) };
    }

    /// SplitMix64.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        }

        /// Near normal, of standard deviation 1.
        fn normal(&mut self) -> f32 {
            let mut sum = 0.0;
            for _ in 0..4 {
                sum += (self.next() >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
            }
            (sum * 3f64.sqrt()) as f32
        }
    }

    const ACTIVATIONS: [Option<Activation>; 4] =
        [None, Some(Activation::Gelu), Some(Activation::GeluTanh), Some(Activation::Relu)];

    /// Compares the columns of five rows; gives how many rows and values floats decided.
    fn check(
        depth: usize,
        scales: &[f32],
        biases: &[f32],
        rows: &[f32],
        columns: Range<usize>,
        activation: Option<Activation>,
        mut sum: impl FnMut() -> i32,
    ) -> (usize, usize) {
        let bytes =
            |floats: &[f32]| -> Vec<u32> { floats.iter().map(|x| x.to_bits().to_le()).collect() };
        let (t, b) = (bytes(scales), bytes(biases));
        let channels = scales.len();
        let matrix = Int8Matrix {
            rows: channels,
            columns: depth,
            scales: Floats::new(bytemuck::cast_slice(&t)),
            biases: Floats::new(bytemuck::cast_slice(&b)),
            weights: &[],
            layout: Layout::Panels,
        };
        let mut sums: Vec<i32> = (0..rows.len() * channels).map(|_| sum()).collect();
        let stride = columns.len().next_multiple_of(ops::ROW_ALIGN);
        let mut expected = (vec![1i8; rows.len() * stride], vec![0.0; rows.len()]);
        let kept = sums.clone();
        for (r, s) in rows.iter().enumerate() {
            let x = |n: usize| kept[r * channels + n] as f32 * (s * scales[n]) + biases[n];
            let mut x: Vec<f32> = columns.clone().map(x).collect();
            if let Some(activation) = activation {
                ops::activate(&mut x, activation);
            }
            let q = &mut expected.0[r * stride..(r + 1) * stride];
            expected.1[r] = ops::quantize_row(&x, q);
        }
        ROWS_IN_FLOATS.set(0);
        VALUES_IN_FLOATS.set(0);
        let mut found = (vec![2i8; rows.len() * stride], vec![9.0; rows.len()]);
        let all = Sums {
            sums: &mut sums,
            scales: rows,
            matrix: &matrix,
            columns: columns.clone(),
            activation,
        };
        quantize(all, &mut found.0, stride, &mut found.1);
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&expected.1), bits(&found.1), "{activation:?} {depth} {columns:?}");
        assert!(expected.0 == found.0, "{activation:?} {depth} {columns:?}");
        (ROWS_IN_FLOATS.get(), VALUES_IN_FLOATS.get())
    }

    /// Rows as models have them, of several spreads: nearly all in integers.
    #[test]
    fn rows_of_models_have_the_bits_of_the_definition() {
        let mut random = Random(1);
        for (spread, bias, outlier) in [
            (0.5, 0.1, 1.0),
            (1.0, 0.1, 1.0),
            (1.0, 1.0, 1.0),
            (2.0, 0.3, 1.0),
            (4.0, 0.5, 1.0),
            // A channel whose weights are far larger.
            (1.0, 0.1, 30.0),
        ] {
            for activation in [None, Some(Activation::Gelu)] {
                let (mut rows, mut values) = (0, 0);
                let runs = 400;
                for _ in 0..runs {
                    let (channels, depth) = (512, 128);
                    let mut scales: Vec<f32> = (0..channels)
                        .map(|_| 0.002 * (1.0 + 0.3 * random.normal().abs()))
                        .collect();
                    scales[9] *= outlier;
                    let biases: Vec<f32> = (0..channels).map(|_| bias * random.normal()).collect();
                    let s: Vec<f32> =
                        (0..5).map(|_| 0.02 * (1.0 + 0.3 * random.normal().abs())).collect();
                    let sum = || (random.normal() * spread / (0.002 * 0.02)) as i32;
                    let counts = check(depth, &scales, &biases, &s, 0..channels, activation, sum);
                    (rows, values) = (rows + counts.0, values + counts.1);
                }
                let all = runs * 5 * 512;
                println!("{activation:?} {spread} {bias}: {rows} rows, {values} values of {all}");
                assert!(rows * 500 <= runs * 5, "{rows} rows in floats");
                assert!(values * 200 <= all, "{values} values in floats");
            }
        }
    }

    /// Numbers of any size, zeros and subnormal ones among them, ties, and any columns.
    #[test]
    fn any_row_has_the_bits_of_the_definition() {
        let mut random = Random(2);
        for round in 0..20_000u64 {
            let channels = 1 + (random.next() % 70) as usize;
            let depth = [1, 16, 128, 1000, 4096, 1 << 15][(random.next() % 6) as usize];
            let any = |random: &mut Random, most: f32| {
                let spread = [1e-42, 1e-38, 1e-30, 1e-10, 1e-3, 1.0, 300.0, 6e4];
                match random.next() % 8 {
                    0 => 0.0,
                    1 => -0.0,
                    k => (random.normal() * spread[((round / 7 + k) % 8) as usize])
                        .clamp(-most, most),
                }
            };
            let scales: Vec<f32> = match round % 3 {
                // Powers of two and whole numbers, which make ties.
                0 => (0..channels).map(|_| 1.0 / 64.0).collect(),
                1 => (0..channels).map(|_| 0.003 * (1.0 + random.normal().abs())).collect(),
                _ => (0..channels).map(|_| any(&mut random, 1024.0).abs()).collect(),
            };
            let biases: Vec<f32> = match round % 5 {
                0 | 1 => vec![0.0; channels],
                2 => (0..channels).map(|_| 0.1 * random.normal()).collect(),
                _ => (0..channels).map(|_| any(&mut random, 65536.0)).collect(),
            };
            let rows: Vec<f32> = (0..5)
                .map(|_| match random.next() % 4 {
                    0 => 1.0,
                    1 => 0.02 * random.normal().abs(),
                    2 => any(&mut random, 1e20).abs(),
                    _ => 0.25,
                })
                .collect();
            let most = (depth * PRODUCT) as f32;
            let size = [0.0, 20.0, 3000.0, 1e6, most][(random.next() % 5) as usize];
            let first = (random.next() % channels as u64) as usize;
            let last = first + 1 + (random.next() % (channels - first) as u64) as usize;
            let activation = ACTIVATIONS[(random.next() % 4) as usize];
            let sum = || match random.next() % 16 {
                0 => most as i32,
                1 => -most as i32,
                _ => (random.normal() * size).clamp(-most, most) as i32,
            };
            check(depth, &scales, &biases, &rows, first..last, activation, sum);
        }
    }
}
