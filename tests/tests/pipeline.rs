//! The flow from text to answers, through the real binaries: what the trainer exports is what a device
//! runs (invariant 1), and the model file proves it (invariant 6).

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;

use bert_tests::command::{self, json};
use bert_tests::fixture::fixture;
use bert_trainer::model::LoadedCheckpoint;
use serde_json::Value;

const TEXTS: [&str; 4] = [
    "turn on the lamp in the attic",
    "Turn OFF the radio, please!",
    "heater kitchen off",
    "ünïcode 中文 and unknownwords",
];

/// The trainer evaluates an exported model with the code that `bert-edge` runs: same labels, same tags.
#[test]
fn the_device_answers_what_the_trainer_predicts() {
    let model = fixture().path("model.bert");
    let model = model.to_str().unwrap();
    let trainer = json("bert-trainer", ["predict", "--model", model].iter().chain(&TEXTS));
    let edge = json("bert-edge", ["tag", model].iter().chain(&TEXTS));
    let (trainer, edge) = (&trainer["predictions"], &edge["results"]);
    for (index, text) in TEXTS.iter().enumerate() {
        let (trainer, edge) = (&trainer[index], &edge[index]);
        assert_eq!(trainer["label"], edge["label"], "{text}");
        // The trainer counts a word without a piece as outside; the device has no tag for it.
        let tags = |answer: &Value| -> Vec<(String, String)> {
            let words = answer["words"].as_array().unwrap().iter();
            let field = |word: &Value, key: &str| word[key].as_str().unwrap().to_owned();
            words.map(|word| (field(word, "word"), field(word, "tag"))).collect()
        };
        assert_eq!(tags(trainer), tags(edge), "{text}");
    }
}

#[test]
fn an_exported_file_proves_itself() {
    let model = fixture().path("model.bert");
    let proof = json("bert-edge", ["selftest".as_ref(), model.as_os_str()]);
    assert_eq!(proof["ok"], true);
    assert!(proof["texts"].as_u64().unwrap() > 0);
}

/// Export is a pure function of the checkpoint, and says what it made.
#[test]
fn exporting_twice_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let again = dir.path().join("again.bert");
    let first = fixture().path("model.bert");
    let assistant = fixture().path("assistant");
    let report = json(
        "bert-trainer",
        [
            "export".as_ref(),
            "--max-length".as_ref(),
            "24".as_ref(),
            "--model".as_ref(),
            assistant.as_os_str(),
            "--output".as_ref(),
            again.as_os_str(),
        ],
    );
    let (first, again_bytes) = (std::fs::read(first).unwrap(), std::fs::read(&again).unwrap());
    assert!(first == again_bytes);
    let inspected = json("bert-edge", ["inspect".as_ref(), again.as_os_str()]);
    assert_eq!(report["model_bytes"], inspected["bytes"]);
    assert_eq!(report["scratch_bytes"], inspected["scratch_bytes"]);
    assert_eq!(inspected["max_length"], 24);
}

/// The figures of `eval` are the same whether the model file is evaluated by `export` or afterwards.
#[test]
fn export_and_eval_count_alike() {
    let dir = tempfile::tempdir().unwrap();
    let (assistant, joint) = (fixture().path("assistant"), fixture().path("joint.tsv"));
    let model = dir.path().join("model.bert");
    let exported = json(
        "bert-trainer",
        [
            "export".as_ref(),
            "--model".as_ref(),
            assistant.as_os_str(),
            "--output".as_ref(),
            model.as_os_str(),
            "--eval".as_ref(),
            joint.as_os_str(),
        ],
    );
    let evaluated = json(
        "bert-trainer",
        [
            "eval".as_ref(),
            "--model".as_ref(),
            model.as_os_str(),
            "--data".as_ref(),
            joint.as_os_str(),
        ],
    );
    assert_eq!(exported["eval"]["metrics"], evaluated["metrics"]);
    assert_eq!(evaluated["task"], "joint");
    assert_eq!(evaluated["examples"], 40);
}

/// `--json` means one object on stdout and nothing else; without it there are lines for a person.
#[test]
fn without_json_there_are_lines() {
    let model = fixture().path("model.bert");
    let model = model.to_str().unwrap();
    let outcome = command::run("bert-trainer", ["predict", "--model", model, TEXTS[0]]);
    assert_eq!(outcome.code, Some(0));
    assert_eq!(outcome.stdout.lines().count(), 1, "{}", outcome.stdout);
    assert!(outcome.stdout.starts_with(TEXTS[0]));
}

/// A second phase of pre-training begins with the parameters of the first, and that decides the run.
#[test]
fn a_second_phase_goes_on_from_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = |output: &str, origin: (&str, &str)| {
        let mut arguments: Vec<OsString> = vec!["pretrain".into()];
        let mut add = |flag: &str, value: OsString| arguments.extend([flag.into(), value]);
        add("--data", fixture().path("shards").into());
        add("--output", dir.path().join(output).into());
        add(origin.0, fixture().path(origin.1).into());
        for (flag, value) in [("--steps", "1"), ("--batch-size", "4"), ("--max-length", "16")] {
            add(flag, value.into());
        }
        // A step of rate 0 changes nothing, so the result is the beginning.
        add("--learning-rate", "0".into());
        arguments
    };
    json("bert-trainer", arguments("second", ("--model", "pretrained")));
    let first = LoadedCheckpoint::open(&fixture().path("pretrained")).unwrap();
    let second = LoadedCheckpoint::open(&dir.path().join("second")).unwrap();
    assert!(first.values() == second.values());

    let refused = |output: &str, origin: (&str, &str), reason: &str| {
        let arguments = arguments(output, origin).into_iter().chain(["--resume".into()]);
        let outcome = command::run("bert-trainer", arguments);
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(reason), "{}", outcome.stderr);
    };
    refused("second", ("--config", "config.json"), "cannot resume");
    refused("third", ("--model", "assistant"), "expected a pre-trained checkpoint");
    refused("third", ("--model", "nowhere"), "nowhere");
    assert!(!dir.path().join("third").exists());
}
