//! An f16 matrix of the file: biases f32, then the weights row by row, without scales; and the parts of
//! a model whose matrices a writer may keep like that.

use super::matrix::Place;
use super::tensor::{Floats, MAX_PARAMETER};
use super::{ALIGNMENT, Kind};
use crate::Error;

/// An f16 matrix with a bias for each row (output channel).
#[derive(Clone, Copy, Debug)]
pub struct HalfMatrix<'a> {
    /// Output channels N.
    pub rows: usize,
    /// Input width K.
    pub columns: usize,
    /// Bias of each row.
    pub biases: Floats<'a>,
    /// The weights, little-endian, K of each channel after those of the one before.
    pub weights: &'a [[u8; 2]],
}

impl<'a> HalfMatrix<'a> {
    /// Bytes of a section of `parts` matrices: biases of all, padding to [`ALIGNMENT`], weights of one
    /// after the other.
    pub(crate) const fn section_bytes(parts: usize, rows: usize, columns: usize) -> u64 {
        let (parts, rows, columns) = (parts as u64, rows as u64, columns as u64);
        (4 * parts * rows).next_multiple_of(ALIGNMENT as u64) + 2 * parts * rows * columns
    }

    /// One of the matrices of a section, each \[rows, columns\].
    pub(super) fn view(
        bytes: &'a [u8],
        kind: Kind,
        Place { part, parts }: Place,
        rows: usize,
        columns: usize,
    ) -> Result<Self, Error> {
        if bytes.len() as u64 != Self::section_bytes(parts, rows, columns) {
            return Err(Error::SectionSize { kind: kind as u16 });
        }
        let floats = 4 * parts * rows;
        let (biases, weights) = bytes.split_at(floats.next_multiple_of(ALIGNMENT));
        let (weights, _) = weights.as_chunks::<2>();
        let size = rows * columns;
        Ok(HalfMatrix {
            rows,
            columns,
            biases: Floats::new(&biases[4 * rows * part..4 * rows * (part + 1)]),
            weights: &weights[size * part..size * (part + 1)],
        })
    }

    /// Refuses infinities and NaN; a finite f16 is at most 65504.
    pub(super) fn check(self, kind: Kind) -> Result<Self, Error> {
        self.biases.check(kind, -MAX_PARAMETER, MAX_PARAMETER)?;
        match self.weights.iter().all(|w| half::f16::from_le_bytes(*w).is_finite()) {
            true => Ok(self),
            false => Err(Error::Value { kind: kind as u16 }),
        }
    }

    /// Some of the channels.
    pub(super) fn channels(&self, range: core::ops::Range<usize>) -> Self {
        HalfMatrix {
            rows: range.len(),
            biases: Floats::new(self.biases.bytes()[range.clone()].as_flattened()),
            weights: &self.weights[range.start * self.columns..range.end * self.columns],
            ..*self
        }
    }
}

/// A part of a model whose matrices can stay f16 instead of int8, where int8 loses too much.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The matrices of a layer, counted from 0.
    Layer(u16),
    /// The dense layer between `[CLS]` and the class head.
    Pooler,
    /// The matrices of the head.
    Head,
}

#[cfg(feature = "std")]
impl Part {
    /// The part that sections of this kind belong to, if f16 is for them.
    #[must_use]
    pub fn of(kind: Kind, index: u16) -> Option<Self> {
        match kind {
            Kind::QueryKeyValue
            | Kind::AttentionOutput
            | Kind::FeedForwardIn
            | Kind::FeedForwardOut => Some(Part::Layer(index)),
            Kind::Pooler => Some(Part::Pooler),
            Kind::ClassHead | Kind::TagHead | Kind::SpanHead => Some(Part::Head),
            _ => None,
        }
    }
}

#[cfg(feature = "std")]
impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Part::Layer(index) => write!(f, "layer {index}"),
            Part::Pooler => f.write_str("pooler"),
            Part::Head => f.write_str("head"),
        }
    }
}
