//! Numbers for a text, or for two.

use super::Session;
use super::forward::Rows;
use super::read::Input;
use crate::{Error, Head};

impl Session<'_, '_> {
    /// The numbers of a text, from a model with a regression head.
    ///
    /// # Errors
    /// [`Error::WrongHead`] if the model has another head, [`Error::TextTooLong`] beyond 4 GiB.
    pub fn regress(&mut self, text: &str) -> Result<Regression<'_>, Error> {
        self.expect_regression()?;
        let input = self.read_whole(text)?;
        self.numbers(input)
    }

    /// The numbers of two texts, from a model with a regression head and two segments. The texts are
    /// laid out and cut as by [`Session::classify_pair`].
    ///
    /// # Errors
    /// As [`Session::regress`]; [`Error::TokenRange`] if the model has one segment only.
    pub fn regress_pair(&mut self, a: &str, b: &str) -> Result<Regression<'_>, Error> {
        self.expect_regression()?;
        let input = self.read_pair(a, b)?;
        self.numbers(input)
    }

    fn expect_regression(&self) -> Result<(), Error> {
        match self.model.config().head {
            Head::Regress { .. } => Ok(()),
            _ => Err(Error::WrongHead),
        }
    }

    fn numbers(&mut self, input: Input) -> Result<Regression<'_>, Error> {
        self.compute(input, Rows::First)?;
        let Input { tokens, truncated, .. } = input;
        Ok(Regression { values: self.memory.label_logits, tokens, truncated })
    }
}

/// The numbers of a text or a pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Regression<'a> {
    /// The outputs of the head as they are, in the unit of the training data; not empty.
    pub values: &'a [f32],
    /// Tokens that were read, `[CLS]` and `[SEP]` included.
    pub tokens: usize,
    /// Whether a text was cut.
    pub truncated: bool,
}
