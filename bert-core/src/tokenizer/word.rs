//! BERT's pre-tokenizer: normalized characters gathered into words.

use core::ops::ControlFlow;

use super::normalize::Receiver;

/// Most characters of a word that can be looked up; a longer one is `[UNK]`.
/// It is the limit of the original BERT code; `tokenizers` takes 100 unless told otherwise.
pub const MAX_WORD_CHARS: usize = 200;

/// A word after normalization, with the place of each character in the original text.
#[derive(Clone, Debug)]
pub struct Word {
    /// UTF-8 of the first `kept` characters.
    bytes: [u8; 4 * MAX_WORD_CHARS],
    bytes_len: usize,
    /// Where each character comes from in the text, in bytes.
    sources: [u32; MAX_WORD_CHARS],
    /// How long that is, in bytes.
    widths: [u8; MAX_WORD_CHARS],
    chars: usize,
    limit: usize,
    is_too_long: bool,
    start: u32,
    end: u32,
}

impl Word {
    fn new(limit: u16) -> Self {
        Self {
            bytes: [0; 4 * MAX_WORD_CHARS],
            bytes_len: 0,
            sources: [0; MAX_WORD_CHARS],
            widths: [0; MAX_WORD_CHARS],
            chars: 0,
            limit: usize::from(limit).min(MAX_WORD_CHARS),
            is_too_long: false,
            start: 0,
            end: 0,
        }
    }

    /// The normalized word; `None` when it has more characters than the configuration allows.
    pub fn text(&self) -> Option<&str> {
        if self.is_too_long {
            return None;
        }
        core::str::from_utf8(self.bytes()).ok()
    }

    /// Where the word starts in the original text, in bytes.
    pub fn start(&self) -> u32 {
        self.start
    }

    /// Where the word ends in the original text, in bytes, exclusive.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// Whether the word has more characters than the configuration allows.
    pub fn is_too_long(&self) -> bool {
        self.is_too_long
    }

    /// UTF-8 of the normalized word, as far as it was kept.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.bytes_len]
    }

    /// Start and end in the original text of the characters `first..=last`.
    pub(super) fn span(&self, first: usize, last: usize) -> (u32, u32) {
        (self.sources[first], self.sources[last] + u32::from(self.widths[last]))
    }

    fn is_empty(&self) -> bool {
        self.chars == 0 && !self.is_too_long
    }

    fn clear(&mut self) {
        self.bytes_len = 0;
        self.chars = 0;
        self.is_too_long = false;
    }

    fn push(&mut self, utf8: &[u8], source: usize, width: usize) {
        // Offsets fit: `words` refuses longer texts.
        let source = source as u32;
        if self.is_empty() {
            self.start = source;
        }
        self.end = source + width as u32;
        if self.chars == self.limit {
            self.is_too_long = true;
            return;
        }
        self.bytes[self.bytes_len..self.bytes_len + utf8.len()].copy_from_slice(utf8);
        self.bytes_len += utf8.len();
        self.sources[self.chars] = source;
        self.widths[self.chars] = width as u8;
        self.chars += 1;
    }
}

/// Gathers characters into a [`Word`] and hands each finished one to `sink`.
pub(super) struct Words<F> {
    word: Word,
    index: u32,
    sink: F,
}

impl<F: FnMut(&Word, u32) -> ControlFlow<()>> Words<F> {
    pub(super) fn new(limit: u16, sink: F) -> Self {
        Self { word: Word::new(limit), index: 0, sink }
    }

    /// Hands over the word, if there is one, and starts the next.
    pub(super) fn end_word(&mut self) -> ControlFlow<()> {
        if self.word.is_empty() {
            return ControlFlow::Continue(());
        }
        let flow = (self.sink)(&self.word, self.index);
        self.index += 1;
        self.word.clear();
        flow
    }
}

impl<F: FnMut(&Word, u32) -> ControlFlow<()>> Receiver for Words<F> {
    fn letter(&mut self, c: char, source: usize, width: usize) {
        self.word.push(c.encode_utf8(&mut [0; 4]).as_bytes(), source, width);
    }

    fn ascii_letter(&mut self, c: u8, source: usize) {
        self.word.push(&[c], source, 1);
    }

    fn punctuation(&mut self, c: char, source: usize, width: usize) -> ControlFlow<()> {
        self.end_word()?;
        self.letter(c, source, width);
        self.end_word()
    }

    fn space(&mut self) -> ControlFlow<()> {
        self.end_word()
    }
}
