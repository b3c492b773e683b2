//! The labels of a text that are true or not each for itself.
//!
//! p\[label\] = sigmoid(logit\[label\]): none, one or several labels may hold, and the
//! probabilities have no sum.

use super::Session;
use super::classify::{Label, insert};
use super::forward::Rows;
use super::read::Input;
use crate::format::Labels;
use crate::math::sigmoid;
use crate::{Error, Head};

impl<'m> Session<'m, '_> {
    /// Each label's own probability for a text, from a model with a multi-label head.
    ///
    /// ```no_run
    /// # fn f(session: &mut bert_core::Session<'_, '_>) -> Result<(), bert_core::Error> {
    /// let answer = session.classify_labels("the bill is wrong and nobody answers")?;
    /// for label in answer.above(0.5) {
    ///     let (_name, _probability) = (label.name, label.probability);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::WrongHead`] if the model has another head, [`Error::TextTooLong`] beyond 4 GiB.
    pub fn classify_labels(&mut self, text: &str) -> Result<MultiLabel<'m, '_>, Error> {
        let Head::MultiLabel { .. } = self.model.config().head else {
            return Err(Error::WrongHead);
        };
        let input = self.read_whole(text)?;
        self.compute(input, Rows::First)?;
        let Input { tokens, truncated, .. } = input;
        let logits = &*self.memory.label_logits;
        Ok(MultiLabel { truncated, tokens, logits, labels: *self.model.labels() })
    }
}

/// Which labels hold for a text, and how surely.
#[derive(Clone, Copy)]
pub struct MultiLabel<'m, 'a> {
    /// Whether the text was cut.
    pub truncated: bool,
    /// Tokens that were read, `[CLS]` and `[SEP]` included.
    pub tokens: usize,
    logits: &'a [f32],
    labels: Labels<'m>,
}

impl<'m, 'a> MultiLabel<'m, 'a> {
    /// Every label, in the order of the labels.
    pub fn all(&self) -> impl Iterator<Item = Label<'m>> + '_ {
        (0..self.logits.len()).map(|label| self.at(label))
    }

    /// The labels whose probability is greater than `threshold`, in the order of the labels; with
    /// 0.5 those whose logit is positive, up to rounding.
    ///
    /// For the surest first, take [`MultiLabel::top`] as long as probabilities are great enough.
    pub fn above(&self, threshold: f32) -> impl Iterator<Item = Label<'m>> + '_ {
        self.all().filter(move |label| label.probability > threshold)
    }

    /// The `K` labels with the greatest logits (all, if the model has fewer), the greatest first; of
    /// equals, the lower number first. Logits tell labels apart whose probabilities both round to 1.
    #[must_use]
    pub fn top<const K: usize>(&self) -> heapless::Vec<Label<'m>, K> {
        let mut top = heapless::Vec::<Label<'m>, K>::new();
        for (label, &logit) in self.logits.iter().enumerate() {
            let place = top.partition_point(|better| self.logits[better.label] >= logit);
            insert(&mut top, place, || self.at(label));
        }
        top
    }

    /// Logits, in the order of the labels.
    #[must_use]
    pub fn logits(&self) -> &'a [f32] {
        self.logits
    }

    /// Label number `label`, which is one of the model's.
    fn at(&self, label: usize) -> Label<'m> {
        let name = self.labels.name(label).unwrap_or("");
        Label { label, name, probability: sigmoid(self.logits[label]) }
    }
}
