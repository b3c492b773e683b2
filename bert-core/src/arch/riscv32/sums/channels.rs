//! What the rows share: the channels' numbers in fixed point, made once for a tile of rows.

use core::mem::MaybeUninit;
use core::ops::Range;

use super::super::exponent;
use super::ROWS;
use super::row::Row;
use crate::format::{Activation, Int8Matrix};

/// Channels of which they are kept: 4 KB of stack.
const CHANNELS: usize = 512;

/// Most that a product of two int8 is.
pub(super) const PRODUCT: usize = 127 * 128;

/// The channels at hand.
pub(super) struct Channels<'a> {
    matrix: &'a Int8Matrix<'a>,
    pub columns: Range<usize>,
    /// Whether GELU is applied.
    pub gelu: bool,
    /// t and b as bits; none where they lie at addresses that words cannot be read from.
    pub scales: &'a [u32],
    biases: &'a [u32],
    /// L: no bit of a sum is lost above.
    pub left: u32,
    /// Eₜ and E_b.
    pub scale: i32,
    pub bias: i32,
}

impl<'a> Channels<'a> {
    #[inline(never)]
    pub(super) fn new(matrix: &'a Int8Matrix<'a>, columns: Range<usize>, gelu: bool) -> Self {
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
    pub(super) fn exact(&self, sum: i32, s: f32, i: usize) -> f32 {
        let mut x = [self.float(sum, s, i)];
        if self.gelu {
            super::super::activate(&mut x, Activation::Gelu);
        }
        x[0]
    }

    /// All of a row in floats, where integers do not serve.
    #[cold]
    #[inline(never)]
    pub(super) fn by_definition(
        &self,
        sums: &mut [i32],
        s: f32,
        activation: Option<Activation>,
        q: &mut [i8],
    ) -> f32 {
        #[cfg(test)]
        super::tests::ROWS_IN_FLOATS.with(|count| count.set(count.get() + 1));
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = self.float(*sum, s, i).to_bits() as i32;
        }
        let x: &mut [f32] = bytemuck::cast_slice_mut(sums);
        if let Some(activation) = activation {
            super::super::activate(x, activation);
        }
        super::super::rows::quantize_row(x, q)
    }

    /// The rows that integers serve for.
    #[inline(never)]
    pub(super) fn tile(&self, rows: &mut [Row; ROWS], sums: &[i32], q: &mut [i8], stride: usize) {
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
