//! One row: its unit, its largest, and each value rounded, behind GELU or as it is.

use super::super::{exponent, gelu, high};
use super::channels::Channels;
use crate::ops::SMALLEST;

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

/// A row and how far it is.
#[derive(Clone, Copy, Default)]
pub(super) struct Row {
    /// Whether integers serve.
    pub certain: bool,
    pub s: f32,
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
    pub largest: f32,
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
    pub(super) fn new(s: f32, channels: &Channels<'_>) -> Self {
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
    pub(super) fn find_largest<const GELU: bool>(
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
    pub(super) fn settle(&mut self, channels: &Channels<'_>, sums: &[i32]) {
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
    pub(super) fn round<const GELU: bool>(
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
        super::tests::VALUES_IN_FLOATS.with(|count| count.set(count.get() + 1));
        super::super::rows::round_by_definition(channels.exact(sum, self.s, i), self.inverse) as i8
    }
}
