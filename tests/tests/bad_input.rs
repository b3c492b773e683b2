//! Bad input from outside the binaries: one line that names file, line and expectation, exit code 1
//! (2 for wrong usage), and nothing half-written left.

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bert_core::{Model, Scratch, Session};
use bert_tests::command::{self, Outcome};
use bert_tests::fixture::{copy_directory, fixture};
use tempfile::TempDir;

/// A place for bad files beside the good ones of the fixture.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// A copy of a directory of the fixture, to be spoilt.
    fn copy(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        copy_directory(&fixture().path(name), &path);
        path
    }

    /// Runs the trainer, which must fail with one line that holds all of `expected` and must not
    /// leave anything new behind.
    fn fails(&self, arguments: &[&dyn AsArgument], expected: &[&str]) {
        let before = names(self.dir.path());
        let outcome = run("bert-trainer", arguments);
        check_failure(&outcome, expected);
        assert_eq!(names(self.dir.path()), before, "left behind: {}", outcome.stderr);
    }
}

trait AsArgument {
    fn argument(&self) -> OsString;
}

impl AsArgument for &str {
    fn argument(&self) -> OsString {
        self.into()
    }
}

impl AsArgument for PathBuf {
    fn argument(&self) -> OsString {
        self.into()
    }
}

fn run(package: &'static str, arguments: &[&dyn AsArgument]) -> Outcome {
    command::run(package, arguments.iter().map(|argument| argument.argument()))
}

/// Everything in a directory and below, sorted.
fn names(dir: &Path) -> Vec<PathBuf> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(self::names(&path));
        }
        names.push(path);
    }
    names.sort();
    names
}

fn check_failure(outcome: &Outcome, expected: &[&str]) {
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert_eq!(outcome.stdout, "", "{outcome:?}");
    let errors: Vec<&str> =
        outcome.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{outcome:?}");
    assert_eq!(outcome.stderr.lines().last(), Some(errors[0]), "{outcome:?}");
    assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
    for part in expected {
        assert!(errors[0].contains(part), "expected {part:?} in {:?}", errors[0]);
    }
}

#[test]
fn wrong_usage_has_exit_code_2() {
    for arguments in [
        vec!["vocab"],
        vec!["no-such-command"],
        vec!["pretrain", "--no-such-option"],
        vec!["pretrain", "--data", "x", "--output", "y", "--steps", "0"],
        vec!["finetune", "--task", "juggle"],
        vec!["predict", "--model", "x"],
    ] {
        let outcome = command::run("bert-trainer", &arguments);
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {outcome:?}");
        assert_eq!(outcome.stdout, "", "{arguments:?}");
    }
    assert_eq!(command::run("bert-edge", ["no-such-command"]).code, Some(2));
}

#[test]
fn missing_files_are_named() {
    let (place, good) = (Place::new(), fixture());
    let (missing, output) = (place.path("missing.txt"), place.path("output"));
    let named: &[&str] = &["missing.txt"];
    place.fails(&[&"vocab", &"--input", &missing, &"--output", &output], named);
    let tokenizer = good.path("tokenizer");
    place.fails(
        &[&"prepare", &"--input", &missing, &"--tokenizer", &tokenizer, &"--output", &output],
        named,
    );
    let corpus = good.path("corpus.txt");
    place.fails(
        &[&"prepare", &"--input", &corpus, &"--tokenizer", &missing, &"--output", &output],
        named,
    );
    place.fails(&[&"pretrain", &"--data", &missing, &"--output", &output], named);
    place.fails(&[&"eval", &"--model", &missing, &"--data", &corpus], named);
    place.fails(&[&"eval", &"--model", &good.path("assistant"), &"--data", &missing], named);
    place.fails(&[&"export", &"--model", &missing, &"--output", &output], named);
    place.fails(&[&"predict", &"--model", &missing, &"turn on the lamp"], named);
    let shards = good.path("shards");
    place.fails(
        &[&"pretrain", &"--data", &shards, &"--config", &"bert-huge", &"--output", &output],
        &["bert-huge", "bert-tiny"],
    );
}

#[test]
fn empty_corpora_are_refused() {
    let (place, good) = (Place::new(), fixture());
    let output = place.path("output");
    for (name, bytes) in [("empty.txt", ""), ("blank.txt", "\n\n  \n\n")] {
        let file = place.file(name, bytes);
        place.fails(&[&"vocab", &"--input", &file, &"--output", &output], &[name]);
        let tokenizer = good.path("tokenizer");
        place.fails(
            &[&"prepare", &"--input", &file, &"--tokenizer", &tokenizer, &"--output", &output],
            &[name],
        );
        let model = good.path("assistant");
        place.fails(&[&"eval", &"--model", &model, &"--data", &file], &[name]);
    }
}

#[test]
fn invalid_utf8_is_named_with_its_line() {
    let (place, good) = (Place::new(), fixture());
    let output = place.path("output");
    let corpus = place.file("corpus.txt", b"good line\n\nbad \xff line\n");
    let named: &[&str] = &["corpus.txt", "3", "UTF-8"];
    place.fails(&[&"vocab", &"--input", &corpus, &"--output", &output], named);
    let tokenizer = good.path("tokenizer");
    place.fails(
        &[&"prepare", &"--input", &corpus, &"--tokenizer", &tokenizer, &"--output", &output],
        named,
    );
    let joint = place.file("joint.tsv", b"switch_on\tturn on\tO O\nswitch_on\t\xc3\tO\n");
    let model = good.path("assistant");
    place.fails(&[&"eval", &"--model", &model, &"--data", &joint], &["joint.tsv", "2", "UTF-8"]);
}

#[test]
fn wrong_columns_are_named_with_their_line() {
    let (place, good) = (Place::new(), fixture());
    let train = good.path("joint.tsv");
    let (model, output) = (good.path("pretrained"), place.path("output"));
    let cases: [(&str, &str, &str, &[&str]); 4] = [
        (
            "joint",
            "columns.tsv",
            "switch_on\tturn on\tO O\nswitch_on\tturn on\n",
            &["2", "3 columns"],
        ),
        ("joint", "tags.tsv", "switch_on\tturn on the fan\tO O O\n", &["1", "4 tokens", "3 tags"]),
        ("classify", "classify.tsv", "switch_on\tturn on\njust text\n", &["2"]),
        ("tag", "tag.conll", "turn\tO\non\n", &["2"]),
    ];
    for (task, name, text, expected) in cases {
        let bad = place.file(name, text);
        let expected = [&[name], expected].concat();
        place.fails(
            &[
                &"finetune",
                &"--task",
                &task,
                &"--train",
                &bad,
                &"--eval",
                &train,
                &"--model",
                &model,
                &"--output",
                &output,
            ],
            &expected,
        );
    }
}

#[test]
fn unknown_labels_at_evaluation_are_named() {
    let (place, good) = (Place::new(), fixture());
    let intent = place.file("intent.tsv", "switch_on\tturn on\tO O\nmake_tea\tmake tea\tO O\n");
    let slot = place.file("slot.tsv", "switch_on\tturn on tea\tO O B-drink\n");
    let output = place.path("output");
    for (file, name, line, label) in
        [(intent, "intent.tsv", "2", "make_tea"), (slot, "slot.tsv", "1", "B-drink")]
    {
        let expected: &[&str] = &[name, line, label];
        for model in ["assistant", "model.bert"] {
            place.fails(&[&"eval", &"--model", &good.path(model), &"--data", &file], expected);
        }
        let model = good.path("assistant");
        place.fails(
            &[&"export", &"--model", &model, &"--output", &output, &"--eval", &file],
            expected,
        );
        let train = good.path("joint.tsv");
        let model = good.path("pretrained");
        place.fails(
            &[
                &"finetune",
                &"--task",
                &"joint",
                &"--train",
                &train,
                &"--eval",
                &file,
                &"--model",
                &model,
                &"--output",
                &output,
            ],
            expected,
        );
    }
}

#[test]
fn spoilt_checkpoints_are_refused() {
    let good = fixture();
    let corpus = good.path("corpus.txt");
    let check = |spoil: &dyn Fn(&Path), expected: &[&str]| {
        let place = Place::new();
        let model = place.copy("pretrained");
        spoil(&model);
        place.fails(&[&"eval", &"--model", &model, &"--data", &corpus], expected);
    };
    let weights = "model.safetensors";
    let cut = |dir: &Path, keep: &dyn Fn(usize) -> usize| {
        let bytes = std::fs::read(dir.join(weights)).unwrap();
        std::fs::write(dir.join(weights), &bytes[..keep(bytes.len())]).unwrap();
    };
    check(&|dir| cut(dir, &|all| all / 2), &[weights]);
    check(&|dir| cut(dir, &|all| all - 1), &[weights]);
    check(&|dir| cut(dir, &|_| 5), &[weights]);
    check(&|dir| cut(dir, &|_| 0), &[weights]);
    check(&|dir| std::fs::remove_file(dir.join(weights)).unwrap(), &[weights]);

    let edit = |dir: &Path, file: &str, from: &str, to: &str| {
        let text = std::fs::read_to_string(dir.join(file)).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        std::fs::write(dir.join(file), text.replacen(from, to, 1)).unwrap();
    };
    let wide = ("\"intermediate_size\": 64", "\"intermediate_size\": 65");
    check(&|dir| edit(dir, "config.json", wide.0, wide.1), &["intermediate", "65", "64"]);
    let layers = ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
    check(&|dir| edit(dir, "config.json", layers.0, layers.1), &["layer.2"]);
    let layers = ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1");
    check(&|dir| edit(dir, "config.json", layers.0, layers.1), &["layer.1"]);
    let zero = ("\"num_attention_heads\": 2", "\"num_attention_heads\": 0");
    check(&|dir| edit(dir, "config.json", zero.0, zero.1), &["num_attention_heads"]);
    let odd = ("\"num_attention_heads\": 2", "\"num_attention_heads\": 3");
    check(&|dir| edit(dir, "config.json", odd.0, odd.1), &["num_attention_heads"]);
    check(&|dir| edit(dir, "config.json", "{", "["), &["config.json"]);
    check(&|dir| std::fs::write(dir.join("config.json"), "").unwrap(), &["config.json"]);
    check(&|dir| edit(dir, "vocab.txt", "[MASK]\n", ""), &["[MASK]"]);
}

#[test]
fn spoilt_model_files_are_refused_by_both_binaries() {
    let (place, good) = (Place::new(), fixture());
    let joint = good.path("joint.tsv");
    let bytes = std::fs::read(good.path("model.bert")).unwrap();
    let mut spoilt: Vec<Vec<u8>> = [0, 1, 7, 63, 64, bytes.len() / 2, bytes.len() - 1]
        .map(|length| bytes[..length].to_vec())
        .into();
    // One byte in each of sixty places, header and sections alike.
    for place in 0..60 {
        let mut edited = bytes.clone();
        edited[place * (bytes.len() - 1) / 59] ^= 0x10;
        spoilt.push(edited);
    }
    spoilt.push([bytes.as_slice(), b"more"].concat());
    for bytes in spoilt {
        let file = place.file("spoilt.bert", bytes);
        let outcome = run("bert-edge", &[&"selftest", &file]);
        check_failure(&outcome, &["spoilt.bert"]);
    }
    for length in [0, 64, bytes.len() / 2] {
        let file = place.file("spoilt.bert", &bytes[..length]);
        place.fails(&[&"eval", &"--model", &file, &"--data", &joint], &["spoilt.bert"]);
    }
}

#[test]
fn lengths_beyond_the_model_are_refused() {
    let (place, good) = (Place::new(), fixture());
    let output = place.path("output");
    let shards = good.path("shards");
    let config = good.path("config.json");
    place.fails(
        &[
            &"pretrain",
            &"--data",
            &shards,
            &"--config",
            &config,
            &"--output",
            &output,
            &"--max-length",
            &"41",
        ],
        &["41", "40"],
    );
    let model = good.path("assistant");
    place.fails(
        &[&"export", &"--model", &model, &"--output", &output, &"--max-length", &"41"],
        &["41", "40"],
    );
}

/// A device with less memory than the model was built for hears so when it opens the model.
#[test]
fn a_model_that_does_not_fit_the_scratch_is_refused() {
    let bytes = std::fs::read(fixture().path("model.bert")).unwrap();
    let model = Model::parse(&bytes).unwrap();
    let needed = model.scratch_bytes(model.config().max_length as usize);
    let mut scratch = Scratch::<{ 64 * 1024 }>::new();
    assert!(needed <= scratch.len(), "the miniature needs {needed} bytes");
    Session::new(&model, &mut scratch[..needed]).unwrap();
    let refused = Session::new(&model, &mut scratch[..needed - 1]).err().unwrap().to_string();
    assert!(refused.contains(&needed.to_string()), "{refused}");
    assert!(refused.contains(&(needed - 1).to_string()), "{refused}");
    // Shorter texts fit.
    Session::with_limit(&model, &mut scratch[..needed - 1], 16).unwrap();
}

#[test]
fn models_of_another_task_are_refused() {
    let (place, good) = (Place::new(), fixture());
    let (corpus, joint) = (good.path("corpus.txt"), good.path("joint.tsv"));
    let (pretrained, assistant) = (good.path("pretrained"), good.path("assistant"));
    let output = place.path("output");
    place.fails(&[&"export", &"--model", &pretrained, &"--output", &output], &["pretrained"]);
    place.fails(&[&"predict", &"--model", &pretrained, &"turn on"], &["pretrained", "task"]);
    place.fails(
        &[&"eval", &"--model", &assistant, &"--data", &joint, &"--task", &"tag"],
        &["tag", "joint"],
    );
    place.fails(&[&"eval", &"--model", &assistant, &"--data", &corpus], &["corpus.txt", "1"]);
}

#[test]
fn devices_that_are_not_in_the_build_are_refused() {
    let (place, good) = (Place::new(), fixture());
    let (model, joint) = (good.path("assistant"), good.path("joint.tsv"));
    let cases: [(&str, &[&str]); 2] =
        [("cuda", &["cuda", "not in this build", "--features"]), ("abacus", &["abacus", "cpu"])];
    for (device, expected) in cases {
        place.fails(
            &[&"eval", &"--model", &model, &"--data", &joint, &"--device", &device],
            expected,
        );
    }
}

/// A file size limit stands for a full disk: the write fails half-way through.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let (place, good) = (Place::new(), fixture());
    let trainer = command::binary("bert-trainer");
    // Blocks of 512 bytes. A process that ignores SIGXFSZ sees the write fail.
    let limited = |blocks: u32, arguments: &[&dyn AsArgument]| -> Outcome {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let mut command = std::process::Command::new("sh");
        command.arg("-c").arg(script).arg(&trainer);
        command.args(arguments.iter().map(|argument| argument.argument()));
        command.output().unwrap().into()
    };
    let before = names(place.dir.path());
    let output = place.path("output");
    let model = good.path("assistant");
    let outcome = limited(8, &[&"export", &"--model", &model, &"--output", &output]);
    check_failure(&outcome, &["output", "cannot"]);
    assert_eq!(names(place.dir.path()), before);

    let (shards, config) = (good.path("shards"), good.path("config.json"));
    let outcome = limited(
        64,
        &[
            &"pretrain",
            &"--data",
            &shards,
            &"--config",
            &config,
            &"--output",
            &output,
            &"--steps",
            &"2",
            &"--max-length",
            &"32",
        ],
    );
    check_failure(&outcome, &["output", "cannot"]);
    assert!(!output.join("model.safetensors").exists());
    let half: Vec<_> = names(place.dir.path())
        .into_iter()
        .filter(|path| path.file_name().unwrap().to_string_lossy().contains(".tmp-"))
        .collect();
    assert!(half.is_empty(), "{half:?}");
}

/// An old file survives a write that fails.
#[cfg(unix)]
#[test]
fn what_stood_there_before_still_stands() {
    let (place, good) = (Place::new(), fixture());
    let output = place.file("model.bert", "the old one");
    let model = good.path("pretrained");
    place.fails(&[&"export", &"--model", &model, &"--output", &output], &[]);
    assert_eq!(std::fs::read(&output).unwrap(), b"the old one");
}
