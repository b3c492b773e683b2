//! The report of a run from outside: what `finetune` and `export` leave in the directory is what
//! `report` shows.

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::path::Path;

use bert_tests::command::json;
use bert_tests::fixture::{copy_directory, fixture};
use bert_trainer::report::{DataFile, EvaluationRecord, RUN_FILE, RunRecord};
use serde_json::Value;

/// Runs the trainer with options and paths.
fn trainer(options: &[&str], paths: &[(&str, &Path)]) -> Value {
    let named = paths.iter().flat_map(|(flag, path)| [OsString::from(flag), path.into()]);
    json("bert-trainer", options.iter().map(OsString::from).chain(named))
}

#[test]
fn a_fine_tuning_and_its_export_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("assistant");
    copy_directory(&fixture().path("assistant"), &run);
    let data = fixture().path("joint.tsv");
    let model = dir.path().join("model.bert");
    let exported =
        trainer(&["export"], &[("--model", &run), ("--output", &model), ("--eval", &data)]);

    let record = RunRecord::read(&run).unwrap().unwrap();
    assert_eq!((record.command.as_str(), record.task.as_str()), ("finetune", "joint"));
    // The options that the fixture gave, and defaults under the names of the command line.
    let option = |name: &str| &record.configuration[name];
    assert_eq!((option("epochs"), option("batch_size")), (&1.into(), &8.into()));
    assert_eq!((option("learning_rate"), option("seed")), (&5e-5.into(), &1.into()));
    assert_eq!((option("keep"), option("precision")), (&"last".into(), &"f32".into()));
    assert_eq!(record.model["hidden_size"], 32);
    let files = ["train", "eval"].map(|role| DataFile::of(role, &data, 40).unwrap());
    assert_eq!(record.data, files);
    let [epoch] = &record.epochs[..] else { panic!("{:?}", record.epochs) };
    assert_eq!((epoch.epoch, epoch.step, record.best_epoch), (1, 5, Some(1)));
    assert!(record.ended.is_some() && record.seconds > 0.0);

    // The metrics of the epoch follow from the detail: intents by their matrix, slots of words.
    let [intents, slots] = &record.evaluations[..] else { panic!("{:?}", record.evaluations) };
    assert_eq!((intents.part.as_str(), intents.total()), ("intent", 40));
    let accuracy = |name| epoch.metrics.value(name).unwrap();
    assert_eq!(accuracy("intent_accuracy"), hits(intents) as f64 / 40.0);
    assert_eq!((slots.part.as_str(), slots.total()), ("slot", 7 * 40));
    assert_eq!(accuracy("slot_accuracy"), hits(slots) as f64 / 280.0);
    assert_eq!(intents.worst.len() as u64, 40 - hits(intents));
    assert!(intents.worst.is_sorted_by(|a, b| a.loss >= b.loss));
    // Of two labels, the one that was said has at least half of the probability.
    assert!(intents.worst.iter().all(|one| one.confidence >= Some(0.5)));

    let int8 = record.int8.unwrap();
    assert_eq!(int8.model_bytes, exported["model_bytes"].as_u64().unwrap());
    for (name, value) in int8.metrics.iter() {
        assert_eq!(Some(value), exported["eval"]["metrics"][name].as_f64(), "{name}");
    }

    let figures = json("bert-trainer", ["report".as_ref(), run.as_os_str()]);
    let shown = &figures["runs"][0];
    assert_eq!((&shown["command"], &shown["seed"]), (&"finetune".into(), &1.into()));
    assert_eq!(shown["int8"], exported["eval"]["metrics"]);
    assert_eq!(shown["metrics"]["intent_accuracy"], accuracy("intent_accuracy"));
    let page = std::fs::read_to_string(run.join("report.html")).unwrap();
    for part in ["Evaluation: intent", "Evaluation: slot", "B-device", files[0].sha256.as_str()] {
        assert!(page.contains(part), "no {part:?}");
    }
}

/// Labels that were found where they truly are.
fn hits(record: &EvaluationRecord) -> u64 {
    (0..record.labels.len()).map(|label| record.confusion[label][label]).sum()
}

/// A directory that another program wrote has no record, and export does not make one.
#[test]
fn an_export_makes_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("assistant");
    copy_directory(&fixture().path("assistant"), &run);
    std::fs::remove_file(run.join("trainer").join(RUN_FILE)).unwrap();
    let (data, model) = (fixture().path("joint.tsv"), dir.path().join("model.bert"));
    trainer(&["export"], &[("--model", &run), ("--output", &model), ("--eval", &data)]);
    assert_eq!(RunRecord::read(&run).unwrap(), None);
}
