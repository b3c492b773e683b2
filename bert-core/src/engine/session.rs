//! A model bound to scratch memory: text in, answers out.

use core::ops::ControlFlow;

use super::forward::{Rows, forward, label_logits, tag_logits};
use super::scratch::{Memory, NOT_FIRST};
use super::tags::Tags;
use crate::format::{Labels, Matrix, Model};
use crate::math::{exp, max, sum};
use crate::tokenizer::Tokenizer;
use crate::{Error, Head};

/// A model and its memory, ready to answer. It borrows the file and the scratch memory, not the
/// [`Model`].
///
/// Texts longer than the session's limit are cut after the last token that fits; every answer says
/// so (`truncated`).
///
/// ```no_run
/// # fn f(file: &[u8]) -> Result<(), bert_core::Error> {
/// use bert_core::{Model, Scratch, Session};
/// let model = Model::parse(file)?;
/// let mut scratch = Scratch::<{ 96 * 1024 }>::new();
/// let mut session = Session::new(&model, &mut scratch)?;
/// let answer = session.classify("turn on the light")?;
/// let (name, probability) = (answer.name(), answer.probability());
/// # Ok(())
/// # }
/// ```
pub struct Session<'m, 's> {
    model: Model<'m>,
    tokenizer: Tokenizer<'m>,
    memory: Memory<'s>,
    limit: usize,
}

impl<'m, 's> Session<'m, 's> {
    /// A session for texts of the model's `max_length`.
    ///
    /// # Errors
    /// [`Error::Scratch`] if `scratch` is smaller than
    /// [`Model::scratch_bytes`]`(max_length)`, [`Error::ScratchAlignment`] if it does not start at a
    /// multiple of [`crate::SCRATCH_ALIGN`], [`Error::SpecialToken`] if the vocabulary lacks one.
    pub fn new(model: &Model<'m>, scratch: &'s mut [u8]) -> Result<Self, Error> {
        Self::with_limit(model, scratch, model.config().max_length as usize)
    }

    /// A session for texts of at most `limit` tokens (`[CLS]` and `[SEP]` included), to save
    /// memory; at least 3, at most the model's `max_length`.
    ///
    /// # Errors
    /// As [`Session::new`]; [`Error::TooManyTokens`] if `limit` is out of range.
    pub fn with_limit(
        model: &Model<'m>,
        scratch: &'s mut [u8],
        limit: usize,
    ) -> Result<Self, Error> {
        let most = model.config().max_length as usize;
        if limit > most || limit < 3 {
            return Err(Error::TooManyTokens { found: limit as u32, limit: most as u32 });
        }
        let memory = Memory::divide(scratch, &model.config().shape(), limit)?;
        let tokenizer = Tokenizer::new(*model.vocabulary(), model.config().tokenizer)?;
        Ok(Session { model: *model, tokenizer, memory, limit })
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model<'m> {
        &self.model
    }

    /// The label of a text, from a model with a class or joint head.
    ///
    /// # Errors
    /// [`Error::WrongHead`] if the model has none, [`Error::TextTooLong`] beyond 4 GiB.
    pub fn classify(&mut self, text: &str) -> Result<Classification<'m, '_>, Error> {
        self.expect(self.model.config().head.labels())?;
        let input = self.read_words([text].into_iter())?;
        self.answer(input, Rows::First)?;
        Ok(self.classification(input))
    }

    /// As [`Session::classify`], for a text already split into words.
    ///
    /// # Errors
    /// [`Error::WrongHead`] if the model has no labels for texts.
    pub fn classify_words(&mut self, words: &[&str]) -> Result<Classification<'m, '_>, Error> {
        self.expect(self.model.config().head.labels())?;
        let input = self.read_words(words.iter().copied())?;
        self.answer(input, Rows::First)?;
        Ok(self.classification(input))
    }

    /// The tags of a text's words (separated by white space), from a model with a tag or joint
    /// head. A word's tag is that of its first token.
    ///
    /// # Errors
    /// [`Error::WrongHead`] if the model has no tags.
    pub fn tag(&mut self, text: &str) -> Result<Tags<'m, '_>, Error> {
        self.expect(self.model.config().head.tags())?;
        let input = self.read_text(text)?;
        self.answer(input, Rows::All)?;
        Ok(self.tags(input))
    }

    /// As [`Session::tag`], for a text already split into words. Spans are those of the words joined
    /// by single spaces.
    ///
    /// # Errors
    /// [`Error::WrongHead`] if the model has no tags.
    pub fn tag_words(&mut self, words: &[&str]) -> Result<Tags<'m, '_>, Error> {
        self.expect(self.model.config().head.tags())?;
        let input = self.read_words(words.iter().copied())?;
        self.answer(input, Rows::All)?;
        Ok(self.tags(input))
    }

    /// Label and tags of a text from one pass, from a model with a joint head.
    ///
    /// # Errors
    /// [`Error::WrongHead`] if the model has another head.
    pub fn joint(&mut self, text: &str) -> Result<Joint<'m, '_>, Error> {
        self.expect_joint()?;
        let input = self.read_text(text)?;
        self.answer(input, Rows::All)?;
        Ok(self.both(input))
    }

    /// As [`Session::joint`], for a text already split into words.
    ///
    /// # Errors
    /// [`Error::WrongHead`] if the model has another head.
    pub fn joint_words(&mut self, words: &[&str]) -> Result<Joint<'m, '_>, Error> {
        self.expect_joint()?;
        let input = self.read_words(words.iter().copied())?;
        self.answer(input, Rows::All)?;
        Ok(self.both(input))
    }

    /// Runs token ids as they are (`[CLS]` and `[SEP]` are the caller's) with the segment of each
    /// token; an empty `segments` means segment 0 everywhere.
    ///
    /// # Errors
    /// [`Error::NoTokens`], [`Error::TooManyTokens`], or [`Error::TokenRange`] for an id or segment
    /// outside the tables or a number of segments other than that of ids.
    pub fn run(&mut self, ids: &[u32], segments: &[u32], rows: Rows) -> Result<Output<'_>, Error> {
        let config = self.model.config();
        if ids.is_empty() {
            return Err(Error::NoTokens);
        }
        if ids.len() > self.limit {
            let clip = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            return Err(Error::TooManyTokens { found: clip(ids.len()), limit: clip(self.limit) });
        }
        let in_tables = ids.iter().all(|&id| id < config.vocabulary)
            && segments.iter().all(|&s| s < config.segments as u32)
            && (segments.is_empty() || segments.len() == ids.len());
        if !in_tables {
            return Err(Error::TokenRange);
        }
        self.memory.ids[..ids.len()].copy_from_slice(ids);
        self.memory.words[..ids.len()].fill(NOT_FIRST);
        let segment = |t: usize| segments.get(t).map_or(0, |&s| s as usize);
        forward(&self.model, &mut self.memory, ids.len(), segment, rows)?;
        label_logits(&self.model, &mut self.memory);
        let tokens = if rows == Rows::First { 1 } else { ids.len() };
        let width = config.hidden as usize;
        Ok(Output {
            hidden: &self.memory.x[..tokens * width],
            label_logits: self.memory.label_logits,
            width,
            tag_head: self.model.tag_head,
            tag_logits: self.memory.tag_logits,
            q: &mut self.memory.rows[..width],
        })
    }

    /// CRC-32 over all logits of a text, as little-endian f32: those of the label if the head has
    /// one, then for each tagged word its number (u32) and its logits.
    ///
    /// # Errors
    /// Those of the forward pass; none for a parsed model.
    pub fn output_crc(&mut self, text: &str) -> Result<u32, Error> {
        let head = self.model.config().head;
        let rows = if head.tags() > 0 { Rows::All } else { Rows::First };
        let input = self.read_text(text)?;
        self.answer(input, rows)?;
        let mut crc = crc32fast::Hasher::new();
        for logit in self.memory.label_logits.iter() {
            crc.update(&logit.to_le_bytes());
        }
        if head.tags() > 0 {
            let mut tags = self.tags(input);
            while let Some((tag, logits)) = tags.next_logits() {
                crc.update(&tag.word.to_le_bytes());
                for logit in logits {
                    crc.update(&logit.to_le_bytes());
                }
            }
        }
        Ok(crc.finalize())
    }

    /// Runs every self-test of the file that fits the session's limit whole or cut, and compares.
    ///
    /// # Errors
    /// [`Error::SelfTest`] with the first text whose output differs; [`Error::Arithmetic`] if the
    /// tests were made with another revision of the arithmetic; [`Error::TooManyTokens`] if the
    /// session's limit is below the model's `max_length`, where texts could be cut otherwise.
    pub fn self_test(&mut self) -> Result<(), Error> {
        let config = self.model.config();
        config.check_arithmetic()?;
        if self.limit < config.max_length as usize {
            let (found, limit) = (config.max_length as u32, self.limit as u32);
            return Err(Error::TooManyTokens { found, limit });
        }
        for (i, test) in self.model.self_tests().enumerate() {
            if self.output_crc(test.text)? != test.crc {
                return Err(Error::SelfTest { text: i as u16 });
            }
        }
        Ok(())
    }

    fn expect(&self, count: u16) -> Result<(), Error> {
        if count == 0 { Err(Error::WrongHead) } else { Ok(()) }
    }

    fn expect_joint(&self) -> Result<(), Error> {
        match self.model.config().head {
            Head::Joint { .. } => Ok(()),
            _ => Err(Error::WrongHead),
        }
    }

    /// Tokenizes the words of a text, which white space separates.
    fn read_text(&mut self, text: &str) -> Result<Input, Error> {
        let offset = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
        self.read(text.split_whitespace().map(|word| (word, offset(word))))
    }

    fn read_words<'w>(&mut self, words: impl Iterator<Item = &'w str>) -> Result<Input, Error> {
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
        Ok(Input { tokens: count + 1, truncated })
    }

    fn answer(&mut self, input: Input, rows: Rows) -> Result<(), Error> {
        forward(&self.model, &mut self.memory, input.tokens, |_| 0, rows)?;
        label_logits(&self.model, &mut self.memory);
        Ok(())
    }

    fn classification(&self, input: Input) -> Classification<'m, '_> {
        Classification::new(self.memory.label_logits, *self.model.labels(), input)
    }

    fn tags(&mut self, input: Input) -> Tags<'m, '_> {
        self.both(input).tags
    }

    fn both(&mut self, input: Input) -> Joint<'m, '_> {
        let memory = &mut self.memory;
        Joint {
            label: Classification::new(memory.label_logits, *self.model.labels(), input),
            tags: Tags {
                head: self.model.tag_head,
                names: *self.model.tags(),
                x: memory.x,
                words: &memory.words[..input.tokens],
                starts: memory.starts,
                ends: memory.ends,
                q: &mut memory.rows[..self.model.config().hidden as usize],
                logits: memory.tag_logits,
                next: 0,
                tokens: input.tokens,
                truncated: input.truncated,
            },
        }
    }
}

/// What was read.
#[derive(Clone, Copy)]
pub(crate) struct Input {
    pub tokens: usize,
    pub truncated: bool,
}

/// The label of a text.
#[derive(Clone, Copy)]
pub struct Classification<'m, 'a> {
    /// Number of the most probable label; the lowest of equals.
    pub label: usize,
    /// Whether the text was cut.
    pub truncated: bool,
    /// Tokens that were read, `[CLS]` and `[SEP]` included.
    pub tokens: usize,
    logits: &'a [f32],
    labels: Labels<'m>,
    largest: f32,
    total: f32,
}

/// One label of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Label<'m> {
    /// Its number.
    pub label: usize,
    /// Its name.
    pub name: &'m str,
    /// Its probability.
    pub probability: f32,
}

impl<'m, 'a> Classification<'m, 'a> {
    fn new(logits: &'a [f32], labels: Labels<'m>, input: Input) -> Self {
        let (label, largest, total) = best(logits);
        let Input { tokens, truncated } = input;
        Classification { label, truncated, tokens, logits, labels, largest, total }
    }

    /// Name of the most probable label.
    #[must_use]
    pub fn name(&self) -> &'m str {
        self.labels.name(self.label).unwrap_or("")
    }

    /// Probability of the most probable label.
    #[must_use]
    pub fn probability(&self) -> f32 {
        1.0 / self.total
    }

    /// Name and probability of every label, in the order of the labels.
    pub fn probabilities(&self) -> impl Iterator<Item = (&'m str, f32)> + '_ {
        let name = |i| self.labels.name(i).unwrap_or("");
        let logits = self.logits.iter().enumerate();
        logits.map(move |(i, &logit)| (name(i), exp(logit - self.largest) / self.total))
    }

    /// The `K` most probable labels (all, if the model has fewer), the most probable first; of
    /// equals, the lower number first.
    ///
    /// ```no_run
    /// # fn f(session: &mut bert_core::Session<'_, '_>) -> Result<(), bert_core::Error> {
    /// let answer = session.classify("play some music")?;
    /// let [first, second] = *answer.top::<2>() else { return Ok(()) };
    /// let _is_unsure = first.probability < 2.0 * second.probability;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn top<const K: usize>(&self) -> heapless::Vec<Label<'m>, K> {
        let mut top = heapless::Vec::<Label<'m>, K>::new();
        for (label, (name, probability)) in self.probabilities().enumerate() {
            let place = top.partition_point(|better| better.probability >= probability);
            if place == K {
                continue;
            }
            if top.is_full() {
                top.pop();
            }
            // There is room now, and `place` is at most the length.
            let _ = top.insert(place, Label { label, name, probability });
        }
        top
    }

    /// Logits, in the order of the labels.
    #[must_use]
    pub fn logits(&self) -> &'a [f32] {
        self.logits
    }
}

/// Number of the largest logit, its value, and Σ exp(logit − largest).
pub(crate) fn best(logits: &[f32]) -> (usize, f32, f32) {
    let largest = max(logits);
    let label = logits.iter().position(|&l| l >= largest).unwrap_or(0);
    (label, largest, sum(logits, |l| exp(l - largest)))
}

/// Label and tags of a text, from one pass.
pub struct Joint<'m, 'a> {
    /// The label of the text.
    pub label: Classification<'m, 'a>,
    /// The tags of its words.
    pub tags: Tags<'m, 'a>,
}

/// Results of [`Session::run`].
pub struct Output<'a> {
    hidden: &'a [f32],
    label_logits: &'a [f32],
    width: usize,
    tag_head: Option<Matrix<'a>>,
    tag_logits: &'a mut [f32],
    q: &'a mut [i8],
}

impl Output<'_> {
    /// The last layer's rows \[T, H\]; only row 0 for [`Rows::First`].
    #[must_use]
    pub fn hidden(&self) -> &[f32] {
        self.hidden
    }

    /// Logits of the text's label; empty if the head has none.
    #[must_use]
    pub fn label_logits(&self) -> &[f32] {
        self.label_logits
    }

    /// Logits of a token's tag; none if the head has no tags or the row was not computed.
    pub fn tag_logits(&mut self, token: usize) -> Option<&[f32]> {
        let head = self.tag_head.as_ref()?;
        let x = self.hidden.chunks_exact(self.width).nth(token)?;
        tag_logits(head, x, self.q, self.tag_logits);
        Some(self.tag_logits)
    }
}
