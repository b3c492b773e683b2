//! `bert-trainer embed`: vectors of a checkpoint are those of Transformers' hidden states
//! (`tests/golden/make_features.py`), vectors of a model file those of `bert-edge`, and the two of one
//! model point the same way.

#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bert_tests::command::{self, Outcome, json};
use bert_tests::fixture::fixture;
use bert_tests::golden::{self, relative_error};
use safetensors::SafeTensors;
use serde_json::Value;

/// Relative error of a vector in its Euclidean norm; Transformers computes in f64 here.
const MAX_RELATIVE_ERROR: f64 = 1e-4;
/// Cosine of a vector in f32 and in int8.
const MIN_COSINE: f64 = 0.99;

const TEXTS: [&str; 4] = ["turn on the lamp in the attic", "Is the FAN on?", "é 中 42", ""];

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
}

fn embed(model: &Path, more: &[&str]) -> Value {
    json("bert-trainer", ["embed", "--model", model.to_str().unwrap()].iter().chain(more))
}

fn vectors(answer: &Value) -> Vec<Vec<f32>> {
    answer["results"].as_array().unwrap().iter().map(|one| numbers(&one["vector"])).collect()
}

#[test]
fn vectors_of_a_checkpoint_are_transformers_hidden_states() {
    let facts = golden::json("features.json");
    let facts = facts["vectors"].as_array().unwrap();
    let texts: Vec<&str> = facts.iter().map(|fact| fact["text"].as_str().unwrap()).collect();
    let names = facts[0]["vectors"].as_object().unwrap().keys();
    let mut compared = 0;
    for name in names {
        let (pooling, layers) = name.split_once(' ').unwrap();
        let options = ["--pooling", pooling, "--layers", layers];
        let answer = embed(&golden::folder().join("features"), &[&options[..], &texts].concat());
        for ((found, fact), vector) in
            answer["results"].as_array().unwrap().iter().zip(facts).zip(vectors(&answer))
        {
            assert_eq!((&found["text"], &found["tokens"]), (&fact["text"], &fact["tokens"]));
            assert_eq!(found["truncated"], fact["text"].as_str().unwrap().starts_with("music"));
            let error = relative_error(&vector, &numbers(&fact["vectors"][name]), 0.0);
            assert!(error <= MAX_RELATIVE_ERROR, "{name} of {}: {error:.2e}", found["text"]);
            compared += 1;
        }
    }
    assert_eq!(compared, 2 * (1 + 6 + 2) * texts.len());
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    product(a, b) / (product(a, a) * product(b, b)).sqrt()
}

#[test]
fn f32_and_int8_point_the_same_way() {
    let (assistant, exported) = (fixture().path("assistant"), fixture().path("model.bert"));
    for pooling in ["mean", "cls"] {
        for layers in ["last", "0", "1", "2"] {
            let options = ["--pooling", pooling, "--layers", layers];
            let host = [&options[..], &["--max-length", "24"], &TEXTS].concat();
            let host = vectors(&embed(&assistant, &host));
            let device = vectors(&embed(&exported, &[&options[..], &TEXTS].concat()));
            for ((host, device), text) in host.iter().zip(&device).zip(TEXTS) {
                let found = cosine(host, device);
                assert!(found >= MIN_COSINE, "{pooling} {layers} {text:?}: cosine {found}");
            }
            // The fixture's [CLS] has hardly learnt to tell texts apart; means of tokens differ.
            if pooling == "mean" {
                assert!(cosine(&host[0], &device[0]) > cosine(&host[0], &device[2]));
            }
        }
    }
}

#[test]
fn a_model_file_gives_the_vectors_of_the_device() {
    let exported = fixture().path("model.bert");
    let options = ["--pooling", "cls", "--layers", "1", "--normalize"];
    let found = embed(&exported, &[&options[..], &TEXTS].concat());
    let head = ["embed", exported.to_str().unwrap()];
    let device = json("bert-edge", head.iter().chain(&options).chain(&TEXTS));
    assert_eq!(found["results"], device["results"]);
    // Shorter texts on request, and the rest is cut.
    let short = embed(&exported, &["--max-length", "4", TEXTS[0]]);
    assert_eq!(
        (&short["results"][0]["tokens"], &short["results"][0]["truncated"]),
        (&4.into(), &true.into())
    );
}

/// Rows and width of a file in NumPy's format, and its numbers; written from the format's definition.
fn read_npy(path: &Path) -> (usize, usize, Vec<f32>) {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let length = u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    assert!((10 + length).is_multiple_of(64));
    let head = str::from_utf8(&bytes[10..10 + length]).unwrap();
    let shape = head
        .trim_end()
        .strip_prefix("{'descr': '<f4', 'fortran_order': False, 'shape': (")
        .and_then(|rest| rest.strip_suffix("), }"))
        .unwrap();
    let (rows, width) = shape.split_once(", ").unwrap();
    let numbers = bytes[10 + length..].chunks_exact(4);
    let numbers = numbers.map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    (rows.parse().unwrap(), width.parse().unwrap(), numbers)
}

#[test]
fn every_file_holds_what_is_printed() {
    let place = tempfile::tempdir().unwrap();
    for model in ["pretrained", "assistant", "model.bert"] {
        let model = fixture().path(model);
        let printed = embed(&model, &[&["--normalize"], &TEXTS[..]].concat());
        let expected = vectors(&printed);
        let width = expected[0].len();
        for vector in &expected {
            assert!((cosine(vector, vector) - 1.0).abs() < 1e-6);
            let square: f64 = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            assert!((square - 1.0).abs() < 1e-5, "{square}");
        }
        let written = |name: &str| -> PathBuf {
            let path = place.path().join(name);
            let options = ["--normalize", "--output", path.to_str().unwrap()];
            let said = embed(&model, &[&options[..], &TEXTS].concat());
            assert_eq!((&said["vectors"], &said["width"]), (&4.into(), &width.into()));
            assert_eq!(said["output"], path.to_str().unwrap());
            path
        };
        assert_eq!(read_npy(&written("v.npy")), (4, width, expected.concat()));

        let bytes = std::fs::read(written("v.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensor = file.tensor("embeddings").unwrap();
        assert_eq!(tensor.shape(), [4, width]);
        let flat: Vec<u8> = expected.concat().iter().flat_map(|v| v.to_le_bytes()).collect();
        assert!(tensor.data() == flat);

        let lines = std::fs::read_to_string(written("v.jsonl")).unwrap();
        let objects: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(printed["results"], Value::from(objects));
        // The same lines on stdout without --json.
        let arguments = ["embed", "--normalize", "--model", model.to_str().unwrap()];
        let plain = command::run("bert-trainer", arguments.iter().chain(&TEXTS));
        assert_eq!(plain.stdout, lines);
    }
}

#[test]
fn texts_come_from_lines_tables_and_standard_input() {
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| -> String {
        let path = place.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let model = fixture().path("pretrained");
    let expected = vectors(&embed(&model, &["turn on the lamp", "", "fan"]));
    let lines = file("texts.txt", "turn on the lamp\n\nfan\n");
    assert_eq!(vectors(&embed(&model, &["--input", &lines])), expected);

    let expected = [expected[0].clone(), expected[2].clone()];
    let house = file("house.tsv", "on\tturn on the lamp\noff\tfan\n");
    assert_eq!(vectors(&embed(&model, &["--input", &house])), expected);
    let csv = file("table.csv", "id,said\n1,turn on the lamp\n2,\"fan\"\n");
    let column = ["--input", &csv, "--text-column", "said"];
    assert_eq!(vectors(&embed(&model, &column)), expected);
    let any = file("table.txt", "turn on the lamp\t1\nfan\t2\n");
    let column = ["--input", &any, "--text-column", "1"];
    assert_eq!(vectors(&embed(&model, &column)), expected);
    let objects = file("table.jsonl", "{\"text\": \"turn on the lamp\"}\n{\"text\": \"fan\"}\n");
    assert_eq!(vectors(&embed(&model, &["--input", &objects])), expected);

    let mut child = Command::new(command::binary("bert-trainer"))
        .args(["embed", "--json", "-", "--model", model.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"turn on the lamp\nfan\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(vectors(&answer), expected);
}

/// More tokens than one batch takes: rows stay in order and are those of the text alone.
#[test]
fn many_texts_are_as_few() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("many.txt");
    let texts: Vec<String> =
        (0..700).map(|n| format!("turn on the lamp {}", "in the attic ".repeat(n % 5))).collect();
    std::fs::write(&path, texts.join("\n")).unwrap();
    let model = fixture().path("pretrained");
    let all = vectors(&embed(&model, &["--input", path.to_str().unwrap()]));
    assert_eq!(all.len(), texts.len());
    let few: Vec<&str> = texts[..5].iter().map(String::as_str).collect();
    let few = vectors(&embed(&model, &few));
    for (index, vector) in all.iter().enumerate() {
        let error = relative_error(vector, &few[index % 5], 0.0);
        assert!(error < 1e-5, "row {index}: {error:.2e}");
    }
}

/// Whatever stands on the encoder, also a head that has no task here.
#[test]
fn every_architecture_has_vectors() {
    let place = tempfile::tempdir().unwrap();
    let heads = golden::folder().join("heads");
    let mut first: Option<Vec<Vec<f32>>> = None;
    for head in ["encoder", "encoder_pooled", "three_numbers", "question_answering", "masked_lm"] {
        let dir = place.path().join(head);
        std::fs::create_dir(&dir).unwrap();
        for (from, name) in [
            (head, "config.json"),
            (head, "model.safetensors"),
            ("masked_lm", "tokenizer.json"),
            ("masked_lm", "tokenizer_config.json"),
        ] {
            std::fs::copy(heads.join(from).join(name), dir.join(name)).unwrap();
        }
        if head == "question_answering" {
            let config = std::fs::read_to_string(dir.join("config.json")).unwrap();
            let renamed = config.replace("BertForQuestionAnswering", "BertForSomethingElse");
            assert_ne!(renamed, config);
            std::fs::write(dir.join("config.json"), renamed).unwrap();
        }
        // They share one encoder.
        let found = vectors(&embed(&dir, &["The lamp is on", "été"]));
        assert_eq!(first.get_or_insert_with(|| found.clone()), &found, "{head}");
    }
}

#[test]
fn what_cannot_be_embedded_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let (model, exported) = (fixture().path("pretrained"), fixture().path("model.bert"));
    let old = place.path().join("v.npy");
    std::fs::write(&old, "old").unwrap();
    let bad = place.path().join("bad.txt");
    std::fs::write(&bad, b"good\nbad \xff\n").unwrap();
    let table = place.path().join("table.csv");
    std::fs::write(&table, "a,b\n1,2\n").unwrap();
    let empty = place.path().join("empty.txt");
    std::fs::write(&empty, "").unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let refused = |model: &Path, more: &[&str], expected: &[&str]| {
        let output = path(&old);
        let arguments = ["embed", "--model", model.to_str().unwrap(), "--output", &output];
        let more = arguments.iter().chain(more);
        check_refused(&command::run("bert-trainer", more), expected);
    };
    for model in [&model, &exported] {
        let named = model.file_name().unwrap().to_str().unwrap();
        refused(model, &["--layers", "3", "a"], &[named, "layer 3", "2 layers"]);
        refused(model, &["--layers", "sum-last-four", "a"], &[named, "layer 4", "2 layers"]);
        refused(model, &["--max-length", "2", "a"], &["--max-length 2", named]);
        refused(model, &["--max-length", "99", "a"], &["--max-length 99", named]);
        refused(model, &["--input", &path(&bad)], &["bad.txt", "2", "UTF-8"]);
        refused(model, &["--input", &path(&empty)], &["empty.txt"]);
        let column = ["--input", &path(&table), "--text-column", "said"];
        refused(model, &column, &["table.csv", "said", "text-column"]);
    }
    refused(&place.path().join("missing"), &["a"], &["missing"]);
    assert_eq!(std::fs::read(&old).unwrap(), b"old");
    let names: Vec<_> = std::fs::read_dir(place.path()).unwrap().collect();
    assert_eq!(names.len(), 4, "{names:?}");

    let model = path(&model);
    let run = |more: &[&str]| {
        command::run("bert-trainer", ["embed", "--model", &model].iter().chain(more))
    };
    check_refused(&run(&["--output", "v.npz", "a"]), &["v.npz", ".npy, .jsonl"]);
    for usage in [vec![], vec!["--layers", "all", "a"], vec!["--input", "x", "a"]] {
        assert_eq!(run(&usage).code, Some(2), "{usage:?}");
    }
}

fn check_refused(outcome: &Outcome, expected: &[&str]) {
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert_eq!(outcome.stdout, "", "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    for part in expected {
        assert!(outcome.stderr.contains(part), "expected {part:?} in {}", outcome.stderr);
    }
}
