//! The word table in int4: groups of 32 values, each with a scale of its own.
//!
//! ```text
//! table [N, K], G = ⌈K / 32⌉ groups a row
//!   f16 scale × N │ i8 multiplier × G, N times │ zeros to a multiple of 64 │ ⌈K / 2⌉ bytes, N times
//! ```
//!
//! A value is (nibble − 8) · multiplier · scale / 128, which f32 holds without rounding: 4, 7 and 11
//! bits. The first half of a group lies in the low nibbles of its bytes, the second in the high ones,
//! so that a vector register takes sixteen bytes apart with a mask and a shift. Of a last group of an
//! odd number of values the last high nibble has no meaning.
//!
//! Sixteen steps from −8 to 7 are one more than a symmetric range has; the sign of the multiplier
//! turns the longer side to where the group needs it. With the search of the writer the error of
//! a normal row is 0.081 of its size at 4.4 bits a value, where an f16 for each group and steps from
//! −7 to 7 have 0.091 at 4.5 bits.

use half::f16;

use super::tensor::{MAX_SCALE, Table};
use super::{ALIGNMENT, Encoding, Kind};
use crate::Error;

/// Values that share a multiplier.
pub const WORD_GROUP: usize = 32;
/// Zero, as a nibble.
pub(crate) const NIBBLE_ZERO: i8 = 8;
/// What 1 is among the multipliers.
pub(super) const UNIT: f32 = 128.0;

/// How the word table is stored; the other tables are a few rows and always int8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WordEncoding {
    /// A scale for each row.
    #[default]
    Int8,
    /// A scale for each group of [`WORD_GROUP`] values, half the bytes.
    Int4,
}

impl WordEncoding {
    /// Bytes of a word table \[V, H\] in the file.
    #[must_use]
    pub const fn bytes(self, vocabulary: usize, hidden: usize) -> u64 {
        match self {
            WordEncoding::Int8 => Table::section_bytes(vocabulary, hidden),
            WordEncoding::Int4 => GroupTable::section_bytes(vocabulary, hidden),
        }
    }
}

/// The word embeddings \[V, H\] of a file.
#[derive(Clone, Copy, Debug)]
pub enum WordTable<'a> {
    /// Encoding int8 rows.
    Int8(Table<'a>),
    /// Encoding int4 groups.
    Int4(GroupTable<'a>),
}

impl<'a> WordTable<'a> {
    pub(crate) fn parse(
        (bytes, encoding): (&'a [u8], Encoding),
        rows: usize,
        columns: usize,
    ) -> Result<Self, Error> {
        let kind = Kind::WordTable;
        match encoding {
            Encoding::Int8Rows => Table::parse(bytes, kind, rows, columns).map(WordTable::Int8),
            Encoding::Int4Groups => GroupTable::parse(bytes, rows, columns).map(WordTable::Int4),
            _ => Err(Error::Encoding { kind: kind as u16 }),
        }
    }
}

/// An int4 table with a scale for each row and a multiplier for each group of a row.
#[derive(Clone, Copy, Debug)]
pub struct GroupTable<'a> {
    columns: usize,
    scales: &'a [[u8; 2]],
    multipliers: &'a [i8],
    nibbles: &'a [u8],
}

impl<'a> GroupTable<'a> {
    /// Bytes before the nibbles, without padding; bytes of the nibbles.
    const fn parts(rows: usize, columns: usize) -> (u64, u64) {
        let (rows, columns) = (rows as u64, columns as u64);
        (rows * (2 + columns.div_ceil(WORD_GROUP as u64)), rows * columns.div_ceil(2))
    }

    /// Bytes of a section.
    pub(crate) const fn section_bytes(rows: usize, columns: usize) -> u64 {
        let (front, nibbles) = Self::parts(rows, columns);
        front.next_multiple_of(ALIGNMENT as u64) + nibbles
    }

    pub(super) fn parse(bytes: &'a [u8], rows: usize, columns: usize) -> Result<Self, Error> {
        let kind = Kind::WordTable as u16;
        if bytes.len() as u64 != Self::section_bytes(rows, columns) {
            return Err(Error::SectionSize { kind });
        }
        // The section has the length that was computed from these sizes, so they fit `usize`.
        let front = Self::parts(rows, columns).0 as usize;
        let (front, nibbles) = (&bytes[..front], &bytes[front.next_multiple_of(ALIGNMENT)..]);
        let (scales, multipliers) = front.split_at(2 * rows);
        let scales = scales.as_chunks::<2>().0;
        // A comparison with NaN is false, so NaN is refused too; -0 would be one more zero.
        let right = |s: &[u8; 2]| s[1] < 0x80 && scale(*s) <= MAX_SCALE;
        if !scales.iter().all(right) {
            return Err(Error::Value { kind });
        }
        Ok(GroupTable { columns, scales, multipliers: bytemuck::cast_slice(multipliers), nibbles })
    }

    /// Row `i`; an empty row outside the table.
    #[inline(always)]
    #[must_use]
    pub fn row(&self, i: usize) -> GroupRow<'a> {
        GroupRow {
            scale: self.scales.get(i).map_or(0.0, |s| scale(*s)) / UNIT,
            multipliers: part(self.multipliers, i, self.columns.div_ceil(WORD_GROUP)),
            nibbles: part(self.nibbles, i, self.columns.div_ceil(2)),
        }
    }
}

/// Part `i` of parts of equal length; empty outside.
#[inline(always)]
fn part<T>(all: &[T], i: usize, length: usize) -> &[T] {
    let start = i.saturating_mul(length);
    all.get(start..start.saturating_add(length)).unwrap_or(&[])
}

/// A stored half as f32. In plain arithmetic, which is as exact as an instruction and needs none.
#[inline(always)]
fn scale(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32_const()
}

/// A row of a [`GroupTable`].
#[derive(Clone, Copy, Debug)]
pub struct GroupRow<'a> {
    scale: f32,
    multipliers: &'a [i8],
    nibbles: &'a [u8],
}

impl<'a> GroupRow<'a> {
    /// The nibbles of each group and the scale of its values.
    #[inline(always)]
    pub fn groups(self) -> impl Iterator<Item = (&'a [u8], f32)> {
        let groups = self.nibbles.chunks(WORD_GROUP / 2).zip(self.multipliers);
        groups.map(move |(nibbles, &multiplier)| (nibbles, self.scale * multiplier as f32))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hostile_sections_are_refused() {
        let bytes = vec![0u8; GroupTable::section_bytes(3, 40) as usize];
        assert!(GroupTable::parse(&bytes, 3, 40).is_ok());
        for (rows, columns) in [(3, 42), (4, 40), (2, 40), (usize::MAX >> 20, 8192)] {
            let error = GroupTable::parse(&bytes, rows, columns).err();
            assert_eq!(error, Some(Error::SectionSize { kind: 4 }), "{rows} {columns}");
        }
        for hostile in [f16::NAN, f16::INFINITY, f16::MAX, f16::from_f32(-1.0), f16::NEG_ZERO] {
            let mut changed = bytes.clone();
            changed[2..4].copy_from_slice(&hostile.to_le_bytes());
            let error = GroupTable::parse(&changed, 3, 40).err();
            assert_eq!(error, Some(Error::Value { kind: 4 }), "{hostile}");
        }
        let table = GroupTable::parse(&bytes, 3, 40).unwrap();
        assert_eq!(table.row(3).groups().count(), 0);
        assert_eq!(table.row(usize::MAX).groups().count(), 0);
    }
}
