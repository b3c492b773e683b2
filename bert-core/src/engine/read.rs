//! Text into the session's memory: `[CLS]`, the tokens of one text or two, a `[SEP]` after each.

use core::ops::ControlFlow;

use super::Session;
use super::scratch::NOT_FIRST;
use crate::Error;
use crate::tokenizer::Tokenizer;

/// What was read.
#[derive(Clone, Copy)]
pub(super) struct Input {
    pub tokens: usize,
    /// First token of segment 1; `tokens` if there is one text.
    pub second: usize,
    /// Whether a text was cut.
    pub truncated: bool,
}

impl Session<'_, '_> {
    /// Tokenizes a text as a whole.
    pub(super) fn read_whole(&mut self, text: &str) -> Result<Input, Error> {
        self.read_words([text].into_iter())
    }

    /// Tokenizes the words of a text, which white space separates.
    pub(super) fn read_text(&mut self, text: &str) -> Result<Input, Error> {
        let offset = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
        self.read(text.split_whitespace().map(|word| (word, offset(word))))
    }

    /// Tokenizes words, whose spans are those of the words joined by single spaces.
    pub(super) fn read_words<'w>(
        &mut self,
        words: impl Iterator<Item = &'w str>,
    ) -> Result<Input, Error> {
        let mut offset = 0;
        self.read(words.map(move |word| {
            let start = offset;
            offset += word.len() + 1;
            (word, start)
        }))
    }

    /// Fills ids, words and spans: `[CLS]`, the tokens of the words up to the limit, `[SEP]`.
    fn read<'w>(&mut self, words: impl Iterator<Item = (&'w str, usize)>) -> Result<Input, Error> {
        let memory = &mut self.memory;
        let last = self.limit - 1;
        memory.ids[0] = self.tokenizer.cls;
        memory.words[0] = NOT_FIRST;
        let mut count = 1;
        let mut truncated = false;
        for (number, (word, start)) in words.enumerate() {
            let end = u32::try_from(start + word.len()).map_err(|_| Error::TextTooLong)?;
            let mut mark = number as u32;
            self.tokenizer.tokenize(word, |token| {
                if count == last {
                    truncated = true;
                    return ControlFlow::Break(());
                }
                memory.ids[count] = token.id;
                memory.words[count] = mark;
                memory.starts[count] = start as u32;
                memory.ends[count] = end;
                mark = NOT_FIRST;
                count += 1;
                ControlFlow::Continue(())
            })?;
            if truncated {
                break;
            }
        }
        memory.ids[count] = self.tokenizer.sep;
        memory.words[count] = NOT_FIRST;
        Ok(Input { tokens: count + 1, second: count + 1, truncated })
    }

    /// Fills ids: `[CLS]`, tokens of `a`, `[SEP]`, tokens of `b`, `[SEP]`, cut longest first.
    pub(super) fn read_pair(&mut self, a: &str, b: &str) -> Result<Input, Error> {
        if self.model.config().segments < 2 {
            return Err(Error::TokenRange);
        }
        let room = self.limit - 3;
        let memory = &mut self.memory;
        // How much of each text stays follows from the two lengths alone, so both are read to their
        // ends, once, and of each no more tokens are kept than there is room for in all. Those of
        // `b` wait where the numbers of words lie otherwise, until it is known where they begin.
        let a_found = gather(&self.tokenizer, a, &mut memory.ids[1..1 + room])?;
        let b_found = gather(&self.tokenizer, b, &mut memory.words[..room])?;
        let (a_kept, b_kept) = longest_first(a_found, b_found, room);
        let second = a_kept + 2;
        let tokens = second + b_kept + 1;
        memory.ids[0] = self.tokenizer.cls;
        memory.ids[second - 1] = self.tokenizer.sep;
        memory.ids[second..tokens - 1].copy_from_slice(&memory.words[..b_kept]);
        memory.ids[tokens - 1] = self.tokenizer.sep;
        Ok(Input { tokens, second, truncated: (a_kept, b_kept) != (a_found, b_found) })
    }
}

/// Puts the ids of the first tokens of a text into `ids`, as many as fit, and counts all of them.
pub(super) fn gather(
    tokenizer: &Tokenizer<'_>,
    text: &str,
    ids: &mut [u32],
) -> Result<usize, Error> {
    let mut found = 0;
    tokenizer.tokenize(text, |token| {
        if let Some(id) = ids.get_mut(found) {
            *id = token.id;
        }
        found += 1;
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// How many tokens of two texts of `a` and `b` tokens stay when `room` is all there is, as
/// [`Session::classify_pair`] cuts them.
///
/// A token at a time is taken off the longer text until they fit. When both end up equally long
/// and `room` is odd, the text that was longer keeps one more; the second if they were equal, as in
/// `TruncationStrategy::LongestFirst` of Hugging Face `tokenizers`.
#[must_use]
pub fn longest_first(a: usize, b: usize, room: usize) -> (usize, usize) {
    if a.saturating_add(b) <= room {
        return (a, b);
    }
    let (shorter, longer) = (room / 2, room - room / 2);
    match (a, b) {
        _ if a.min(b) <= shorter && a > b => (room - b, b),
        _ if a.min(b) <= shorter => (a, room - a),
        _ if a > b => (longer, shorter),
        _ => (shorter, longer),
    }
}
