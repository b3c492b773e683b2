//! A text as one vector, out of one layer or of several.
//!
//! With pₗ the pooled rows of layer l: the vector is pₗ, or pₗ₋₃ + pₗ₋₂ + pₗ₋₁ + pₗ of the last four
//! layers, added in this order, or the four one after another. Source: Devlin et al., *BERT*, 2018,
//! 5.3 and table 7, where these are the features for another model.

use super::Session;
use super::forward::{Pass, Rows};
use super::read::Input;
use super::rows::LastRows;
use super::scratch::Memory;
use crate::Error;
use crate::arch::Kernels;
use crate::format::Pooling;
use crate::ops::{divide_row, l2_normalize_row};

/// Which rows make the vector of a text. A [`Pooling`] alone stands for the last layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbedOptions {
    /// How the rows of the tokens become one.
    pub pooling: Pooling,
    /// The layers that the rows are of.
    pub layers: Layers,
}

/// Layers of a model of L layers.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// Layer L.
    Last,
    /// Layer n, 0 … L; layer 0 is what the embedding tables give, behind their layer norm. The
    /// layers after it are not computed.
    One(u16),
    /// The sum of layers L − 3 … L; needs L ≥ 4.
    SumLastFour,
    /// Layers L − 3, L − 2, L − 1 and L one after another: 4 H numbers; needs L ≥ 4.
    ConcatLastFour,
}

impl EmbedOptions {
    /// Numbers of the vector from a model of hidden size `hidden`.
    ///
    /// ```
    /// use bert_core::{EmbedOptions, Layers, Pooling};
    /// const OPTIONS: EmbedOptions =
    ///     EmbedOptions { pooling: Pooling::Mean, layers: Layers::ConcatLastFour };
    /// let room = [0.0f32; OPTIONS.out_len(128)];
    /// assert_eq!(room.len(), 512);
    /// ```
    #[must_use]
    pub const fn out_len(self, hidden: usize) -> usize {
        match self.layers {
            Layers::ConcatLastFour => 4 * hidden,
            _ => hidden,
        }
    }

    /// First and last layer of the vector out of a model of so many layers.
    ///
    /// # Errors
    /// [`Error::Layers`] if the model has not those layers.
    pub fn range(self, layers: u16) -> Result<(u16, u16), Error> {
        let (needed, range) = match self.layers {
            Layers::Last => (0, (layers, layers)),
            Layers::One(layer) => (layer, (layer, layer)),
            Layers::SumLastFour | Layers::ConcatLastFour => (4, (layers.saturating_sub(3), layers)),
        };
        if needed > layers { Err(Error::Layers { needed, found: layers }) } else { Ok(range) }
    }
}

impl From<Pooling> for EmbedOptions {
    fn from(pooling: Pooling) -> Self {
        EmbedOptions { pooling, layers: Layers::Last }
    }
}

impl Session<'_, '_> {
    /// Writes the vector of a text into `out`, from a model with any head: the mean of a layer's rows,
    /// `[CLS]` and `[SEP]` included, or its row of `[CLS]`; of the last layer or of those that
    /// [`EmbedOptions`] name. `out` holds [`EmbedOptions::out_len`] numbers, H in most cases; there
    /// is no other memory than `out` and the session's scratch.
    ///
    /// A model with [`crate::Head::Embed`] says which pooling its last layer was trained for. The
    /// pooler, a dense layer some models have before the class head, has no part in it.
    ///
    /// ```no_run
    /// # fn f(session: &mut bert_core::Session<'_, '_>) -> Result<(), bert_core::Error> {
    /// use bert_core::{EmbedOptions, Layers, Pooling};
    /// let (mut a, mut b) = ([0.0; 128], [0.0; 128]);
    /// session.embed("lights off", Pooling::Mean, &mut a)?.normalize();
    /// session.embed("make it dark", Pooling::Mean, &mut b)?.normalize();
    /// let _cosine: f32 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
    ///
    /// let second = EmbedOptions { pooling: Pooling::First, layers: Layers::One(2) };
    /// session.embed("lights off", second, &mut a)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::VectorLength`] if `out` has another length, [`Error::Layers`] if the model has not
    /// those layers, [`Error::TextTooLong`] beyond 4 GiB.
    pub fn embed<'o>(
        &mut self,
        text: &str,
        options: impl Into<EmbedOptions>,
        out: &'o mut [f32],
    ) -> Result<Embedding<'o>, Error> {
        let options = options.into();
        let config = self.model.config();
        let (first, last) = options.range(config.layers)?;
        let hidden = config.hidden as usize;
        let expected = options.out_len(hidden);
        if out.len() != expected {
            let clip = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            return Err(Error::VectorLength { expected: clip(expected), found: clip(out.len()) });
        }
        let input = self.read_whole(text)?;
        let segment = |t| (t >= input.second) as usize;
        let rows = rows_of(options.pooling);
        let kernels = self.kernels;
        let after = |layer: u16, memory: &mut Memory<'_>| {
            if let Some(number) = layer.checked_sub(first) {
                take(kernels, memory, input.tokens, options, number as usize, hidden, out);
            }
        };
        let pass = Pass { model: &self.model, kernels, tokens: input.tokens };
        pass.forward_to(&mut self.memory, segment, rows, last, after)?;
        let Input { tokens, truncated, .. } = input;
        Ok(Embedding { vector: out, tokens, truncated })
    }
}

/// Pools the rows of a layer, the `number`-th of the vector, and puts them where they belong in `out`.
fn take(
    kernels: &'static Kernels,
    memory: &mut Memory<'_>,
    tokens: usize,
    options: EmbedOptions,
    number: usize,
    hidden: usize,
    out: &mut [f32],
) {
    // Between two layers nothing reads the rows in flight.
    let (x, scales, row) = (&*memory.x, &*memory.x_scales, &mut *memory.tile.residual);
    let mut rows = LastRows { kernels, hidden, x, scales, row, q: memory.tile.rows };
    match options.layers {
        Layers::SumLastFour if number > 0 => {
            let pooled = &mut memory.tile.first[..hidden];
            pool(&mut rows, tokens, options.pooling, pooled);
            for (out, pooled) in out.iter_mut().zip(pooled) {
                *out += *pooled;
            }
        }
        Layers::ConcatLastFour => {
            let out = &mut out[number * hidden..(number + 1) * hidden];
            pool(&mut rows, tokens, options.pooling, out);
        }
        _ => pool(&mut rows, tokens, options.pooling, out),
    }
}

/// The rows of a layer that a pooling needs.
pub(super) fn rows_of(pooling: Pooling) -> Rows {
    match pooling {
        Pooling::Mean => Rows::All,
        Pooling::First => Rows::First,
    }
}

/// Pools the rows of the first `tokens` tokens of a layer into `out` \[H\].
pub(super) fn pool(rows: &mut LastRows<'_>, tokens: usize, pooling: Pooling, out: &mut [f32]) {
    match pooling {
        Pooling::Mean => {
            out.fill(0.0);
            let kernels = rows.kernels;
            for token in 0..tokens {
                kernels.add_row(rows.row(token), out);
            }
            divide_row(out, tokens);
        }
        Pooling::First => out.copy_from_slice(rows.row(0)),
    }
}

/// The vector of a text, which lies in the caller's memory.
#[derive(Debug, PartialEq)]
pub struct Embedding<'o> {
    /// As many numbers as [`EmbedOptions::out_len`] says.
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
