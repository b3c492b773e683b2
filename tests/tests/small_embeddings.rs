//! Smaller word tables, through the real binaries: int4, a vocabulary pruned at export, and a
//! checkpoint pruned before it is fine-tuned. What is kept answers with the same bits.

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bert_core::{Model, ScratchVec, Session};
use bert_tests::command::{self, json};
use bert_tests::fixture::{copy_directory, fixture};
use bert_tests::golden;
use bert_trainer::checkpoint::{TOKENIZER_FILES, WEIGHTS_FILE};
use bert_trainer::data::TextTokenizer;
use bert_trainer::model::LoadedCheckpoint;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use tempfile::TempDir;

/// Kind of the word table's section.
const WORD_TABLE: u64 = 4;

fn arguments<'a>(command: &'a str, paths: &'a [(&str, &Path)]) -> Vec<OsString> {
    let named = paths.iter().flat_map(|(option, path)| [option.into(), path.as_os_str().into()]);
    [OsString::from(command)].into_iter().chain(named).collect()
}

/// Exports a checkpoint of the fixture or another one, and gives the report and the file.
fn export(dir: &TempDir, model: &Path, options: &[(&str, &Path)]) -> (Value, Vec<u8>) {
    let output = dir.path().join("model.bert");
    let own = [("--model", model), ("--output", &output), ("--max-length", Path::new("24"))];
    let report = json("bert-trainer", arguments("export", &[&own[..], options].concat()));
    (report, std::fs::read(output).unwrap())
}

fn prune(model: &Path, data: &Path, output: &Path) -> Value {
    let paths = [("--model", model), ("--data", data), ("--output", output)];
    json("bert-trainer", arguments("prune", &paths))
}

/// CRC of all logits of each text.
fn outputs(file: &[u8], texts: &[String]) -> Vec<u32> {
    let model = Model::parse(file).unwrap();
    let mut scratch = ScratchVec::of(&model);
    let mut session = Session::new(&model, &mut scratch).unwrap();
    session.self_test().unwrap();
    texts.iter().map(|text| session.output_crc(text).unwrap()).collect()
}

fn utterances() -> Vec<String> {
    let joint = std::fs::read_to_string(fixture().path("joint.tsv")).unwrap();
    joint.lines().map(|line| line.split('\t').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn each_option_makes_the_word_table_smaller() {
    let dir = tempfile::tempdir().unwrap();
    let (assistant, joint) = (fixture().path("assistant"), fixture().path("joint.tsv"));
    let int4 = ("--embeddings", Path::new("int4"));
    let pruned = ("--prune-vocabulary", joint.as_path());
    let mut sizes = Vec::new();
    for (options, encoding) in
        [(vec![], 1), (vec![int4], 3), (vec![pruned], 1), (vec![int4, pruned], 3)]
    {
        let (report, file) = export(&dir, &assistant, &options);
        let path = dir.path().join("model.bert");
        let inspected = json("bert-edge", ["inspect".as_ref(), path.as_os_str()]);
        let sections = inspected["sections"].as_array().unwrap();
        let table = sections.iter().find(|section| section["kind"] == WORD_TABLE).unwrap();
        assert_eq!(table["encoding"], encoding);
        assert_eq!(table["bytes"], report["word_table_bytes"]["after"]);
        assert_eq!(inspected["vocabulary"], report["pieces"]["after"]);
        assert_eq!(report["model_bytes"], file.len());
        assert_eq!(report["costs"], Value::Null);
        sizes.push([
            file.len() as u64,
            report["word_table_bytes"]["after"].as_u64().unwrap(),
            report["pieces"]["after"].as_u64().unwrap(),
        ]);
        for key in ["pieces", "word_table_bytes"] {
            let whole = sizes[0][if key == "pieces" { 2 } else { 1 }];
            assert_eq!(report[key]["before"], whole, "{key}");
        }
        let proof = json("bert-edge", ["selftest".as_ref(), path.as_os_str()]);
        assert_eq!(proof["ok"], true);
    }
    let [plain, int4, pruned, both] = [sizes[0], sizes[1], sizes[2], sizes[3]];
    assert!(int4[1] * 2 < plain[1] + plain[1] / 8 && int4[2] == plain[2], "{sizes:?}");
    assert!(pruned[1] < plain[1] && pruned[2] < plain[2] && both[2] == pruned[2], "{sizes:?}");
    for smaller in [int4, pruned] {
        assert!(both[0] < smaller[0] && smaller[0] < plain[0], "{sizes:?}");
        assert!(both[1] < smaller[1] && smaller[1] < plain[1], "{sizes:?}");
    }
    // Without the options the bytes are those they always were.
    let model = std::fs::read(fixture().path("model.bert")).unwrap();
    assert!(export(&dir, &assistant, &[("--embeddings", Path::new("int8"))]).1 == model);
}

#[test]
fn texts_whose_pieces_are_kept_have_the_same_answers() {
    let dir = tempfile::tempdir().unwrap();
    let (assistant, joint) = (fixture().path("assistant"), fixture().path("joint.tsv"));
    let plain = std::fs::read(fixture().path("model.bert")).unwrap();
    let texts = utterances();
    let expected = outputs(&plain, &texts);
    let (_, pruned) = export(&dir, &assistant, &[("--prune-vocabulary", &joint)]);
    assert_eq!(outputs(&pruned, &texts), expected);
    // Of a word that nobody used, its characters are left.
    let unseen = ["yes , it is still on now ?".to_owned()];
    assert_ne!(outputs(&pruned, &unseen), outputs(&plain, &unseen));
    let model = Model::parse(&pruned).unwrap();
    for piece in ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "y", "##e", "?", "attic"] {
        assert!(model.vocabulary().id(piece.as_bytes()).is_some(), "{piece}");
    }
    assert_eq!(model.vocabulary().id(b"yes"), None);

    // The same pieces leave in the same order, whether before or at the export.
    let small = dir.path().join("small");
    let report = prune(&assistant, &joint, &small);
    assert_eq!(report["texts"], texts.len());
    let (_, before) = export(&dir, &small, &[]);
    assert!(before == pruned);
    let int4 = ("--embeddings", Path::new("int4"));
    let (_, both) = export(&dir, &assistant, &[("--prune-vocabulary", &joint), int4]);
    let (_, before) = export(&dir, &small, &[int4]);
    assert!(before == both);
    // With several files nothing that one of them uses is missing, and all of them are the whole.
    let corpus = dir.path().join("all.tsv");
    std::fs::write(&corpus, format!("switch_on\t{}\tO O O O O O O O\n", unseen[0])).unwrap();
    let several = [("--prune-vocabulary", joint.as_path()), ("--prune-vocabulary", &corpus)];
    let (_, several) = export(&dir, &assistant, &several);
    for texts in [&texts[..], &unseen] {
        assert_eq!(outputs(&several, texts), outputs(&plain, texts));
    }
}

#[test]
fn evaluation_says_what_each_option_costs() {
    let dir = tempfile::tempdir().unwrap();
    let (assistant, joint) = (fixture().path("assistant"), fixture().path("joint.tsv"));
    let eval = ("--eval", joint.as_path());
    let int4 = ("--embeddings", Path::new("int4"));
    let pruned = ("--prune-vocabulary", joint.as_path());
    let plain = export(&dir, &assistant, &[eval]).0;
    assert_eq!(plain["costs"], Value::Null);
    for (options, expected) in [
        (vec![eval, int4], vec![("int8", false), ("int4", false)]),
        (vec![eval, pruned], vec![("int8", false), ("int8", true)]),
        (
            vec![eval, int4, pruned],
            vec![("int8", false), ("int4", false), ("int8", true), ("int4", true)],
        ),
    ] {
        let (report, file) = export(&dir, &assistant, &options);
        let costs = report["costs"].as_array().unwrap();
        let kinds = costs
            .iter()
            .map(|cost| (cost["embeddings"].as_str().unwrap(), cost["pruned"].as_bool().unwrap()));
        assert_eq!(kinds.collect::<Vec<_>>(), expected);
        let (first, last) = (&costs[0], costs.last().unwrap());
        assert_eq!(first["metrics"], plain["eval"]["metrics"]);
        assert_eq!(first["model_bytes"], plain["model_bytes"]);
        assert_eq!(first["word_table_bytes"], report["word_table_bytes"]["before"]);
        assert_eq!(last["metrics"], report["eval"]["metrics"]);
        assert_eq!(
            (&last["model_bytes"], &last["pieces"]),
            (&file.len().into(), &report["pieces"]["after"])
        );
        // Pruned by the very texts it is asked about, a model answers as it did.
        for cost in costs.iter().filter(|cost| cost["pruned"] == true) {
            let same = costs.iter().find(|other| {
                other["pruned"] == false && other["embeddings"] == cost["embeddings"]
            });
            assert!(same.is_none_or(|same| same["metrics"] == cost["metrics"]), "{costs:?}");
        }
        let path = dir.path().join("model.bert");
        let again =
            json("bert-trainer", arguments("eval", &[("--model", &path), ("--data", &joint)]));
        assert_eq!(again["metrics"], report["eval"]["metrics"]);
    }
    // The lines for a person have a row for each.
    let output = dir.path().join("model.bert");
    let own = [("--model", assistant.as_path()), ("--output", &output), eval, int4, pruned];
    let said = command::run("bert-trainer", arguments("export", &own)).stdout;
    for part in
        ["vocabulary: ", "word table: ", "int8 whole", "int4 whole", "int8 pruned", "int4 pruned"]
    {
        assert_eq!(said.matches(part).count(), 1, "{part}: {said}");
    }
}

/// Bytes of the tensors of a checkpoint by name.
fn tensors(dir: &Path) -> Vec<(String, Vec<usize>, Vec<u8>)> {
    let bytes = std::fs::read(dir.join(WEIGHTS_FILE)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<_> = file
        .iter()
        .map(|(name, view)| (name.to_owned(), view.shape().to_vec(), view.data().to_vec()))
        .collect();
    tensors.sort();
    tensors
}

/// A copy of a checkpoint that holds what is tied twice, as some save it.
fn with_a_decoder_of_its_own(dir: &Path, copy: &Path) {
    copy_directory(dir, copy);
    let mut all = tensors(dir);
    for (name, twice) in [
        ("bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"),
        ("cls.predictions.bias", "cls.predictions.decoder.bias"),
    ] {
        let (_, shape, data) = all.iter().find(|(found, ..)| found == name).unwrap().clone();
        all.push((twice.to_owned(), shape, data));
    }
    let views = all.iter().map(|(name, shape, data)| {
        (name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap())
    });
    std::fs::write(copy.join(WEIGHTS_FILE), safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Whoever wrote the checkpoint: the tensors with a row a piece lose rows, all others stay.
#[test]
fn a_pruned_checkpoint_has_the_rows_of_its_pieces() {
    let place = tempfile::tempdir().unwrap();
    let golden = ["pretraining", "heads/masked_lm", "features", "classification"];
    let foreign = golden.map(|name| golden::folder().join(name));
    let tied = place.path().join("tied");
    with_a_decoder_of_its_own(&fixture().path("pretrained"), &tied);
    for (number, dir) in [fixture().path("pretrained"), fixture().path("assistant"), tied]
        .into_iter()
        .chain(foreign)
        .enumerate()
    {
        let tokenizer = TextTokenizer::open(&dir).unwrap();
        let texts = place.path().join("texts.txt");
        std::fs::write(&texts, "turn on the lamp\nand the radio\n").unwrap();
        // Fine-tuned models read files of their task.
        let table = place.path().join("table.tsv");
        let row = if dir == fixture().path("assistant") {
            "a\tturn on\tO O\n"
        } else {
            "lamp\tturn on the lamp\n"
        };
        std::fs::write(&table, row).unwrap();
        let is_tuned = LoadedCheckpoint::open(&dir).unwrap().task.is_some();
        let output = place.path().join(format!("small-{number}"));
        let report = prune(&dir, if is_tuned { &table } else { &texts }, &output);

        let small = TextTokenizer::open(&output).unwrap();
        assert_eq!(report["pieces"]["before"], tokenizer.vocabulary_size());
        assert_eq!(report["pieces"]["after"], small.vocabulary_size());
        assert!(small.vocabulary_size() < tokenizer.vocabulary_size(), "{}", dir.display());
        assert_eq!(small.config(), tokenizer.config());
        let old: Vec<usize> = small
            .pieces()
            .iter()
            .map(|piece| tokenizer.pieces().iter().position(|old| old == piece).unwrap())
            .collect();
        assert!(old.is_sorted());
        let (before, after) = (tensors(&dir), tensors(&output));
        assert_eq!(before.len(), after.len());
        let mut shrunk = 0;
        for ((name, shape, data), (new_name, new_shape, new_data)) in before.iter().zip(&after) {
            assert_eq!(name, new_name);
            let has_rows = name.ends_with("word_embeddings.weight")
                || name.starts_with("cls.predictions.bias")
                || name.starts_with("cls.predictions.decoder");
            if !has_rows {
                assert!((shape, data) == (new_shape, new_data), "{name}");
                continue;
            }
            shrunk += 1;
            let length = data.len() / shape[0];
            assert_eq!((new_shape[0], &new_shape[1..]), (old.len(), &shape[1..]));
            for (row, &old) in new_data.chunks_exact(length).zip(&old) {
                assert!(row == &data[old * length..][..length], "{name}");
            }
        }
        assert!(shrunk >= 1);
        let loaded = LoadedCheckpoint::open(&output).unwrap();
        assert_eq!(loaded.config.vocab_size, old.len());
        let original = LoadedCheckpoint::open(&dir).unwrap();
        assert_eq!(
            (loaded.head, &loaded.task, &loaded.missing),
            (original.head, &original.task, &original.missing)
        );
        let pad = loaded.config.pad_token_id as usize;
        assert_eq!(old[pad], original.config.pad_token_id as usize);
        // What was pruned needs no more pruning, and writing it again is no error.
        let again = prune(
            &output,
            if is_tuned { &table } else { &texts },
            &place.path().join(format!("again-{number}")),
        );
        assert_eq!(again["pieces"]["before"], again["pieces"]["after"]);
        assert_eq!(prune(&dir, if is_tuned { &table } else { &texts }, &output), report);
    }
}

/// The way that costs nothing: prune, fine-tune, export.
#[test]
fn a_pruned_checkpoint_is_trained_further() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let (joint, pretrained) = (fixture().path("joint.tsv"), fixture().path("pretrained"));
    let task = ("--task", Path::new("joint"));
    let paths = [task, ("--model", &pretrained), ("--data", &joint), ("--output", &at("small"))];
    json("bert-trainer", arguments("prune", &paths));
    let mlm = ["predict", "--task", "fill-mask", "turn on the [MASK]"].map(OsString::from);
    let mlm = mlm.into_iter().chain(["--model".into(), at("small").into()]);
    let filled = json("bert-trainer", mlm);
    let candidates = filled["predictions"][0]["masks"][0]["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 5);
    let paths = [
        task,
        ("--epochs", Path::new("1")),
        ("--train", &joint),
        ("--eval", &joint),
        ("--model", &at("small")),
        ("--output", &at("tuned")),
    ];
    json("bert-trainer", arguments("finetune", &paths));
    let (report, file) = export(&place, &at("tuned"), &[("--eval", &joint)]);
    assert!(file.len() < std::fs::read(fixture().path("model.bert")).unwrap().len());
    assert!(report["eval"]["metrics"]["intent_accuracy"].is_number());
    for name in TOKENIZER_FILES {
        let read = |dir: &str| std::fs::read(at(dir).join(name)).ok();
        assert_eq!(read("small"), read("tuned"), "{name}");
    }
}

/// Texts alone prune a model that gives vectors.
#[test]
fn a_model_of_vectors_is_made_smaller() {
    let place = tempfile::tempdir().unwrap();
    let texts = place.path().join("texts.txt");
    std::fs::write(&texts, utterances().join("\n")).unwrap();
    let mean = ("--embed", Path::new("mean"));
    let pretrained = fixture().path("pretrained");
    let (plain, whole) = export(&place, &pretrained, &[mean]);
    let (report, small) = export(&place, &pretrained, &[mean, ("--prune-vocabulary", &texts)]);
    assert_eq!(report["pieces"]["before"], plain["pieces"]["after"]);
    assert!(small.len() < whole.len());
    assert_eq!(outputs(&small, &utterances()), outputs(&whole, &utterances()));
    let (_, smaller) = export(&place, &pretrained, &[mean, ("--embeddings", Path::new("int4"))]);
    assert!(smaller.len() < whole.len());
}

/// Every file of a directory and its bytes.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(contents(&path)),
            false => files.push((path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    files.sort();
    files
}

#[test]
fn bad_input_is_named_and_destroys_nothing() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let (joint, assistant) = (fixture().path("joint.tsv"), fixture().path("assistant"));
    copy_directory(&assistant, &at("model"));
    copy_directory(&fixture().path("pretrained"), &at("other"));
    copy_directory(&fixture().path("tokenizer"), &at("tokenizer"));
    let last = TextTokenizer::open(&assistant).unwrap().vocabulary_size() - 1;
    for (name, key, value) in [
        ("short", "vocab_size", 20),
        ("pad", "pad_token_id", last),
        ("named", "sep_token_id", 5000),
    ] {
        copy_directory(&assistant, &at(name));
        let config = at(name).join("config.json");
        let mut object: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
        object[key] = value.into();
        std::fs::write(&config, object.to_string()).unwrap();
    }
    // A table of rows that nobody wrote whole.
    copy_directory(&assistant, &at("torn"));
    let weights = std::fs::read(at("torn").join(WEIGHTS_FILE)).unwrap();
    std::fs::write(at("torn").join(WEIGHTS_FILE), &weights[..weights.len() - 9]).unwrap();
    std::fs::write(at("bad.tsv"), "switch_on\tturn on\tO\n").unwrap();
    std::fs::write(at("empty.tsv"), "").unwrap();
    std::fs::write(at("model.bert"), "precious").unwrap();

    let before = contents(place.path());
    let fails = |command: &str, paths: &[(&str, &Path)], code: i32, expected: &[&str]| {
        let outcome = command::run("bert-trainer", arguments(command, paths));
        assert_eq!(outcome.code, Some(code), "{command} {paths:?}: {}", outcome.stderr);
        for part in expected {
            assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
        }
        assert!(code == 2 || outcome.stderr.trim_end().lines().count() == 1, "{}", outcome.stderr);
        assert!(contents(place.path()) == before, "{command} {paths:?} changed something");
    };
    let new = at("new");
    for (model, data, output, expected) in [
        ("model", &at("absent.tsv"), &new, &["absent.tsv", "cannot read"][..]),
        ("model", &at("bad.tsv"), &new, &["bad.tsv:1", "expected a tag for each of 2 tokens"]),
        ("model", &at("empty.tsv"), &new, &["empty.tsv", "expected lines `intent", "no example"]),
        ("absent", &joint, &new, &["absent", "expected a checkpoint directory"]),
        ("model.bert", &joint, &new, &["model.bert", "expected a checkpoint directory"]),
        ("short", &joint, &new, &["short"]),
        ("named", &joint, &new, &["config.json", "expected ids of the", "5000"]),
        ("torn", &joint, &new, &["torn", "safetensors"]),
        // Neither the model itself nor another one is written over.
        ("model", &joint, &at("model"), &["model", "already holds a model with another"]),
        ("model", &joint, &at("other"), &["other", "already holds a model with another"]),
        ("model", &joint, &at("model.bert"), &["model.bert"]),
        ("model", &joint, &at("tokenizer"), &["tokenizer", "already holds another vocab.txt"]),
    ] {
        let paths =
            [("--model", at(model)), ("--data", data.clone()), ("--output", output.clone())];
        let paths = paths.each_ref().map(|(option, path)| (*option, path.as_path()));
        fails("prune", &paths, 1, expected);
    }
    let (model, output) = (at("model"), at("model.bert"));
    let own = [("--model", model.as_path()), ("--output", output.as_path())];
    for (file, expected) in [
        ("absent.tsv", &["absent.tsv", "cannot read"][..]),
        ("bad.tsv", &["bad.tsv:1", "expected a tag for each of 2 tokens"]),
        ("empty.tsv", &["empty.tsv", "no example"]),
    ] {
        let file = at(file);
        fails("export", &[&own[..], &[("--prune-vocabulary", &file)]].concat(), 1, expected);
    }
    let wrong = [("--embeddings", Path::new("int2"))];
    fails("export", &[&own[..], &wrong].concat(), 2, &["int2", "int8", "int4"]);
    fails("prune", &own, 2, &["--data"]);
    // A piece that the configuration names is kept, used or not.
    let paths = [("--model", &at("pad")), ("--data", &joint), ("--output", &new)];
    let paths = paths.map(|(option, path)| (option, path.as_path()));
    json("bert-trainer", arguments("prune", &paths));
}
