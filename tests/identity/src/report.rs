//! What a machine prints: lines of words, read by `cargo xtask identity`.
//!
//! ```text
//! text 17 1a2b3c4d 5e6f7a8b 9c0d1e2f     CRC-32 of each model's outputs for text 17
//! sha256 <64 hexadecimal digits> 96      of all outputs of all models for the first 96 texts
//! case 0 joint 16                        inferences that were counted, in the order of the counts
//! ```

use core::fmt::{self, Write};

use bert_core::{Error, Head, Model, SCRATCH_ALIGN, Session};
use sha2::{Digest, Sha256};

use crate::corpus::Corpus;
use crate::measure::{inference, measured_inference};
use crate::outputs::outputs;

/// Models of the corpus.
pub const MODELS: usize = 3;

/// Why there is no report.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// The bytes are no corpus, or one with another number of models.
    Corpus,
    /// The output could not be written.
    Write,
    /// A model refused a text.
    Model {
        /// Number of the model.
        model: usize,
        /// Number of the text or case.
        text: usize,
        /// Why.
        error: Error,
    },
}

impl From<fmt::Error> for Failure {
    fn from(_: fmt::Error) -> Self {
        Failure::Write
    }
}

/// Bytes of memory that [`identity`] and [`count`] need for a corpus.
///
/// # Errors
///
/// [`Failure`] if a model cannot be read.
pub fn scratch_bytes(corpus: &Corpus<'_>) -> Result<usize, Failure> {
    let needed = |(number, file)| Ok(needed(&parse(number, file)?));
    corpus.models().enumerate().map(needed).sum()
}

/// Asks every model about the first `texts` texts; prints a line for each, then the hash.
///
/// # Errors
///
/// [`Failure`].
pub fn identity(
    corpus: &Corpus<'_>,
    texts: usize,
    scratch: &mut [u8],
    print: &mut dyn Write,
) -> Result<(), Failure> {
    let mut sessions = sessions(corpus, scratch)?;
    let mut hash = Sha256::new();
    let texts = texts.min(corpus.texts());
    for text in 0..texts {
        write!(print, "text {text}")?;
        for (model, session) in sessions.iter_mut().enumerate() {
            let mut crc = bert_core::checksum::Crc32::new();
            outputs(session, corpus, text, &mut |bytes| {
                hash.update(bytes);
                crc.update(bytes);
            })
            .map_err(|error| Failure::Model { model, text, error })?;
            write!(print, " {:08x}", crc.finish())?;
        }
        writeln!(print)?;
    }
    write!(print, "sha256 ")?;
    for byte in hash.finalize() {
        write!(print, "{byte:02x}")?;
    }
    writeln!(print, " {texts}")?;
    Ok(())
}

/// Runs each case once unwatched, so that nothing is done for the first time, then once between
/// `begin` and `end`.
///
/// # Errors
///
/// [`Failure`].
pub fn count(
    corpus: &Corpus<'_>,
    scratch: &mut [u8],
    (begin, end): (fn(), fn()),
    print: &mut dyn Write,
) -> Result<(), Failure> {
    let mut sessions = sessions(corpus, scratch)?;
    for (number, case) in corpus.cases().enumerate() {
        let session = sessions.get_mut(case.model).ok_or(Failure::Corpus)?;
        let failed = |error| Failure::Model { model: case.model, text: number, error };
        inference(session, &case).map_err(failed)?;
        begin();
        let done = measured_inference(session, &case);
        end();
        done.map_err(failed)?;
        let name = match session.model().config().head {
            Head::Joint { .. } => "joint",
            Head::Span => "span",
            _ => "embed",
        };
        writeln!(print, "case {number} {name} {}", case.tokens)?;
    }
    Ok(())
}

/// A session for each model, each with its part of the memory.
fn sessions<'c, 's>(
    corpus: &Corpus<'c>,
    scratch: &'s mut [u8],
) -> Result<[Session<'c, 's>; MODELS], Failure> {
    let mut rest = scratch;
    let mut files = corpus.models().enumerate();
    let mut next = || {
        let (number, file) = files.next().ok_or(Failure::Corpus)?;
        let model = parse(number, file)?;
        let all = core::mem::take(&mut rest);
        let (part, others) = all.split_at_mut_checked(needed(&model)).ok_or(Failure::Corpus)?;
        rest = others;
        Session::new(&model, part).map_err(|error| Failure::Model { model: number, text: 0, error })
    };
    Ok([next()?, next()?, next()?])
}

fn parse(number: usize, file: &[u8]) -> Result<Model<'_>, Failure> {
    Model::parse(file).map_err(|error| Failure::Model { model: number, text: 0, error })
}

fn needed(model: &Model<'_>) -> usize {
    model.scratch_bytes(model.config().max_length.into()).next_multiple_of(SCRATCH_ALIGN)
}
