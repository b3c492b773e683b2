//! The tags of a text's words, computed one word at a time.

use super::forward::tag_logits;
use super::scratch::NOT_FIRST;
use super::session::best;
use crate::format::{Labels, Matrix};

/// The tag of one word.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tag<'m> {
    /// Number of the word in the text, from 0.
    pub word: u32,
    /// First byte of the word in the text.
    pub start: u32,
    /// Byte after the word.
    pub end: u32,
    /// Number of the most probable tag; the lowest of equals.
    pub tag: usize,
    /// Its name.
    pub name: &'m str,
    /// Its probability.
    pub probability: f32,
}

/// Iterator over the tags of a text, in the order of its words.
///
/// Words that were cut off, and words without any token (such as a lone control character), have
/// no tag: [`Tag::word`] says which word a tag belongs to.
pub struct Tags<'m, 'a> {
    pub(super) head: Option<Matrix<'m>>,
    pub(super) names: Labels<'m>,
    pub(super) x: &'a [f32],
    pub(super) words: &'a [u32],
    pub(super) starts: &'a [u32],
    pub(super) ends: &'a [u32],
    pub(super) q: &'a mut [i8],
    pub(super) logits: &'a mut [f32],
    pub(super) next: usize,
    /// Tokens that were read, `[CLS]` and `[SEP]` included.
    pub tokens: usize,
    /// Whether the text was cut.
    pub truncated: bool,
}

impl<'m> Tags<'m, '_> {
    /// The next word's tag with the logits of all tags.
    pub fn next_logits(&mut self) -> Option<(Tag<'m>, &[f32])> {
        let head = self.head.as_ref()?;
        let hidden = self.q.len();
        let ahead = self.words.get(self.next..)?;
        let at = self.next + ahead.iter().position(|&word| word != NOT_FIRST)?;
        self.next = at + 1;
        tag_logits(head, &self.x[at * hidden..(at + 1) * hidden], self.q, self.logits);
        let (tag, _, total) = best(self.logits);
        let tag = Tag {
            word: self.words[at],
            start: self.starts[at],
            end: self.ends[at],
            tag,
            name: self.names.name(tag).unwrap_or(""),
            probability: 1.0 / total,
        };
        Some((tag, self.logits))
    }
}

impl<'m> Iterator for Tags<'m, '_> {
    type Item = Tag<'m>;

    fn next(&mut self) -> Option<Tag<'m>> {
        self.next_logits().map(|(tag, _)| tag)
    }
}
