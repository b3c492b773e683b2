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

impl Error {
    /// The error in words, where each `#` stands for the next of the numbers: for a device whose
    /// firmware is without `core::fmt`. `Display` writes the same.
    #[must_use]
    pub fn words(&self) -> (&'static str, [u32; 2]) {
        let one = |words, number: u16| (words, [number.into(), 0]);
        match *self {
            Error::NotAModel => ("not a model file (wrong magic)", [0; 2]),
            Error::Version { needed, reader } => (
                "the file needs reader version #, this reader is version #",
                [needed.into(), reader.into()],
            ),
            Error::Length { expected, found } if found < expected => {
                ("truncated: # bytes expected, # found", [expected, found])
            }
            Error::Length { expected, found } => {
                ("trailing bytes: # bytes expected, # found", [expected, found])
            }
            Error::Checksum { section: u16::MAX } => {
                ("checksum of the section table does not match: the file was changed", [0; 2])
            }
            Error::Checksum { section } => {
                one("checksum of section # does not match: the file was changed", section)
            }
            Error::SectionTable => ("malformed section table", [0; 2]),
            Error::MissingSection { kind } => one("section of kind # is missing", kind),
            Error::SectionSize { kind } => {
                one("section of kind # has the wrong size for the model's header", kind)
            }
            Error::Encoding { kind } => {
                one("section of kind # has an encoding unknown to this reader", kind)
            }
            Error::Header => ("malformed header", [0; 2]),
            Error::Config => ("impossible sizes in the header", [0; 2]),
            Error::UnsupportedHead => ("this reader cannot run the model's head", [0; 2]),
            Error::Value { kind } => {
                one("section of kind # holds a number outside the allowed range", kind)
            }
            Error::Labels => ("malformed labels", [0; 2]),
            Error::Vocabulary => ("malformed vocabulary", [0; 2]),
            Error::SpecialToken => {
                ("the vocabulary lacks one of [UNK], [CLS], [SEP], [PAD], [MASK]", [0; 2])
            }
            Error::TextTooLong => ("the text is longer than 4 GiB", [0; 2]),
            Error::Scratch { needed, found } => {
                ("scratch too small: # bytes needed, # found", [needed, found])
            }
            Error::UnknownArch => {
                ("BERT_ARCH names an instruction set that this machine does not have", [0; 2])
            }
            Error::ScratchAlignment => ("scratch memory is not aligned", [0; 2]),
            Error::TooManyTokens { found, limit } => {
                ("# tokens given, at most # fit", [found, limit])
            }
            Error::TooManySpans { limit } => ("more than # spans found", [limit, 0]),
            Error::VectorLength { expected, found } => {
                ("a vector of # numbers does not go into room for #", [expected, found])
            }
            Error::Layers { needed, found } => {
                ("layer # is needed, the model has # layers", [needed.into(), found.into()])
            }
            Error::NoTokens => ("no tokens given", [0; 2]),
            Error::TokenRange => ("token or segment outside the model's tables", [0; 2]),
            Error::WrongHead => ("the model has no head for this question", [0; 2]),
            Error::SelfTestSection => ("malformed or empty self-test section", [0; 2]),
            Error::Arithmetic { file, reader } => (
                "the self-test is for arithmetic revision #, this reader has revision #",
                [file.into(), reader.into()],
            ),
            Error::SelfTest { text } => {
                one("self-test # gives another output than the one in the file", text)
            }
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (words, numbers) = self.words();
        let mut parts = words.split('#');
        f.write_str(parts.next().unwrap_or_default())?;
        parts.zip(numbers).try_for_each(|(part, number)| write!(f, "{number}{part}"))
    }
}

#[cfg(feature = "std")]
impl std::error::Error for Error {}
