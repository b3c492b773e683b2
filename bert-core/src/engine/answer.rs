//! Questions about a text: the head's start and end logits, window by window.

use core::ops::ControlFlow;

use super::Session;
use super::forward::Rows;
use super::read::{Input, gather};
use super::rows::LastRows;
use super::search::{AnswerSearch, Answers, SpanWindow};
use crate::Error;
use crate::format::Matrix;

/// How to look for an answer. The defaults are those of Transformers' `run_qa.py`, for data sets
/// where every question has an answer (SQuAD 1.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnswerOptions {
    /// Tokens that a window has in common with the one before. One that leaves no room for anything
    /// new counts as half of a window's room for the context.
    pub stride: usize,
    /// Most tokens of an answer.
    pub max_answer_tokens: usize,
    /// Whether a question may have no answer (SQuAD 2.0), and by how much no answer must score
    /// higher than the best span to be what is answered; none if every question has one.
    pub no_answer_threshold: Option<f32>,
}

impl Default for AnswerOptions {
    fn default() -> Self {
        Self { stride: 128, max_answer_tokens: 30, no_answer_threshold: None }
    }
}

/// Tokens that a window with room for `room` tokens of the context takes over from the one before.
#[must_use]
pub fn window_overlap(stride: usize, room: usize) -> usize {
    if stride < room { stride } else { room / 2 }
}

impl Session<'_, '_> {
    /// The `N` best answers to a question in a context of any length, from a model with a span head:
    /// `[CLS] question [SEP] context [SEP]`.
    ///
    /// A context that is too long for the session is read in overlapping windows, each with the whole
    /// question, the same as `tokenizers` makes with `only_second` and a stride. Time grows with
    /// the context, memory does not.
    ///
    /// ```no_run
    /// # fn f(session: &mut bert_core::Session<'_, '_>) -> Result<(), bert_core::Error> {
    /// use bert_core::AnswerOptions;
    /// let manual = "Hold the button for three seconds to reset the device.";
    /// let options = AnswerOptions { no_answer_threshold: Some(0.0), ..Default::default() };
    /// let answers = session.answer::<5>("How long do I hold it?", manual, &options)?;
    /// if let Some(answer) = answers.best() {
    ///     let _words = &manual[answer.start as usize..answer.end as usize];
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::WrongHead`] if the model has another head; [`Error::TooManyTokens`] if the question
    /// leaves no room for a token of the context; [`Error::TextTooLong`] beyond 4 GiB.
    pub fn answer<const N: usize>(
        &mut self,
        question: &str,
        context: &str,
        options: &AnswerOptions,
    ) -> Result<Answers<N>, Error> {
        let head = self.model.span_head.ok_or(Error::WrongHead)?;
        let tokenizer = self.tokenizer;
        let last = self.limit - 1;
        let ids = &mut self.memory.ids;
        ids[0] = tokenizer.cls;
        // Where the context begins.
        let first = gather(&tokenizer, question, &mut ids[1..last])?.saturating_add(2);
        if first >= last {
            return Err(Error::too_many_tokens(first.saturating_add(2), self.limit));
        }
        ids[first - 1] = tokenizer.sep;
        let room = last - first;
        let overlap = window_overlap(options.stride, room);

        // The context goes by once. When a window is full and there is more, it is run, and its last
        // tokens become the first of the next one.
        let mut search = AnswerSearch::new(options);
        let mut outcome = Ok(());
        let mut end = first;
        tokenizer.tokenize(context, |token| {
            if end == last {
                outcome = self.run_window(&head, first..end, &mut search);
                if outcome.is_err() {
                    return ControlFlow::Break(());
                }
                let memory = &mut self.memory;
                for part in [&mut memory.ids, &mut memory.starts, &mut memory.ends] {
                    part.copy_within(last - overlap..last, first);
                }
                end = first + overlap;
            }
            self.memory.ids[end] = token.id;
            self.memory.starts[end] = token.start;
            self.memory.ends[end] = token.end;
            end += 1;
            ControlFlow::Continue(())
        })?;
        outcome?;
        self.run_window(&head, first..end, &mut search)?;
        Ok(search.finish())
    }

    /// Runs the question and the tokens of the context at `context`, and looks for spans in those.
    fn run_window<const N: usize>(
        &mut self,
        head: &Matrix<'_>,
        context: core::ops::Range<usize>,
        search: &mut AnswerSearch<N>,
    ) -> Result<(), Error> {
        self.memory.ids[context.end] = self.tokenizer.sep;
        let input = Input { tokens: context.end + 1, second: context.start, truncated: false };
        self.compute(input, Rows::All)?;
        let memory = &mut self.memory;
        let mut rows = LastRows {
            kernels: self.kernels,
            hidden: self.model.config().hidden as usize,
            x: memory.x,
            scales: memory.x_scales,
            row: memory.tile.residual,
            q: memory.tile.rows,
        };
        let mut logits = |token: usize| {
            let mut logits = [0.0; 2];
            rows.logits(token, head, &mut logits);
            logits
        };
        let [start, end] = logits(0);
        // After the last layer nothing reads the scores of attention nor the scales of the keys.
        let count = context.len();
        let (start_logits, end_logits) =
            (&mut memory.tile.scores[..count], &mut memory.key_scales[..count]);
        for (i, token) in context.clone().enumerate() {
            [start_logits[i], end_logits[i]] = logits(token);
        }
        search.add(&SpanWindow {
            start_logits,
            end_logits,
            starts: &memory.starts[context.clone()],
            ends: &memory.ends[context],
            null_score: start + end,
        });
        Ok(())
    }
}
