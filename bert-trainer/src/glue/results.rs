//! `glue.jsonl`: what each run came to, one JSON object a line, so that none is made twice.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{GlueTask, Setting};
use crate::atomic::WriteError;
use crate::data::DataError;

/// Name of the file inside the output directory.
pub const RESULTS_FILE: &str = "glue.jsonl";

/// Scores of an evaluation by the names of the metrics, shares of 1; `None` where one is undefined,
/// as a correlation with numbers that are all equal.
pub type Scores = Map<String, Value>;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The task.
    pub task: String,
    /// The hyper-parameters.
    #[serde(flatten)]
    pub setting: Setting,
    /// The seed.
    pub seed: u64,
    /// All else that decides what comes out: the model, the data, the options.
    pub conditions: Map<String, Value>,
    /// Scores of each evaluation of the task, in its order.
    pub scores: Vec<Scores>,
    /// Seconds that it took.
    pub seconds: f64,
}

impl RunRecord {
    /// A metric of an evaluation, unless it is undefined.
    pub fn find(&self, evaluation: usize, metric: &str) -> Option<f64> {
        self.scores.get(evaluation)?.get(metric)?.as_f64()
    }

    /// What settings are compared by: the mean of the task's metrics over its evaluations, as GLUE
    /// does; `None` if one is undefined.
    pub fn score(&self, task: &GlueTask) -> Option<f64> {
        let mut sum = 0.0;
        for evaluation in 0..task.evaluations.len() {
            for metric in task.metrics {
                sum += self.find(evaluation, metric)?;
            }
        }
        Some(sum / (task.evaluations.len() * task.metrics.len()) as f64)
    }
}

/// The records of an output directory.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    file: File,
    records: Vec<RunRecord>,
}

impl Results {
    /// Opens `directory/glue.jsonl`, making what is missing. A last line without an end, which a
    /// killed process left, is cut off.
    ///
    /// # Errors
    /// The operating system refuses; a line is no record.
    pub fn open(directory: &Path) -> Result<Self, DataError> {
        let path = directory.join(RESULTS_FILE);
        let fail = |source| DataError::from(WriteError::new(&path, "open the results", source));
        fs::create_dir_all(directory).map_err(fail)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(fail)?;
        let text = fs::read(&path).map_err(fail)?;
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let mut records = Vec::new();
        for (index, line) in text[..whole].split(|&byte| byte == b'\n').enumerate() {
            if !line.is_empty() {
                records.push(serde_json::from_slice(line).map_err(|error| {
                    let expected = "a record of a run";
                    DataError::line(&path, index as u64 + 1, expected, error.to_string())
                })?);
            }
        }
        file.set_len(whole as u64).map_err(fail)?;
        file.seek(SeekFrom::Start(whole as u64)).map_err(fail)?;
        Ok(Self { path, file, records })
    }

    /// The record of a run, if it was made under the same conditions.
    pub fn find(
        &self,
        task: &str,
        setting: Setting,
        seed: u64,
        conditions: &Map<String, Value>,
    ) -> Option<&RunRecord> {
        self.records.iter().find(|record| {
            record.task == task
                && record.setting == setting
                && record.seed == seed
                && record.conditions == *conditions
        })
    }

    /// All records of a task under some conditions, in the order in which they were made.
    pub fn of_task<'a>(
        &'a self,
        task: &'a str,
        conditions: &'a Map<String, Value>,
    ) -> impl Iterator<Item = &'a RunRecord> {
        let belongs =
            move |record: &&RunRecord| record.task == task && record.conditions == *conditions;
        self.records.iter().filter(belongs)
    }

    /// Writes a record; it is on the disk when this returns.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn add(&mut self, record: RunRecord) -> Result<(), DataError> {
        let fail = |source| WriteError::new(&self.path, "write the results", source);
        let mut line = serde_json::to_vec(&record).map_err(|error| fail(error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(fail)?;
        self.file.sync_all().map_err(fail)?;
        self.records.push(record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    pub(crate) fn record(seed: u64, accuracy: Option<f64>) -> RunRecord {
        let scores = json!({ "accuracy": accuracy });
        RunRecord {
            task: "sst2".to_owned(),
            setting: Setting { epochs: 3, batch_size: 32, learning_rate: 2e-5 },
            seed,
            conditions: Map::from_iter([("model".to_owned(), json!("m"))]),
            scores: vec![scores.as_object().unwrap().clone()],
            seconds: 1.5,
        }
    }

    #[test]
    fn records_come_back_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("new/output");
        let mut results = Results::open(&output).unwrap();
        let (one, two) = (record(1, Some(0.1 + 0.2)), record(2, None));
        results.add(one.clone()).unwrap();
        results.add(two.clone()).unwrap();
        // A killed process leaves half a line.
        let path = output.join(RESULTS_FILE);
        let text = fs::read(&path).unwrap();
        fs::write(&path, [text.as_slice(), b"{\"task\":\"ss"].concat()).unwrap();
        let mut results = Results::open(&output).unwrap();
        let find = |results: &Results, seed| {
            results.find("sst2", one.setting, seed, &one.conditions).cloned()
        };
        assert_eq!((find(&results, 1), find(&results, 2)), (Some(one.clone()), Some(two)));
        assert_eq!(find(&results, 3), None);
        results.add(record(3, Some(1.0))).unwrap();
        let results = Results::open(&output).unwrap();
        assert_eq!(results.of_task("sst2", &one.conditions).count(), 3);
        assert_eq!(find(&results, 3).unwrap().find(0, "accuracy"), Some(1.0));
        // Under other conditions it is another run.
        let other = Map::from_iter([("model".to_owned(), json!("n"))]);
        assert_eq!(results.find("sst2", one.setting, 1, &other), None);
        let faster = Setting { learning_rate: 3e-5, ..one.setting };
        assert_eq!(results.find("sst2", faster, 1, &one.conditions), None);
    }

    #[test]
    fn a_line_that_is_no_record_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(RESULTS_FILE);
        fs::write(&path, "\n{\"task\":1}\n").unwrap();
        let error = Results::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("glue.jsonl:2: expected a record of a run, found"), "{error}");
        assert!(!error.contains('\n'));
    }

    #[test]
    fn an_undefined_metric_makes_an_undefined_score() {
        let sst = GlueTask::find("sst2").unwrap();
        assert_eq!(record(1, Some(0.9)).score(sst), Some(0.9));
        assert_eq!(record(1, None).score(sst), None);
        let mut record = record(1, None);
        record.scores = vec![json!({"f1": 0.8, "accuracy": 0.6}).as_object().unwrap().clone()];
        assert_eq!(record.score(GlueTask::find("mrpc").unwrap()), Some(0.7));
        // An evaluation is missing.
        assert_eq!(record.score(GlueTask::find("mnli").unwrap()), None);
    }
}
