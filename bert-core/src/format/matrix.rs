//! A matrix of the file: int8 in one of two layouts, or f16 where that is kept.
//!
//! *Panels* is the layout that every instruction set reads at full speed where it lies: sixteen
//! output channels side by side, four inputs of each together, so that one load of 16, 32 or 64
//! bytes is the operand of a dot-product instruction and no sum has to be folded:
//!
//! ```text
//! panel p  ┌ quad 0 ───────────────────────┬ quad 1 ─────── …  (K rounded up to 4)
//!          │ channel 16p      k = 0 1 2 3  │ channel 16p      k = 4 5 6 7
//!          │ channel 16p + 1  k = 0 1 2 3  │ …
//!          │ …                             │
//!          │ channel 16p + 15 k = 0 1 2 3  │
//!          └───────────────────────────────┴──────────────── …
//! ```
//!
//! *Rows* is one channel after another, without any padding.

use super::half::HalfMatrix;
use super::tensor::{Floats, MAX_PARAMETER, MAX_SCALE};
use super::{ALIGNMENT, Encoding, Kind};
use crate::Error;

/// Output channels of a panel.
pub const PANEL: usize = 16;
/// Inputs of a channel that lie together in a panel.
pub const QUAD: usize = 4;

/// How the weights of a matrix lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// One channel after another.
    Rows,
    /// Sixteen channels side by side, four inputs of each together.
    #[default]
    Panels,
}

impl Layout {
    /// Bytes of the weights \[N, K\].
    #[must_use]
    pub const fn bytes(self, rows: usize, columns: usize) -> u64 {
        let (n, k) = (rows as u64, columns as u64);
        match self {
            Layout::Rows => n * k,
            Layout::Panels => n.next_multiple_of(PANEL as u64) * k.next_multiple_of(QUAD as u64),
        }
    }

    /// Where the weight of channel `n` and input `k` lies.
    #[inline(always)]
    #[must_use]
    pub const fn place(self, columns: usize, n: usize, k: usize) -> usize {
        match self {
            Layout::Rows => n * columns + k,
            Layout::Panels => {
                let panel = n / PANEL * PANEL * columns.next_multiple_of(QUAD);
                panel + k / QUAD * (PANEL * QUAD) + n % PANEL * QUAD + k % QUAD
            }
        }
    }

    /// The encoding of a section whose matrices lie like this.
    #[cfg(feature = "std")]
    pub(super) const fn encoding(self) -> Encoding {
        match self {
            Layout::Rows => Encoding::Int8Rows,
            Layout::Panels => Encoding::Int8Panels,
        }
    }

    pub(crate) const fn of(encoding: Encoding) -> Option<Self> {
        match encoding {
            Encoding::Int8Rows => Some(Layout::Rows),
            Encoding::Int8Panels => Some(Layout::Panels),
            _ => None,
        }
    }
}

/// Which of how many matrices of a section.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub part: usize,
    pub parts: usize,
}

/// A matrix with a bias for each row (output channel), as the file has it.
#[derive(Clone, Copy, Debug)]
pub enum Matrix<'a> {
    /// Multiplies quantized rows.
    Int8(Int8Matrix<'a>),
    /// Multiplies rows as they are.
    Half(HalfMatrix<'a>),
}

impl<'a> Matrix<'a> {
    /// One of the matrices of a section, each \[rows, columns\].
    pub(crate) fn view(
        (bytes, encoding): (&'a [u8], Encoding),
        kind: Kind,
        place: Place,
        rows: usize,
        columns: usize,
    ) -> Result<Self, Error> {
        if encoding == Encoding::Float16Rows {
            return HalfMatrix::view(bytes, kind, place, rows, columns).map(Matrix::Half);
        }
        let layout = Layout::of(encoding).ok_or(Error::Encoding { kind: kind as u16 })?;
        Int8Matrix::view((bytes, layout), kind, place, rows, columns).map(Matrix::Int8)
    }

    pub(crate) fn check(self, kind: Kind) -> Result<Self, Error> {
        Ok(match self {
            Matrix::Int8(matrix) => Matrix::Int8(matrix.check(kind)?),
            Matrix::Half(matrix) => Matrix::Half(matrix.check(kind)?),
        })
    }

    /// Some of the channels, which in panels begin with one.
    pub(crate) fn channels(&self, range: core::ops::Range<usize>) -> Self {
        match self {
            Matrix::Int8(matrix) => Matrix::Int8(matrix.channels(range)),
            Matrix::Half(matrix) => Matrix::Half(matrix.channels(range)),
        }
    }
}

/// An int8 matrix with a scale and a bias for each row (output channel).
#[derive(Clone, Copy, Debug)]
pub struct Int8Matrix<'a> {
    /// Output channels N.
    pub rows: usize,
    /// Input width K.
    pub columns: usize,
    /// Scale of each row.
    pub scales: Floats<'a>,
    /// Bias of each row.
    pub biases: Floats<'a>,
    /// The weights; [`Layout::place`] says where each lies.
    pub weights: &'a [i8],
    /// How they lie.
    pub layout: Layout,
}

impl<'a> Int8Matrix<'a> {
    /// Bytes of a section of `parts` matrices: scales of all, biases of all, padding to
    /// [`ALIGNMENT`], weights of one after the other.
    const fn section_bytes(layout: Layout, parts: usize, rows: usize, columns: usize) -> u64 {
        let floats = 8 * parts as u64 * rows as u64;
        floats.next_multiple_of(ALIGNMENT as u64) + parts as u64 * layout.bytes(rows, columns)
    }

    /// One of the matrices of a section, each \[rows, columns\].
    fn view(
        (bytes, layout): (&'a [u8], Layout),
        kind: Kind,
        Place { part, parts }: Place,
        rows: usize,
        columns: usize,
    ) -> Result<Self, Error> {
        if bytes.len() as u64 != Self::section_bytes(layout, parts, rows, columns) {
            return Err(Error::SectionSize { kind: kind as u16 });
        }
        let floats = 4 * parts * rows;
        let (front, weights) = bytes.split_at((2 * floats).next_multiple_of(ALIGNMENT));
        let weights: &[i8] = bytemuck::cast_slice(weights);
        let (scales, biases) = front[..2 * floats].split_at(floats);
        // The section has the length that was computed from these sizes, so they fit `usize`.
        let size = layout.bytes(rows, columns) as usize;
        Ok(Int8Matrix {
            rows,
            columns,
            scales: Floats::new(&scales[4 * rows * part..4 * rows * (part + 1)]),
            biases: Floats::new(&biases[4 * rows * part..4 * rows * (part + 1)]),
            weights: &weights[size * part..size * (part + 1)],
            layout,
        })
    }

    fn check(self, kind: Kind) -> Result<Self, Error> {
        self.scales.check(kind, 0.0, MAX_SCALE)?;
        self.biases.check(kind, -MAX_PARAMETER, MAX_PARAMETER)?;
        Ok(self)
    }

    /// Some of the channels, which in panels begin with one.
    fn channels(&self, range: core::ops::Range<usize>) -> Self {
        let bytes = |n: usize| self.layout.bytes(n, self.columns) as usize;
        let floats =
            |floats: &Floats<'a>| Floats::new(floats.bytes()[range.clone()].as_flattened());
        Int8Matrix {
            rows: range.len(),
            scales: floats(&self.scales),
            biases: floats(&self.biases),
            weights: &self.weights[bytes(range.start)..bytes(range.end)],
            ..*self
        }
    }

    /// Weight of channel `n` and input `k`; 0 outside.
    #[must_use]
    pub fn weight(&self, n: usize, k: usize) -> i8 {
        let inside = n < self.rows && k < self.columns;
        let place = self.layout.place(self.columns, n, k);
        if inside { self.weights.get(place).copied().unwrap_or(0) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_weight_has_a_place_of_its_own() {
        for layout in [Layout::Rows, Layout::Panels] {
            for (rows, columns) in [(1, 1), (15, 3), (16, 4), (17, 5), (40, 30)] {
                let mut taken = vec![false; layout.bytes(rows, columns) as usize];
                for n in 0..rows {
                    for k in 0..columns {
                        let place = layout.place(columns, n, k);
                        assert!(!core::mem::replace(&mut taken[place], true));
                    }
                }
            }
        }
    }

    #[test]
    fn four_inputs_of_a_channel_lie_together() {
        let place = |n, k| Layout::Panels.place(10, n, k);
        assert_eq!([place(0, 0), place(0, 3), place(1, 0), place(15, 3)], [0, 3, 4, 63]);
        assert_eq!([place(0, 4), place(0, 9), place(16, 0)], [64, 129, 192]);
    }
}
