//! The best spans of a context, over all its windows.
//!
//! A span from token i to token j ≥ i scores start\[i\] + end\[j\]; that there is no answer scores
//! start + end of `[CLS]`, the least of all windows. Probabilities are the softmax over the spans
//! that are kept and, where it is allowed, no answer. Source: Devlin et al., *BERT*, 2018, 4.3, in the
//! form of Transformers' `run_qa.py`, which has no rule of maximal context.
//!
//! Two things differ from `run_qa.py`. It looks at the 20 best starts and ends only; here every span
//! is looked at. It lists a span twice that two windows hold; here the better one counts.

use super::answer::AnswerOptions;
use crate::math::{exp, sum};

/// A span of the context.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// First byte of the span in the context.
    pub start: u32,
    /// Byte after the span.
    pub end: u32,
    /// Logit of its start plus logit of its end.
    pub score: f32,
    /// Its share among [`Answers::spans`] and, where it is allowed, no answer.
    pub probability: f32,
}

impl Answer {
    /// Best first; of equal scores, the span that starts first, then the shorter one.
    fn precedes(&self, other: &Self) -> bool {
        let later = (other.start, other.end) > (self.start, self.end);
        self.score > other.score || (self.score == other.score && later)
    }
}

/// The `N` best answers to a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers<const N: usize> {
    /// Spans of the context, the best first, none twice; fewer than `N` if the context has no more.
    pub spans: heapless::Vec<Answer, N>,
    /// Whether the best span is an answer: there is one, and no answer is not allowed or does not
    /// score higher than it by more than the threshold.
    pub has_answer: bool,
    /// Score of no answer: start plus end logit of `[CLS]`, the least of all windows.
    pub null_score: f32,
    /// Probability of no answer; 0 where it is not allowed.
    pub null_probability: f32,
    /// Windows that were read.
    pub windows: u32,
}

impl<const N: usize> Answers<N> {
    /// The answer; none if the context holds none.
    #[must_use]
    pub fn best(&self) -> Option<&Answer> {
        self.spans.first().filter(|_| self.has_answer)
    }
}

/// The tokens of the context in one window, T of them, and what the span head says about each.
#[derive(Clone, Copy, Debug)]
pub struct SpanWindow<'a> {
    /// Logits of a start at each token \[T\].
    pub start_logits: &'a [f32],
    /// Logits of an end at each token \[T\].
    pub end_logits: &'a [f32],
    /// First byte of each token in the context \[T\].
    pub starts: &'a [u32],
    /// Byte after each token \[T\].
    pub ends: &'a [u32],
    /// Start plus end logit of `[CLS]`.
    pub null_score: f32,
}

/// Gathers the `N` best spans window by window; logits are to be finite.
#[derive(Clone, Debug)]
pub struct AnswerSearch<const N: usize> {
    options: AnswerOptions,
    spans: heapless::Vec<Answer, N>,
    null_score: f32,
    windows: u32,
}

impl<const N: usize> AnswerSearch<N> {
    /// A search without any window yet.
    #[must_use]
    pub fn new(options: &AnswerOptions) -> Self {
        Self { options: *options, spans: heapless::Vec::new(), null_score: 0.0, windows: 0 }
    }

    /// Looks at every span of a window of at most `max_answer_tokens` tokens.
    pub fn add(&mut self, window: &SpanWindow<'_>) {
        if self.windows == 0 || window.null_score < self.null_score {
            self.null_score = window.null_score;
        }
        self.windows = self.windows.saturating_add(1);
        let starts = window.start_logits.iter().zip(window.starts);
        for (first, (&start_logit, &start)) in starts.enumerate() {
            let ends = window.end_logits.iter().zip(window.ends).skip(first);
            for (&end_logit, &end) in ends.take(self.options.max_answer_tokens) {
                // The tokenizer may swap the marks of a letter, so that a token ends before another
                // one of its word begins: that is no span of the text.
                if start < end {
                    let score = start_logit + end_logit;
                    self.offer(Answer { start, end, score, probability: 0.0 });
                }
            }
        }
    }

    fn offer(&mut self, answer: Answer) {
        // The last of a full list is the worst; a list of capacity 0 is full and has no last.
        if self.spans.is_full() && self.spans.last().is_none_or(|worst| !answer.precedes(worst)) {
            return;
        }
        let same = |a: &Answer| (a.start, a.end) == (answer.start, answer.end);
        if let Some(known) = self.spans.iter().position(same) {
            if !answer.precedes(&self.spans[known]) {
                return;
            }
            self.spans.remove(known);
        } else if self.spans.is_full() {
            self.spans.pop();
        }
        let place = self.spans.partition_point(|better| better.precedes(&answer));
        // There is room now, and `place` is at most the length.
        let _ = self.spans.insert(place, answer);
    }

    /// The answers from all windows that were added.
    #[must_use]
    pub fn finish(self) -> Answers<N> {
        let Self { options, mut spans, null_score, windows } = self;
        let allowed = options.no_answer_threshold.is_some();
        let mut largest = spans.first().map_or(null_score, |best| best.score);
        if allowed && null_score > largest {
            largest = null_score;
        }
        let null_share = if allowed { exp(null_score - largest) } else { 0.0 };
        let mut shares = heapless::Vec::<f32, N>::new();
        for span in &spans {
            // As long as the spans, which have the same capacity.
            let _ = shares.push(exp(span.score - largest));
        }
        let total = sum(&shares, |share| share) + null_share;
        for (span, share) in spans.iter_mut().zip(&shares) {
            span.probability = share / total;
        }
        let null_probability = if allowed { null_share / total } else { 0.0 };
        let has_answer = spans.first().is_some_and(|best| {
            options.no_answer_threshold.is_none_or(|most| null_score - best.score <= most)
        });
        Answers { spans, has_answer, null_score, null_probability, windows }
    }
}
