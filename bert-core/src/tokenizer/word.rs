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
    /// Whether the word is ASCII from one stretch of ASCII, as most are. Then the places of its
    /// characters follow from `start`, and `sources` and `widths` are not filled.
    is_plain: bool,
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
            is_plain: true,
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
    #[inline]
    pub fn start(&self) -> u32 {
        self.start
    }

    /// Where the word ends in the original text, in bytes, exclusive.
    #[inline]
    pub fn end(&self) -> u32 {
        self.end
    }

    /// Whether the word has more characters than the configuration allows.
    #[inline]
    pub fn is_too_long(&self) -> bool {
        self.is_too_long
    }

    /// UTF-8 of the normalized word, as far as it was kept.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.bytes_len]
    }

    /// The number of characters in a part of the word's bytes that begins and ends between two.
    #[inline]
    pub(super) fn chars_in(&self, part: &[u8]) -> usize {
        if self.is_plain {
            return part.len();
        }
        part.iter().filter(|&&byte| is_char_start(byte)).count()
    }

    /// Start and end in the original text of the characters `first..=last`.
    #[inline]
    pub(super) fn span(&self, first: usize, last: usize) -> (u32, u32) {
        if self.is_plain {
            return (self.start + first as u32, self.start + last as u32 + 1);
        }
        (self.sources[first], self.sources[last] + u32::from(self.widths[last]))
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.chars == 0 && !self.is_too_long
    }

    #[inline]
    fn clear(&mut self) {
        self.bytes_len = 0;
        self.is_plain = true;
        self.chars = 0;
        self.is_too_long = false;
    }

    /// Appends a character that comes from the `width` bytes at `source` of the text.
    fn push(&mut self, c: char, source: usize, width: usize) {
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
        self.place_all();
        self.bytes_len += c.encode_utf8(&mut self.bytes[self.bytes_len..]).len();
        self.place(source, width);
    }

    /// Appends ASCII characters that come one from each byte of the text from `source` on.
    #[inline]
    fn push_ascii(&mut self, letters: impl ExactSizeIterator<Item = u8>, source: usize) {
        let source = source as u32;
        if self.is_empty() {
            self.start = source;
        }
        let count = letters.len();
        self.end = source + count as u32;
        let kept = count.min(self.limit - self.chars);
        self.is_too_long |= kept < count;
        for (place, letter) in self.bytes[self.bytes_len..][..kept].iter_mut().zip(letters) {
            *place = letter;
        }
        self.bytes_len += kept;
        if self.is_plain && source == self.start + self.chars as u32 {
            self.chars += kept;
            return;
        }
        self.place_all();
        for source in (source..).take(kept) {
            self.place(source, 1);
        }
    }

    /// Fills in the places that were left out as long as the word was plain.
    fn place_all(&mut self) {
        if self.is_plain {
            self.is_plain = false;
            let count = core::mem::take(&mut self.chars);
            for source in (self.start..).take(count) {
                self.place(source, 1);
            }
        }
    }

    /// Notes where the next character comes from.
    fn place(&mut self, source: u32, width: usize) {
        self.sources[self.chars] = source;
        self.widths[self.chars] = width as u8;
        self.chars += 1;
    }
}

pub(super) fn is_char_start(byte: u8) -> bool {
    byte & 0xC0 != 0x80
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
        self.word.push(c, source, width);
    }

    fn ascii_letters(&mut self, letters: impl ExactSizeIterator<Item = u8>, source: usize) {
        self.word.push_ascii(letters, source);
    }

    fn punctuation(&mut self, c: char, source: usize, width: usize) -> ControlFlow<()> {
        self.end_word()?;
        self.letter(c, source, width);
        self.end_word()
    }

    fn ascii_punctuation(&mut self, c: u8, source: usize) -> ControlFlow<()> {
        self.end_word()?;
        self.word.push_ascii(core::iter::once(c), source);
        self.end_word()
    }

    fn space(&mut self) -> ControlFlow<()> {
        self.end_word()
    }
}
