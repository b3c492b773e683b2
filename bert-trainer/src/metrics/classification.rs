//! Scores of a classifier that gives each example one class: what scikit-learn computes with
//! `zero_division=0`.
//!
//! All of them come from the [`Confusion`] matrix, so an evaluation is counted once.

use super::counts::{Averages, Counts, ratio};

/// How often each true class was taken for each class.
///
/// ```
/// use bert_trainer::metrics::Confusion;
/// let confusion = Confusion::from_pairs(2, [(0, 0), (0, 1), (1, 1), (1, 1)]);
/// assert_eq!(confusion.accuracy(), 0.75);
/// assert_eq!(confusion.class(1).f1(), 0.8);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// Rows are true classes, columns predicted ones.
    counts: Vec<usize>,
}

impl Confusion {
    /// Counts pairs of a true and a predicted class.
    ///
    /// # Panics
    ///
    /// If a class is not below `classes`.
    pub fn from_pairs(classes: usize, pairs: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut counts = vec![0; classes * classes];
        for (gold, found) in pairs {
            assert!(gold < classes && found < classes, "({gold}, {found}) of {classes} classes");
            counts[gold * classes + found] += 1;
        }
        Self { classes, counts }
    }

    /// Examples whose true class is `gold` and whose predicted class is `found`.
    ///
    /// # Panics
    ///
    /// If a class is not below the number of classes, as in [`Self::class`].
    pub fn count(&self, gold: usize, found: usize) -> usize {
        self.row(gold)[found]
    }

    /// The counts of one class against all others.
    ///
    /// Its F1 is the binary F1 (`average="binary"`) if it is the positive one of two classes.
    pub fn class(&self, class: usize) -> Counts {
        let found = (0..self.classes).map(|gold| self.count(gold, class)).sum();
        Counts { gold: self.row(class).iter().sum(), found, right: self.count(class, class) }
    }

    /// Share of the examples with the right class, in 0..=1; 0 without examples.
    pub fn accuracy(&self) -> f64 {
        self.micro().recall()
    }

    /// The counts of all classes added up.
    ///
    /// Each example has one true and one predicted class, so precision, recall and F1 of this sum
    /// all equal the accuracy.
    pub fn micro(&self) -> Counts {
        let mut sum = Counts::default();
        (0..self.classes).for_each(|class| sum.add(self.class(class)));
        sum
    }

    /// Mean over the classes, each weighing the same.
    ///
    /// A class that is in neither truth nor prediction does not count; scikit-learn does not know
    /// of it unless it is told with `labels=`, and then it scores 0.
    pub fn macro_average(&self) -> Averages {
        self.average(|counts| usize::from(counts.occurs()))
    }

    /// Mean over the classes, each weighing as many examples as truly have it.
    pub fn weighted_average(&self) -> Averages {
        self.average(|counts| counts.gold)
    }

    /// Matthews correlation coefficient, in -1..=1, of two classes or more (Gorodkin 2004).
    ///
    /// With `n` examples, `c` of them right, and of each class `k` `t_k` true and `p_k` predicted:
    /// `(c n - Σ t_k p_k) / √((n² - Σ p_k²) (n² - Σ t_k²))`.
    /// It is 0 where that is undefined: all examples truly have the same class, or are given the
    /// same, or there are none.
    pub fn matthews_correlation(&self) -> f64 {
        // Products of counts are exact in f64 up to 90 million examples.
        let (mut gold_found, mut gold_gold, mut found_found) = (0.0, 0.0, 0.0);
        for class in (0..self.classes).map(|class| self.class(class)) {
            let (gold, found) = (class.gold as f64, class.found as f64);
            gold_found += gold * found;
            gold_gold += gold * gold;
            found_found += found * found;
        }
        let Counts { gold: examples, right, .. } = self.micro();
        let (examples, right) = (examples as f64, right as f64);
        let spread = (examples * examples - found_found) * (examples * examples - gold_gold);
        if spread == 0.0 { 0.0 } else { (right * examples - gold_found) / spread.sqrt() }
    }

    fn average(&self, weight: impl Fn(&Counts) -> usize) -> Averages {
        Averages::weighted((0..self.classes).map(|class| {
            let counts = self.class(class);
            (counts, weight(&counts))
        }))
    }

    fn row(&self, gold: usize) -> &[usize] {
        &self.counts[gold * self.classes..][..self.classes]
    }
}

/// Scores of a classifier that gives each example any number of labels, also none.
///
/// ```
/// use bert_trainer::metrics::MultiLabel;
/// let [gold, found] = [[true, true, false], [true, false, false]];
/// let scores = MultiLabel::from_rows(3, [(&gold[..], &found[..])]);
/// assert_eq!(scores.micro().f1(), 2.0 / 3.0);
/// assert_eq!(scores.subset_accuracy(), 0.0);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiLabel {
    by_label: Vec<Counts>,
    by_example: Vec<Counts>,
}

impl MultiLabel {
    /// Counts the labels of each example: one truth value a label, true ones and predicted ones.
    ///
    /// # Panics
    ///
    /// If an example does not have `labels` values on both sides.
    pub fn from_rows<'a>(
        labels: usize,
        rows: impl IntoIterator<Item = (&'a [bool], &'a [bool])>,
    ) -> Self {
        let mut by_label = vec![Counts::default(); labels];
        let mut by_example = Vec::new();
        for (gold, found) in rows {
            assert_eq!((gold.len(), found.len()), (labels, labels), "labels of an example");
            let mut example = Counts::default();
            for ((label, &gold), &found) in by_label.iter_mut().zip(gold).zip(found) {
                let counts = Counts {
                    gold: usize::from(gold),
                    found: usize::from(found),
                    right: usize::from(gold && found),
                };
                label.add(counts);
                example.add(counts);
            }
            by_example.push(example);
        }
        Self { by_label, by_example }
    }

    /// The counts of one label over the examples.
    ///
    /// # Panics
    ///
    /// If it is not below the number of labels.
    pub fn label(&self, label: usize) -> Counts {
        self.by_label[label]
    }

    /// The counts of all labels added up; its F1 is the micro F1.
    pub fn micro(&self) -> Counts {
        let mut sum = Counts::default();
        self.by_label.iter().for_each(|label| sum.add(*label));
        sum
    }

    /// Mean over all labels, each weighing the same; one in neither truth nor prediction scores 0.
    pub fn macro_average(&self) -> Averages {
        Averages::weighted(self.by_label.iter().map(|label| (*label, 1)))
    }

    /// Mean over the labels, each weighing as many examples as truly have it.
    pub fn weighted_average(&self) -> Averages {
        Averages::weighted(self.by_label.iter().map(|label| (*label, label.gold)))
    }

    /// Mean over the examples; one that neither has nor is given a label scores 0.
    pub fn samples_average(&self) -> Averages {
        Averages::weighted(self.by_example.iter().map(|example| (*example, 1)))
    }

    /// Share of the examples with exactly the right labels, in 0..=1; 0 without examples.
    pub fn subset_accuracy(&self) -> f64 {
        let exact = |one: &&Counts| one.gold == one.right && one.found == one.right;
        ratio(self.by_example.iter().filter(exact).count(), self.by_example.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde::Deserialize;

    /// `tests/golden/metrics_classification.json`, made by `make_metrics_classification.py` with
    /// scikit-learn.
    #[derive(Deserialize)]
    struct Golden {
        one_label: Vec<OneLabelCase>,
        multi_label: Vec<MultiLabelCase>,
    }

    type Triple = (f64, f64, f64);

    #[derive(Deserialize)]
    struct OneLabelCase {
        name: String,
        gold: Vec<usize>,
        found: Vec<usize>,
        accuracy: f64,
        by_class: Vec<Triple>,
        #[serde(rename = "macro")]
        macro_average: Triple,
        weighted: Triple,
        micro: Triple,
        binary_f1: Option<f64>,
        matthews: f64,
    }

    #[derive(Deserialize)]
    struct MultiLabelCase {
        name: String,
        labels: usize,
        gold: Vec<Vec<usize>>,
        found: Vec<Vec<usize>>,
        by_label: Vec<Triple>,
        #[serde(rename = "macro")]
        macro_average: Triple,
        weighted: Triple,
        micro: Triple,
        samples: Triple,
        subset_accuracy: f64,
    }

    /// The same few divisions of small integers on both sides, summed in another order.
    const TOLERANCE: f64 = 16.0 * f64::EPSILON;

    fn golden() -> Golden {
        let text = include_str!("../../../tests/golden/metrics_classification.json");
        serde_json::from_str(text).unwrap()
    }

    fn close(name: &str, what: &str, found: f64, expected: f64) {
        assert!((found - expected).abs() <= TOLERANCE, "{name}: {what} {found}, not {expected}");
    }

    fn close_counts(name: &str, what: &str, found: Counts, (precision, recall, f1): Triple) {
        close(name, &format!("{what} precision"), found.precision(), precision);
        close(name, &format!("{what} recall"), found.recall(), recall);
        close(name, &format!("{what} F1"), found.f1(), f1);
    }

    fn close_means(name: &str, what: &str, found: Averages, (precision, recall, f1): Triple) {
        close(name, &format!("{what} precision"), found.precision, precision);
        close(name, &format!("{what} recall"), found.recall, recall);
        close(name, &format!("{what} F1"), found.f1, f1);
    }

    #[test]
    fn scores_of_one_label_are_scikit_learns() {
        let cases = golden().one_label;
        assert!(cases.iter().filter(|case| case.binary_f1.is_some()).count() >= 200);
        for case in cases {
            let (name, classes) = (&case.name, case.by_class.len());
            assert_eq!(case.gold.len(), case.found.len(), "{name}");
            let confusion = Confusion::from_pairs(classes, case.gold.into_iter().zip(case.found));
            close(name, "accuracy", confusion.accuracy(), case.accuracy);
            for (class, expected) in case.by_class.into_iter().enumerate() {
                close_counts(name, &format!("class {class}"), confusion.class(class), expected);
            }
            close_means(name, "macro", confusion.macro_average(), case.macro_average);
            close_means(name, "weighted", confusion.weighted_average(), case.weighted);
            close_counts(name, "micro", confusion.micro(), case.micro);
            if let Some(f1) = case.binary_f1 {
                close(name, "binary F1", confusion.class(1).f1(), f1);
            }
            close(name, "Matthews", confusion.matthews_correlation(), case.matthews);
        }
    }

    #[test]
    fn scores_of_several_labels_are_scikit_learns() {
        let cases = golden().multi_label;
        assert!(cases.len() >= 200);
        for case in cases {
            let name = &case.name;
            let rows = |examples: &[Vec<usize>]| -> Vec<Vec<bool>> {
                let row = |set: &Vec<usize>| (0..case.labels).map(|l| set.contains(&l)).collect();
                examples.iter().map(row).collect()
            };
            let (gold, found) = (rows(&case.gold), rows(&case.found));
            assert_eq!(gold.len(), found.len(), "{name}");
            let pairs = gold.iter().zip(&found).map(|(gold, found)| (&gold[..], &found[..]));
            let scores = MultiLabel::from_rows(case.labels, pairs);
            for (label, expected) in case.by_label.into_iter().enumerate() {
                close_counts(name, &format!("label {label}"), scores.label(label), expected);
            }
            close_means(name, "macro", scores.macro_average(), case.macro_average);
            close_means(name, "weighted", scores.weighted_average(), case.weighted);
            close_counts(name, "micro", scores.micro(), case.micro);
            close_means(name, "samples", scores.samples_average(), case.samples);
            close(name, "subset accuracy", scores.subset_accuracy(), case.subset_accuracy);
        }
    }

    #[test]
    fn nothing_to_score_is_zero() {
        let empty = Confusion::from_pairs(3, []);
        assert_eq!((empty.accuracy(), empty.macro_average().f1), (0.0, 0.0));
        assert_eq!((empty.weighted_average().f1, empty.matthews_correlation()), (0.0, 0.0));
        let empty = MultiLabel::from_rows(2, []);
        assert_eq!((empty.micro().f1(), empty.samples_average().f1), (0.0, 0.0));
        assert_eq!((empty.macro_average().f1, empty.subset_accuracy()), (0.0, 0.0));
    }

    #[test]
    #[should_panic(expected = "(0, 2) of 2 classes")]
    fn an_unknown_class_is_refused() {
        Confusion::from_pairs(2, [(0, 2)]);
    }
}
