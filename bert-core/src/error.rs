//! The one error of the crate: small, `Copy`, without strings, so that it costs nothing on a device.

use core::fmt;

/// Why a model file, a text or a scratch buffer was refused.
///
/// Lengths are in bytes unless the variant says otherwise.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The bytes do not start with the magic of a model file.
    NotAModel,
    /// The file asks for a newer reader than this one.
    Version {
        /// Reader version the file asks for.
        needed: u16,
        /// Version of this reader.
        reader: u16,
    },
    /// The file is shorter or longer than it says.
    Length {
        /// Length the file states.
        expected: u32,
        /// Length of the bytes at hand.
        found: u32,
    },
    /// A checksum does not match: the bytes were changed after they were written.
    Checksum {
        /// Position of the section in the section table; `u16::MAX` is the table itself.
        section: u16,
    },
    /// The section table breaks a rule: order, alignment, overlap, a range outside the file.
    SectionTable,
    /// A section that the header calls for is missing.
    MissingSection {
        /// Kind of the section, as in the specification of the format.
        kind: u16,
    },
    /// A section has the wrong size for the sizes in the header.
    SectionSize {
        /// Kind of the section, as in the specification of the format.
        kind: u16,
    },
    /// A section is stored in an encoding that this reader does not know.
    Encoding {
        /// Kind of the section, as in the specification of the format.
        kind: u16,
    },
    /// The header cannot be decoded.
    Header,
    /// The header holds a size that is zero, too large or in conflict with another one.
    Config,
    /// The model's head is one that this reader cannot run.
    UnsupportedHead,
    /// A scale, bias or norm parameter is not finite or beyond the range the format allows.
    Value {
        /// Kind of the section, as in the specification of the format.
        kind: u16,
    },
    /// The label section is malformed, or its count is not the header's.
    Labels,
    /// The packed vocabulary is malformed.
    Vocabulary,
    /// The vocabulary lacks one of `[UNK]`, `[CLS]`, `[SEP]`, `[PAD]`, `[MASK]`.
    SpecialToken,
    /// The text has more bytes than 32 bits can count.
    TextTooLong,
    /// The scratch memory is smaller than the model needs.
    Scratch {
        /// Bytes the model needs.
        needed: u32,
        /// Bytes at hand.
        found: u32,
    },
    /// The variable `BERT_ARCH` names an instruction set that this machine does not have.
    UnknownArch,
    /// The scratch memory does not start at a multiple of [`crate::SCRATCH_ALIGN`] bytes.
    ScratchAlignment,
    /// More tokens than the session has room for.
    TooManyTokens {
        /// Tokens given.
        found: u32,
        /// Tokens the session takes.
        limit: u32,
    },
    /// The text has more spans than there is room for.
    TooManySpans {
        /// Spans that fit.
        limit: u32,
    },
    /// The room for a vector has another length than the vector.
    VectorLength {
        /// Numbers of the vector.
        expected: u32,
        /// Numbers that the room holds.
        found: u32,
    },
    /// The model has fewer layers than the vector is to come from.
    Layers {
        /// Layers that are needed.
        needed: u16,
        /// Layers of the model.
        found: u16,
    },
    /// No token was given.
    NoTokens,
    /// A token id, a segment id or their number is outside the model's tables; also a question of
    /// two texts to a model with one segment.
    TokenRange,
    /// The model has no head for this question, e.g. tags of a model that classifies.
    WrongHead,
    /// The self-test section is malformed or empty.
    SelfTestSection,
    /// The self-test was written for another revision of the arithmetic.
    Arithmetic {
        /// Revision in the file.
        file: u16,
        /// Revision of this reader.
        reader: u16,
    },
    /// The engine's output differs from the one stored in the model file.
    SelfTest {
        /// Position of the text that failed.
        text: u16,
    },
}

impl Error {
    pub(crate) fn too_many_tokens(found: usize, limit: usize) -> Self {
        let clip = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Error::TooManyTokens { found: clip(found), limit: clip(limit) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Error::NotAModel => f.write_str("not a model file (wrong magic)"),
            Error::Version { needed, reader } => {
                write!(f, "the file needs reader version {needed}, this reader is version {reader}")
            }
            Error::Length { expected, found } if found < expected => {
                write!(f, "truncated: {expected} bytes expected, {found} found")
            }
            Error::Length { expected, found } => {
                write!(f, "trailing bytes: {expected} bytes expected, {found} found")
            }
            Error::Checksum { section: u16::MAX } => {
                f.write_str("checksum of the section table does not match: the file was changed")
            }
            Error::Checksum { section } => {
                write!(f, "checksum of section {section} does not match: the file was changed")
            }
            Error::SectionTable => f.write_str("malformed section table"),
            Error::MissingSection { kind } => write!(f, "section of kind {kind} is missing"),
            Error::SectionSize { kind } => {
                write!(f, "section of kind {kind} has the wrong size for the model's header")
            }
            Error::Encoding { kind } => {
                write!(f, "section of kind {kind} has an encoding unknown to this reader")
            }
            Error::Header => f.write_str("malformed header"),
            Error::Config => f.write_str("impossible sizes in the header"),
            Error::UnsupportedHead => f.write_str("this reader cannot run the model's head"),
            Error::Value { kind } => {
                write!(f, "section of kind {kind} holds a number outside the allowed range")
            }
            Error::Labels => f.write_str("malformed labels"),
            Error::Vocabulary => f.write_str("malformed vocabulary"),
            Error::SpecialToken => {
                f.write_str("the vocabulary lacks one of [UNK], [CLS], [SEP], [PAD], [MASK]")
            }
            Error::TextTooLong => f.write_str("the text is longer than 4 GiB"),
            Error::Scratch { needed, found } => {
                write!(f, "scratch too small: {needed} bytes needed, {found} found")
            }
            Error::UnknownArch => {
                f.write_str("BERT_ARCH names an instruction set that this machine does not have")
            }
            Error::ScratchAlignment => f.write_str("scratch memory is not aligned"),
            Error::TooManyTokens { found, limit } => {
                write!(f, "{found} tokens given, at most {limit} fit")
            }
            Error::TooManySpans { limit } => write!(f, "more than {limit} spans found"),
            Error::VectorLength { expected, found } => {
                write!(f, "a vector of {expected} numbers does not go into room for {found}")
            }
            Error::Layers { needed, found } => {
                write!(f, "layer {needed} is needed, the model has {found} layers")
            }
            Error::NoTokens => f.write_str("no tokens given"),
            Error::TokenRange => f.write_str("token or segment outside the model's tables"),
            Error::WrongHead => f.write_str("the model has no head for this question"),
            Error::SelfTestSection => f.write_str("malformed or empty self-test section"),
            Error::Arithmetic { file, reader } => write!(
                f,
                "the self-test is for arithmetic revision {file}, this reader has revision {reader}"
            ),
            Error::SelfTest { text } => {
                write!(f, "self-test {text} gives another output than the one in the file")
            }
        }
    }
}

#[cfg(feature = "std")]
impl std::error::Error for Error {}
