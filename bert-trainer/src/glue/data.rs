//! The files of a task, looked at before the hours of work.

use std::path::{Path, PathBuf};

use super::{GlueTask, TRAIN_FILE};
use crate::data::DataError;
use crate::data::corpus::{sha256, sha256_file};
use crate::data::tasks::table::{Fields, TableFormat, read_damaged_table};

/// More broken rows than this share are another format rather than damage.
const MOST_LEFT_OUT: f64 = 0.01;

/// A task whose files are there and as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFiles {
    /// The task.
    pub task: &'static GlueTask,
    /// Training examples.
    pub train: PathBuf,
    /// Examples to evaluate on, one file an evaluation.
    pub evaluations: Vec<PathBuf>,
    /// How many training examples there are.
    pub train_examples: usize,
    /// How many rows of all files are broken and left out.
    pub left_out: usize,
    /// What is wrong with the first of them.
    pub first_left_out: Option<String>,
    /// SHA-256 of all files together.
    pub sha256: String,
}

impl TaskFiles {
    /// Looks at the files of a task; `None` if `data` has no folder of it.
    ///
    /// # Errors
    /// As [`read_damaged_table`]; more than one broken row in a hundred; a label that the task does
    /// not have, or for STS-B no number.
    pub fn open(data: &Path, task: &'static GlueTask) -> Result<Option<Self>, DataError> {
        let folder = data.join(task.folder);
        if !folder.is_dir() {
            return Ok(None);
        }
        let train = folder.join(TRAIN_FILE);
        let evaluations: Vec<PathBuf> =
            task.evaluations.iter().map(|evaluation| folder.join(evaluation.file)).collect();
        let mut files = Self {
            task,
            train,
            evaluations,
            train_examples: 0,
            left_out: 0,
            first_left_out: None,
            sha256: String::new(),
        };
        files.train_examples = files.check(&files.train.clone())?;
        let mut hashes = sha256_file(&files.train)?;
        for path in files.evaluations.clone() {
            files.check(&path)?;
            hashes.push_str(&sha256_file(&path)?);
        }
        files.sha256 = sha256(hashes.as_bytes());
        Ok(Some(files))
    }

    /// Checks all rows of a file; how many there are.
    fn check(&mut self, path: &Path) -> Result<usize, DataError> {
        let (rows, left_out) = read_damaged_table(path, TableFormat::Tsv, &self.task.wanted())?;
        for row in &rows {
            self.check_label(path, row)?;
        }
        self.left_out += left_out.len();
        let share = left_out.len() as f64 / (rows.len() + left_out.len()) as f64;
        if let Some(error) = left_out.into_iter().next() {
            if share > MOST_LEFT_OUT {
                return Err(error);
            }
            self.first_left_out.get_or_insert(error.to_string());
        }
        Ok(rows.len())
    }

    fn check_label(&self, path: &Path, row: &Fields) -> Result<(), DataError> {
        let label = row.label.as_deref().unwrap_or_default();
        let (is_right, expected) = match self.task.labels {
            [] => (label.parse().is_ok_and(f64::is_finite), "a number".to_owned()),
            labels => (labels.contains(&label), format!("a label of {}", labels.join(", "))),
        };
        if is_right {
            Ok(())
        } else {
            Err(DataError::line(path, row.line, expected, format!("{label:?}")))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn open(name: &str, files: &[(&str, &str)]) -> Result<Option<TaskFiles>, DataError> {
        let dir = tempfile::tempdir().unwrap();
        let task = GlueTask::find(name).unwrap();
        for (file, text) in files {
            std::fs::create_dir_all(dir.path().join(task.folder)).unwrap();
            std::fs::write(dir.path().join(task.folder).join(file), text).unwrap();
        }
        TaskFiles::open(dir.path(), task)
    }

    const SST: &str = "sentence\tlabel\ngood\t1\nbad\t0\n";
    const STS: &str = "index\tsentence1\tsentence2\tscore\n0\ta\tb\t4.8\n";

    #[test]
    fn files_are_counted_and_hashed() {
        assert_eq!(open("sst2", &[]).unwrap(), None);
        let files = open("sst2", &[("train.tsv", SST), ("dev.tsv", SST)]).unwrap().unwrap();
        assert_eq!((files.train_examples, files.left_out), (2, 0));
        let other = open("sst2", &[("train.tsv", SST), ("dev.tsv", "sentence\tlabel\nx\t1\n")]);
        assert_ne!(files.sha256, other.unwrap().unwrap().sha256);
        assert!(open("stsb", &[("train.tsv", STS), ("dev.tsv", STS)]).unwrap().is_some());
    }

    #[test]
    fn what_does_not_belong_to_the_task_is_an_error() {
        let check = |name, files: &[(&str, &str)], expected: &str| {
            let error = open(name, files).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("sst2", &[("train.tsv", SST)], "SST-2/dev.tsv: cannot read");
        let other = SST.replace("\t0", "\tneg");
        let expected = "train.tsv:3: expected a label of 0, 1, found \"neg\"";
        check("sst2", &[("train.tsv", &other), ("dev.tsv", SST)], expected);
        let words = STS.replace("4.8", "much");
        let expected = "dev.tsv:2: expected a number, found \"much\"";
        check("stsb", &[("train.tsv", STS), ("dev.tsv", &words)], expected);
        check("stsb", &[("train.tsv", SST), ("dev.tsv", STS)], "expected one column \"sentence1\"");
        let infinite = STS.replace("4.8", "inf");
        check("stsb", &[("train.tsv", &infinite), ("dev.tsv", STS)], "found \"inf\"");
    }

    #[test]
    fn a_few_broken_rows_are_left_out_and_many_are_an_error() {
        let broken = format!("{SST}{}no label\n", "fine\t1\n".repeat(200));
        let files = open("sst2", &[("train.tsv", &broken), ("dev.tsv", SST)]).unwrap().unwrap();
        assert_eq!((files.train_examples, files.left_out), (202, 1));
        let first = files.first_left_out.unwrap();
        assert!(
            first.ends_with("train.tsv:204: expected 2 columns as in the header, found 1 column")
        );
        let broken = format!("{SST}no label\n");
        let error = open("sst2", &[("train.tsv", &broken), ("dev.tsv", SST)]).unwrap_err();
        assert!(error.to_string().contains("train.tsv:4:"), "{error}");
    }
}
