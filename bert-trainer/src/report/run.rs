//! A run as its directory tells it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::lines::{Line, read_lines};
use super::record::{RUN_FILE, model_numbers};
use super::{EpochRecord, Metrics, ReportError, RunRecord};
use crate::checkpoint::TRAINER_DIRECTORY;
use crate::config::{CONFIG_FILE, Config};
use crate::log::METRICS_FILE;

/// Everything a directory says about the run that made it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What to call it: the last part of its path.
    pub name: String,
    /// Its directory.
    pub directory: PathBuf,
    /// Its `metrics.jsonl`.
    pub lines: Vec<Line>,
    /// Its record; of a run without one, what other files say.
    pub record: RunRecord,
}

impl Run {
    /// Reads what a run left in `directory`.
    ///
    /// A directory without `trainer/run.json` is told by its `metrics.jsonl`, `config.json` and the
    /// options in its training state.
    ///
    /// # Errors
    /// No such directory; no line of metrics and no epoch in it; a file that is not what it has to
    /// be, named with line and expectation.
    pub fn open(directory: &Path) -> Result<Self, ReportError> {
        let fail = |found: &str| ReportError::file(directory, EXPECTED, found);
        if !directory.exists() {
            return Err(fail("no such directory"));
        }
        if !directory.is_dir() {
            return Err(fail("a file"));
        }
        let lines = read_lines(directory)?;
        let record = match RunRecord::read(directory)? {
            Some(record) => record,
            None => told_by_others(directory, &lines),
        };
        if lines.is_empty() && record.epochs.is_empty() {
            let found = match directory.join(METRICS_FILE).exists() {
                true => format!("an empty {METRICS_FILE}: no step has been logged yet"),
                false => format!("neither {METRICS_FILE} nor epochs in trainer/{RUN_FILE}"),
            };
            return Err(fail(&found));
        }
        Ok(Self { name: name_of(directory), directory: directory.to_owned(), lines, record })
    }

    /// Whether it is a pre-training.
    pub fn is_pretraining(&self) -> bool {
        self.record.command == PRETRAIN
    }

    /// The epoch whose weights are in the checkpoint: the best one, or else the last.
    pub fn chosen_epoch(&self) -> Option<&EpochRecord> {
        let epochs = &self.record.epochs;
        let best = self.record.best_epoch;
        epochs.iter().find(|epoch| Some(epoch.epoch) == best).or(epochs.last())
    }

    /// What the run came to: the metrics of its chosen epoch, or the losses and accuracies it logged
    /// last.
    pub fn result(&self) -> Metrics {
        match self.chosen_epoch() {
            Some(epoch) => epoch.metrics.clone(),
            None => self.lines.last().map(last_logged).unwrap_or_default(),
        }
    }

    /// The metric to look at first, and its value.
    pub fn headline(&self) -> Option<(String, f64)> {
        let result = self.result();
        let named = self.record.best_by.as_deref().and_then(|by| Some((by, result.value(by)?)));
        named.or(result.iter().next()).map(|(name, value)| (name.to_owned(), value))
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        let logged = self.lines.last().map_or(0, |line| line.step);
        self.record.epochs.last().map_or(0, |epoch| epoch.step).max(logged)
    }

    /// The seed, as the configuration has it.
    pub fn seed(&self) -> Option<String> {
        self.record.configuration.get("seed").map(Value::to_string)
    }
}

/// Gives runs of one name the whole path as theirs, so that a legend tells them apart.
pub fn name_apart(runs: &mut [Run]) {
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    for run in runs {
        if names.iter().filter(|name| **name == run.name).count() > 1 {
            run.name = run.directory.display().to_string();
        }
    }
}

const EXPECTED: &str = "the directory of a run";
const PRETRAIN: &str = "pretrain";

fn last_logged(line: &Line) -> Metrics {
    let result = |name: &str| name.ends_with("loss") || name.ends_with("accuracy");
    line.metrics.iter().filter(|(name, _)| result(name)).collect()
}

fn name_of(directory: &Path) -> String {
    // `.` and `..` have no last part of their own.
    let full = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    full.file_name().unwrap_or(full.as_os_str()).to_string_lossy().into_owned()
}

/// A record from what the directory has besides: options of the training state, and the model.
/// These files are read for what they can tell and are no condition: another program may have
/// written them, or nobody.
fn told_by_others(directory: &Path, lines: &[Line]) -> RunRecord {
    let is_pretraining = lines.iter().any(|line| line.metrics.value("mlm_loss").is_some());
    let command = if is_pretraining { PRETRAIN } else { "finetune" };
    let config = directory.join(CONFIG_FILE).exists().then(|| Config::load(directory).ok());
    RunRecord {
        command: command.to_owned(),
        task: command.to_owned(),
        configuration: state_options(directory).unwrap_or_default(),
        model: config.flatten().map(|config| model_numbers(&config)).unwrap_or_default(),
        ..RunRecord::default()
    }
}

/// The options in the newest state in `trainer/`.
fn state_options(directory: &Path) -> Option<Map<String, Value>> {
    let entries = fs::read_dir(directory.join(TRAINER_DIRECTORY)).ok()?;
    let states = entries.flatten().map(|entry| entry.path().join("state.json"));
    let newest = states.filter(|state| state.exists()).max()?;
    let state: Value = serde_json::from_slice(&fs::read(newest).ok()?).ok()?;
    state.pointer("/state/options")?.as_object().cloned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::checkpoint::{TrainerState, save_state};

    #[test]
    fn a_pre_training_without_a_record_is_told_by_its_other_files() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("run");
        let options = serde_json::json!({ "steps": 4, "seed": 3 });
        let state = TrainerState {
            step: 4,
            epoch: 0,
            seed: 3,
            fingerprint: String::new(),
            options,
            progress: Value::Null,
        };
        save_state(&at, &state, &[]).unwrap();
        fs::write(at.join("config.json"), Config::named("bert-mini").unwrap().to_json()).unwrap();
        let line = r#"{"step":4,"mlm_loss":6.5,"mlm_accuracy":0.25,"learning_rate":0.1}"#;
        fs::write(at.join(METRICS_FILE), format!("{line}\n")).unwrap();
        let run = Run::open(&at).unwrap();
        assert_eq!((run.name.as_str(), run.is_pretraining(), run.steps()), ("run", true, 4));
        assert_eq!(run.seed().as_deref(), Some("3"));
        assert_eq!(run.record.model["hidden_size"], 256);
        assert_eq!(run.headline(), Some(("mlm_loss".into(), 6.5)));
        let names: Vec<String> = run.result().iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names, ["mlm_loss", "mlm_accuracy"]);
    }

    #[test]
    fn the_best_epoch_is_the_result() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = RunRecord { best_by: Some("slot_f1".into()), ..Default::default() };
        for (epoch, f1) in [(1, 0.5), (2, 0.75), (3, 0.25)] {
            let metrics = [("intent_accuracy", 1.0), ("slot_f1", f1)].into_iter().collect();
            let is_best = epoch == 2;
            record.push_epoch(EpochRecord { epoch, metrics, is_best, ..Default::default() });
        }
        record.write(dir.path()).unwrap();
        let run = Run::open(dir.path()).unwrap();
        assert_eq!(run.headline(), Some(("slot_f1".into(), 0.75)));
        // A best epoch that is not there, and none at all: the last one.
        record.best_epoch = Some(9);
        record.best_by = Some("unheard".into());
        record.write(dir.path()).unwrap();
        let run = Run::open(dir.path()).unwrap();
        assert_eq!(run.chosen_epoch().unwrap().epoch, 3);
        assert_eq!(run.headline(), Some(("intent_accuracy".into(), 1.0)));
    }

    #[test]
    fn what_is_no_run_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let message = |path: &Path| Run::open(path).unwrap_err().to_string();
        assert!(
            message(&dir.path().join("none")).contains("none: expected the directory of a run")
        );
        assert!(message(dir.path()).contains("neither metrics.jsonl nor epochs"));
        fs::write(dir.path().join(METRICS_FILE), "").unwrap();
        assert!(message(dir.path()).contains("an empty metrics.jsonl"));
        assert!(message(&dir.path().join(METRICS_FILE)).contains("found a file"));
    }
}
