//! Invariant 5 without Python: what Transformers and older writers saved opens here, with every tensor
//! at its place; what is missing is named and initialized where it may be missing, and what is unknown
//! is an error.
//!
//! The directories come from `tests/golden/make_model.py` and `make_heads.py`.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use bert_tests::golden::{self, Tensors};
use bert_tests::{command, fixture};
use bert_trainer::checkpoint::WEIGHTS_FILE;
use bert_trainer::data::TextTokenizer;
use bert_trainer::data::tasks::{Labels, TaskKind, TaskLabels};
use bert_trainer::model::{
    Head, LoadedCheckpoint, ParameterTable, checkpoint_config, initial_values, name_task,
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

const POOLER: &str = "bert.pooler.";
const MLM: &str = "cls.predictions.";
const NSP: &str = "cls.seq_relationship.";

/// Directory, head, labels, and which parts it lacks.
type Expected = (&'static str, Head, &'static [&'static str], &'static [&'static str]);

const DIRECTORIES: [Expected; 12] = [
    ("pretraining", Head::Pretraining, &[], &[]),
    ("heads/masked_lm", Head::Pretraining, &[], &[POOLER, NSP]),
    ("heads/next_sentence", Head::Pretraining, &[], &[MLM]),
    ("heads/encoder", Head::Pretraining, &[], &[POOLER, MLM, NSP]),
    ("heads/encoder_pooled", Head::Pretraining, &[], &[MLM, NSP]),
    ("classification", Head::Classify { labels: 4 }, &["lamp", "music", "timer", "weather"], &[]),
    ("heads/weighted", Head::Classify { labels: 4 }, &["lamp", "music", "timer", "weather"], &[]),
    (
        "heads/multi_label",
        Head::MultiLabel { labels: 4 },
        &["lamp", "music", "timer", "weather"],
        &[],
    ),
    ("heads/one_number", Head::Regress { outputs: 1 }, &["LABEL_0"], &[]),
    ("tagging", Head::Tag { labels: 5 }, &["O", "B-room", "I-room", "B-device", "I-device"], &[]),
    ("heads/tagging", Head::Tag { labels: 3 }, &["O", "B-room", "I-room"], &[]),
    ("heads/question_answering", Head::Span, &[], &[]),
];

#[test]
fn what_transformers_saved_opens_here() {
    for (name, head, labels, lacks) in DIRECTORIES {
        let loaded = LoadedCheckpoint::open(&golden::folder().join(name)).unwrap();
        assert_eq!(loaded.head, head, "{name}");
        assert_eq!(loaded.task.is_none(), head == Head::Pretraining, "{name}");
        assert_eq!(loaded.config.labels.as_deref().unwrap_or(&[]), labels, "{name}");
        let stored = Tensors::open(&format!("{name}/{WEIGHTS_FILE}"));
        let names = stored.names("");
        for parameter in ParameterTable::new(&loaded.config, &head).parameters() {
            // `BertModel` alone saves without `bert.`.
            let bare = parameter.name.strip_prefix("bert.").unwrap_or_default().to_string();
            let in_file = [&parameter.name, &bare].into_iter().find(|name| names.contains(name));
            let missing = loaded.missing.contains(&parameter.name);
            let optional = lacks.iter().any(|part| parameter.name.starts_with(part));
            assert_eq!((in_file.is_none(), missing), (optional, optional), "{}", parameter.name);
            if let Some(in_file) = in_file {
                let found = loaded.tensor(&parameter.name).unwrap();
                assert!(found == stored.f32(in_file), "{name}: {}", parameter.name);
            }
        }
    }
}

#[test]
fn what_is_missing_is_named() {
    let note = |name: &str| {
        let dir = golden::folder().join(name);
        LoadedCheckpoint::open(&dir).unwrap().missing_note(&dir)
    };
    assert_eq!(note("pretraining"), None);
    let said = note("heads/masked_lm").unwrap();
    assert!(
        said.ends_with("has no pooler and head of next sentence prediction; initialized instead")
    );
    assert!(said.contains("heads/masked_lm: "), "{said}");
    assert!(note("heads/next_sentence").unwrap().contains("no head of the masked language model;"));
}

#[test]
fn a_cased_tokenizer_keeps_the_case() {
    let tokenizer = TextTokenizer::open(&golden::folder().join("heads/masked_lm")).unwrap();
    let special = tokenizer.special();
    for case in golden::json("heads.json")["cased"].as_array().unwrap() {
        let mut ids = vec![special.cls];
        tokenizer.encode(case["text"].as_str().unwrap(), &mut ids);
        ids.push(special.sep);
        let expected: Vec<u32> =
            case["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        assert_eq!(ids, expected, "{}", case["text"]);
    }
}

/// A tensor of a file under another name, or of another content.
type Stored = (Dtype, Vec<usize>, Vec<u8>);

/// A copy of the golden directory `name` with the tensors that `edit` leaves.
fn edited(name: &str, dir: &Path, edit: impl FnOnce(&mut BTreeMap<String, Stored>)) {
    let source = golden::folder().join(name);
    fixture::copy_directory(&source, dir);
    let bytes = std::fs::read(source.join(WEIGHTS_FILE)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: BTreeMap<String, Stored> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec())))
        .collect();
    edit(&mut tensors);
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    std::fs::write(dir.join(WEIGHTS_FILE), safetensors::serialize(views, None).unwrap()).unwrap();
}

/// The names of checkpoints that were converted from google-research/bert, and what Transformers
/// wrote beside the parameters in its years.
#[test]
fn older_names_and_duplicates_open_here() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("old");
    edited("pretraining", &dir, |tensors| {
        for (name, stored) in std::mem::take(tensors) {
            let norm = name.contains("LayerNorm");
            let old = match name.rsplit_once('.') {
                Some((stem, "weight")) if norm => format!("{stem}.gamma"),
                Some((stem, "bias")) if norm => format!("{stem}.beta"),
                _ => name,
            };
            tensors.insert(old, stored);
        }
        for (copy, original) in [
            ("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
            ("cls.predictions.decoder.bias", "cls.predictions.bias"),
        ] {
            tensors.insert(copy.into(), tensors[original].clone());
        }
        let positions = (0..40i64).flat_map(i64::to_le_bytes).collect();
        let ids = (Dtype::I64, vec![1, 40], positions);
        tensors.insert("bert.embeddings.position_ids".into(), ids.clone());
        tensors.insert("bert.embeddings.token_type_ids".into(), ids);
    });
    let (old, new) = (
        LoadedCheckpoint::open(&dir).unwrap(),
        LoadedCheckpoint::open(&golden::folder().join("pretraining")).unwrap(),
    );
    assert!(old.missing.is_empty() && old.values() == new.values());

    // An encoder that was saved with its decoder's copy alone.
    let dir = place.path().join("renamed");
    edited("pretraining", &dir, |tensors| {
        let words = tensors.remove("bert.embeddings.word_embeddings.weight").unwrap();
        tensors.insert("cls.predictions.decoder.weight".into(), words);
    });
    assert!(LoadedCheckpoint::open(&dir).unwrap().values() == new.values());
}

#[test]
fn what_does_not_belong_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    let check = |name: &str, says: &str, edit: &dyn Fn(&mut BTreeMap<String, Stored>)| {
        let dir = place.path().join(says.replace(' ', "-"));
        edited(name, &dir, edit);
        let error = LoadedCheckpoint::open(&dir).err().unwrap().to_string();
        assert!(error.contains("model.safetensors: ") && error.contains(says), "{error}");
    };
    let some = || (Dtype::F32, vec![1], vec![0; 4]);
    check("pretraining", "no place for: bert.encoder.layer.0.adapter, lstm", &|tensors| {
        tensors.insert("bert.encoder.layer.0.adapter".into(), some());
        tensors.insert("lstm".into(), some());
    });
    check("pretraining", "no place for: bert.encoder.layer.2.output.dense.bias", &|tensors| {
        tensors.insert("bert.encoder.layer.2.output.dense.bias".into(), some());
    });
    // Only pre-trained models may lack what stands on the encoder.
    check("classification", "lacks 1 tensors the model needs: classifier.bias", &|tensors| {
        tensors.remove("classifier.bias");
    });
    check("classification", "needs: bert.pooler.dense.weight", &|tensors| {
        tensors.remove("bert.pooler.dense.weight");
    });
    check("heads/encoder", "needs: bert.encoder.layer.0.output.dense.bias", &|tensors| {
        tensors.remove("encoder.layer.0.output.dense.bias");
    });
    // A head that is not asked for is left aside.
    let dir = place.path().join("more");
    edited("heads/tagging", &dir, |tensors| {
        tensors.insert("bert.pooler.dense.bias".into(), (Dtype::F32, vec![8], vec![0; 32]));
        tensors.insert("qa_outputs.bias".into(), (Dtype::F32, vec![2], vec![0; 8]));
    });
    LoadedCheckpoint::open(&dir).unwrap();
}

/// Another number of labels, or other labels, begin with a new head; the same ones go on.
#[test]
fn a_head_is_kept_for_its_own_labels() {
    let dir = golden::folder().join("classification");
    let file = Tensors::open(&format!("classification/{WEIGHTS_FILE}"));
    let under = |names: &[&str]| {
        let labels = Labels::in_order(names.iter().map(ToString::to_string).collect());
        let labels = TaskLabels { classes: Some(labels), tags: None };
        let mut config = checkpoint_config(&dir).unwrap();
        name_task(&mut config, TaskKind::Pair, &labels);
        let head = Head::Classify { labels: names.len() };
        let task = (TaskKind::Pair, labels);
        LoadedCheckpoint::with_new_head(&dir, config, head, task, 7).unwrap()
    };
    let classifier =
        |loaded: &LoadedCheckpoint| loaded.tensor("classifier.weight").unwrap().to_vec();
    let same = under(&["lamp", "music", "timer", "weather"]);
    assert_eq!(classifier(&same), file.f32("classifier.weight"));
    for names in [&["lamp", "music", "timer", "water"][..], &["no", "yes"]] {
        let loaded = under(names);
        let table = ParameterTable::new(&loaded.config, &loaded.head);
        let drawn = initial_values(&table, &loaded.config, 7);
        let range = table.find("classifier.weight").unwrap().range();
        assert_eq!(classifier(&loaded), drawn[range], "{names:?}");
        assert!(loaded.missing.is_empty());
        let pooler = loaded.tensor("bert.pooler.dense.weight").unwrap();
        assert_eq!(pooler, file.f32("bert.pooler.dense.weight"));
    }
}

/// The encoder alone, with a cased vocabulary, becomes a classifier; stderr says that it had no pooler.
#[test]
fn an_encoder_without_pooler_is_finetuned() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    fixture::copy_directory(&golden::folder().join("heads/encoder"), &at("encoder"));
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        let source = golden::folder().join("heads/masked_lm").join(file);
        std::fs::copy(source, at("encoder").join(file)).unwrap();
    }
    std::fs::write(at("train.tsv"), "on\tThe lamp is on\noff\tthe Lamp , ?\n".repeat(4)).unwrap();
    let finetune = |model: &str, output: &str| {
        let paths = [at("train.tsv"), at("train.tsv"), at(model), at(output)];
        let flags = ["--train", "--eval", "--model", "--output"];
        let paths = flags.iter().zip(&paths);
        let paths = paths.flat_map(|(flag, path)| [flag.into(), path.as_os_str().to_owned()]);
        let fixed = ["finetune", "--task", "classify", "--epochs", "1"];
        let outcome = command::run("bert-trainer", fixed.iter().map(Into::into).chain(paths));
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome.stderr
    };
    let said = finetune("encoder", "classifier");
    let line = said.lines().find(|line| line.contains("has no ")).unwrap();
    assert!(line.starts_with("finetune: ") && line.contains("encoder: has no pooler;"), "{line}");
    assert!(!finetune("classifier", "again").contains("has no "));
    assert!(!TextTokenizer::open(&at("classifier")).unwrap().config().lower_case);
}
