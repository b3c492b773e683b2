//! Rows that are only quantized: int8 straight from the sums of an int8 product, by way of fixed point.
//!
//! The definition makes floats of sums, x = sum · (s · t) + b, applies GELU or nothing, and rounds
//! x · (127 / max|x|). Here x is an integer with a proven error, and so is what it becomes. Where rounding
//! is not certain, which is one value of some thousands, and for the largest of a row, from which the
//! scale comes, the definition itself decides. So every result has the bits of the definition.
//!
//! With exponents of two powers as in floats: t = T · 2^(Eₜ − 157), b = B · 2^(E_b − 156) for all channels,
//! s = S · 2^(Eₛ − 157), P = T·S / 2³¹, v = (sum · 2^L) · P / 2³² and x = v · 2^F + B · 2^G.

use core::mem::MaybeUninit;
use core::ops::Range;

use super::{exponent, gelu, high};
use crate::format::{Activation, Int8Matrix};
use crate::ops::{Activations, SMALLEST};

/// Rows for which the channels' numbers are made once.
const ROWS: usize = 4;
/// Channels of which they are kept: 4 KB of stack.
const CHANNELS: usize = 512;

/// Most that a product of two int8 is.
const PRODUCT: usize = 127 * 128;

/// Error of x in units of its last bit, without the roundings of the definition: v is less than 2 off,
/// also behind its shift, B less than 1.5; and a unit for products of the definition that are
/// subnormal, which [`LEAST_SCALE`] keeps below one.
const ERROR: i32 = 5;
/// Least Eₜ + Eₛ.
const LEAST_SCALE: i32 = 170;
/// Units that the largest magnitude of a row has at least.
const LEAST_LARGEST: i32 = 1 << 12;
/// Units that it does not reach, so that what is a little larger fits an i32 too.
const MOST_LARGEST: i32 = 1 << 30;
/// Most bits that are shifted in for GELU, where scales are so large that x is coarse.
const MOST_UP: i32 = 10;
/// The largest of a row behind GELU is at least this: far above what GELU makes of anything negative,
/// and where GELU rises by 0.73 or more.
const LEAST_GELU: f32 = 0.25;

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

/// The channels at hand.
struct Channels<'a> {
    matrix: &'a Int8Matrix<'a>,
    columns: Range<usize>,
    /// Whether GELU is applied.
    gelu: bool,
    /// t and b as bits; none where they lie at addresses that words cannot be read from.
    scales: &'a [u32],
    biases: &'a [u32],
    /// L: no bit of a sum is lost above.
    left: u32,
    /// Eₜ and E_b.
    scale: i32,
    bias: i32,
}

impl<'a> Channels<'a> {
    #[inline(never)]
    fn new(matrix: &'a Int8Matrix<'a>, columns: Range<usize>, gelu: bool) -> Self {
        let words = |bytes: &'a [[u8; 4]]| -> &'a [u32] {
            bytemuck::try_cast_slice(&bytes[columns.clone()]).unwrap_or(&[])
        };
        let scales = words(matrix.scales.bytes());
        let biases = words(matrix.biases.bytes());
        let largest = |words: &[u32]| {
            words.iter().fold(0, |most, &word| exponent(u32::from_le(word)).max(most))
        };
        let most = matrix.columns.saturating_mul(PRODUCT) as u32;
        Channels {
            left: most.leading_zeros().saturating_sub(1),
            scale: largest(scales),
            bias: largest(biases),
            matrix,
            columns,
            gelu,
            scales,
            biases,
        }
    }

    /// x of the definition.
    #[inline]
    fn float(&self, sum: i32, s: f32, i: usize) -> f32 {
        let n = self.columns.start + i;
        sum as f32 * (s * self.matrix.scales.at(n)) + self.matrix.biases.at(n)
    }

    /// What the definition makes of it.
    #[inline(never)]
    fn exact(&self, sum: i32, s: f32, i: usize) -> f32 {
        let mut x = [self.float(sum, s, i)];
        if self.gelu {
            super::activate(&mut x, Activation::Gelu);
        }
        x[0]
    }

    /// All of a row in floats, where integers do not serve.
    #[cold]
    #[inline(never)]
    fn by_definition(
        &self,
        sums: &mut [i32],
        s: f32,
        activation: Option<Activation>,
        q: &mut [i8],
    ) -> f32 {
        #[cfg(test)]
        tests::ROWS_IN_FLOATS.with(|count| count.set(count.get() + 1));
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = self.float(*sum, s, i).to_bits() as i32;
        }
        let x: &mut [f32] = bytemuck::cast_slice_mut(sums);
        if let Some(activation) = activation {
            super::activate(x, activation);
        }
        super::rows::quantize_row(x, q)
    }

    /// The rows that integers serve for.
    #[inline(never)]
    fn tile(&self, rows: &mut [Row; ROWS], sums: &[i32], q: &mut [i8], stride: usize) {
        // Not zeroed: that would be a sixth of the work on the narrow columns of a head.
        let mut room = [const { MaybeUninit::uninit() }; CHANNELS];
        if self.columns.len() <= CHANNELS {
            let block = self.fixed(0, &mut room);
            self.find_largest(rows, sums, block, 0);
            self.settle(rows, sums);
            self.round(rows, sums, block, 0, q, stride);
            return;
        }
        for first in (0..self.columns.len()).step_by(CHANNELS) {
            let block = self.fixed(first, &mut room);
            self.find_largest(rows, sums, block, first);
        }
        self.settle(rows, sums);
        for first in (0..self.columns.len()).step_by(CHANNELS) {
            let block = self.fixed(first, &mut room);
            self.round(rows, sums, block, first, q, stride);
        }
    }

    /// The sums of row `r` from one of the columns on.
    #[inline]
    fn sums_of<'s>(&self, sums: &'s [i32], r: usize, first: usize) -> &'s [i32] {
        &sums[r * self.matrix.rows + self.columns.start + first..][..self.columns.len() - first]
    }

    #[inline]
    fn find_largest(&self, rows: &mut [Row; ROWS], sums: &[i32], block: &[[i32; 2]], first: usize) {
        let find = if self.gelu { Row::find_largest::<true> } else { Row::find_largest::<false> };
        for (r, row) in rows.iter_mut().enumerate().filter(|(_, row)| row.certain) {
            find(row, self.sums_of(sums, r, first), block, self.left, first);
        }
    }

    #[inline]
    fn settle(&self, rows: &mut [Row; ROWS], sums: &[i32]) {
        for (r, row) in rows.iter_mut().enumerate().filter(|(_, row)| row.certain) {
            row.settle(self, self.sums_of(sums, r, 0));
        }
    }

    #[inline]
    fn round(
        &self,
        rows: &[Row; ROWS],
        sums: &[i32],
        block: &[[i32; 2]],
        first: usize,
        q: &mut [i8],
        stride: usize,
    ) {
        let round = if self.gelu { Row::round::<true> } else { Row::round::<false> };
        for (r, row) in rows.iter().enumerate().filter(|(_, row)| row.certain) {
            round(
                row,
                self,
                self.sums_of(sums, r, first),
                block,
                first,
                &mut q[r * stride + first..],
            );
        }
    }

    /// T and B of the channels from one on, as many as there is room for.
    #[inline]
    fn fixed<'r>(
        &self,
        first: usize,
        room: &'r mut [MaybeUninit<[i32; 2]>; CHANNELS],
    ) -> &'r [[i32; 2]] {
        let part = |word: u32, bits: u32, largest: i32| {
            let word = u32::from_le(word);
            let whole = (word & 0x7F_FFFF) | u32::from(word << 1 >> 24 != 0) << 23;
            let distance = (largest - exponent(word)) as u32;
            ((whole << bits) >> distance.min(31)) as i32
        };
        let scales = &self.scales[first..];
        let count = scales.len().min(CHANNELS);
        let words = scales[..count].iter().zip(&self.biases[first..][..count]);
        for (room, (&scale, &bias)) in room.iter_mut().zip(words) {
            let magnitude = part(bias, 6, self.bias);
            let sign = u32::from_le(bias) as i32 >> 31;
            room.write([part(scale, 7, self.scale), (magnitude ^ sign) - sign]);
        }
        // SAFETY: there are so many words of both and as much room at least, so as many were written.
        unsafe { room[..count].assume_init_ref() }
    }
}

/// A row and how far it is.
#[derive(Clone, Copy, Default)]
struct Row {
    /// Whether integers serve.
    certain: bool,
    s: f32,
    /// 2 S.
    scale: u32,
    /// What v and B are shifted right by to make x.
    shift: u32,
    bias_shift: u32,
    /// The power of two that a unit of x is, and what x is shifted left by for GELU.
    unit: i32,
    up: u32,
    /// The largest |x|, or x before GELU; the next to it; and where the largest is.
    top: i32,
    second: i32,
    at: usize,
    /// The least x.
    least: i32,
    /// The largest magnitude of the row and 127 divided by it, as the definition has them.
    largest: f32,
    inverse: f32,
    /// The latter's fraction; a result times 2^`left` times it has `point` bits behind the point, above 32.
    factor: i32,
    left: u32,
    point: u32,
    /// Largest error of that.
    doubt: i32,
}

impl Row {
    #[inline(never)]
    fn new(s: f32, channels: &Channels<'_>) -> Self {
        let bits = s.to_bits();
        let scale = channels.scale + exponent(bits);
        let product = scale - 251 - channels.left as i32;
        let bias = channels.bias - 156;
        let unit = product.max(bias).max(if channels.gelu { -gelu::POINT } else { i32::MIN });
        let up = if channels.gelu { unit + gelu::POINT } else { 0 };
        let shift = |from: i32| (unit - from).min(31) as u32;
        Row {
            certain: scale >= LEAST_SCALE && up <= MOST_UP,
            up: up as u32,
            s,
            scale: (bits & 0x7F_FFFF | 0x80_0000) << 8,
            shift: shift(product),
            bias_shift: shift(bias),
            unit,
            // Below every x, and far from the least integer.
            top: -i32::MAX / 2,
            second: -i32::MAX / 2,
            ..Row::default()
        }
    }

    /// x in integers.
    #[inline(always)]
    fn value(&self, sum: i32, left: u32, [scale, bias]: [i32; 2]) -> i32 {
        let product = ((scale as u32 as u64 * self.scale as u64) >> 32) as i32;
        (high(sum << left, product) >> self.shift) + (bias >> self.bias_shift)
    }

    #[inline(never)]
    fn find_largest<const GELU: bool>(
        &mut self,
        sums: &[i32],
        channels: &[[i32; 2]],
        left: u32,
        first: usize,
    ) {
        let Row { mut top, mut second, mut at, mut least, .. } = *self;
        for (i, (&sum, channel)) in sums.iter().zip(channels).enumerate() {
            let x = self.value(sum, left, *channel);
            let size = if GELU { x } else { x.abs() };
            if size > second {
                if size > top {
                    (second, top, at) = (top, size, first + i);
                } else {
                    second = size;
                }
            }
            if GELU && x < least {
                least = x;
            }
        }
        (self.top, self.second, self.at, self.least) = (top, second, at, least);
    }

    /// Asks the definition for the largest, and finds what the others are multiplied with.
    #[inline(never)]
    fn settle(&mut self, channels: &Channels<'_>, sums: &[i32]) {
        self.certain = false;
        let size = self.top.max(-self.least);
        if self.top < LEAST_LARGEST || size >= MOST_LARGEST >> self.up {
            return;
        }
        // The definition rounds the sum, the scale and their product, and x: 2⁻²⁴ of |x| + |b| each for
        // the first three, and of |x|.
        let bias = 1 << 30 >> self.bias_shift;
        let error = (ERROR + (size >> 21) + (bias >> 21) + 2) << self.up;
        let [top, second, size] = [self.top, self.second, size].map(|x| x << self.up);
        let (most, error, apart) = if channels.gelu {
            self.unit = -gelu::POINT;
            let noise = gelu::error(size);
            // GELU rises by more than two thirds of what x does.
            (gelu::gelu(top), gelu::widened(error) + noise, 2 * error + 3 * noise)
        } else {
            (top, error, 2 * error)
        };
        if second >= top - apart || error >= most >> 4 {
            return;
        }
        let exact = channels.exact(sums[self.at], self.s, self.at);
        self.largest = if exact < 0.0 { -exact } else { exact };
        if self.largest < if channels.gelu { LEAST_GELU } else { SMALLEST } {
            return;
        }
        self.inverse = 127.0 / self.largest;
        let bits = self.inverse.to_bits();
        self.factor = ((bits & 0x7F_FFFF | 0x80_0000) << 7) as i32;
        self.left = most.leading_zeros() - 2;
        let point = 125 + self.left as i32 - exponent(bits) - self.unit;
        // Half a unit of the last bit of a float of up to 127 is 2⁻¹⁸.
        self.doubt = high(error << self.left, self.factor) + 3 + (1 << (point - 17));
        self.point = point as u32;
        self.certain = self.doubt < 1 << (point - 2);
    }

    #[inline(never)]
    fn round<const GELU: bool>(
        &self,
        channels: &Channels<'_>,
        sums: &[i32],
        fixed: &[[i32; 2]],
        first: usize,
        q: &mut [i8],
    ) {
        let half = (1 << (self.point - 1)) + self.doubt;
        let (mask, doubt) = ((1 << self.point) - 1, 2 * self.doubt);
        for (i, ((q, &sum), channel)) in q.iter_mut().zip(sums).zip(fixed).enumerate() {
            let x = self.value(sum, channels.left, *channel);
            let y = if GELU { gelu::gelu(x << self.up) } else { x };
            let above = high(y << self.left, self.factor) + half;
            *q = if above & mask <= doubt {
                self.decide(channels, sum, first + i)
            } else {
                (above >> self.point) as i8
            };
        }
    }

    /// As the definition rounds.
    #[cold]
    #[inline(never)]
    fn decide(&self, channels: &Channels<'_>, sum: i32, i: usize) -> i8 {
        #[cfg(test)]
        tests::VALUES_IN_FLOATS.with(|count| count.set(count.get() + 1));
        super::rows::round_by_definition(channels.exact(sum, self.s, i), self.inverse) as i8
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

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
