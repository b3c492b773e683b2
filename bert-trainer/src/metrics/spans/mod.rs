//! Precision, recall and F1 of labelled spans: what `seqeval` 1.2 computes by default, and before
//! it CoNLL-2000's `conlleval` (Tjong Kim Sang and Buchholz 2000).
//!
//! A span counts as found if its class, first and last word are all right.
//! Tags are `O` or `PREFIX-CLASS` with a prefix of IO, BIO or BIOES.
//! Models do not always tag well-formed sequences; reading them leniently is part of the metric:
//! an `I-x` after `O` or after another class begins a span.
//! [`Scheme`] reads strictly.

mod scheme;

use std::collections::{BTreeMap, HashSet};

pub use scheme::{NotInScheme, Scheme};

use super::counts::Counts;

/// A labelled stretch of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span<'a> {
    /// The part of the tag after the prefix.
    pub class: &'a str,
    /// Index of the first word.
    pub first: usize,
    /// Index of the last word.
    pub last: usize,
}

/// The counts of an evaluation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpanScores {
    /// Over all classes; its F1 is the micro average, "the" span F1.
    pub total: Counts,
    /// Of each class in the truth or the prediction.
    pub by_class: BTreeMap<String, Counts>,
}

/// The spans of one sequence of tags, in order.
///
/// ```
/// use bert_trainer::metrics::spans;
/// let found = spans(&["B-city", "I-city", "O", "I-time"]);
/// assert_eq!(found.iter().map(|s| (s.class, s.first, s.last)).collect::<Vec<_>>(),
///            [("city", 0, 1), ("time", 3, 3)]);
/// ```
pub fn spans<S: AsRef<str>>(tags: &[S]) -> Vec<Span<'_>> {
    let mut spans = Vec::new();
    let mut open: Option<Span<'_>> = None;
    let mut before = Tag::OUTSIDE;
    for (index, text) in tags.iter().enumerate() {
        let tag = Tag::parse(text.as_ref());
        if before.ends_before(tag) {
            spans.extend(open.take());
        }
        if tag.starts_after(before) {
            open = Some(Span { class: tag.class, first: index, last: index });
        }
        if let Some(span) = &mut open {
            span.last = index;
        }
        before = tag;
    }
    spans.extend(open);
    spans
}

/// Counts the spans of `found` against those of `gold`, sequence by sequence.
pub fn span_scores<S: AsRef<str>>(gold: &[&[S]], found: &[&[S]]) -> SpanScores {
    let mut scores = SpanScores::default();
    for (gold, found) in gold.iter().zip(found) {
        scores.count(spans(gold), spans(found));
    }
    scores
}

/// As [`span_scores`], for tags read strictly: `seqeval` with `mode='strict'`.
///
/// # Errors
/// A tag is none of the scheme's.
pub fn strict_span_scores<S: AsRef<str>>(
    scheme: Scheme,
    gold: &[&[S]],
    found: &[&[S]],
) -> Result<SpanScores, NotInScheme> {
    let mut scores = SpanScores::default();
    for (gold, found) in gold.iter().zip(found) {
        scores.count(scheme.spans(gold)?, scheme.spans(found)?);
    }
    Ok(scores)
}

/// The micro-averaged F1 of [`span_scores`], in 0..=1.
pub fn span_f1<S: AsRef<str>>(gold: &[&[S]], found: &[&[S]]) -> f64 {
    span_scores(gold, found).total.f1()
}

impl SpanScores {
    /// Counts the spans of one sequence.
    fn count(&mut self, gold: Vec<Span<'_>>, found: Vec<Span<'_>>) {
        let gold: HashSet<Span<'_>> = gold.into_iter().collect();
        for span in &gold {
            self.add(span.class, Counts { gold: 1, ..Counts::default() });
        }
        for span in found {
            let right = usize::from(gold.contains(&span));
            self.add(span.class, Counts { gold: 0, found: 1, right });
        }
    }

    fn add(&mut self, class: &str, counts: Counts) {
        if !self.by_class.contains_key(class) {
            self.by_class.insert(class.to_owned(), Counts::default());
        }
        for sum in self.by_class.get_mut(class).into_iter().chain([&mut self.total]) {
            sum.add(counts);
        }
    }
}

#[derive(Clone, Copy)]
struct Tag<'a> {
    prefix: char,
    class: &'a str,
}

impl<'a> Tag<'a> {
    /// A tag without a class belongs to the class `_`.
    const OUTSIDE: Tag<'static> = Tag { prefix: 'O', class: "_" };

    fn parse(text: &'a str) -> Self {
        let mut rest = text.chars();
        let prefix = rest.next().unwrap_or('O');
        let rest = rest.as_str();
        let class = rest.split_once('-').map_or(rest, |(_, class)| class);
        Self { prefix, class: if class.is_empty() { "_" } else { class } }
    }

    fn is_outside(self) -> bool {
        self.prefix == 'O'
    }

    /// E and S close their span.
    fn is_closing(self) -> bool {
        matches!(self.prefix, 'E' | 'S')
    }

    /// B and S open a span whatever stood before.
    fn is_opening(self) -> bool {
        matches!(self.prefix, 'B' | 'S')
    }

    fn starts_after(self, before: Tag<'_>) -> bool {
        !self.is_outside()
            && (self.is_opening()
                || before.is_closing()
                || before.is_outside()
                || before.class != self.class)
    }

    fn ends_before(self, next: Tag<'_>) -> bool {
        !self.is_outside()
            && (self.is_closing()
                || next.is_opening()
                || next.is_outside()
                || next.class != self.class)
    }
}

#[cfg(test)]
mod tests;
