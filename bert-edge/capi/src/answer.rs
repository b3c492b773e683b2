//! The passage of a text that answers a question.

use core::ffi::c_char;

use crate::memory::{self, Outcome, check};
use crate::session::ask;
use crate::{Session, Status};

/// Answers that are kept while a context is read, among which probabilities are shared out: the most
/// that `bert_answer` gives.
pub const MAX_ANSWERS: usize = 20;

/// A passage of the context.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Answer {
    /// Its first byte in the context.
    pub start: u32,
    /// Byte after it.
    pub end: u32,
    /// Logit of its start plus logit of its end.
    pub score: f32,
    /// Its share among the best `BERT_MAX_ANSWERS`, and no answer where that is allowed.
    pub probability: f32,
}

/// How to look for answers; a null pointer stands for `{128, 30, 0, 0.0f}`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct AnswerOptions {
    /// Tokens that a window of a long context shares with the one before.
    pub stride: u32,
    /// Most tokens of an answer.
    pub max_answer_tokens: u32,
    /// Not 0 if a question may have no answer (as in SQuAD 2.0).
    pub allow_no_answer: i32,
    /// By how much no answer must score higher than the best passage to be what is answered.
    pub no_answer_threshold: f32,
}

/// What is to be known beside the passages.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Answers {
    /// Passages in the array; 0 with an error.
    pub count: usize,
    /// Windows that the context was read in.
    pub windows: u32,
    /// Score of no answer.
    pub no_answer_score: f32,
    /// Probability of no answer; 0 where it is not allowed.
    pub no_answer_probability: f32,
    /// Whether the first passage is an answer: false if there is none.
    pub has_answer: bool,
}

impl Answers {
    const NONE: Answers = Answers {
        count: 0,
        windows: 0,
        no_answer_score: 0.0,
        no_answer_probability: 0.0,
        has_answer: false,
    };
}

/// The best passages of a context that answer a question, the best first: as many as `answers` has
/// room for, at most `BERT_MAX_ANSWERS`. For head `BERT_HEAD_SPAN`.
///
/// The context may be of any length: time grows with it, memory does not. `options` may be null,
/// `found` must not.
///
/// Errors: as `bert_classify`; `BERT_ERROR_TOKENS` if the question leaves no room for the context.
///
/// # Safety
/// Pointers are null or point to what their types say, texts to as many bytes as stated, `answers` to
/// room for `capacity`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bert_answer(
    session: *mut Session,
    question: *const c_char,
    question_length: usize,
    context: *const c_char,
    context_length: usize,
    options: *const AnswerOptions,
    answers: *mut Answer,
    capacity: usize,
    found: *mut Answers,
) -> Status {
    // Its count goes into `found`, which this call has instead.
    let mut outcome = Outcome::NONE;
    // SAFETY: the caller's promise, here and below.
    unsafe {
        ask(session, &raw mut outcome, capacity, |asked| {
            check(found)?;
            let mut summary = asked.array(found, 1)?;
            memory::put(found, Answers::NONE)?;
            let (question, context) =
                (asked.text(question, question_length)?, asked.text(context, context_length)?);
            let mut room = asked.array(answers, capacity)?;
            let given = memory::options(options, DEFAULTS)?;
            let all = asked.session.answer::<MAX_ANSWERS>(question, context, &given.of_core()?)?;
            for span in all.spans.iter().take(capacity) {
                let bert_core::Answer { start, end, score, probability } = *span;
                room.push(Answer { start, end, score, probability });
            }
            summary.push(Answers {
                count: room.count(),
                windows: all.windows,
                no_answer_score: all.null_score,
                no_answer_probability: all.null_probability,
                has_answer: all.has_answer,
            });
            Ok(Outcome::NONE)
        })
    }
}

const DEFAULTS: AnswerOptions = AnswerOptions {
    stride: 128,
    max_answer_tokens: 30,
    allow_no_answer: 0,
    no_answer_threshold: 0.0,
};

impl AnswerOptions {
    fn of_core(self) -> Result<bert_core::AnswerOptions, Status> {
        let allowed = self.allow_no_answer != 0;
        if allowed && self.no_answer_threshold.is_nan() {
            return Err(Status::ErrorArgument);
        }
        Ok(bert_core::AnswerOptions {
            stride: self.stride as usize,
            max_answer_tokens: self.max_answer_tokens as usize,
            no_answer_threshold: allowed.then_some(self.no_answer_threshold),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_core() {
        assert_eq!(DEFAULTS.of_core(), Ok(bert_core::AnswerOptions::default()));
    }
}
