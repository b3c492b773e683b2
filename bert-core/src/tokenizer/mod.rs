//! Text to WordPiece ids, without heap and in one pass.
//!
//! ```text
//! text ─► normalize ─► words ─► wordpiece ─► Token { id, start, end, word, first }
//!         unicode      word     vocabulary
//! ```
//!
//! The output equals that of Hugging Face `tokenizers` 0.23 with `BertNormalizer` (`clean_text` on),
//! `BertPreTokenizer` and `WordPiece` (prefix `##`, unknown `[UNK]`) on every text: ids, words and
//! byte offsets. The tests compare the two over all code points and over texts of many scripts.
//!
//! Text is plain text: the letters `[MASK]` in it are a bracket, a word and a bracket, as they are
//! in `tokenizers` when no special tokens were added to it. Ids of special tokens are placed by the
//! caller, so no text can forge one.
//!
//! Memory is a word at a time, about 3.3 KiB of stack, however long the text is.

mod normalize;
#[cfg(feature = "std")]
mod pack;
#[cfg(any(not(feature = "std"), test))]
mod small;
#[cfg(any(not(feature = "std"), test))]
mod small_tables;
#[cfg(feature = "std")]
mod tables;
#[cfg(feature = "std")]
mod trie;
mod unicode;
mod vocabulary;
mod word;
mod wordpiece;

use core::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::Error;
use word::Words;
use wordpiece::Pieces;

#[cfg(feature = "std")]
pub use pack::{PackError, pack_vocabulary};
pub use vocabulary::{MAX_PIECES, Vocabulary};
pub use word::{MAX_WORD_CHARS, Word};

/// How text becomes words. The default is that of the uncased BERT models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizerConfig {
    /// Lower-case every character.
    pub lower_case: bool,
    /// Decompose characters (NFD) and drop the non-spacing marks.
    /// `strip_accents: null` in a Hugging Face configuration means the value of `lower_case`.
    pub strip_accents: bool,
    /// Make each Chinese character a word.
    pub split_chinese: bool,
    /// A word of more characters is `[UNK]`; at most [`MAX_WORD_CHARS`].
    pub max_word_chars: u16,
}

impl TokenizerConfig {
    /// The configuration of the uncased BERT models: lower case, no accents.
    pub const fn uncased() -> Self {
        Self { lower_case: true, strip_accents: true, split_chinese: true, max_word_chars: 100 }
    }

    /// The configuration of the cased BERT models: case and accents stay.
    pub const fn cased() -> Self {
        Self { lower_case: false, strip_accents: false, ..Self::uncased() }
    }
}

impl Default for TokenizerConfig {
    fn default() -> Self {
        Self::uncased()
    }
}

/// One WordPiece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Id in the vocabulary.
    pub id: u32,
    /// Where the piece starts in the original text, in bytes.
    pub start: u32,
    /// Where the piece ends in the original text, in bytes, exclusive.
    pub end: u32,
    /// Position of the word among the words of the text, from 0.
    pub word: u32,
    /// Whether this is the first piece of its word.
    pub first: bool,
}

/// A vocabulary with the rules to apply it. It is `Copy` and keeps no state between texts.
#[derive(Clone, Copy, Debug)]
pub struct Tokenizer<'a> {
    vocabulary: Vocabulary<'a>,
    config: TokenizerConfig,
    /// Id of `[UNK]`, which stands for a word that has no pieces.
    pub unk: u32,
    /// Id of `[CLS]`, the first token of a sequence.
    pub cls: u32,
    /// Id of `[SEP]`, the last token of each segment.
    pub sep: u32,
    /// Id of `[PAD]`.
    pub pad: u32,
    /// Id of `[MASK]`.
    pub mask: u32,
}

impl<'a> Tokenizer<'a> {
    /// Joins a vocabulary and a configuration.
    ///
    /// # Errors
    ///
    /// [`Error::SpecialToken`] when the vocabulary lacks `[UNK]`, `[CLS]`, `[SEP]`, `[PAD]` or
    /// `[MASK]`; [`Error::Config`] when `max_word_chars` is above [`MAX_WORD_CHARS`].
    pub fn new(vocabulary: Vocabulary<'a>, config: TokenizerConfig) -> Result<Self, Error> {
        check(&config)?;
        let special = |piece: &str| vocabulary.id(piece.as_bytes()).ok_or(Error::SpecialToken);
        Ok(Self {
            vocabulary,
            config,
            unk: special("[UNK]")?,
            cls: special("[CLS]")?,
            sep: special("[SEP]")?,
            pad: special("[PAD]")?,
            mask: special("[MASK]")?,
        })
    }

    /// The vocabulary in use.
    pub fn vocabulary(&self) -> Vocabulary<'a> {
        self.vocabulary
    }

    /// The configuration in use.
    pub fn config(&self) -> TokenizerConfig {
        self.config
    }

    /// Gives the pieces of `text` to `sink`, in order, until it breaks. `[CLS]` and `[SEP]` are not
    /// among them.
    ///
    /// ```
    /// # #[cfg(feature = "std")] {
    /// use bert_core::tokenizer::{Tokenizer, TokenizerConfig, Vocabulary, pack_vocabulary};
    /// use core::ops::ControlFlow;
    ///
    /// let pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "light", "##s", "off", "!"];
    /// let packed = pack_vocabulary(&pieces).unwrap();
    /// let vocabulary = Vocabulary::parse(&packed).unwrap();
    /// let tokenizer = Tokenizer::new(vocabulary, TokenizerConfig::uncased()).unwrap();
    ///
    /// let mut ids = Vec::new();
    /// tokenizer
    ///     .tokenize("Lights OFF!", |token| {
    ///         ids.push(token.id);
    ///         ControlFlow::Continue(())
    ///     })
    ///     .unwrap();
    /// assert_eq!(ids, [5, 6, 7, 8]);
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TextTooLong`] when an offset would not fit in 32 bits; nothing was given then.
    pub fn tokenize(
        &self,
        text: &str,
        mut sink: impl FnMut(Token) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.tokenize_into(text, &mut sink)
    }

    /// The same, compiled once for all who call it: it is the largest part of a device's code that is
    /// no arithmetic.
    fn tokenize_into(
        &self,
        text: &str,
        sink: &mut dyn FnMut(Token) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let mut pieces = Pieces::new();
        words(text, &self.config, |word, index| {
            // Of a word that is too long only the beginning is there.
            let id = if word.is_too_long() { None } else { self.vocabulary.id(word.bytes()) };
            if id.is_none() && !word.is_too_long() && pieces.split(&self.vocabulary, word.bytes()) {
                return pieces.each(word, |id, start, end, first| {
                    sink(Token { id, start, end, word: index, first })
                });
            }
            let (id, start, end) = (id.unwrap_or(self.unk), word.start(), word.end());
            sink(Token { id, start, end, word: index, first: true })
        })
    }
}

/// Gives the words of `text` to `sink` as BERT's normalizer and pre-tokenizer make them, with their
/// positions from 0, until it breaks: what a vocabulary is counted on.
///
/// # Errors
///
/// [`Error::TextTooLong`] as in [`Tokenizer::tokenize`]; [`Error::Config`] when `max_word_chars` is
/// above [`MAX_WORD_CHARS`].
pub fn basic_words(
    text: &str,
    config: &TokenizerConfig,
    sink: impl FnMut(&Word, u32) -> ControlFlow<()>,
) -> Result<(), Error> {
    check(config)?;
    words(text, config, sink)
}

fn check(config: &TokenizerConfig) -> Result<(), Error> {
    if usize::from(config.max_word_chars) > MAX_WORD_CHARS {
        return Err(Error::Config);
    }
    Ok(())
}

fn words(
    text: &str,
    config: &TokenizerConfig,
    sink: impl FnMut(&Word, u32) -> ControlFlow<()>,
) -> Result<(), Error> {
    if u32::try_from(text.len()).is_err() {
        return Err(Error::TextTooLong);
    }
    let mut words = Words::new(config.max_word_chars, sink);
    if normalize::normalize(text, config, &mut words).is_continue() {
        // The last word ends with the text; whether the caller wants more no longer matters.
        let _ = words.end_word();
    }
    Ok(())
}
