//! Views of numbers in the file. Floats are little-endian and need no alignment.
//!
//! The bounds below keep every number of the forward pass finite, whatever a file holds:
//! a layer norm's output is at most √H·2¹⁶ + 2¹⁶ < 2²³; a product with an int8 matrix multiplies
//! that by at most 2¹⁵ (columns) · 2⁷ · 2¹⁰ (scale), so queries, keys and values stay below 2⁵⁵ and
//! scores below 2¹¹⁶; the feed-forward part ends below 2⁸⁷. A product with an f16 matrix multiplies by at
//! most 2¹⁵ (columns) · 2¹⁶, which is less. Its sum is of floats, and each of its roundings adds at most
//! 2⁻²⁴ of it: fewer than 2¹² of them in a lane and the tree do not double it. Squares inside a layer norm may become
//! infinite, which makes its output β.

use super::ALIGNMENT;
use crate::Error;
use crate::format::Kind;

/// Largest magnitude of a bias, γ or β.
pub const MAX_PARAMETER: f32 = 65536.0;
/// Largest scale; scales are not negative.
pub const MAX_SCALE: f32 = 1024.0;

/// f32 values where they lie.
#[derive(Clone, Copy, Debug)]
pub struct Floats<'a>(&'a [[u8; 4]]);

impl<'a> Floats<'a> {
    /// The values in `bytes`, four bytes each.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Floats(bytes.as_chunks::<4>().0)
    }

    /// Value `i`; 0 outside the range.
    #[inline(always)]
    #[must_use]
    pub fn at(&self, i: usize) -> f32 {
        self.0.get(i).map_or(0.0, |b| f32::from_le_bytes(*b))
    }

    /// All values in order.
    #[inline(always)]
    pub fn iter(&self) -> impl Iterator<Item = f32> + 'a {
        self.0.iter().map(|b| f32::from_le_bytes(*b))
    }

    /// The same values as bytes, four each.
    #[inline(always)]
    pub(crate) fn bytes(&self) -> &'a [[u8; 4]] {
        self.0
    }

    pub(super) fn check(&self, kind: Kind, least: f32, most: f32) -> Result<(), Error> {
        // A comparison with NaN is false, so NaN is refused too.
        match self.iter().all(|v| v >= least && v <= most) {
            true => Ok(()),
            false => Err(Error::Value { kind: kind as u16 }),
        }
    }
}

/// An int8 table with a scale for each row.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// Number of rows.
    pub rows: usize,
    /// Width of a row.
    pub columns: usize,
    scales: Floats<'a>,
    weights: &'a [i8],
}

impl<'a> Table<'a> {
    /// Bytes of a section: scales, padding to [`ALIGNMENT`], rows.
    pub(crate) const fn section_bytes(rows: usize, columns: usize) -> u64 {
        (4 * rows as u64).next_multiple_of(ALIGNMENT as u64) + rows as u64 * columns as u64
    }

    pub(crate) fn parse(
        bytes: &'a [u8],
        kind: Kind,
        rows: usize,
        columns: usize,
    ) -> Result<Self, Error> {
        if bytes.len() as u64 != Self::section_bytes(rows, columns) {
            return Err(Error::SectionSize { kind: kind as u16 });
        }
        let (scales, weights) = bytes.split_at((4 * rows).next_multiple_of(ALIGNMENT));
        let scales = Floats::new(&scales[..4 * rows]);
        scales.check(kind, 0.0, MAX_SCALE)?;
        Ok(Table { rows, columns, scales, weights: bytemuck::cast_slice(weights) })
    }

    /// Row `i` and its scale; an empty row outside the table.
    #[must_use]
    pub fn row(&self, i: usize) -> (&'a [i8], f32) {
        let start = i.saturating_mul(self.columns);
        let row = self.weights.get(start..start.saturating_add(self.columns));
        (row.unwrap_or(&[]), self.scales.at(i))
    }
}

/// γ and β of a layer norm.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// Gain.
    pub gamma: Floats<'a>,
    /// Offset.
    pub beta: Floats<'a>,
}

impl<'a> Norm<'a> {
    pub(crate) fn view(bytes: &'a [u8], kind: Kind, hidden: usize) -> Result<Self, Error> {
        if bytes.len() != 8 * hidden {
            return Err(Error::SectionSize { kind: kind as u16 });
        }
        let (gamma, beta) = bytes.split_at(4 * hidden);
        Ok(Norm { gamma: Floats::new(gamma), beta: Floats::new(beta) })
    }

    pub(crate) fn check(self, kind: Kind) -> Result<Self, Error> {
        self.gamma.check(kind, -MAX_PARAMETER, MAX_PARAMETER)?;
        self.beta.check(kind, -MAX_PARAMETER, MAX_PARAMETER)?;
        Ok(self)
    }
}
