//! Inferences that a counter of instructions watches.

use bert_core::{AnswerOptions, Error, Head, Pooling, Session};

use crate::corpus::Case;
use crate::outputs::MAX_HIDDEN;

/// What the span model is asked; four tokens, so that with `[CLS]` and two `[SEP]` 7 are taken.
const QUESTION: &str = "a b c";

/// Asks a model the question of its head, as a device would.
///
/// # Errors
///
/// [`Error::TooManyTokens`] if the model saw another number of tokens than the case says; others are
/// those of `bert-core`.
pub fn inference(session: &mut Session<'_, '_>, case: &Case<'_>) -> Result<(), Error> {
    let tokens = match session.model().config().head {
        Head::Joint { .. } => {
            let mut joint = session.joint(case.text)?;
            while joint.tags.next().is_some() {}
            joint.label.tokens
        }
        Head::Span => {
            let options = AnswerOptions::default();
            let answers = session.answer::<1>(QUESTION, case.text, &options)?;
            // One window is the whole case.
            if answers.windows == 1 { case.tokens as usize } else { 0 }
        }
        _ => {
            let mut room = [0.0; MAX_HIDDEN];
            let hidden = usize::from(session.model().config().hidden);
            session.embed(case.text, Pooling::Mean, &mut room[..hidden])?.tokens
        }
    };
    if tokens != case.tokens as usize {
        return Err(Error::TooManyTokens { found: tokens as u32, limit: case.tokens });
    }
    Ok(())
}

/// [`inference`] under a name that a profiler finds.
///
/// # Errors
///
/// As [`inference`].
#[inline(never)]
pub fn measured_inference(session: &mut Session<'_, '_>, case: &Case<'_>) -> Result<(), Error> {
    inference(session, case)
}
