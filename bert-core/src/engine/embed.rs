//! A text as one vector.

use super::Session;
use super::forward::Rows;
use super::read::Input;
use crate::Error;
use crate::format::Pooling;
use crate::ops::{l2_normalize_row, mean_rows};

impl Session<'_, '_> {
    /// Writes the vector of a text into `out` \[H\], from a model with any head: the mean of the last
    /// layer's rows, `[CLS]` and `[SEP]` included, or the row of `[CLS]`.
    ///
    /// A model with [`crate::Head::Embed`] says which pooling it was trained for. The pooler, a dense
    /// layer some models have before the class head, has no part in it.
    ///
    /// ```no_run
    /// # fn f(session: &mut bert_core::Session<'_, '_>) -> Result<(), bert_core::Error> {
    /// use bert_core::Pooling;
    /// let (mut a, mut b) = ([0.0; 128], [0.0; 128]);
    /// session.embed("lights off", Pooling::Mean, &mut a)?.normalize();
    /// session.embed("make it dark", Pooling::Mean, &mut b)?.normalize();
    /// let _cosine: f32 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::VectorLength`] if `out` does not hold H numbers, [`Error::TextTooLong`] beyond 4 GiB.
    pub fn embed<'o>(
        &mut self,
        text: &str,
        pooling: Pooling,
        out: &'o mut [f32],
    ) -> Result<Embedding<'o>, Error> {
        let hidden = self.model.config().hidden;
        if out.len() != hidden as usize {
            let found = u32::try_from(out.len()).unwrap_or(u32::MAX);
            return Err(Error::VectorLength { expected: hidden.into(), found });
        }
        let input = self.read_whole(text)?;
        self.compute(input, rows_of(pooling))?;
        let Input { tokens, truncated, .. } = input;
        let rows = &self.memory.x[..tokens * hidden as usize];
        // Nothing reads the scores of attention any more.
        pool(rows, pooling, &mut self.memory.scores[..tokens], out);
        Ok(Embedding { vector: out, tokens, truncated })
    }
}

/// The rows of the last layer that a pooling needs.
pub(super) fn rows_of(pooling: Pooling) -> Rows {
    match pooling {
        Pooling::Mean => Rows::All,
        Pooling::First => Rows::First,
    }
}

/// Pools the rows of the last layer \[T, H\] into `out` \[H\]; `column` is room for T floats.
pub(super) fn pool(rows: &[f32], pooling: Pooling, column: &mut [f32], out: &mut [f32]) {
    match pooling {
        Pooling::Mean => mean_rows(rows, column, out),
        Pooling::First => out.copy_from_slice(&rows[..out.len()]),
    }
}

/// The vector of a text, which lies in the caller's memory.
#[derive(Debug, PartialEq)]
pub struct Embedding<'o> {
    /// H numbers.
    pub vector: &'o mut [f32],
    /// Tokens that were read, `[CLS]` and `[SEP]` included.
    pub tokens: usize,
    /// Whether the text was cut.
    pub truncated: bool,
}

impl Embedding<'_> {
    /// Divides the vector by its Euclidean length, in place, so that the cosine of two texts is the
    /// product of their vectors; a vector of zeros stays.
    pub fn normalize(&mut self) {
        l2_normalize_row(self.vector);
    }
}
