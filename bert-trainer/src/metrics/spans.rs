//! Precision, recall and F1 of labelled spans: what `seqeval` 1.2 computes by default, and before
//! it CoNLL-2000's `conlleval` (Tjong Kim Sang and Buchholz 2000).
//!
//! A span counts as found if its class, first and last word are all right.
//! Tags are `O` or `PREFIX-CLASS` with a prefix of BIO, or of its extensions BIOES.
//! Models do not always tag well-formed sequences; reading them leniently is part of the metric:
//! an `I-x` after `O` or after another class begins a span.

use std::collections::{BTreeMap, HashSet};

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
        let gold: HashSet<Span<'_>> = spans(gold).into_iter().collect();
        for span in &gold {
            scores.add(span.class, Counts { gold: 1, ..Counts::default() });
        }
        for span in spans(found) {
            let right = usize::from(gold.contains(&span));
            scores.add(span.class, Counts { gold: 0, found: 1, right });
        }
    }
    scores
}

/// The micro-averaged F1 of [`span_scores`], in 0..=1.
pub fn span_f1<S: AsRef<str>>(gold: &[&[S]], found: &[&[S]]) -> f64 {
    span_scores(gold, found).total.f1()
}

impl SpanScores {
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde::Deserialize;

    /// `tests/golden/metrics.json`, made by `make_metrics.py` with `seqeval`.
    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        /// The tags of each sequence with spaces between.
        gold: Vec<String>,
        found: Vec<String>,
        entities: Vec<Vec<(String, usize, usize)>>,
        micro: (f64, f64, f64),
        by_class: BTreeMap<String, (f64, f64, f64, usize)>,
    }

    /// Both sides divide the same small integers once or twice.
    const TOLERANCE: f64 = 4.0 * f64::EPSILON;

    fn tags(sequences: &[String]) -> Vec<Vec<&str>> {
        sequences.iter().map(|tags| tags.split(' ').collect()).collect()
    }

    fn slices<'a, 'b>(sequences: &'a [Vec<&'b str>]) -> Vec<&'a [&'b str]> {
        sequences.iter().map(Vec::as_slice).collect()
    }

    #[test]
    fn scores_are_seqevals() {
        let text = include_str!("../../../tests/golden/metrics.json");
        let golden: Golden = serde_json::from_str(text).unwrap();
        assert!(golden.cases.len() >= 200);
        for case in golden.cases {
            let name = &case.name;
            let (gold, found) = (tags(&case.gold), tags(&case.found));
            let (gold, found) = (slices(&gold), slices(&found));
            let entities: Vec<Vec<(String, usize, usize)>> = found
                .iter()
                .map(|tags| {
                    let spans = spans(tags);
                    spans.iter().map(|s| (s.class.to_owned(), s.first, s.last)).collect()
                })
                .collect();
            assert_eq!(entities, case.entities, "{name}");
            let scores = span_scores(&gold, &found);
            let close = |counts: &Counts, (precision, recall, f1): (f64, f64, f64)| {
                (counts.precision() - precision).abs() <= TOLERANCE
                    && (counts.recall() - recall).abs() <= TOLERANCE
                    && (counts.f1() - f1).abs() <= TOLERANCE
            };
            assert!(close(&scores.total, case.micro), "{name}: {scores:?}");
            assert_eq!(span_f1(&gold, &found), scores.total.f1());
            assert!(scores.by_class.keys().eq(case.by_class.keys()), "{name}: {scores:?}");
            for (class, counts) in &scores.by_class {
                let (precision, recall, f1, support) = case.by_class[class];
                assert!(close(counts, (precision, recall, f1)), "{name}: {class} {counts:?}");
                assert_eq!(counts.gold, support, "{name}: {class}");
            }
        }
    }

    /// An invariant: swapping truth and prediction swaps precision and recall.
    #[test]
    fn truth_and_prediction_are_symmetric() {
        let gold: &[&[&str]] = &[&["B-a", "I-a", "O", "B-b"], &["O"]];
        let found: &[&[&str]] = &[&["B-a", "I-a", "B-b", "I-b"], &["S-c"]];
        let (one, other) = (span_scores(gold, found).total, span_scores(found, gold).total);
        assert_eq!((one.precision(), one.recall()), (other.recall(), other.precision()));
        assert_eq!((one.gold, one.found, one.right), (2, 3, 1));
        assert_eq!(one.f1(), other.f1());
    }
}
