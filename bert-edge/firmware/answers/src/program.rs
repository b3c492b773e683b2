//! From the bytes of a model to answers.

use core::fmt::{self, Write};

use bert_core::{Error, Model, Session};

use crate::answer;

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

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Model(error) => error.fmt(f),
            Failure::Texts => f.write_str("the model takes two texts, with a tab between them"),
            Failure::Write => f.write_str("the output cannot be written"),
        }
    }
}

/// What is called before and after the work on a text.
pub type Marks = (fn(), fn());

/// A session that has proved to give the bits its file promises.
///
/// # Errors
///
/// If `file` is no model for this reader, `scratch` is too small, or a self-test fails.
pub fn start<'m, 's>(file: &'m [u8], scratch: &'s mut [u8]) -> Result<Session<'m, 's>, Error> {
    let model = Model::parse(file)?;
    let mut session = Session::new(&model, scratch)?;
    session.self_test()?;
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
pub fn run<'t>(
    file: &[u8],
    scratch: &mut [u8],
    texts: impl Iterator<Item = &'t str>,
    (begin, end): Marks,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut session = start(file, scratch)?;
    writeln!(out, "self-test {} texts", session.model().self_tests().count())?;
    let mut outputs = bert_core::checksum::Crc32::new();
    for text in texts {
        writeln!(out, "text {text}")?;
        begin();
        let done = answer(&mut session, text, &mut Unprinted);
        end();
        done?;
        answer(&mut session, text, out)?;
        outputs.update(&session.output_crc(text)?.to_le_bytes());
    }
    writeln!(out, "outputs {:08x}", outputs.finish())?;
    Ok(())
}

/// Takes lines and forgets them.
struct Unprinted;

impl Write for Unprinted {
    fn write_str(&mut self, _: &str) -> fmt::Result {
        Ok(())
    }
}
