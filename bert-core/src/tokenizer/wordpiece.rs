//! WordPiece: a word is cut greedily into the longest pieces that the vocabulary has.
//!
//! Source: Schuster and Nakajima, "Japanese and Korean voice search", 2012, in the form of BERT.

use core::ops::ControlFlow;

use super::vocabulary::Vocabulary;
use super::word::{MAX_WORD_CHARS, Word};

/// The pieces of one word. A word whose end has no piece has none at all, so they are gathered
/// before any is handed over.
pub(super) struct Pieces {
    ids: [u32; MAX_WORD_CHARS],
    /// Where each piece ends in the word, in bytes.
    ends: [u16; MAX_WORD_CHARS],
    count: usize,
}

impl Pieces {
    pub(super) fn new() -> Self {
        Self { ids: [0; MAX_WORD_CHARS], ends: [0; MAX_WORD_CHARS], count: 0 }
    }

    /// Cuts `word`, of at most [`MAX_WORD_CHARS`] characters. False when it has no pieces.
    pub(super) fn split(&mut self, vocabulary: &Vocabulary<'_>, word: &[u8]) -> bool {
        self.count = 0;
        if let Some(id) = vocabulary.id(word) {
            self.push(id, word.len());
            return true;
        }
        let mut start = 0;
        while start < word.len() {
            let Some((id, end)) = longest(vocabulary, word, start) else {
                return false;
            };
            self.push(id, end);
            start = end;
        }
        true
    }

    fn push(&mut self, id: u32, end: usize) {
        self.ids[self.count] = id;
        self.ends[self.count] = end as u16;
        self.count += 1;
    }

    /// Gives the pieces of `word`, for which `split` was true: id, start and end in the original
    /// text in bytes, and whether it is the first.
    pub(super) fn each(
        &self,
        word: &Word,
        mut sink: impl FnMut(u32, u32, u32, bool) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let (mut start, mut first_char) = (0, 0);
        for (&id, &end) in self.ids.iter().zip(&self.ends).take(self.count) {
            let piece = &word.bytes()[start..usize::from(end)];
            let next_char = first_char + piece.iter().filter(|&&b| is_char_start(b)).count();
            let (from, to) = word.span(first_char, next_char - 1);
            sink(id, from, to, start == 0)?;
            (start, first_char) = (usize::from(end), next_char);
        }
        ControlFlow::Continue(())
    }
}

/// Id and end of the longest piece of `word` at `start`. One pass: the hash of a piece is that of
/// the piece without its last byte, and one step.
fn longest(vocabulary: &Vocabulary<'_>, word: &[u8], start: usize) -> Option<(u32, usize)> {
    let continues = start > 0;
    let mut hash = vocabulary.hash(continues);
    let limit = word.len().min(start + vocabulary.longest(continues));
    let mut found = None;
    for end in start + 1..=limit {
        hash = hash.push(word[end - 1]);
        if word.get(end).is_none_or(|&b| is_char_start(b)) {
            let id = vocabulary.find(hash, continues, &word[start..end]);
            found = id.map(|id| (id, end)).or(found);
        }
    }
    found
}

fn is_char_start(byte: u8) -> bool {
    byte & 0xC0 != 0x80
}
