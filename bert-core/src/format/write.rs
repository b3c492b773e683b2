//! The writer of the model file: float weights in, quantized file out.
//!
//! Matrices are quantized symmetrically per output channel and tables per row:
//! t = max|w| / 127, q = round(w / t), ties to even. The word table may be int4 instead, see
//! [`super::GroupTable`], and the matrices of parts that are kept so are f16, the nearest one, ties
//! to even. The self-test's outputs are computed by the
//! engine of this crate on the very bytes that are written.

use std::fmt;

use super::group_scales;
use super::labels::Labels;
use super::matrices::matrices;
use super::sections::{Kind, MAX_SECTIONS};
use super::weights::{EmbeddingWeights, HeadWeights, LayerWeights, LinearWeights, NormWeights};
use super::{
    ALIGNMENT, Activation, Config, ENTRY_BYTES, Encoding, Head, Layout, MAGIC, MAX_PARAMETER,
    MAX_SCALE, Model, PREAMBLE_BYTES, Part, WordEncoding, repair_checksums,
};
use crate::engine::{ScratchVec, Session};
use crate::math::{max_abs, round_to_int};
use crate::tokenizer::{PackError, TokenizerConfig, pack_vocabulary};
use crate::{ARITHMETIC, Error};

/// A model to be written, with weights as Hugging Face stores them (a linear layer's weight is
/// \[out, in\]). All slices are row-major.
pub struct ModelBuilder<'a> {
    /// H.
    pub hidden: usize,
    /// A.
    pub heads: usize,
    /// F.
    pub feed_forward: usize,
    /// Longest input in tokens; only that many rows of the position table are stored.
    pub max_length: usize,
    /// Activation of the feed-forward part.
    pub activation: Activation,
    /// ε of every layer norm.
    pub epsilon: f32,
    /// How text becomes tokens.
    pub tokenizer: TokenizerConfig,
    /// Pieces as in `vocab.txt`, in the order of their ids; their number is V.
    pub vocabulary: &'a [String],
    /// Tables and norm of the embeddings.
    pub embeddings: EmbeddingWeights<'a>,
    /// L layers.
    pub layers: Vec<LayerWeights<'a>>,
    /// Dense layer \[H, H\] between `[CLS]` and the class head, if the model has one.
    pub pooler: Option<LinearWeights<'a>>,
    /// The head and its names.
    pub head: HeadWeights<'a>,
    /// How the matrices lie.
    pub layout: Layout,
    /// How the word table is stored.
    pub words: WordEncoding,
    /// Parts whose matrices are f16 instead of int8.
    pub halves: &'a [Part],
    /// Texts of the self-test, at least one.
    pub self_test_texts: &'a [&'a str],
}

/// Why a model could not be written.
#[non_exhaustive]
#[derive(Debug)]
pub enum BuildError {
    /// A tensor has the wrong number of values.
    Shape {
        /// Its name.
        tensor: String,
        /// Values expected.
        expected: usize,
        /// Values found.
        found: usize,
    },
    /// A tensor holds a value that is not finite or too large for the format.
    Value {
        /// Its name.
        tensor: String,
    },
    /// The vocabulary cannot be packed.
    Vocabulary(PackError),
    /// A part that is to be f16 is none of the model's.
    NoSuchPart {
        /// The part.
        part: Part,
        /// Layers of the model.
        layers: usize,
    },
    /// A size is beyond the format's limits.
    TooLarge(&'static str),
    /// No text for the self-test was given.
    NoSelfTest,
    /// The model that was built is refused by the reader.
    Model(Error),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Shape { tensor, expected, found } => {
                write!(f, "{tensor}: {expected} values expected, {found} found")
            }
            BuildError::Value { tensor } => {
                write!(f, "{tensor}: a value is not finite or beyond the range of the format")
            }
            BuildError::Vocabulary(error) => write!(f, "vocabulary: {error}"),
            BuildError::NoSuchPart { part: Part::Layer(index), layers } => {
                write!(f, "no layer {index}: the model has {layers} layers, counted from 0")
            }
            BuildError::NoSuchPart { part, .. } => write!(f, "the model has no {part}"),
            BuildError::TooLarge(what) => write!(f, "{what} is beyond the limit of the format"),
            BuildError::NoSelfTest => f.write_str("at least one text for the self-test is needed"),
            BuildError::Model(error) => write!(f, "the model cannot be used: {error}"),
        }
    }
}

impl std::error::Error for BuildError {}

impl From<Error> for BuildError {
    fn from(error: Error) -> Self {
        BuildError::Model(error)
    }
}

impl ModelBuilder<'_> {
    /// The bytes of the model file.
    ///
    /// # Errors
    /// [`BuildError`], naming the tensor at fault.
    pub fn build(&self) -> Result<Vec<u8>, BuildError> {
        if self.self_test_texts.is_empty() {
            return Err(BuildError::NoSelfTest);
        }
        let config = self.config()?;
        self.check_halves()?;
        let mut sections = SectionWriter::default();
        let header = postcard::to_stdvec(&config).map_err(|_| BuildError::Model(Error::Header))?;
        sections.push(Kind::Header, 0, Encoding::Plain, header);
        let vocabulary = pack_vocabulary(self.vocabulary).map_err(BuildError::Vocabulary)?;
        sections.push(Kind::Vocabulary, 0, Encoding::Plain, vocabulary);
        self.write_embeddings(&mut sections)?;
        for (index, layer) in self.layers.iter().enumerate() {
            self.write_layer(&mut sections, index as u16, layer)?;
        }
        self.write_head(&mut sections)?;
        sections.push(Kind::SelfTest, 0, Encoding::Plain, self_test(self.self_test_texts, &[]));
        let scratch = crate::scratch_bytes(&config.shape(), self.max_length);
        let scratch = u32::try_from(scratch).map_err(|_| BuildError::TooLarge("max_length"))?;

        // The engine itself says what the self-test must give.
        let version = config.head.reader_version().max(sections.reader_version());
        let draft = sections.finish(version, scratch)?;
        let crcs = outputs(&draft, self.self_test_texts)?;
        sections.replace_last(self_test(self.self_test_texts, &crcs));
        let bytes = sections.finish(version, scratch)?;
        let model = Model::parse(&bytes)?;
        let mut memory = ScratchVec::of(&model);
        Session::new(&model, &mut memory)?.self_test()?;
        Ok(bytes)
    }

    fn config(&self) -> Result<Config, BuildError> {
        let narrow =
            |value: usize, what| u16::try_from(value).map_err(|_| BuildError::TooLarge(what));
        let segments = self.embeddings.segment.len() / self.hidden.max(1);
        let config = Config {
            arithmetic: ARITHMETIC,
            layers: narrow(self.layers.len(), "number of layers")?,
            hidden: narrow(self.hidden, "hidden size")?,
            heads: narrow(self.heads, "number of heads")?,
            feed_forward: narrow(self.feed_forward, "feed-forward size")?,
            vocabulary: u32::try_from(self.vocabulary.len())
                .map_err(|_| BuildError::TooLarge("vocabulary"))?,
            positions: narrow(self.max_length, "max_length")?,
            segments: narrow(segments, "number of segments")?,
            max_length: narrow(self.max_length, "max_length")?,
            activation: self.activation,
            epsilon: self.epsilon,
            pooler: self.pooler.is_some(),
            tokenizer: self.tokenizer,
            head: match self.head {
                HeadWeights::Classify { labels, .. } => {
                    Head::Classify { labels: narrow(labels.len(), "number of labels")? }
                }
                HeadWeights::Tag { tags, .. } => {
                    Head::Tag { tags: narrow(tags.len(), "number of tags")? }
                }
                HeadWeights::Joint { labels, tags, .. } => Head::Joint {
                    labels: narrow(labels.len(), "number of labels")?,
                    tags: narrow(tags.len(), "number of tags")?,
                },
                HeadWeights::PairClassify { labels, .. } => {
                    Head::PairClassify { labels: narrow(labels.len(), "number of labels")? }
                }
                HeadWeights::Regress { regressor } => {
                    Head::Regress { outputs: narrow(regressor.bias.len(), "number of outputs")? }
                }
                HeadWeights::Span { .. } => Head::Span,
                HeadWeights::Embed { pooling } => Head::Embed { pooling },
                HeadWeights::MultiLabel { labels, .. } => {
                    Head::MultiLabel { labels: narrow(labels.len(), "number of labels")? }
                }
            },
        };
        config.check()?;
        Ok(config)
    }

    fn write_embeddings(&self, sections: &mut SectionWriter) -> Result<(), BuildError> {
        let (h, e) = (self.hidden, &self.embeddings);
        let positions = e.position.get(..self.max_length * h).ok_or(BuildError::Shape {
            tensor: "position embeddings".into(),
            expected: self.max_length * h,
            found: e.position.len(),
        })?;
        let segments = (e.segment.len() / h).max(1);
        let table = |name: &str, x: &[f32], rows| table(name, x, rows, h);
        let int8 = Encoding::Int8Rows;
        let (name, rows) = ("word embeddings", self.vocabulary.len());
        let (encoding, word) = match self.words {
            WordEncoding::Int8 => (int8, table(name, e.word, rows)?),
            WordEncoding::Int4 => {
                check_shape(name, rows * h, e.word.len())?;
                let beyond = || BuildError::Value { tensor: name.to_string() };
                (Encoding::Int4Groups, group_scales::section(e.word, h).ok_or_else(beyond)?)
            }
        };
        sections.push(Kind::WordTable, 0, encoding, word);
        let position = table("position embeddings", positions, self.max_length)?;
        sections.push(Kind::PositionTable, 0, int8, position);
        let segment = table("segment embeddings", e.segment, segments)?;
        sections.push(Kind::SegmentTable, 0, int8, segment);
        let norm = norm("embedding norm", e.norm, h)?;
        sections.push(Kind::EmbeddingNorm, 0, Encoding::Plain, norm);
        Ok(())
    }

    fn write_layer(
        &self,
        sections: &mut SectionWriter,
        index: u16,
        layer: &LayerWeights<'_>,
    ) -> Result<(), BuildError> {
        let (h, f) = (self.hidden, self.feed_forward);
        let name = |part: &str| format!("layer {index}: {part}");
        let parts =
            [(name("query"), layer.query), (name("key"), layer.key), (name("value"), layer.value)];
        self.push_matrices(sections, Kind::QueryKeyValue, index, &parts, [h, h])?;
        let parts = [(name("attention output"), layer.attention_output)];
        self.push_matrices(sections, Kind::AttentionOutput, index, &parts, [h, h])?;
        let bytes = norm(&name("attention norm"), layer.attention_norm, h)?;
        sections.push(Kind::AttentionNorm, index, Encoding::Plain, bytes);
        let parts = [(name("feed-forward in"), layer.feed_forward_in)];
        self.push_matrices(sections, Kind::FeedForwardIn, index, &parts, [f, h])?;
        let parts = [(name("feed-forward out"), layer.feed_forward_out)];
        self.push_matrices(sections, Kind::FeedForwardOut, index, &parts, [h, f])?;
        let bytes = norm(&name("feed-forward norm"), layer.feed_forward_norm, h)?;
        sections.push(Kind::FeedForwardNorm, index, Encoding::Plain, bytes);
        Ok(())
    }

    fn push_matrices(
        &self,
        sections: &mut SectionWriter,
        kind: Kind,
        index: u16,
        parts: &[(String, LinearWeights<'_>)],
        shape: [usize; 2],
    ) -> Result<(), BuildError> {
        let encoding = match Part::of(kind, index) {
            Some(part) if self.halves.contains(&part) => Encoding::Float16Rows,
            _ => self.layout.encoding(),
        };
        sections.push(kind, index, encoding, matrices(encoding, parts, shape)?);
        Ok(())
    }

    /// Refuses parts to be f16 that the model does not have.
    fn check_halves(&self) -> Result<(), BuildError> {
        let (layers, head) = (self.layers.len(), self.head.parts());
        for part in self.halves.iter().copied() {
            let exists = match part {
                Part::Layer(index) => usize::from(index) < layers,
                Part::Pooler => self.pooler.is_some(),
                Part::Head => [head.class, head.tag, head.span].iter().any(Option::is_some),
            };
            if !exists {
                return Err(BuildError::NoSuchPart { part, layers });
            }
        }
        Ok(())
    }

    fn write_head(&self, sections: &mut SectionWriter) -> Result<(), BuildError> {
        let h = self.hidden;
        let mut push = |kind, name: &str, linear, rows| {
            self.push_matrices(sections, kind, 0, &[(name.to_string(), linear)], [rows, h])
        };
        if let Some(pooler) = self.pooler {
            push(Kind::Pooler, "pooler", pooler, h)?;
        }
        let parts = self.head.parts();
        for (kind, name, part) in [
            (Kind::ClassHead, "classifier", parts.class),
            (Kind::TagHead, "tagger", parts.tag),
            (Kind::SpanHead, "spans", parts.span),
        ] {
            if let Some((linear, rows)) = part {
                push(kind, name, linear, rows)?;
            }
        }
        for (index, names) in [(0, parts.labels), (1, parts.tags)] {
            if let Some(names) = names {
                sections.push(Kind::Labels, index, Encoding::Plain, Labels::write(names));
            }
        }
        Ok(())
    }
}

fn outputs(file: &[u8], texts: &[&str]) -> Result<Vec<u32>, BuildError> {
    let model = Model::parse(file)?;
    let mut memory = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut memory)?;
    texts.iter().map(|text| session.output_crc(text).map_err(BuildError::from)).collect()
}

fn self_test(texts: &[&str], crcs: &[u32]) -> Vec<u8> {
    let mut bytes = (texts.len() as u32).to_le_bytes().to_vec();
    for (i, text) in texts.iter().enumerate() {
        bytes.extend(crcs.get(i).copied().unwrap_or(0).to_le_bytes());
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes
}

pub(super) fn check_shape(tensor: &str, expected: usize, found: usize) -> Result<(), BuildError> {
    match expected == found {
        true => Ok(()),
        false => Err(BuildError::Shape { tensor: tensor.to_string(), expected, found }),
    }
}

pub(super) fn push_floats(
    bytes: &mut Vec<u8>,
    tensor: &str,
    values: impl IntoIterator<Item = f32>,
    most: f32,
) -> Result<(), BuildError> {
    for value in values {
        if value.is_nan() || value.abs() > most {
            return Err(BuildError::Value { tensor: tensor.to_string() });
        }
        bytes.extend(value.to_le_bytes());
    }
    Ok(())
}

/// Scale of a row and its int8 values.
pub(super) fn quantize(row: &[f32]) -> (f32, impl Iterator<Item = u8> + '_) {
    let scale = max_abs(row) / 127.0;
    let scale = if scale < f32::MIN_POSITIVE { 0.0 } else { scale };
    let inverse = if scale > 0.0 { 1.0 / scale as f64 } else { 0.0 };
    let round = move |v: &f32| round_to_int((*v as f64 * inverse) as f32) as i8 as u8;
    (scale, row.iter().map(round))
}

/// Appends the scales of the rows of `x`.
pub(super) fn push_scales(
    bytes: &mut Vec<u8>,
    tensor: &str,
    x: &[f32],
    columns: usize,
) -> Result<(), BuildError> {
    if !x.iter().all(|v| v.is_finite()) {
        return Err(BuildError::Value { tensor: tensor.to_string() });
    }
    push_floats(bytes, tensor, x.chunks_exact(columns).map(|row| quantize(row).0), MAX_SCALE)
}

fn table(name: &str, x: &[f32], rows: usize, columns: usize) -> Result<Vec<u8>, BuildError> {
    check_shape(name, rows * columns, x.len())?;
    let mut bytes = Vec::with_capacity(x.len() + 4 * rows + ALIGNMENT);
    push_scales(&mut bytes, name, x, columns)?;
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    x.chunks_exact(columns).for_each(|row| bytes.extend(quantize(row).1));
    Ok(bytes)
}

fn norm(name: &str, norm: NormWeights<'_>, hidden: usize) -> Result<Vec<u8>, BuildError> {
    let mut bytes = Vec::with_capacity(8 * hidden);
    for (part, values) in [("gamma", norm.gamma), ("beta", norm.beta)] {
        let name = format!("{name} {part}");
        check_shape(&name, hidden, values.len())?;
        push_floats(&mut bytes, &name, values.iter().copied(), MAX_PARAMETER)?;
    }
    Ok(bytes)
}

#[derive(Default)]
struct SectionWriter(Vec<(Kind, u16, Encoding, Vec<u8>)>);

impl SectionWriter {
    fn push(&mut self, kind: Kind, index: u16, encoding: Encoding, payload: Vec<u8>) {
        self.0.push((kind, index, encoding, payload));
    }

    fn replace_last(&mut self, payload: Vec<u8>) {
        if let Some(last) = self.0.last_mut() {
            last.3 = payload;
        }
    }

    /// The oldest reader that knows the encodings of all sections.
    fn reader_version(&self) -> u16 {
        self.0.iter().map(|section| section.2.reader_version()).max().unwrap_or(1)
    }

    /// `version` is that of the format and of the oldest reader: a file names the first version that
    /// has all it holds, so that older readers take what they know, and refuse the rest by number.
    fn finish(&self, version: u16, scratch_bytes: u32) -> Result<Vec<u8>, BuildError> {
        if self.0.len() > MAX_SECTIONS {
            return Err(BuildError::TooLarge("number of sections"));
        }
        let mut bytes = vec![0u8; PREAMBLE_BYTES + self.0.len() * ENTRY_BYTES];
        for (i, (kind, index, encoding, payload)) in self.0.iter().enumerate() {
            bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
            let offset = bytes.len() as u32;
            let entry = &mut bytes[PREAMBLE_BYTES + i * ENTRY_BYTES..][..ENTRY_BYTES];
            entry[..2].copy_from_slice(&(*kind as u16).to_le_bytes());
            entry[2..4].copy_from_slice(&index.to_le_bytes());
            entry[4..6].copy_from_slice(&(*encoding as u16).to_le_bytes());
            entry[8..12].copy_from_slice(&offset.to_le_bytes());
            entry[12..16].copy_from_slice(&(payload.len() as u32).to_le_bytes());
            bytes.extend(payload);
            if u32::try_from(bytes.len()).is_err() {
                return Err(BuildError::TooLarge("file"));
            }
        }
        let total = bytes.len() as u32;
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&version.to_le_bytes());
        bytes[10..12].copy_from_slice(&version.to_le_bytes());
        bytes[12..16].copy_from_slice(&total.to_le_bytes());
        bytes[16..18].copy_from_slice(&(self.0.len() as u16).to_le_bytes());
        bytes[20..24].copy_from_slice(&scratch_bytes.to_le_bytes());
        repair_checksums(&mut bytes);
        Ok(bytes)
    }
}
