//! The tasks of GLUE (Wang et al. 2018): their files, columns, labels and metrics.
//!
//! The layout is that of the usual download, which `download_glue_data.py` makes: a folder a task
//! with `train.tsv` and `dev.tsv`.
//! The labels of the test sets are secret, so a task is evaluated on its development set.

use crate::data::tasks::TaskKind;
use crate::data::tasks::table::{ColumnChoice, Wanted};

/// A task of GLUE.
#[derive(Debug, PartialEq, Eq)]
pub struct GlueTask {
    /// The name on the command line.
    pub name: &'static str,
    /// The folder of its files.
    pub folder: &'static str,
    /// What is predicted.
    pub kind: TaskKind,
    /// Columns of the text, the second text and the label, by header name or by number from 1.
    columns: (&'static str, Option<&'static str>, &'static str),
    /// The labels; none if a number is predicted.
    pub labels: &'static [&'static str],
    /// What it is evaluated on, in this order.
    pub evaluations: &'static [Evaluation],
    /// What is reported, by the names of [`crate::evaluate::TaskMetrics`].
    pub metrics: &'static [&'static str],
    /// Which of `metrics` the paper reports (Devlin et al. 2018, table 1).
    pub paper_metric: &'static str,
    /// Whether it counts in the average of the paper.
    pub in_average: bool,
}

/// A development set.
#[derive(Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// The column of tables of results.
    pub column: &'static str,
    /// Its file.
    pub file: &'static str,
}

/// The file of training examples, in each folder.
pub const TRAIN_FILE: &str = "train.tsv";

const ACCURACY: &[&str] = &["accuracy"];
const F1_AND_ACCURACY: &[&str] = &["f1", "accuracy"];
const ENTAILMENT: &[&str] = &["entailment", "not_entailment"];
const BINARY: &[&str] = &["0", "1"];

/// The tasks, in the order of the benchmark.
///
/// WNLI is apart: its development set was made to mislead, and every system submitted before BERT
/// was worse than the 65.1 % that the most frequent label has on the test set.
/// The paper leaves it out and always submitted that label (Devlin et al. 2018, appendix B.1).
pub static TASKS: [GlueTask; 9] = [
    GlueTask {
        name: "cola",
        folder: "CoLA",
        kind: TaskKind::Classify,
        // No header: source, label, the author's mark, sentence.
        columns: ("4", None, "2"),
        labels: BINARY,
        evaluations: &[Evaluation { column: "CoLA", file: "dev.tsv" }],
        metrics: &["matthews_correlation"],
        paper_metric: "matthews_correlation",
        in_average: true,
    },
    GlueTask {
        name: "sst2",
        folder: "SST-2",
        kind: TaskKind::Classify,
        columns: ("sentence", None, "label"),
        labels: BINARY,
        evaluations: &[Evaluation { column: "SST-2", file: "dev.tsv" }],
        metrics: ACCURACY,
        paper_metric: "accuracy",
        in_average: true,
    },
    GlueTask {
        name: "mrpc",
        folder: "MRPC",
        kind: TaskKind::Pair,
        columns: ("#1 String", Some("#2 String"), "Quality"),
        labels: BINARY,
        evaluations: &[Evaluation { column: "MRPC", file: "dev.tsv" }],
        metrics: F1_AND_ACCURACY,
        paper_metric: "f1",
        in_average: true,
    },
    GlueTask {
        name: "stsb",
        folder: "STS-B",
        kind: TaskKind::Regress,
        columns: ("sentence1", Some("sentence2"), "score"),
        labels: &[],
        evaluations: &[Evaluation { column: "STS-B", file: "dev.tsv" }],
        metrics: &["pearson", "spearman"],
        paper_metric: "spearman",
        in_average: true,
    },
    GlueTask {
        name: "qqp",
        folder: "QQP",
        kind: TaskKind::Pair,
        columns: ("question1", Some("question2"), "is_duplicate"),
        labels: BINARY,
        evaluations: &[Evaluation { column: "QQP", file: "dev.tsv" }],
        metrics: F1_AND_ACCURACY,
        paper_metric: "f1",
        in_average: true,
    },
    GlueTask {
        name: "mnli",
        folder: "MNLI",
        kind: TaskKind::Pair,
        columns: ("sentence1", Some("sentence2"), "gold_label"),
        labels: &["contradiction", "entailment", "neutral"],
        evaluations: &[
            Evaluation { column: "MNLI-m", file: "dev_matched.tsv" },
            Evaluation { column: "MNLI-mm", file: "dev_mismatched.tsv" },
        ],
        metrics: ACCURACY,
        paper_metric: "accuracy",
        in_average: true,
    },
    GlueTask {
        name: "qnli",
        folder: "QNLI",
        kind: TaskKind::Pair,
        columns: ("question", Some("sentence"), "label"),
        labels: ENTAILMENT,
        evaluations: &[Evaluation { column: "QNLI", file: "dev.tsv" }],
        metrics: ACCURACY,
        paper_metric: "accuracy",
        in_average: true,
    },
    GlueTask {
        name: "rte",
        folder: "RTE",
        kind: TaskKind::Pair,
        columns: ("sentence1", Some("sentence2"), "label"),
        labels: ENTAILMENT,
        evaluations: &[Evaluation { column: "RTE", file: "dev.tsv" }],
        metrics: ACCURACY,
        paper_metric: "accuracy",
        in_average: true,
    },
    GlueTask {
        name: "wnli",
        folder: "WNLI",
        kind: TaskKind::Pair,
        columns: ("sentence1", Some("sentence2"), "label"),
        labels: BINARY,
        evaluations: &[Evaluation { column: "WNLI", file: "dev.tsv" }],
        metrics: ACCURACY,
        paper_metric: "accuracy",
        in_average: false,
    },
];

impl GlueTask {
    /// The task of a name.
    pub fn find(name: &str) -> Option<&'static Self> {
        TASKS.iter().find(|task| task.name == name)
    }

    /// What its tables must have.
    pub fn wanted(&self) -> Wanted {
        let (text, second, label) = self.columns;
        let columns = ColumnChoice {
            text: Some(text.to_owned()),
            second: second.map(str::to_owned),
            label: Some(label.to_owned()),
        };
        Wanted { columns, second: Some(second.is_some()), label: true, ..Wanted::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_found_by_name_and_have_sensible_parts() {
        for task in &TASKS {
            assert_eq!(GlueTask::find(task.name), Some(task));
            assert!(task.metrics.contains(&task.paper_metric), "{}", task.name);
            assert_eq!(task.labels.is_empty(), task.kind == TaskKind::Regress);
            assert_eq!(task.kind == TaskKind::Classify, task.columns.1.is_none());
            // F1 counts the second label in byte order, which has to be the one that GLUE counts.
            assert!(task.labels.is_sorted());
            if task.metrics.contains(&"f1") {
                assert_eq!(task.labels[1], "1");
            }
        }
        assert_eq!(GlueTask::find("SST-2"), None);
    }
}
