//! The header section: what the model is. Encoded by postcard; fields are only ever appended.

use serde::{Deserialize, Serialize};

use super::heads;
use crate::engine::Shape;
use crate::tokenizer::{MAX_PIECES, TokenizerConfig};
use crate::{ARITHMETIC, Error};

/// Sizes and switches of a model. Every count is what the file's sections really hold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Revision of the arithmetic the self-test was written with, see [`ARITHMETIC`].
    pub arithmetic: u16,
    /// L, transformer layers.
    pub layers: u16,
    /// H, width of the residual stream.
    pub hidden: u16,
    /// A, attention heads; divides `hidden`.
    pub heads: u16,
    /// F, width between the two feed-forward matrices.
    pub feed_forward: u16,
    /// V, rows of the word table and pieces of the vocabulary.
    pub vocabulary: u32,
    /// Rows of the position table.
    pub positions: u16,
    /// Rows of the segment table.
    pub segments: u16,
    /// Longest input in tokens with `[CLS]` and `[SEP]`; longer texts are cut there.
    pub max_length: u16,
    /// Activation of the feed-forward part.
    pub activation: Activation,
    /// ε of every layer norm.
    pub epsilon: f32,
    /// Whether a dense layer with tanh lies between `[CLS]` and the class head.
    pub pooler: bool,
    /// How text becomes tokens.
    pub tokenizer: TokenizerConfig,
    /// What the model answers.
    pub head: Head,
}

/// Activation of the feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// GELU by the error function, as BERT has it (`gelu`).
    Gelu,
    /// GELU's tanh form (`gelu_new`, `gelu_pytorch_tanh`).
    GeluTanh,
    /// max(x, 0).
    Relu,
}

/// What a model answers.
///
/// The numbers of the variants are part of the file format; a reader that does not know a head
/// refuses the file with [`Error::UnsupportedHead`].
///
/// Whether a model takes one text or two follows from the head, except for [`Head::Regress`]:
/// numbers are learned from one text (a rating) or from two (a similarity), in the same network. The
/// segment table says what can be asked then: with two rows both questions have an answer, with one
/// row only that of one text.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Head {
    /// One label for the text.
    Classify {
        /// Number of labels.
        labels: u16,
    },
    /// One tag for each word.
    Tag {
        /// Number of tags.
        tags: u16,
    },
    /// One label for the text and one tag for each word, from one pass.
    Joint {
        /// Number of labels of the text.
        labels: u16,
        /// Number of tags of a word.
        tags: u16,
    },
    /// One label for two texts; needs two segments.
    PairClassify {
        /// Number of labels.
        labels: u16,
    },
    /// Numbers for one text or two.
    Regress {
        /// How many numbers.
        outputs: u16,
    },
    /// Start and end of an answer in the second text; needs two segments.
    Span,
    /// A vector for the text.
    Embed {
        /// How the vectors of the tokens become one.
        pooling: Pooling,
    },
    /// Any number of labels for the text, each true or not for itself.
    MultiLabel {
        /// Number of labels.
        labels: u16,
    },
}

/// How the vectors of the tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pooling {
    /// Mean over the tokens.
    Mean,
    /// The vector of `[CLS]`.
    First,
}

impl Head {
    /// The head as a set of [`super::heads`].
    #[must_use]
    pub const fn set(self) -> u16 {
        match self {
            Head::Classify { .. } => heads::CLASSIFY,
            Head::Tag { .. } => heads::TAG,
            Head::Joint { .. } => heads::JOINT,
            Head::PairClassify { .. } => heads::PAIR_CLASSIFY,
            Head::Regress { .. } => heads::REGRESS,
            Head::Span => heads::SPAN,
            Head::Embed { .. } => heads::EMBED,
            Head::MultiLabel { .. } => heads::MULTI_LABEL,
        }
    }

    /// Oldest reader that runs the head.
    #[cfg(feature = "std")]
    pub(crate) const fn reader_version(self) -> u16 {
        match self {
            Head::Classify { .. } | Head::Tag { .. } | Head::Joint { .. } => 1,
            _ => 2,
        }
    }

    /// Labels of the text or the pair; 0 where the head has none.
    #[must_use]
    pub const fn labels(self) -> u16 {
        match self {
            Head::Classify { labels }
            | Head::Joint { labels, .. }
            | Head::PairClassify { labels }
            | Head::MultiLabel { labels } => labels,
            _ => 0,
        }
    }

    /// Numbers that the head reads from `[CLS]`: logits of the labels, or those of a regression; 0
    /// where there are none.
    #[must_use]
    pub const fn outputs(self) -> u16 {
        match self {
            Head::Regress { outputs } => outputs,
            _ => self.labels(),
        }
    }

    /// Tags of a word; 0 where the head has none.
    #[must_use]
    pub const fn tags(self) -> u16 {
        match self {
            Head::Tag { tags } | Head::Joint { tags, .. } => tags,
            _ => 0,
        }
    }
}

impl Config {
    /// Most layers.
    pub const MAX_LAYERS: u16 = 256;
    /// Widest residual stream. With [`Config::MAX_FEED_FORWARD`] it keeps i32 sums exact and,
    /// with the bounds on stored numbers, every float finite.
    pub const MAX_HIDDEN: u16 = 8192;
    /// Widest feed-forward part.
    pub const MAX_FEED_FORWARD: u16 = 32768;
    /// Most pieces of a vocabulary.
    pub const MAX_VOCABULARY: u32 = MAX_PIECES;
    /// Longest input in tokens.
    pub const MAX_LENGTH: u16 = 32767;
    /// Least and largest ε.
    pub const EPSILON: core::ops::RangeInclusive<f32> = 1e-20..=1.0;

    /// The part of the config that decides the scratch memory.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        Shape {
            hidden: self.hidden as usize,
            heads: self.heads as usize,
            feed_forward: self.feed_forward as usize,
            labels: self.head.outputs() as usize,
            tags: self.head.tags() as usize,
        }
    }

    /// Checks all sizes against the limits and each other.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let sizes = (1..=Self::MAX_LAYERS).contains(&self.layers)
            && (1..=Self::MAX_HIDDEN).contains(&self.hidden)
            && (1..=self.hidden).contains(&self.heads)
            && self.hidden.is_multiple_of(self.heads)
            && (1..=Self::MAX_FEED_FORWARD).contains(&self.feed_forward)
            && (1..=Self::MAX_VOCABULARY).contains(&self.vocabulary)
            && (3..=Self::MAX_LENGTH).contains(&self.max_length)
            && self.positions >= self.max_length
            && self.segments >= 1
            && Self::EPSILON.contains(&self.epsilon);
        if !sizes {
            return Err(Error::Config);
        }
        let head = match self.head {
            Head::Classify { labels } | Head::MultiLabel { labels } => labels > 0,
            Head::Tag { tags } => tags > 0,
            Head::Joint { labels, tags } => labels > 0 && tags > 0,
            Head::PairClassify { labels } => labels > 0 && self.segments >= 2,
            Head::Regress { outputs } => outputs > 0,
            Head::Span => self.segments >= 2,
            Head::Embed { .. } => true,
        };
        if head { Ok(()) } else { Err(Error::Config) }
    }

    /// Decodes a header. Bytes after the fields known here are fields of later versions.
    pub(crate) fn decode(header: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields(header);
        Ok(Config {
            arithmetic: fields.short()?,
            layers: fields.short()?,
            hidden: fields.short()?,
            heads: fields.short()?,
            feed_forward: fields.short()?,
            vocabulary: fields.number(u32::BITS)?,
            positions: fields.short()?,
            segments: fields.short()?,
            max_length: fields.short()?,
            activation: match fields.number(u32::BITS)? {
                0 => Activation::Gelu,
                1 => Activation::GeluTanh,
                2 => Activation::Relu,
                _ => return Err(Error::Header),
            },
            epsilon: f32::from_le_bytes([
                fields.byte()?,
                fields.byte()?,
                fields.byte()?,
                fields.byte()?,
            ]),
            pooler: fields.switch()?,
            tokenizer: TokenizerConfig {
                lower_case: fields.switch()?,
                strip_accents: fields.switch()?,
                split_chinese: fields.switch()?,
                max_word_chars: fields.short()?,
            },
            head: fields.head()?,
        })
    }

    /// Errors unless the self-test was written with this reader's arithmetic.
    pub(crate) fn check_arithmetic(&self) -> Result<(), Error> {
        if self.arithmetic != ARITHMETIC {
            return Err(Error::Arithmetic { file: self.arithmetic, reader: ARITHMETIC });
        }
        Ok(())
    }
}

/// Fields in postcard, one after the other. `serde` decodes the same with four times the code.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn byte(&mut self) -> Result<u8, Error> {
        let (&byte, rest) = self.0.split_first().ok_or(Error::Header)?;
        self.0 = rest;
        Ok(byte)
    }

    fn switch(&mut self) -> Result<bool, Error> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Error::Header),
        }
    }

    /// A number of so many bits, seven a byte, the lowest first.
    fn number(&mut self, bits: u32) -> Result<u32, Error> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = u32::from(self.byte()?);
            // The last byte has the bits that are left, and no sign that another follows.
            if bits - shift < 7 && byte >> (bits - shift) != 0 {
                return Err(Error::Header);
            }
            number |= (byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
            shift += 7;
        }
    }

    fn short(&mut self) -> Result<u16, Error> {
        // It has no more bits.
        self.number(u16::BITS).map(|number| number as u16)
    }

    fn head(&mut self) -> Result<Head, Error> {
        Ok(match self.number(u32::BITS)? {
            0 => Head::Classify { labels: self.short()? },
            1 => Head::Tag { tags: self.short()? },
            2 => Head::Joint { labels: self.short()?, tags: self.short()? },
            3 => Head::PairClassify { labels: self.short()? },
            4 => Head::Regress { outputs: self.short()? },
            5 => Head::Span,
            6 => Head::Embed {
                pooling: match self.number(u32::BITS)? {
                    0 => Pooling::Mean,
                    1 => Pooling::First,
                    _ => return Err(Error::Header),
                },
            },
            7 => Head::MultiLabel { labels: self.short()? },
            _ => return Err(Error::UnsupportedHead),
        })
    }
}

#[cfg(all(test, feature = "std"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const CONFIG: Config = Config {
        arithmetic: ARITHMETIC,
        layers: 12,
        hidden: 768,
        heads: 12,
        feed_forward: 3072,
        vocabulary: 30_522,
        positions: 512,
        segments: 2,
        max_length: 512,
        activation: Activation::GeluTanh,
        epsilon: 1e-12,
        pooler: true,
        tokenizer: TokenizerConfig::uncased(),
        head: Head::Classify { labels: 2 },
    };

    /// What `serde` makes of a header.
    fn by_serde(header: &[u8]) -> Result<Config, Error> {
        type Front = ([u16; 5], u32, [u16; 3], Activation, f32, bool, TokenizerConfig, u32);
        const HEADS: u32 = 8;
        postcard::take_from_bytes::<Config>(header).map(|(config, _)| config).map_err(|_| {
            match postcard::take_from_bytes::<Front>(header) {
                Ok((front, _)) if front.7 >= HEADS => Error::UnsupportedHead,
                _ => Error::Header,
            }
        })
    }

    fn check(header: &[u8]) {
        // NaN is no number that equals itself.
        let shown = |config: Result<Config, Error>| format!("{config:?}");
        assert_eq!(shown(Config::decode(header)), shown(by_serde(header)), "{header:?}");
    }

    #[test]
    fn headers_are_decoded_as_serde_does() {
        let heads = [
            Head::Classify { labels: 300 },
            Head::Tag { tags: u16::MAX },
            Head::Joint { labels: 1, tags: 127 },
            Head::PairClassify { labels: 128 },
            Head::Regress { outputs: 1 },
            Head::Span,
            Head::Embed { pooling: Pooling::Mean },
            Head::Embed { pooling: Pooling::First },
            Head::MultiLabel { labels: 3 },
        ];
        for (index, head) in heads.into_iter().enumerate() {
            let config = Config { head, ..CONFIG };
            let header = postcard::to_stdvec(&config).unwrap();
            assert_eq!(Config::decode(&header), Ok(config));
            assert_eq!(head.set().count_ones(), 1, "{index}");
            for length in 0..header.len() {
                check(&header[..length]);
            }
            // Every byte with every value, alone and with the one behind it at its edges.
            for at in 0..header.len() {
                let mut changed = header.clone();
                for value in 0..=u8::MAX {
                    changed[at] = value;
                    check(&changed);
                }
                for next in [0, 1, 3, 4, 15, 16, 0x7F, 0x80, 0xFF] {
                    let mut changed = header.clone();
                    changed[at] |= 0x80;
                    changed.insert(at + 1, next);
                    check(&changed);
                    changed[at + 1] |= 0x80;
                    changed.insert(at + 2, next);
                    check(&changed);
                    changed.splice(at + 2..at + 2, [0x80, 0xFF, 0x80, next]);
                    check(&changed);
                }
            }
        }
    }
}
