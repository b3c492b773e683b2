//! The checked view of a model file.

use super::matrix::Place;
use super::sections::{Section, Sections};
use super::{Config, Encoding, Head, Kind, Labels, Matrix, Norm, PREAMBLE_BYTES, Table, WordTable};
use crate::Error;
use crate::tokenizer::{Tokenizer, Vocabulary};

/// A model file whose every byte was checked by [`Model::parse`].
///
/// It borrows the bytes and holds no copy of the weights; it is small and `Copy`.
#[derive(Clone, Copy)]
pub struct Model<'a> {
    sections: Sections<'a>,
    config: Config,
    vocabulary: Vocabulary<'a>,
    labels: Labels<'a>,
    tags: Labels<'a>,
    pub(crate) word: WordTable<'a>,
    pub(crate) position: Table<'a>,
    pub(crate) segment: Table<'a>,
    pub(crate) embedding_norm: Norm<'a>,
    pub(crate) pooler: Option<Matrix<'a>>,
    pub(crate) class_head: Option<Matrix<'a>>,
    pub(crate) tag_head: Option<Matrix<'a>>,
    pub(crate) span_head: Option<Matrix<'a>>,
    self_test: &'a [u8],
}

/// The matrices and norms of one layer.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// \[H, H\].
    pub query: Matrix<'a>,
    /// \[H, H\].
    pub key: Matrix<'a>,
    /// \[H, H\].
    pub value: Matrix<'a>,
    /// \[H, H\].
    pub attention_output: Matrix<'a>,
    /// After attention.
    pub attention_norm: Norm<'a>,
    /// \[F, H\].
    pub feed_forward_in: Matrix<'a>,
    /// \[H, F\].
    pub feed_forward_out: Matrix<'a>,
    /// After the feed-forward part.
    pub feed_forward_norm: Norm<'a>,
}

/// One stored self-test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfTest<'a> {
    /// Input.
    pub text: &'a str,
    /// CRC-32 of the output, see [`crate::Session::output_crc`].
    pub crc: u32,
}

impl<'a> Model<'a> {
    /// Checks a file and gives the view of it.
    ///
    /// `bytes` is the whole file, at any address. Every checksum, size, range and number is checked
    /// here, so nothing later can fail because of the file.
    ///
    /// # Errors
    /// What is wrong with the file; see [`Error`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let sections = Sections::parse(bytes)?;
        let plain = |kind, index| sections.find(kind, index, Encoding::Plain);
        let config = Config::decode(plain(Kind::Header, 0)?)?;
        config.check()?;
        let hidden = config.hidden as usize;
        let vocabulary = Vocabulary::parse(plain(Kind::Vocabulary, 0)?)?;
        if vocabulary.len() != config.vocabulary {
            return Err(Error::Vocabulary);
        }
        Tokenizer::new(vocabulary, config.tokenizer)?;
        let labels = |index, count: u16| match count {
            0 => Ok(Labels::NONE),
            _ => Labels::parse(plain(Kind::Labels, index)?, count as usize),
        };
        let table = |kind, rows: usize| {
            Table::parse(sections.find(kind, 0, Encoding::Int8Rows)?, kind, rows, hidden)
        };
        // In a loop, for one copy of the code.
        let mut heads = [None; 4];
        let span = if config.head == Head::Span { 2 } else { 0 };
        let rows = [
            (Kind::Pooler, if config.pooler { config.hidden } else { 0 }),
            (Kind::ClassHead, config.head.outputs()),
            (Kind::TagHead, config.head.tags()),
            (Kind::SpanHead, span),
        ];
        for (head, (kind, rows)) in heads.iter_mut().zip(rows) {
            if rows > 0 {
                *head = Some(matrix(&sections, kind, 0, rows as usize, hidden)?.check(kind)?);
            }
        }
        let [pooler, class_head, tag_head, span_head] = heads;
        let model = Model {
            sections,
            config,
            vocabulary,
            labels: labels(0, config.head.labels())?,
            tags: labels(1, config.head.tags())?,
            word: WordTable::parse(
                sections.find_encoded(Kind::WordTable, 0)?,
                config.vocabulary as usize,
                hidden,
            )?,
            position: table(Kind::PositionTable, config.positions as usize)?,
            segment: table(Kind::SegmentTable, config.segments as usize)?,
            embedding_norm: norm(&sections, Kind::EmbeddingNorm, 0, hidden)?
                .check(Kind::EmbeddingNorm)?,
            pooler,
            class_head,
            tag_head,
            span_head,
            self_test: plain(Kind::SelfTest, 0)?,
        };
        for index in 0..config.layers {
            model.layer(index)?.check()?;
        }
        SelfTests::check(model.self_test)?;
        // A later reader of the same arithmetic may need less scratch than the file says, never more.
        let needed = model.scratch_bytes(config.max_length as usize);
        let stated = sections.scratch_bytes as u64;
        if config.arithmetic == crate::ARITHMETIC && needed as u64 > stated {
            return Err(Error::Config);
        }
        Ok(model)
    }

    /// Sizes and switches.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The pieces.
    #[must_use]
    pub fn vocabulary(&self) -> &Vocabulary<'a> {
        &self.vocabulary
    }

    /// Names of the labels of a text or a pair; empty where the head has none.
    #[must_use]
    pub fn labels(&self) -> &Labels<'a> {
        &self.labels
    }

    /// Names of the words' tags; empty where the head has none.
    #[must_use]
    pub fn tags(&self) -> &Labels<'a> {
        &self.tags
    }

    /// Bytes of scratch memory for inputs of up to `tokens` tokens, exactly.
    #[must_use]
    pub fn scratch_bytes(&self, tokens: usize) -> usize {
        crate::scratch_bytes(&self.config.shape(), tokens)
    }

    /// The stored self-tests.
    #[must_use]
    pub fn self_tests(&self) -> SelfTests<'a> {
        SelfTests(self.self_test.get(4..).unwrap_or(&[]))
    }

    /// Every section, in the order of the file.
    pub fn sections(&self) -> impl Iterator<Item = Section> + 'a {
        self.sections.iter()
    }

    /// The layer `index`, counted from 0.
    ///
    /// # Errors
    /// [`Error::MissingSection`] if there is no such layer.
    pub fn layer(&self, index: u16) -> Result<Layer<'a>, Error> {
        let (hidden, wide) = (self.config.hidden as usize, self.config.feed_forward as usize);
        let s = &self.sections;
        let of_attention = |part| {
            let place = Place { part, parts: 3 };
            matrix_at(s, Kind::QueryKeyValue, index, place, [hidden, hidden])
        };
        Ok(Layer {
            query: of_attention(0)?,
            key: of_attention(1)?,
            value: of_attention(2)?,
            attention_output: matrix(s, Kind::AttentionOutput, index, hidden, hidden)?,
            attention_norm: norm(s, Kind::AttentionNorm, index, hidden)?,
            feed_forward_in: matrix(s, Kind::FeedForwardIn, index, wide, hidden)?,
            feed_forward_out: matrix(s, Kind::FeedForwardOut, index, hidden, wide)?,
            feed_forward_norm: norm(s, Kind::FeedForwardNorm, index, hidden)?,
        })
    }
}

impl Layer<'_> {
    fn check(self) -> Result<(), Error> {
        for part in [self.query, self.key, self.value] {
            part.check(Kind::QueryKeyValue)?;
        }
        self.attention_output.check(Kind::AttentionOutput)?;
        self.attention_norm.check(Kind::AttentionNorm)?;
        self.feed_forward_in.check(Kind::FeedForwardIn)?;
        self.feed_forward_out.check(Kind::FeedForwardOut)?;
        self.feed_forward_norm.check(Kind::FeedForwardNorm)?;
        Ok(())
    }
}

fn matrix<'a>(
    sections: &Sections<'a>,
    kind: Kind,
    index: u16,
    rows: usize,
    columns: usize,
) -> Result<Matrix<'a>, Error> {
    matrix_at(sections, kind, index, Place { part: 0, parts: 1 }, [rows, columns])
}

fn matrix_at<'a>(
    sections: &Sections<'a>,
    kind: Kind,
    index: u16,
    place: Place,
    [rows, columns]: [usize; 2],
) -> Result<Matrix<'a>, Error> {
    Matrix::view(sections.find_encoded(kind, index)?, kind, place, rows, columns)
}

fn norm<'a>(
    sections: &Sections<'a>,
    kind: Kind,
    index: u16,
    hidden: usize,
) -> Result<Norm<'a>, Error> {
    Norm::view(sections.find(kind, index, Encoding::Plain)?, kind, hidden)
}

/// Iterator over the stored self-tests.
#[derive(Clone, Copy, Debug)]
pub struct SelfTests<'a>(&'a [u8]);

impl SelfTests<'_> {
    /// Layout: u32 count, then for each: u32 CRC, u32 length, UTF-8 text.
    fn check(bytes: &[u8]) -> Result<(), Error> {
        let (count, rest) = bytes.split_first_chunk::<4>().ok_or(Error::SelfTestSection)?;
        let count = u32::from_le_bytes(*count) as usize;
        let mut tests = SelfTests(rest);
        let whole = tests.by_ref().take(count).count() == count && tests.0.is_empty();
        match whole && (1..=u16::MAX as usize).contains(&count) {
            true => Ok(()),
            false => Err(Error::SelfTestSection),
        }
    }
}

impl<'a> Iterator for SelfTests<'a> {
    type Item = SelfTest<'a>;

    fn next(&mut self) -> Option<SelfTest<'a>> {
        let (crc, rest) = self.0.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let text = core::str::from_utf8(text).ok()?;
        self.0 = rest;
        Some(SelfTest { text, crc: u32::from_le_bytes(*crc) })
    }
}

/// Scratch bytes that the file asks for at its `max_length`, read at compile time.
///
/// Only for files in the program itself: it reads one field and checks nothing.
///
/// ```
/// use bert_core::{Scratch, scratch_bytes_of};
/// # const MODEL: &[u8] = &[0; 32];
/// # /*
/// const MODEL: &[u8] = include_bytes!("model.bert");
/// # */
/// const SCRATCH_BYTES: usize = scratch_bytes_of(MODEL);
/// let mut scratch = Scratch::<SCRATCH_BYTES>::new();
/// ```
///
/// # Panics
/// If `file` is shorter than the preamble: a compile error where it belongs.
#[must_use]
pub const fn scratch_bytes_of(file: &[u8]) -> usize {
    assert!(file.len() >= PREAMBLE_BYTES, "not a model file");
    u32::from_le_bytes([file[20], file[21], file[22], file[23]]) as usize
}
