//! From the bytes of a model to answers.

use core::fmt;

use bert_core::{Error, Model, Session};

use crate::print::{Unprinted, all, digits, number};
use crate::{Print, answer};

/// Why there is no answer.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Failure {
    /// The model, or its answer to a text.
    Model(Error),
    /// The model takes two texts with a tab between; one was given.
    Texts,
    /// The output could not be written.
    Write,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Model(error)
    }
}

impl From<fmt::Error> for Failure {
    fn from(_: fmt::Error) -> Self {
        Failure::Write
    }
}

impl Failure {
    /// What went wrong as text, as `Display` has it, without the code of `core::fmt`.
    ///
    /// # Errors
    ///
    /// As [`Print::text`].
    pub fn print(&self, out: &mut dyn Print) -> Result<(), Failure> {
        let (words, numbers) = match self {
            Failure::Model(error) => error.words(),
            Failure::Texts => ("the model takes two texts, with a tab between them", [0; 2]),
            Failure::Write => ("the output cannot be written", [0; 2]),
        };
        // The numbers take the places of the `#`. Searching in `str` has more code than this.
        let mut rest = words;
        for value in numbers {
            let Some(place) = rest.bytes().position(|byte| byte == b'#') else { break };
            out.text(rest.get(..place).unwrap_or_default())?;
            number(out, value)?;
            rest = rest.get(place + 1..).unwrap_or_default();
        }
        out.text(rest)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.print(f).map_err(|_| fmt::Error)
    }
}

/// What is called before and after the work on a text.
pub type Marks = (fn(), fn());

/// A session that has proved to give the bits its file promises. The head of the model is in the set
/// `HEADS`: that of [`crate::image!`], or [`bert_core::format::heads::ALL`]. The code of other heads stays
/// out of the program.
///
/// # Errors
///
/// If `file` is no model for this reader, `scratch` is too small, or a self-test fails.
pub fn start<'m, 's, const HEADS: u16>(
    file: &'m [u8],
    scratch: &'s mut [u8],
) -> Result<Session<'m, 's>, Error> {
    let model = Model::parse(file)?;
    #[cfg(target_os = "none")]
    let mut session = Session::with_kernels(&model, scratch, &bert_firmware_kernels::KERNELS)?;
    #[cfg(not(target_os = "none"))]
    let mut session = Session::new(&model, scratch)?;
    session.self_test_of::<HEADS>()?;
    Ok(session)
}

/// Starts, answers every text and prints
///
/// ```text
/// self-test 16 texts
/// text turn on the lamp
/// label light_on 99.8 %
/// slot device: lamp
/// outputs 1a2b3c4d                CRC-32 over the checksums of all texts' outputs
/// ```
///
/// Between the `marks` of a text lies everything from the text to its lines, but not their output.
///
/// # Errors
///
/// As [`start`] and [`answer`].
pub fn run<'t, const HEADS: u16>(
    file: &[u8],
    scratch: &mut [u8],
    texts: impl Iterator<Item = &'t str>,
    (begin, end): Marks,
    out: &mut dyn Print,
) -> Result<(), Failure> {
    let mut session = start::<HEADS>(file, scratch)?;
    out.text("self-test ")?;
    number(out, session.model().self_tests().count() as u32)?;
    out.text(" texts\n")?;
    let mut outputs = bert_core::checksum::Crc32::new();
    for text in texts {
        all(out, &["text ", text, "\n"])?;
        begin();
        let done = answer::<HEADS>(&mut session, text, &mut Unprinted);
        end();
        done?;
        answer::<HEADS>(&mut session, text, out)?;
        outputs.update(&session.output_crc_of::<HEADS>(text)?.to_le_bytes());
    }
    out.text("outputs ")?;
    digits(out, outputs.finish(), 16, 8)?;
    out.text("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_printed_as_display_has_it() {
        let errors = [
            Error::NotAModel,
            Error::SelfTest { text: 3 },
            Error::TooManyTokens { found: 70, limit: 64 },
            Error::Length { expected: 5, found: 4 },
            Error::Layers { needed: 4, found: 2 },
        ];
        for error in errors {
            let mut printed = String::new();
            Failure::Model(error).print(&mut printed).unwrap();
            assert_eq!(printed, error.to_string());
        }
        assert_eq!(
            Error::Length { expected: 5, found: 4 }.to_string(),
            "truncated: 5 bytes expected, 4 found"
        );
    }
}
