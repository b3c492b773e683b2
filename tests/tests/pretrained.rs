//! What a pre-trained model knows, asked through the binary: pieces for `[MASK]` and next sentences, as
//! Transformers answers them (`tests/golden/make_features.py`).

#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bert_tests::command::{self, Outcome, json};
use bert_tests::fixture::fixture;
use bert_tests::golden::{self, number};
use serde_json::Value;

/// Of a probability; both sides compute in f32 or better.
const MAX_ERROR: f64 = 1e-5;

fn features() -> PathBuf {
    golden::folder().join("features")
}

fn predict(model: &Path, task: &str, more: &[&str], texts: &[&str]) -> Value {
    let model = model.to_str().unwrap();
    let head = ["predict", "--model", model, "--task", task];
    json("bert-trainer", head.iter().chain(more).chain(texts))["predictions"].clone()
}

fn refused(model: &Path, task: &str, more: &[&str], texts: &[&str], expected: &[&str]) {
    let model = model.to_str().unwrap();
    let head = ["predict", "--model", model, "--task", task];
    let outcome = command::run("bert-trainer", head.iter().chain(more).chain(texts));
    check_refused(&outcome, expected);
}

fn check_refused(outcome: &Outcome, expected: &[&str]) {
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert_eq!(outcome.stdout, "", "{outcome:?}");
    // A note on the heads that a checkpoint lacks may stand before the one line of the error.
    let errors = outcome.stderr.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(errors, 1, "{outcome:?}");
    assert!(outcome.stderr.lines().last().is_some_and(|line| line.starts_with("error: ")));
    for part in expected {
        assert!(outcome.stderr.contains(part), "expected {part:?} in {}", outcome.stderr);
    }
}

#[test]
fn masks_get_the_pieces_that_transformers_gives() {
    let facts = golden::json("features.json");
    let facts = facts["fill_mask"].as_array().unwrap();
    let texts: Vec<&str> = facts.iter().map(|fact| fact["text"].as_str().unwrap()).collect();
    let found = predict(&features(), "fill-mask", &["--top", "4"], &texts);
    assert_eq!(found.as_array().unwrap().len(), facts.len());
    let mut whole = 0;
    for (found, expected) in found.as_array().unwrap().iter().zip(facts) {
        let text = found["text"].as_str().unwrap();
        assert_eq!(expected["text"], text);
        let (masks, expected_masks) = (found["masks"].as_array().unwrap(), &expected["masks"]);
        assert_eq!(masks.len(), expected_masks.as_array().unwrap().len(), "{text}");
        for (mask, expected) in masks.iter().zip(expected_masks.as_array().unwrap()) {
            let range = ["start", "end"].map(|key| mask[key].as_u64().unwrap() as usize);
            assert_eq!(&text[range[0]..range[1]], "[MASK]");
            let candidates = mask["candidates"].as_array().unwrap();
            assert_eq!(candidates.len(), 4);
            for (found, expected) in candidates.iter().zip(expected.as_array().unwrap()) {
                assert_eq!(found["piece"], expected["piece"], "{text}");
                assert_eq!(found["id"], expected["id"], "{text}");
                let error = number(&found["probability"]) - number(&expected["probability"]);
                assert!(error.abs() < MAX_ERROR, "{text}: {found} for {expected}");
            }
        }
        if let Some(filled) = expected["filled"].as_str() {
            assert_eq!(found["filled"], filled);
            whole += 1;
        }
    }
    assert!(whole >= 2);
}

#[test]
fn next_sentences_are_as_probable_as_transformers_says() {
    let facts = golden::json("features.json");
    let max_length = facts["max_length"].to_string();
    let facts = facts["next_sentence"].as_array().unwrap();
    let pair = |fact: &Value| format!("{}\t{}", text(&fact["a"]), text(&fact["b"]));
    let texts: Vec<String> = facts.iter().map(pair).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let found = predict(&features(), "nsp", &["--max-length", &max_length], &texts);
    for (found, expected) in found.as_array().unwrap().iter().zip(facts) {
        assert_eq!((&found["text"], &found["second"]), (&expected["a"], &expected["b"]));
        let error = number(&found["probability"]) - number(&expected["probability"]);
        assert!(error.abs() < MAX_ERROR, "{found} for {expected}");
    }
    // The pairs differ, or this would prove little.
    let spread = |end: fn(f64, f64) -> f64, start: f64| {
        facts.iter().map(|fact| number(&fact["probability"])).fold(start, end)
    };
    assert!(spread(f64::max, 0.0) - spread(f64::min, 1.0) > 0.05);
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Texts of several batches come back in their order, one line a text and one a mask.
#[test]
fn lines_of_standard_input_are_answered_in_order() {
    let model = fixture().path("pretrained");
    let mut child = Command::new(command::binary("bert-trainer"))
        .args(["predict", "--task", "fill-mask", "--top", "2", "-", "--model"])
        .arg(&model)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let rooms = ["kitchen", "attic", "garage"];
    let lines: Vec<String> = (0..37)
        .map(|index| format!("{index} turn on the [MASK] in the {}", rooms[index % 3]))
        .collect();
    child.stdin.take().unwrap().write_all(lines.join("\n").as_bytes()).unwrap();
    let outcome: Outcome = child.wait_with_output().unwrap().into();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let out: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(out.len(), 2 * lines.len());
    for (index, pair) in out.chunks(2).enumerate() {
        assert!(pair[0].starts_with(&format!("{index} turn on the")), "{}", pair[0]);
        assert!(pair[0].ends_with(rooms[index % 3]), "{}", pair[0]);
        assert!(pair[1].starts_with("  [MASK] 1\t"), "{}", pair[1]);
        assert_eq!(pair[1].split('\t').count(), 3);
    }
    // A batch's answers do not depend on its other texts.
    let alone = predict(&model, "fill-mask", &["--top", "2"], &[&lines[20]]);
    assert_eq!(alone[0]["filled"], out[40]);
    let found = &alone[0]["masks"][0]["candidates"][0];
    let shown = format!("{} {:.4}", text(&found["piece"]), number(&found["probability"]));
    assert_eq!(out[41].split('\t').nth(1), Some(shown.as_str()));
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let (model, golden) = (features(), golden::folder());
    let mask = "turn on the [MASK]";
    refused(&model, "fill-mask", &[], &[mask, "turn on the lamp"], &["text 2", "[MASK]"]);
    refused(
        &model,
        "fill-mask",
        &["--max-length", "5"],
        &["a b c d [MASK]"],
        &["text 1", "--max-length 5"],
    );
    refused(&model, "nsp", &[], &["a\tb", "a b"], &["text 2", "a<TAB>b"]);
    refused(&model, "nsp", &[], &["a\tb\tc"], &["text 1", "a<TAB>b"]);

    // A masked language model does not know sentences, and a bare encoder neither.
    let place = tempfile::tempdir().unwrap();
    let with_tokenizer = |head: &str| -> PathBuf {
        let dir = place.path().join(head);
        std::fs::create_dir(&dir).unwrap();
        for (from, name) in [
            (head, "config.json"),
            (head, "model.safetensors"),
            ("masked_lm", "tokenizer.json"),
            ("masked_lm", "tokenizer_config.json"),
        ] {
            std::fs::copy(golden.join("heads").join(from).join(name), dir.join(name)).unwrap();
        }
        dir
    };
    let masked_lm = with_tokenizer("masked_lm");
    predict(&masked_lm, "fill-mask", &[], &["The lamp is [MASK]"]);
    refused(&masked_lm, "nsp", &[], &["a\tb"], &["masked_lm", "lacks", "BertForNextSentence"]);
    let next_sentence = with_tokenizer("next_sentence");
    predict(&next_sentence, "nsp", &[], &["The lamp\tis on"]);
    refused(
        &next_sentence,
        "fill-mask",
        &[],
        &[mask],
        &["next_sentence", "lacks", "BertForMaskedLM"],
    );
    let encoder = with_tokenizer("encoder_pooled");
    refused(&encoder, "fill-mask", &[], &[mask], &["encoder_pooled", "lacks", "cls.predictions"]);
    refused(&encoder, "nsp", &[], &["a\tb"], &["encoder_pooled", "lacks", "cls.seq_relationship"]);

    let assistant = fixture().path("assistant");
    refused(&assistant, "fill-mask", &[], &[mask], &["assistant", "fill-mask", "joint"]);
    let exported = fixture().path("model.bert");
    refused(&exported, "fill-mask", &[], &[mask], &["model.bert", "fill-mask", "checkpoint"]);
    refused(&exported, "tag", &[], &["a"], &["model.bert", "--task tag", "joint"]);
    refused(&fixture().path("pretrained"), "pair", &[], &["a\tb"], &["pretrained", "fill-mask"]);
    let none = ["predict", "--model", exported.to_str().unwrap(), "--task", "juggle", "a"];
    let outcome = command::run("bert-trainer", none);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("fill-mask") && outcome.stderr.contains("nsp"));
}
