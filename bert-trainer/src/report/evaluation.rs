//! An evaluation in detail: which label was taken for which, how each label does, and the examples
//! the model was most wrong about.

use serde::{Deserialize, Serialize};

use crate::metrics::Confusion;

/// Examples that an evaluation keeps, the worst first.
pub const WORST_EXAMPLES: usize = 50;

/// What an evaluation found for one label of a task: the class of a text, or the tag of a word.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EvaluationRecord {
    /// What the labels are: `label`, `intent`, `tag`, `slot`.
    pub part: String,
    /// The labels; empty if the task has none, as a regression.
    pub labels: Vec<String>,
    /// How often the true label (row) was taken for each label (column): examples, or words of tags.
    /// As many rows and columns as labels.
    pub confusion: Vec<Vec<u64>>,
    /// Precision, recall and F1 of each label that occurs; of BIO tags those of words, not of spans.
    pub per_class: Vec<ClassScores>,
    /// At most [`WORST_EXAMPLES`], most confidently wrong first.
    pub worst: Vec<WorstExample>,
}

/// The scores of one label against all others, in 0..=1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClassScores {
    /// The label.
    pub label: String,
    /// Share of what was given the label that truly has it.
    pub precision: f64,
    /// Share of what truly has the label that was given it.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
    /// How many truly have it.
    pub support: u64,
}

/// An example that the model got wrong.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorstExample {
    /// Its line in the evaluation file, from 1.
    pub line: u64,
    /// Its text.
    pub text: String,
    /// Its second text, of tasks that have one: the other sentence, the question.
    pub second: Option<String>,
    /// What the file says.
    pub gold: String,
    /// What the model says.
    pub found: String,
    /// The loss of the example, nats (squared error of a regression); the larger, the worse.
    pub loss: Option<f64>,
    /// Probability that the model gave to what it said; the larger, the worse.
    pub confidence: Option<f64>,
}

impl EvaluationRecord {
    /// Counts the true and the predicted label of each example, or of each word.
    ///
    /// # Panics
    ///
    /// If the two are not of one length, or an id is not below the number of labels.
    pub fn from_labels(part: &str, labels: &[String], gold: &[usize], found: &[usize]) -> Self {
        assert_eq!(gold.len(), found.len(), "true and predicted labels");
        let pairs = gold.iter().copied().zip(found.iter().copied());
        let counted = Confusion::from_pairs(labels.len(), pairs);
        let row = |gold| {
            (0..labels.len()).map(|found| counted.count(gold, found) as u64).collect::<Vec<_>>()
        };
        let scores = |(class, label): (usize, &String)| {
            let counts = counted.class(class);
            (counts.gold + counts.found > 0).then(|| ClassScores {
                label: label.clone(),
                precision: counts.precision(),
                recall: counts.recall(),
                f1: counts.f1(),
                support: counts.gold as u64,
            })
        };
        Self {
            part: part.to_owned(),
            labels: labels.to_vec(),
            confusion: (0..labels.len()).map(row).collect(),
            per_class: labels.iter().enumerate().filter_map(scores).collect(),
            worst: Vec::new(),
        }
    }

    /// Keeps the worst [`WORST_EXAMPLES`] of the examples that are wrong: those of the largest loss,
    /// or of the largest confidence where no loss is given. Equal ones stay in their order.
    #[must_use]
    pub fn with_worst(mut self, mut examples: Vec<WorstExample>) -> Self {
        let badness = |one: &WorstExample| one.loss.or(one.confidence).unwrap_or(f64::NEG_INFINITY);
        examples.sort_by(|a, b| badness(b).total_cmp(&badness(a)));
        examples.truncate(WORST_EXAMPLES);
        self.worst = examples;
        self
    }

    /// All examples or words.
    pub fn total(&self) -> u64 {
        self.confusion.iter().flatten().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Pairs of labels that were confused, most frequent first: true label, predicted label, count.
    pub fn confusions(&self) -> Vec<(usize, usize, u64)> {
        let wrong = |gold: usize, row: &[u64]| {
            let cell = |(found, &count): (usize, &u64)| {
                (found != gold && count > 0).then_some((gold, found, count))
            };
            row.iter().enumerate().filter_map(cell).collect::<Vec<_>>()
        };
        let rows = self.confusion.iter().enumerate();
        let mut pairs: Vec<_> = rows.flat_map(|(gold, row)| wrong(gold, row)).collect();
        pairs.sort_by_key(|&(gold, found, count)| (std::cmp::Reverse(count), gold, found));
        pairs
    }

    /// The `most` labels with the most mistakes, those that truly have them and those that were
    /// given them together, in the order of the labels.
    pub fn most_confused(&self, most: usize) -> Vec<usize> {
        let mut mistakes = vec![0u64; self.labels.len()];
        for (gold, found, count) in self.confusions() {
            mistakes[gold] = mistakes[gold].saturating_add(count);
            mistakes[found] = mistakes[found].saturating_add(count);
        }
        let mut classes: Vec<usize> = (0..self.labels.len()).collect();
        classes.sort_by_key(|&class| (std::cmp::Reverse(mistakes[class]), class));
        classes.truncate(most);
        classes.sort_unstable();
        classes
    }

    /// What was expected and what was found, if the matrix is not as large as the labels are many.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let labels = self.labels.len();
        let rows = self.confusion.len();
        if rows != labels {
            return Err((format!("a confusion matrix of {labels} rows"), rows.to_string()));
        }
        match self.confusion.iter().find(|row| row.len() != labels) {
            Some(row) => Err((format!("rows of {labels} counts"), row.len().to_string())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> EvaluationRecord {
        let labels = ["a", "b", "c", "never"].map(str::to_owned);
        //                                         right  a→b  a→b  c→a  right
        EvaluationRecord::from_labels("label", &labels, &[0, 0, 0, 2, 1], &[0, 1, 1, 0, 1])
    }

    #[test]
    fn counts_are_those_of_the_metrics() {
        let record = record();
        assert_eq!(
            record.confusion,
            [[1, 2, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]].map(Vec::from)
        );
        assert_eq!((record.total(), record.per_class.len()), (5, 3));
        let b = &record.per_class[1];
        assert_eq!((b.precision, b.recall, b.f1, b.support), (1.0 / 3.0, 1.0, 0.5, 1));
        assert!(record.check().is_ok());
    }

    #[test]
    fn confusions_are_ordered() {
        assert_eq!(record().confusions(), [(0, 1, 2), (2, 0, 1)]);
        assert_eq!(record().most_confused(2), [0, 1]);
        assert_eq!(record().most_confused(9), [0, 1, 2, 3]);
    }

    #[test]
    fn the_most_confidently_wrong_come_first() {
        let example =
            |line, loss, confidence| WorstExample { line, loss, confidence, ..Default::default() };
        let lines = |examples: Vec<WorstExample>| -> Vec<u64> {
            record().with_worst(examples).worst.iter().map(|one| one.line).collect()
        };
        let mixed = vec![
            example(1, None, Some(0.5)),
            example(2, None, Some(0.9)),
            example(3, None, None),
            example(4, Some(7.0), Some(0.1)),
            example(5, None, Some(0.9)),
        ];
        assert_eq!(lines(mixed), [4, 2, 5, 1, 3]);
        let many = (0..80).map(|line| example(line, Some(line as f64), None)).collect();
        assert_eq!(lines(many), (30..80).rev().collect::<Vec<_>>());
    }

    #[test]
    #[should_panic(expected = "true and predicted labels")]
    fn labels_without_a_partner_are_refused() {
        EvaluationRecord::from_labels("label", &["a".to_owned()], &[0, 0], &[0]);
    }
}
