//! The tags of a text's words, computed one word at a time.

use super::Session;
use super::classify::{Classification, best};
use super::forward::Rows;
use super::read::Input;
use super::rows::LastRows;
use super::scratch::NOT_FIRST;
use crate::format::{Labels, Matrix};
use crate::{Error, Head};

impl<'m> Session<'m, '_> {
    /// The tags of a text's words (separated by white space), from a model with a tag or joint
    /// head. A word's tag is that of its first token.
    ///
    /// # Errors
    /// [`Error::WrongHead`] if the model has no tags.
    pub fn tag(&mut self, text: &str) -> Result<Tags<'m, '_>, Error> {
        self.expect_tags()?;
        let input = self.read_text(text)?;
        self.compute(input, Rows::All)?;
        Ok(self.tags(input))
    }

    /// As [`Session::tag`], for a text already split into words. Spans are those of the words joined
    /// by single spaces.
    ///
    /// # Errors
    /// [`Error::WrongHead`] if the model has no tags.
    pub fn tag_words(&mut self, words: &[&str]) -> Result<Tags<'m, '_>, Error> {
        self.expect_tags()?;
        let input = self.read_words(words.iter().copied())?;
        self.compute(input, Rows::All)?;
        Ok(self.tags(input))
    }

    /// Label and tags of a text from one pass, from a model with a joint head.
    ///
    /// # Errors
    /// [`Error::WrongHead`] if the model has another head.
    pub fn joint(&mut self, text: &str) -> Result<Joint<'m, '_>, Error> {
        self.expect_joint()?;
        let input = self.read_text(text)?;
        self.compute(input, Rows::All)?;
        Ok(self.both(input))
    }

    /// As [`Session::joint`], for a text already split into words.
    ///
    /// # Errors
    /// [`Error::WrongHead`] if the model has another head.
    pub fn joint_words(&mut self, words: &[&str]) -> Result<Joint<'m, '_>, Error> {
        self.expect_joint()?;
        let input = self.read_words(words.iter().copied())?;
        self.compute(input, Rows::All)?;
        Ok(self.both(input))
    }

    fn expect_tags(&self) -> Result<(), Error> {
        if self.model.config().head.tags() == 0 { Err(Error::WrongHead) } else { Ok(()) }
    }

    fn expect_joint(&self) -> Result<(), Error> {
        match self.model.config().head {
            Head::Joint { .. } => Ok(()),
            _ => Err(Error::WrongHead),
        }
    }

    pub(super) fn tags(&mut self, input: Input) -> Tags<'m, '_> {
        self.both(input).tags
    }

    fn both(&mut self, input: Input) -> Joint<'m, '_> {
        let memory = &mut self.memory;
        Joint {
            label: Classification::new(memory.label_logits, *self.model.labels(), input),
            tags: Tags {
                head: self.model.tag_head,
                names: *self.model.tags(),
                words: &memory.words[..input.tokens],
                starts: memory.starts,
                ends: memory.ends,
                rows: LastRows {
                    kernels: self.kernels,
                    hidden: self.model.config().hidden as usize,
                    x: memory.x,
                    scales: memory.x_scales,
                    row: memory.tile.residual,
                    q: memory.tile.rows,
                },
                logits: memory.tag_logits,
                next: 0,
                tokens: input.tokens,
                truncated: input.truncated,
            },
        }
    }
}

/// Label and tags of a text, from one pass.
pub struct Joint<'m, 'a> {
    /// The label of the text.
    pub label: Classification<'m, 'a>,
    /// The tags of its words.
    pub tags: Tags<'m, 'a>,
}

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
    head: Option<Matrix<'m>>,
    names: Labels<'m>,
    words: &'a [u32],
    starts: &'a [u32],
    ends: &'a [u32],
    rows: LastRows<'a>,
    logits: &'a mut [f32],
    next: usize,
    /// Tokens that were read, `[CLS]` and `[SEP]` included.
    pub tokens: usize,
    /// Whether the text was cut.
    pub truncated: bool,
}

impl<'m> Tags<'m, '_> {
    /// The next word's tag with the logits of all tags.
    pub fn next_logits(&mut self) -> Option<(Tag<'m>, &[f32])> {
        let head = self.head.as_ref()?;
        let ahead = self.words.get(self.next..)?;
        let at = self.next + ahead.iter().position(|&word| word != NOT_FIRST)?;
        self.next = at + 1;
        self.rows.logits(at, head, self.logits);
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
