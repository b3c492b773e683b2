//! WordPiece: a word is cut greedily into the longest pieces that the vocabulary has.
//!
//! Source: Schuster and Nakajima, "Japanese and Korean voice search", 2012, in the form of BERT.

use core::ops::ControlFlow;

use super::vocabulary::Vocabulary;
use super::word::{MAX_WORD_CHARS, Word, is_char_start};

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

    /// Cuts `word`, of at most [`MAX_WORD_CHARS`] characters, which is no piece itself. False when it
    /// has no pieces.
    pub(super) fn split(&mut self, vocabulary: &Vocabulary<'_>, word: &[u8]) -> bool {
        self.count = 0;
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
            let next_char = first_char + word.chars_in(&word.bytes()[start..usize::from(end)]);
            let (from, to) = word.span(first_char, next_char - 1);
            sink(id, from, to, start == 0)?;
            (start, first_char) = (usize::from(end), next_char);
        }
        ControlFlow::Continue(())
    }
}

/// Bytes of a piece up to which hashes are kept; nearly all pieces are shorter.
const KEPT: usize = 32;

/// Id and end of the longest piece of `word` at `start`.
///
/// Hashes grow from the front, a byte a step, but the piece that is wanted is the longest one; so the
/// hashes are kept, and looked up from the back. Beyond [`KEPT`] bytes they are looked up as they
/// come.
fn longest(vocabulary: &Vocabulary<'_>, word: &[u8], start: usize) -> Option<(u32, usize)> {
    let continues = start > 0;
    let rest = &word[start..];
    // The word as a whole is no piece.
    let most = if continues { rest.len() } else { rest.len().saturating_sub(1) };
    let limit = most.min(vocabulary.longest(continues));
    let find = |hash, length: usize| {
        let ends = rest.get(length).is_none_or(|&next| is_char_start(next));
        let piece = rest.get(..length).filter(|_| ends)?;
        Some((vocabulary.find(hash, continues, piece)?, start + length))
    };

    let mut hash = vocabulary.hash(continues);
    let mut kept = [hash; KEPT];
    for (place, &byte) in kept.iter_mut().zip(&rest[..limit]) {
        hash = hash.push(byte);
        *place = hash;
    }
    let mut found = None;
    for length in KEPT + 1..=limit {
        hash = hash.push(rest[length - 1]);
        found = find(hash, length).or(found);
    }
    let mut kept = kept.iter().take(limit).enumerate().rev();
    found.or_else(|| kept.find_map(|(last, &hash)| find(hash, last + 1)))
}
