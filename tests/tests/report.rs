//! `bert-trainer report` from outside: of a pre-training, of fine-tuned models, of several runs, and
//! what it says of directories that are no runs.

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bert_tests::command::{self, Outcome};
use bert_tests::fixture::{copy_directory, fixture};
use bert_trainer::report::{DataFile, EpochRecord, EvaluationRecord, Metrics, RunRecord};
use serde_json::{Value, json};
use tempfile::TempDir;

fn arguments(parts: &[&dyn AsRef<Path>]) -> Vec<OsString> {
    parts.iter().map(|part| part.as_ref().into()).collect()
}

fn report(parts: &[&dyn AsRef<Path>]) -> Value {
    command::json("bert-trainer", [vec!["report".into()], arguments(parts)].concat())
}

fn refused(parts: &[&dyn AsRef<Path>]) -> Outcome {
    command::run("bert-trainer", [vec!["report".into()], arguments(parts)].concat())
}

/// One line on stderr that holds all of `expected`, exit code 1, and no report.
fn fails(directory: &Path, expected: &[&str]) {
    let outcome = refused(&[&directory]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    for part in expected {
        assert!(outcome.stderr.contains(part), "expected {part:?} in {:?}", outcome.stderr);
    }
    assert!(!directory.join("report.html").exists());
}

/// A directory as fine-tuning leaves it, with what a report reads.
fn finetuned(place: &Path, name: &str, seed: u64, rate: f64, accuracy: f64) -> PathBuf {
    let directory = place.join(name);
    let options = json!({ "learning_rate": rate, "seed": seed, "output": name });
    let mut record = RunRecord::begin("finetune", "classify", &options);
    let train = fixture().path("joint.tsv");
    record.data = vec![DataFile::of("train", &train, 40).unwrap()];
    for epoch in 1..=3u32 {
        let metrics: Metrics =
            [("accuracy", accuracy - 0.1 * f64::from(epoch != 2))].into_iter().collect();
        record.push_epoch(EpochRecord {
            epoch: u64::from(epoch),
            step: 5 * u64::from(epoch),
            train_loss: 1.0,
            metrics,
            is_best: epoch < 3,
            ..Default::default()
        });
    }
    let labels = ["<script>alert(1)</script>".to_owned(), "switch_off".to_owned()];
    record.evaluations =
        vec![EvaluationRecord::from_labels("label", &labels, &[0, 0, 1], &[0, 1, 1])];
    record.finish(&directory).unwrap();
    std::fs::write(directory.join("metrics.jsonl"), "{\"step\":5,\"loss\":1.5}\n").unwrap();
    directory
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_pre_training_has_a_report_with_and_without_its_record() {
    let place = tempfile::tempdir().unwrap();
    let run = place.path().join("run");
    copy_directory(&fixture().path("pretrained"), &run);
    let figures = report(&[&run]);
    assert_eq!(figures["runs"][0]["steps"], 3);
    assert_eq!(figures["runs"][0]["task"], "pretrain");
    let last: Value =
        serde_json::from_str(read(&run.join("metrics.jsonl")).lines().last().unwrap()).unwrap();
    assert_eq!(figures["runs"][0]["metrics"]["mlm_loss"], last["mlm_loss"]);
    assert_eq!(figures["output"], json!(run.join("report.html")));
    let page = read(&run.join("report.html"));
    // The record knows the entropy and the digest of the corpus, as the manifest does.
    let manifest: Value =
        serde_json::from_str(&read(&fixture().path("shards").join("manifest.json"))).unwrap();
    let unigram = manifest["unigram_entropy"].as_f64().unwrap();
    assert!(page.contains(&format!("unigram {unigram:.3}")));
    assert!(page.contains(manifest["sources"][0]["sha256"].as_str().unwrap()));
    assert!(page.contains("MLM loss") && page.contains("corpus.txt"));

    std::fs::remove_file(run.join("trainer/run.json")).unwrap();
    let output = place.path().join("elsewhere.html");
    let figures = report(&[&run, &"--output", &output]);
    assert_eq!(figures["runs"][0]["seed"], 1, "the training state knows the options");
    let page = read(&output);
    assert!(!page.contains("unigram") && page.contains("<td>batch_size</td>"));
}

#[test]
fn a_fine_tuning_has_a_report_of_its_best_epoch() {
    let place = tempfile::tempdir().unwrap();
    let run = finetuned(place.path(), "run", 1, 1e-3, 0.75);
    let figures = report(&[&run]);
    assert_eq!(figures["runs"][0]["best_epoch"], 2);
    assert_eq!(figures["runs"][0]["metrics"], json!({ "accuracy": 0.75 }));
    let page = read(&run.join("report.html"));
    assert!(page.contains("<title>classify: accuracy 75.00 %</title>"));
    assert!(page.contains("best: epoch 2") && page.contains("Confusion"));
    assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<script>alert"));
    // A second report takes the place of the first, and nothing else is left.
    report(&[&run]);
    let mut names: Vec<_> =
        std::fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["metrics.jsonl", "report.html", "trainer"]);
}

#[test]
fn runs_that_differ_by_seed_only_are_one_row() {
    let place = tempfile::tempdir().unwrap();
    let one = finetuned(place.path(), "one", 1, 1e-3, 0.5);
    let two = finetuned(place.path(), "two", 2, 1e-3, 0.75);
    let other = finetuned(place.path(), "other", 1, 1e-4, 0.5);
    let output = place.path().join("report.html");
    let figures = report(&[&one, &two, &other, &"--output", &output]);
    let groups = figures["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 2);
    assert_eq!(groups[0]["runs"], json!([0, 1]));
    assert_eq!(groups[1]["options"], json!({ "learning_rate": 1e-4 }));
    let accuracy = &groups[0]["metrics"]["accuracy"];
    assert_eq!((&accuracy["mean"], &accuracy["runs"]), (&json!(0.625), &json!(2)));
    let deviation = accuracy["deviation"].as_f64().unwrap();
    assert!((deviation - 0.25 / 2f64.sqrt()).abs() < 1e-12, "{deviation}");
    let page = read(&output);
    assert!(page.contains("62.50 ± 17.68 %"));
    assert_eq!(page.matches("<details").count(), 3);
}

#[test]
fn what_is_no_run_is_refused() {
    let place = tempfile::tempdir().unwrap();
    fails(&place.path().join("missing"), &["missing: expected the directory of a run"]);
    fails(place.path(), &["neither metrics.jsonl nor epochs in trainer/run.json"]);
    fails(
        &fixture().path("corpus.txt"),
        &["corpus.txt: expected the directory of a run, found a file"],
    );
    std::fs::write(place.path().join("metrics.jsonl"), "").unwrap();
    fails(place.path(), &["an empty metrics.jsonl"]);
}

#[test]
fn broken_files_are_named_with_their_line() {
    let broken = |name: &str, text: &str, expected: &[&str]| {
        let place = TempDir::new().unwrap();
        let run = finetuned(place.path(), "run", 1, 1e-3, 0.5);
        std::fs::write(run.join(name), text).unwrap();
        fails(&run, expected);
    };
    let good = "{\"step\":1,\"loss\":2.5}\n";
    for (line, expected) in [
        ("{\"step\":2,\"loss\":", "a JSON object with a `step`"),
        ("{\"step\":2,\"loss\":null}", "a finite number as `loss`, found null"),
        ("{\"step\":2,\"loss\":NaN}", "a JSON object with a `step`"),
        ("{\"loss\":2}", "a `step` that is a whole number"),
        ("{\"step\":0}", "a step of 1 or more, found 0"),
    ] {
        let text = format!("{good}{line}\n{good}");
        broken("metrics.jsonl", &text, &["metrics.jsonl:2: expected ", expected]);
    }
    broken("trainer/run.json", "{\"epochs\":7}", &["run.json: expected the record of a run"]);
    broken("trainer/run.json", "", &["run.json: expected the record of a run"]);
}

#[test]
fn wrong_usage_of_report_has_exit_code_2() {
    let place = tempfile::tempdir().unwrap();
    let one = finetuned(place.path(), "one", 1, 1e-3, 0.5);
    let two = finetuned(place.path(), "two", 2, 1e-3, 0.5);
    assert_eq!(refused(&[]).code, Some(2));
    let outcome = refused(&[&one, &two]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""));
    assert!(outcome.stderr.contains("--output"), "{}", outcome.stderr);
    // A run beside itself is no second seed.
    let output = place.path().join("report.html");
    let outcome = refused(&[&one, &one.join("../one"), &"--output", &output]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("given twice") && !output.exists(), "{}", outcome.stderr);
}

#[test]
fn a_report_that_cannot_be_written_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let run = finetuned(place.path(), "run", 1, 1e-3, 0.5);
    for output in [place.path().join("no/such/folder.html"), place.path().join("run")] {
        let outcome = refused(&[&run, &"--output", &output]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{outcome:?}");
        assert!(outcome.stderr.contains("cannot write the file"), "{outcome:?}");
    }
    let names = std::fs::read_dir(place.path()).unwrap().count();
    assert_eq!(names, 1);
}
