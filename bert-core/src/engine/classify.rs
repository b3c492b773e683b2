//! The label of a text, or of two.

use super::Session;
use super::forward::Rows;
use super::read::Input;
use crate::format::Labels;
use crate::math::{exp, max, sum};
use crate::{Error, Head};

impl<'m> Session<'m, '_> {
    /// The label of a text, from a model with a class or joint head.
    ///
    /// # Errors
    /// [`Error::WrongHead`] if the model has none, [`Error::TextTooLong`] beyond 4 GiB.
    pub fn classify(&mut self, text: &str) -> Result<Classification<'m, '_>, Error> {
        self.expect_label_of_text()?;
        let input = self.read_whole(text)?;
        self.compute(input, Rows::First)?;
        Ok(self.classification(input))
    }

    /// As [`Session::classify`], for a text already split into words.
    ///
    /// # Errors
    /// [`Error::WrongHead`] if the model has no labels for texts.
    pub fn classify_words(&mut self, words: &[&str]) -> Result<Classification<'m, '_>, Error> {
        self.expect_label_of_text()?;
        let input = self.read_words(words.iter().copied())?;
        self.compute(input, Rows::First)?;
        Ok(self.classification(input))
    }

    /// The label of two texts, from a model with a pair head: `[CLS] a [SEP] b [SEP]`, where `a` has
    /// segment 0 and `b` segment 1.
    ///
    /// Where both together have more tokens than the session takes, the longer is cut at its end,
    /// and both once they are equally long: "longest first", as Hugging Face `tokenizers` cuts.
    ///
    /// # Errors
    /// [`Error::WrongHead`] if the model has another head, [`Error::TextTooLong`] beyond 4 GiB.
    pub fn classify_pair(&mut self, a: &str, b: &str) -> Result<Classification<'m, '_>, Error> {
        let Head::PairClassify { .. } = self.model.config().head else {
            return Err(Error::WrongHead);
        };
        let input = self.read_pair(a, b)?;
        self.compute(input, Rows::First)?;
        Ok(self.classification(input))
    }

    fn expect_label_of_text(&self) -> Result<(), Error> {
        match self.model.config().head {
            Head::Classify { .. } | Head::Joint { .. } => Ok(()),
            _ => Err(Error::WrongHead),
        }
    }

    fn classification(&self, input: Input) -> Classification<'m, '_> {
        Classification::new(self.memory.label_logits, *self.model.labels(), input)
    }
}

/// The label of a text or a pair.
#[derive(Clone, Copy)]
pub struct Classification<'m, 'a> {
    /// Number of the most probable label; the lowest of equals.
    pub label: usize,
    /// Whether a text was cut.
    pub truncated: bool,
    /// Tokens that were read, `[CLS]` and `[SEP]` included.
    pub tokens: usize,
    logits: &'a [f32],
    labels: Labels<'m>,
    largest: f32,
    total: f32,
}

/// One of the labels.
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
    pub(super) fn new(logits: &'a [f32], labels: Labels<'m>, input: Input) -> Self {
        let (label, largest, total) = best(logits);
        let Input { tokens, truncated, .. } = input;
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
            insert(&mut top, place, || Label { label, name, probability });
        }
        top
    }

    /// Logits, in the order of the labels.
    #[must_use]
    pub fn logits(&self) -> &'a [f32] {
        self.logits
    }
}

/// Inserts a label at its place in a list of the `K` best, which loses its last if it is full.
pub(super) fn insert<'m, const K: usize>(
    top: &mut heapless::Vec<Label<'m>, K>,
    place: usize,
    label: impl FnOnce() -> Label<'m>,
) {
    if place == K {
        return;
    }
    if top.is_full() {
        top.pop();
    }
    // There is room now, and `place` is at most the length.
    let _ = top.insert(place, label());
}

/// Number of the largest logit, its value, and Σ exp(logit − largest).
pub(super) fn best(logits: &[f32]) -> (usize, f32, f32) {
    let largest = max(logits);
    let label = logits.iter().position(|&l| l >= largest).unwrap_or(0);
    (label, largest, sum(logits, |l| exp(l - largest)))
}
