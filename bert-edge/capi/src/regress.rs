//! Numbers for a text, or for two.

use core::ffi::c_char;

use bert_core::Regression;

use crate::memory::{Array, Outcome};
use crate::session::ask;
use crate::{Session, Status};

/// The numbers of a text, in the unit of the training data. For head `BERT_HEAD_REGRESS`; `numbers` of
/// `bert_info` says how many there are.
///
/// Errors: as `bert_classify`; `BERT_ERROR_CAPACITY` if there are more numbers than `numbers` has room
/// for.
///
/// # Safety
/// As `bert_classify`, with `numbers` for `labels`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bert_regress(
    session: *mut Session,
    text: *const c_char,
    length: usize,
    numbers: *mut f32,
    capacity: usize,
    outcome: *mut Outcome,
) -> Status {
    // SAFETY: the caller's promise, here and below.
    unsafe {
        ask(session, outcome, capacity, |asked| {
            let (text, room) = (asked.text(text, length)?, asked.array(numbers, capacity)?);
            Ok(written(asked.session.regress(text)?, room))
        })
    }
}

/// The numbers of two texts, as `bert_regress`.
///
/// Errors: as `bert_regress`; `BERT_ERROR_PAIR` if the model takes one text.
///
/// # Safety
/// As `bert_regress`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bert_regress_pair(
    session: *mut Session,
    a: *const c_char,
    a_length: usize,
    b: *const c_char,
    b_length: usize,
    numbers: *mut f32,
    capacity: usize,
    outcome: *mut Outcome,
) -> Status {
    // SAFETY: the caller's promise, here and below.
    unsafe {
        ask(session, outcome, capacity, |asked| {
            let (a, b) = (asked.text(a, a_length)?, asked.text(b, b_length)?);
            let room = asked.array(numbers, capacity)?;
            Ok(written(asked.session.regress_pair(a, b)?, room))
        })
    }
}

fn written(answer: Regression<'_>, mut room: Array<f32>) -> Outcome {
    answer.values.iter().for_each(|value| room.push(*value));
    Outcome::read(room.count(), answer.tokens, answer.truncated)
}
