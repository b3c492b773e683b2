//! Labels of a text, or of two.

use core::ffi::c_char;

use bert_core::{Classification, Label as CoreLabel};

use crate::memory::{Array, Outcome, Text};
use crate::session::ask;
use crate::{Session, Status};

/// A label of a text.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Label {
    /// Its number, from 0.
    pub label: u32,
    /// Its probability, 0 to 1.
    pub probability: f32,
    /// Its name, in the model file.
    pub name: Text,
}

impl Label {
    pub(crate) fn of(label: CoreLabel<'static>) -> Self {
        // A model has at most 2¹⁶ labels.
        let CoreLabel { label, name, probability } = label;
        Label { label: label as u32, probability, name: Text::of(name) }
    }

    /// The most probable label.
    pub(crate) fn best(answer: &Classification<'static, '_>) -> Self {
        Label::of(CoreLabel {
            label: answer.label,
            name: answer.name(),
            probability: answer.probability(),
        })
    }
}

/// The labels of a text, the most probable first: as many as `labels` has room for, or all the model
/// has. Room for one is enough to have the best. For heads `BERT_HEAD_CLASSIFY` and
/// `BERT_HEAD_JOINT`.
///
/// `text` is `length` bytes of UTF-8, without a zero byte at the end; `outcome` must not be null.
///
/// Errors: `BERT_ERROR_NULL`, `BERT_ERROR_ALIGNMENT`, `BERT_ERROR_ARGUMENT`, `BERT_ERROR_NOT_OPEN`,
/// `BERT_ERROR_BUSY`, `BERT_ERROR_OVERLAP`, `BERT_ERROR_UTF8`, `BERT_ERROR_TEXT_TOO_LONG`,
/// `BERT_ERROR_HEAD`.
///
/// # Safety
/// Pointers are null or point to what their types say, `text` to `length` bytes, `labels` to room for
/// `capacity`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bert_classify(
    session: *mut Session,
    text: *const c_char,
    length: usize,
    labels: *mut Label,
    capacity: usize,
    outcome: *mut Outcome,
) -> Status {
    // SAFETY: the caller's promise, here and below.
    unsafe {
        ask(session, outcome, capacity, |asked| {
            let (text, room) = (asked.text(text, length)?, asked.array(labels, capacity)?);
            Ok(most_probable(asked.session.classify(text)?, room))
        })
    }
}

/// The labels of two texts, as `bert_classify`; where both together are too long, the longer is cut.
/// For head `BERT_HEAD_PAIR_CLASSIFY`.
///
/// Errors: as `bert_classify`.
///
/// # Safety
/// As `bert_classify`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bert_classify_pair(
    session: *mut Session,
    a: *const c_char,
    a_length: usize,
    b: *const c_char,
    b_length: usize,
    labels: *mut Label,
    capacity: usize,
    outcome: *mut Outcome,
) -> Status {
    // SAFETY: the caller's promise, here and below.
    unsafe {
        ask(session, outcome, capacity, |asked| {
            let (a, b) = (asked.text(a, a_length)?, asked.text(b, b_length)?);
            let room = asked.array(labels, capacity)?;
            Ok(most_probable(asked.session.classify_pair(a, b)?, room))
        })
    }
}

fn most_probable(answer: Classification<'static, '_>, mut room: Array<Label>) -> Outcome {
    for (label, (name, probability)) in answer.probabilities().enumerate() {
        let label = Label::of(CoreLabel { label, name, probability });
        room.offer(label, |a, b| a.probability > b.probability);
    }
    Outcome::read(room.kept(), answer.tokens, answer.truncated)
}

/// The labels of a text that hold each for itself: those of a probability greater than `threshold`
/// (0.5 in most cases), in the order of the labels. For head `BERT_HEAD_MULTI_LABEL`.
///
/// Errors: as `bert_classify`; `BERT_ERROR_CAPACITY` if more labels hold than `labels` has room for, of
/// which the first are written; `BERT_ERROR_ARGUMENT` if `threshold` is not a number.
///
/// # Safety
/// As `bert_classify`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bert_classify_labels(
    session: *mut Session,
    text: *const c_char,
    length: usize,
    threshold: f32,
    labels: *mut Label,
    capacity: usize,
    outcome: *mut Outcome,
) -> Status {
    // SAFETY: the caller's promise, here and below.
    unsafe {
        ask(session, outcome, capacity, |asked| {
            let (text, mut room) = (asked.text(text, length)?, asked.array(labels, capacity)?);
            if threshold.is_nan() {
                return Err(Status::ErrorArgument);
            }
            let answer = asked.session.classify_labels(text)?;
            answer.above(threshold).for_each(|label| room.push(Label::of(label)));
            Ok(Outcome::read(room.count(), answer.tokens, answer.truncated))
        })
    }
}
