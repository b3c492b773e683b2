//! What a run leaves beside its checkpoint for the report: `trainer/run.json`.
//!
//! Unlike `metrics.jsonl` it knows the clock, so it is no part of what a run *is* (invariant 4).
//! Every key may be missing: records grow, and old ones stay readable.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{EvaluationRecord, Metrics, ReportError};
use crate::atomic::{WriteError, write_file};
use crate::checkpoint::TRAINER_DIRECTORY;
use crate::config::Config;

/// Name of the record inside `trainer/`.
pub const RUN_FILE: &str = "run.json";

/// A run: what was asked for, with what, and what it came to.
///
/// ```no_run
/// use bert_trainer::report::{EpochRecord, RunRecord};
/// use serde_json::json;
/// # fn example(directory: &std::path::Path) -> Result<(), bert_trainer::report::ReportError> {
/// let mut record = RunRecord::begin("finetune", "classify", &json!({ "epochs": 3, "seed": 1 }));
/// record.push_epoch(EpochRecord { epoch: 1, step: 313, is_best: true, ..Default::default() });
/// record.finish(directory)
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunRecord {
    /// `pretrain` or `finetune`.
    pub command: String,
    /// What was learnt, as `--task` names it; `pretrain` of pre-training.
    pub task: String,
    /// Every option by name, in the order to be shown.
    pub configuration: Map<String, Value>,
    /// The numbers of the model's `config.json`, see [`model_numbers`].
    pub model: Map<String, Value>,
    /// Trainable parameters; 0 if not known.
    pub parameters: u64,
    /// Files the run read.
    pub data: Vec<DataFile>,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended; `None` while it runs, or if it was killed.
    pub ended: Option<Timestamp>,
    /// Seconds of work, all parts of a resumed run together.
    pub seconds: f64,
    /// Version of this crate.
    pub crate_version: String,
    /// Entropy of the corpus' tokens, nats: the MLM loss without context. Of pre-training only.
    pub unigram_loss: Option<f64>,
    /// Epochs in ascending order; none of pre-training.
    pub epochs: Vec<EpochRecord>,
    /// The epoch whose weights are in the checkpoint; the last one if `None`.
    pub best_epoch: Option<u64>,
    /// The metric by which it was chosen; the first one if `None`.
    pub best_by: Option<String>,
    /// The evaluation file in detail: one for each label a task has, as intents and slots of `joint`.
    pub evaluations: Vec<EvaluationRecord>,
    /// The exported model through `bert-core`.
    pub int8: Option<Int8Record>,
}

/// A file that a run read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataFile {
    /// `train`, `eval` or `corpus`.
    pub role: String,
    /// Its name, without folders.
    pub file: String,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// Examples in it; sentences of a corpus.
    pub examples: u64,
}

/// One pass over the training examples.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EpochRecord {
    /// Number, from 1.
    pub epoch: u64,
    /// Steps done when it ended.
    pub step: u64,
    /// Mean training loss, nats, or squared error of a regression.
    pub train_loss: f64,
    /// Metrics on the evaluation file; the first is the one to look at first.
    pub metrics: Metrics,
    /// Learning rate of its last step.
    pub learning_rate: f64,
    /// Seconds, the evaluation included.
    pub seconds: f64,
    /// Whether it was the best so far.
    pub is_best: bool,
}

/// How an exported model does, measured with the code of the device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Int8Record {
    /// The file it was measured on.
    pub data: DataFile,
    /// Metrics through `bert-core`.
    pub metrics: Metrics,
    /// Metrics of the checkpoint on the same file, if they were measured. The report takes those of
    /// the best epoch where `data` is the file that the run was evaluated on.
    pub f32: Option<Metrics>,
    /// Size of the model file.
    pub model_bytes: u64,
    /// Scratch memory it needs.
    pub scratch_bytes: u64,
}

impl RunRecord {
    /// The record of a run that begins now. `configuration` is an object with all options.
    pub fn begin(command: &str, task: &str, configuration: &Value) -> Self {
        Self {
            command: command.to_owned(),
            task: task.to_owned(),
            configuration: configuration.as_object().cloned().unwrap_or_default(),
            started: Some(Timestamp::now()),
            crate_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Self::default()
        }
    }

    /// Adds an epoch; if it says that it is the best so far, it is the best of the run for now.
    pub fn push_epoch(&mut self, epoch: EpochRecord) {
        if epoch.is_best {
            self.best_epoch = Some(epoch.epoch);
        }
        self.epochs.push(epoch);
    }

    /// Sets the end to now and the seconds to those since the beginning, then writes the record.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn finish(&mut self, directory: &Path) -> Result<(), ReportError> {
        let now = Timestamp::now();
        self.ended = Some(now);
        let since = |start: Timestamp| now.duration_since(start).as_secs_f64().max(0.0);
        self.seconds = self.started.map_or(self.seconds, since);
        self.write(directory)
    }

    /// Writes `directory/trainer/run.json`, whole or not at all; a missing `trainer/` is made.
    ///
    /// # Errors
    /// A number is not finite, or the operating system refuses.
    pub fn write(&self, directory: &Path) -> Result<(), ReportError> {
        let path = record_path(directory);
        let fail = |source| WriteError::new(&path, "write the record", source);
        let text = serde_json::to_string_pretty(self).map_err(|error| fail(error.into()))?;
        // A number that is not finite became `null`, which nobody could read back.
        serde_json::from_str::<Self>(&text).map_err(|error| fail(error.into()))?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(fail)?;
        }
        Ok(write_file(&path, text.as_bytes())?)
    }

    /// Reads the record of a run; `None` if it left none.
    ///
    /// # Errors
    /// The record cannot be read, or is not what [`Self::write`] writes.
    pub fn read(directory: &Path) -> Result<Option<Self>, ReportError> {
        let path = record_path(directory);
        let text = match fs::read(&path) {
            Err(error) if is_missing(&error) => return Ok(None),
            text => text.map_err(|source| ReportError::read(&path, source))?,
        };
        let record: Self = serde_json::from_slice(&text)
            .map_err(|error| ReportError::file(&path, "the record of a run", error.to_string()))?;
        record.check(&path)?;
        Ok(Some(record))
    }

    /// Adds what `bert-core` says of the exported model to the record in `directory`. A run without
    /// a record, which another program or an older version trained, stays without one.
    ///
    /// # Errors
    /// As [`Self::read`] and [`Self::write`].
    pub fn add_int8(directory: &Path, int8: Int8Record) -> Result<(), ReportError> {
        match Self::read(directory)? {
            Some(record) => Self { int8: Some(int8), ..record }.write(directory),
            None => Ok(()),
        }
    }

    /// What the page takes for granted: epochs ascend, a confusion matrix is square.
    fn check(&self, path: &Path) -> Result<(), ReportError> {
        let numbers: Vec<u64> = self.epochs.iter().map(|epoch| epoch.epoch).collect();
        if !numbers.is_sorted_by(|a, b| a < b) {
            let expected = "epochs in ascending order";
            return Err(ReportError::file(path, expected, format!("{numbers:?}")));
        }
        for evaluation in &self.evaluations {
            evaluation.check().map_err(|(expected, found)| {
                let expected = format!("{expected} in the evaluation of `{}`", evaluation.part);
                ReportError::file(path, expected, found)
            })?;
        }
        Ok(())
    }
}

impl DataFile {
    /// Describes the file at `path`, which has `examples` examples.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of(role: &str, path: &Path, examples: u64) -> Result<Self, ReportError> {
        let fail = |source| ReportError::read(path, source);
        let mut hash = Sha256::new();
        io::copy(&mut fs::File::open(path).map_err(fail)?, &mut HashWriter(&mut hash))
            .map_err(fail)?;
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { role: role.to_owned(), file, sha256, examples })
    }
}

/// The numbers of a configuration that say what a model costs and how it is regularized; labels and
/// ids are left out.
pub fn model_numbers(config: &Config) -> Map<String, Value> {
    const SHOWN: [&str; 10] = [
        "num_hidden_layers",
        "hidden_size",
        "num_attention_heads",
        "intermediate_size",
        "vocab_size",
        "max_position_embeddings",
        "hidden_act",
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "initializer_range",
    ];
    let all = serde_json::to_value(config).unwrap_or_default();
    let value = |name: &&str| Some((name.to_string(), all.get(*name)?.clone()));
    SHOWN.iter().filter_map(value).collect()
}

/// Where the record of the run in `directory` lies.
pub(super) fn record_path(directory: &Path) -> PathBuf {
    directory.join(TRAINER_DIRECTORY).join(RUN_FILE)
}

/// True if there is nothing at the path.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_record_comes_back_as_it_was_and_may_lack_everything() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(RunRecord::read(dir.path()).unwrap(), None);
        let options = json!({ "epochs": 2, "seed": 7, "learning_rate": 5e-5 });
        let mut record = RunRecord::begin("finetune", "classify", &options);
        record.model = model_numbers(&Config::named("bert-tiny").unwrap());
        assert_eq!(record.model["hidden_size"], 128);
        for epoch in 1..=3 {
            let metrics = [("accuracy", 0.5), ("macro_f1", 0.25)].into_iter().collect();
            let is_best = epoch < 3;
            record.push_epoch(EpochRecord { epoch, metrics, is_best, ..Default::default() });
        }
        assert_eq!(record.best_epoch, Some(2));
        record.finish(dir.path()).unwrap();
        assert_eq!(RunRecord::read(dir.path()).unwrap().unwrap(), record);
        RunRecord::add_int8(dir.path(), Int8Record { model_bytes: 9, ..Default::default() })
            .unwrap();
        let read = RunRecord::read(dir.path()).unwrap().unwrap();
        assert_eq!(read.int8.as_ref().unwrap().model_bytes, 9);
        assert_eq!(RunRecord { int8: None, ..read }, record);

        fs::write(record_path(dir.path()), "{\"new_key\":[1]}").unwrap();
        assert_eq!(RunRecord::read(dir.path()).unwrap(), Some(RunRecord::default()));
    }

    #[test]
    fn what_cannot_be_read_back_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = RunRecord { task: "old".into(), ..Default::default() };
        record.write(dir.path()).unwrap();
        record.push_epoch(EpochRecord { train_loss: f64::NAN, ..Default::default() });
        let message = record.write(dir.path()).unwrap_err().to_string();
        assert!(message.contains("run.json: cannot write the record"), "{message}");
        assert_eq!(RunRecord::read(dir.path()).unwrap().unwrap().task, "old");
    }

    #[test]
    fn a_spoilt_record_is_named() {
        let dir = tempfile::tempdir().unwrap();
        RunRecord::default().write(dir.path()).unwrap();
        for (text, expected) in [
            ("{", "the record of a run"),
            ("{\"seconds\":null}", "the record of a run"),
            ("{\"epochs\":[{\"metrics\":{\"f1\":null}}]}", "`f1` is null"),
            ("{\"epochs\":[{\"epoch\":2},{\"epoch\":2}]}", "ascending order"),
            (
                "{\"evaluations\":[{\"part\":\"slot\",\"labels\":[\"O\"],\"confusion\":[[1,2]]}]}",
                "`slot`",
            ),
        ] {
            fs::write(record_path(dir.path()), text).unwrap();
            let message = RunRecord::read(dir.path()).unwrap_err().to_string();
            assert!(message.contains("run.json: expected"), "{message}");
            assert!(message.contains(expected) && !message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn a_data_file_has_the_digest_of_sha256sum() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("train.tsv");
        fs::write(&path, "abc").unwrap();
        let file = DataFile::of("train", &path, 1).unwrap();
        assert_eq!(file.file, "train.tsv");
        // FIPS 180-2, appendix B.1.
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(file.sha256, digest);
        let message = DataFile::of("eval", &dir.path().join("none.tsv"), 1).unwrap_err();
        assert!(message.to_string().contains("none.tsv"));
    }
}
