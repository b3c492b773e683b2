//! Results of GLUE that others have published, to stand beside one's own.
//!
//! Figures are as printed, in percent.

/// A published row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Published {
    /// The system.
    pub system: &'static str,
    /// Which part of GLUE it was evaluated on: `test` (by the benchmark's server) or `dev`.
    pub part: &'static str,
    /// Where it was published.
    pub source: &'static str,
    /// Column of [`crate::glue::Evaluation::column`], metric, figure in percent.
    pub figures: &'static [(&'static str, &'static str, f64)],
}

impl Published {
    /// The figure of a column and metric, if it was published.
    pub fn find(&self, column: &str, metric: &str) -> Option<f64> {
        let is_it = |figure: &&(&str, &str, f64)| figure.0 == column && figure.1 == metric;
        self.figures.iter().find(is_it).map(|figure| figure.2)
    }
}

const PAPER: &str = "Devlin et al. 2018, arXiv:1810.04805v2, table 1";
const PAPER_DEV: &str = "Devlin et al. 2018, arXiv:1810.04805v2, table 5";
const COMPACT: &str =
    "Turc et al. 2019, arXiv:1908.08962; README of google-research/bert at eedf571";

/// The rows, from the smallest model to the largest.
pub static PUBLISHED: [Published; 7] = [
    Published {
        system: "BERT-Tiny (2/128)",
        part: "test",
        source: COMPACT,
        figures: &[
            ("CoLA", "matthews_correlation", 0.0),
            ("SST-2", "accuracy", 83.2),
            ("MRPC", "f1", 81.1),
            ("MRPC", "accuracy", 71.1),
            ("STS-B", "pearson", 74.3),
            ("STS-B", "spearman", 73.6),
            ("QQP", "f1", 62.2),
            ("QQP", "accuracy", 83.4),
            ("MNLI-m", "accuracy", 70.2),
            ("MNLI-mm", "accuracy", 70.3),
            ("QNLI", "accuracy", 81.5),
            ("RTE", "accuracy", 57.2),
            ("WNLI", "accuracy", 62.3),
        ],
    },
    Published {
        system: "BERT-Mini (4/256)",
        part: "test",
        source: COMPACT,
        figures: &[
            ("CoLA", "matthews_correlation", 0.0),
            ("SST-2", "accuracy", 85.9),
            ("MRPC", "f1", 81.1),
            ("MRPC", "accuracy", 71.8),
            ("STS-B", "pearson", 75.4),
            ("STS-B", "spearman", 73.3),
            ("QQP", "f1", 66.4),
            ("QQP", "accuracy", 86.2),
            ("MNLI-m", "accuracy", 74.8),
            ("MNLI-mm", "accuracy", 74.3),
            ("QNLI", "accuracy", 84.1),
            ("RTE", "accuracy", 57.9),
            ("WNLI", "accuracy", 62.3),
        ],
    },
    Published {
        system: "BERT-Small (4/512)",
        part: "test",
        source: COMPACT,
        figures: &[
            ("CoLA", "matthews_correlation", 27.8),
            ("SST-2", "accuracy", 89.7),
            ("MRPC", "f1", 83.4),
            ("MRPC", "accuracy", 76.2),
            ("STS-B", "pearson", 78.8),
            ("STS-B", "spearman", 77.0),
            ("QQP", "f1", 68.1),
            ("QQP", "accuracy", 87.0),
            ("MNLI-m", "accuracy", 77.6),
            ("MNLI-mm", "accuracy", 77.0),
            ("QNLI", "accuracy", 86.4),
            ("RTE", "accuracy", 61.8),
            ("WNLI", "accuracy", 62.3),
        ],
    },
    Published {
        system: "BERT-Medium (8/512)",
        part: "test",
        source: COMPACT,
        figures: &[
            ("CoLA", "matthews_correlation", 38.0),
            ("SST-2", "accuracy", 89.6),
            ("MRPC", "f1", 86.6),
            ("MRPC", "accuracy", 81.6),
            ("STS-B", "pearson", 80.4),
            ("STS-B", "spearman", 78.4),
            ("QQP", "f1", 69.6),
            ("QQP", "accuracy", 87.9),
            ("MNLI-m", "accuracy", 80.0),
            ("MNLI-mm", "accuracy", 79.1),
            ("QNLI", "accuracy", 87.7),
            ("RTE", "accuracy", 62.2),
            ("WNLI", "accuracy", 62.3),
        ],
    },
    Published {
        system: "BERT_BASE (12/768)",
        part: "dev",
        source: PAPER_DEV,
        figures: &[
            ("SST-2", "accuracy", 92.7),
            ("MRPC", "accuracy", 86.7),
            ("MNLI-m", "accuracy", 84.4),
            ("QNLI", "accuracy", 88.4),
        ],
    },
    Published {
        system: "BERT_BASE (12/768)",
        part: "test",
        source: PAPER,
        figures: &[
            ("CoLA", "matthews_correlation", 52.1),
            ("SST-2", "accuracy", 93.5),
            ("MRPC", "f1", 88.9),
            ("STS-B", "spearman", 85.8),
            ("QQP", "f1", 71.2),
            ("MNLI-m", "accuracy", 84.6),
            ("MNLI-mm", "accuracy", 83.4),
            ("QNLI", "accuracy", 90.5),
            ("RTE", "accuracy", 66.4),
        ],
    },
    Published {
        system: "BERT_LARGE (24/1024)",
        part: "test",
        source: PAPER,
        figures: &[
            ("CoLA", "matthews_correlation", 60.5),
            ("SST-2", "accuracy", 94.9),
            ("MRPC", "f1", 89.3),
            ("STS-B", "spearman", 86.5),
            ("QQP", "f1", 72.1),
            ("MNLI-m", "accuracy", 86.7),
            ("MNLI-mm", "accuracy", 85.9),
            ("QNLI", "accuracy", 92.7),
            ("RTE", "accuracy", 70.1),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::glue::{TASKS, paper_average};

    #[test]
    fn figures_belong_to_columns_and_metrics() {
        for row in &PUBLISHED {
            for (index, (column, metric, figure)) in row.figures.iter().enumerate() {
                let mut tasks = TASKS.iter();
                let task = tasks.find(|task| task.evaluations.iter().any(|e| e.column == *column));
                assert!(
                    task.is_some_and(|task| task.metrics.contains(metric)),
                    "{column} {metric}"
                );
                assert!((0.0..=100.0).contains(figure));
                let before = row.figures[..index].iter();
                assert!(before.clone().all(|seen| (seen.0, seen.1) != (*column, *metric)));
            }
        }
    }

    /// A slip in a figure would show in the mean that was printed beside it.
    #[test]
    fn printed_averages_are_those_of_the_figures() {
        let average = |system: &str| {
            let row =
                PUBLISHED.iter().find(|row| row.system.starts_with(system) && row.part == "test");
            row.and_then(|row| paper_average(|column, metric| row.find(column, metric)))
        };
        for (system, printed) in [("BERT_BASE", 79.6), ("BERT_LARGE", 82.1)] {
            assert!(
                average(system).is_some_and(|found| (found - printed).abs() < 0.05),
                "{system}"
            );
        }
        // The benchmark's own score has another rule: both metrics of a task and both sets of MNLI
        // count half, and WNLI counts.
        for (system, printed) in
            [("BERT-Tiny", 64.2), ("BERT-Mini", 65.8), ("BERT-Small", 71.2), ("BERT-Medium", 73.5)]
        {
            let row = PUBLISHED.iter().find(|row| row.system.starts_with(system));
            let means: Vec<f64> = TASKS
                .iter()
                .filter_map(|task| {
                    let figures: Vec<f64> = task
                        .evaluations
                        .iter()
                        .flat_map(|set| task.metrics.iter().map(|m| (set.column, *m)))
                        .filter_map(|(column, metric)| row?.find(column, metric))
                        .collect();
                    (!figures.is_empty())
                        .then(|| figures.iter().sum::<f64>() / figures.len() as f64)
                })
                .collect();
            let score = means.iter().sum::<f64>() / means.len() as f64;
            assert_eq!(means.len(), 9);
            // Each figure is rounded to 0.1.
            assert!((score - printed).abs() <= 0.1, "{system}: {score} for {printed}");
        }
    }
}
