//! Fine-tuning with teachers and with rates of its own for each layer, through the binary.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bert_tests::command::{self, Outcome, json};
use bert_tests::fixture::fixture;
use bert_trainer::model::LoadedCheckpoint;

/// A fine-tuning of the miniature for both its labels.
pub struct Run {
    dir: tempfile::TempDir,
}

impl Run {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn arguments(&self, task: &str, output: &str, more: &[&str]) -> Vec<OsString> {
        let pretrained = fixture().path("pretrained");
        self.arguments_from(&pretrained, task, output, more)
    }

    fn arguments_from(
        &self,
        model: &Path,
        task: &str,
        output: &str,
        more: &[&str],
    ) -> Vec<OsString> {
        let data = fixture().path("joint.tsv");
        let paths = [("--model", model.into()), ("--output", self.path(output))];
        let data = [("--train", data.clone()), ("--eval", data)];
        let named = paths.into_iter().chain(data);
        let named = named.flat_map(|(flag, path)| [OsString::from(flag), path.into()]);
        let fixed = ["finetune", "--task", task].map(OsString::from).into_iter();
        fixed.chain(named).chain(more.iter().map(OsString::from)).collect()
    }

    fn fails(&self, arguments: Vec<OsString>, code: i32, expected: &str) {
        let outcome: Outcome = command::run("bert-trainer", arguments);
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        assert!(outcome.stderr.contains(expected), "{expected:?} in {outcome:?}");
        assert!(!self.path("refused").exists());
    }
}

/// Each tensor moves as fast as its layer may: the first step of AdamW goes by the learning rate, but
/// for gradients near ε.
#[test]
fn layers_learn_at_their_own_rates() {
    const RATE: f32 = 1e-3;
    let run = Run::new();
    let options = ["--epochs", "1", "--batch-size", "40", "--warmup-ratio", "0"];
    let rates = ["--learning-rate", "1e-3", "--weight-decay", "0", "--layer-decay", "0.5"];
    let more: Vec<&str> = options.into_iter().chain(rates).collect();
    json("bert-trainer", run.arguments("joint", "decayed", &more));
    let frozen: Vec<&str> = more.iter().copied().chain(["--freeze-layers", "1"]).collect();
    json("bert-trainer", run.arguments("joint", "frozen", &frozen));

    let before = LoadedCheckpoint::open(&fixture().path("pretrained")).unwrap();
    let open = |name: &str| LoadedCheckpoint::open(&run.path(name)).unwrap();
    let (decayed, frozen) = (open("decayed"), open("frozen"));
    let factors = [
        ("bert.embeddings.word_embeddings.weight", 0.25),
        ("bert.embeddings.LayerNorm.bias", 0.25),
        ("bert.encoder.layer.0.attention.self.value.weight", 0.5),
        ("bert.encoder.layer.0.output.LayerNorm.weight", 0.5),
        ("bert.encoder.layer.1.intermediate.dense.weight", 1.0),
        ("bert.encoder.layer.1.output.dense.bias", 1.0),
        ("bert.pooler.dense.weight", 1.0),
    ];
    for (name, factor) in factors {
        let (old, new) = (before.tensor(name).unwrap(), decayed.tensor(name).unwrap());
        let moved = old.iter().zip(new).map(|(old, new)| (new - old).abs()).fold(0.0, f32::max);
        let share = moved / (RATE * factor);
        assert!((0.9..1.001).contains(&share), "{name}: {share} of its rate");
        let same = frozen.tensor(name).unwrap() == old;
        assert_eq!(same, factor < 1.0, "{name}");
    }
    run.fails(run.arguments("joint", "refused", &["--freeze-layers", "3"]), 1, "2 layers");
    run.fails(run.arguments("joint", "refused", &["--layer-decay", "0"]), 1, "--layer-decay 0");
}

#[test]
fn students_learn_from_teachers_of_the_same_task() {
    let run = Run::new();
    let wide = run.path("wide.json");
    let text = std::fs::read_to_string(fixture().path("config.json")).unwrap();
    std::fs::write(&wide, text.replace("\"hidden_size\": 32", "\"hidden_size\": 48")).unwrap();
    let quick = ["--steps", "2", "--batch-size", "4", "--max-length", "32"];
    let paths =
        [("--data", fixture().path("shards")), ("--config", wide), ("--output", run.path("wide"))];
    let named = paths.into_iter().flat_map(|(flag, path)| [OsString::from(flag), path.into()]);
    let arguments = ["pretrain"].into_iter().chain(quick).map(OsString::from);
    json("bert-trainer", arguments.chain(named));
    let rate = ["--learning-rate", "2e-3", "--epochs", "8", "--batch-size", "8", "--dropout", "0"];
    json("bert-trainer", run.arguments_from(&run.path("wide"), "joint", "teacher", &rate));

    // Whatever the labels say: all of the loss is the teacher's.
    let teacher = run.path("teacher");
    let teacher = teacher.to_str().unwrap();
    let taught = ["--teacher", teacher, "--distill-weight", "1"];
    let more: Vec<&str> = rate.into_iter().chain(taught).collect();
    let student = json("bert-trainer", run.arguments("joint", "student", &more));
    assert!(student["loss"].as_f64().unwrap() < 1.0, "{student}");
    let hidden: Vec<&str> = more.iter().copied().chain(["--distill-hidden"]).collect();
    let both = json("bert-trainer", run.arguments("joint", "hidden", &hidden));
    // The distance of hidden states comes on top.
    assert!(both["loss"].as_f64().unwrap() > student["loss"].as_f64().unwrap());
    let open = |name: &str| LoadedCheckpoint::open(&run.path(name)).unwrap();
    let (plain, hidden) = (open("student"), open("hidden"));
    assert!(plain.values().len() == hidden.values().len(), "the projection is not kept");
    assert!(plain.values() != hidden.values());
    let record = bert_trainer::report::RunRecord::read(&run.path("hidden")).unwrap().unwrap();
    assert_eq!(record.configuration["distill_hidden"], true);
    assert_eq!(record.configuration["teacher"], teacher);

    let pretrained = fixture().path("pretrained");
    let pretrained = pretrained.to_str().unwrap();
    let refused = |more: &[&str], code, expected| {
        run.fails(run.arguments("joint", "refused", more), code, expected);
    };
    refused(&["--distill-weight", "0.5"], 2, "--teacher");
    refused(&["--distill-hidden"], 2, "--teacher");
    refused(&["--teacher", pretrained], 1, "a pre-trained model cannot teach");
    refused(&["--teacher", "/nowhere"], 1, "/nowhere");
    refused(&["--teacher", teacher, "--distill-weight", "1.5"], 1, "--distill-weight 1.5");
    refused(&["--quantize-aware", "--precision", "bf16"], 1, "--quantize-aware");
}

/// Whole texts may be read with another tokenizer, words may not.
#[test]
fn a_teacher_may_have_another_tokenizer_for_whole_texts() {
    let run = Run::new();
    let path = |name: &str| fixture().path(name);
    let corpus = [("--input", path("corpus.txt")), ("--output", run.path("tokenizer"))];
    let named = |pairs: &[(&str, PathBuf)]| -> Vec<OsString> {
        let pairs = pairs.iter().flat_map(|(flag, path)| [OsString::from(flag), path.into()]);
        pairs.collect()
    };
    let trainer = |words: &[&str], pairs: &[(&str, PathBuf)]| {
        json("bert-trainer", words.iter().map(OsString::from).chain(named(pairs)))
    };
    trainer(&["vocab", "--vocab-size", "90"], &corpus);
    let tokenizer = run.path("tokenizer");
    trainer(
        &["prepare"],
        &[
            ("--input", path("corpus.txt")),
            ("--tokenizer", tokenizer),
            ("--output", run.path("shards")),
        ],
    );
    trainer(
        &["pretrain", "--steps", "1", "--batch-size", "4", "--max-length", "32"],
        &[
            ("--data", run.path("shards")),
            ("--config", path("config.json")),
            ("--output", run.path("other")),
        ],
    );
    let texts = run.path("texts.tsv");
    let lines = std::fs::read_to_string(path("joint.tsv")).unwrap();
    let two: Vec<&str> = lines.lines().map(|line| line.rsplit_once('\t').unwrap().0).collect();
    std::fs::write(&texts, two.join("\n")).unwrap();
    let finetune = |task: &str, data: &Path, model: &Path, output: &str| {
        let pairs = [
            ("--train", data.to_owned()),
            ("--eval", data.to_owned()),
            ("--model", model.to_owned()),
            ("--output", run.path(output)),
        ];
        let words = ["finetune", "--task", task, "--epochs", "1"].map(OsString::from);
        words.into_iter().chain(named(&pairs)).collect::<Vec<_>>()
    };
    let with = |mut arguments: Vec<OsString>, teacher: &str| {
        arguments.extend(["--teacher".into(), run.path(teacher).into()]);
        arguments
    };
    let other = run.path("other");
    json("bert-trainer", finetune("classify", &texts, &other, "texts"));
    json("bert-trainer", finetune("joint", &path("joint.tsv"), &other, "words"));
    let student = |task, data: &Path, output| finetune(task, data, &path("pretrained"), output);
    let report = json("bert-trainer", with(student("classify", &texts, "student"), "texts"));
    assert_eq!(report["task"], "classify");

    let joint = path("joint.tsv");
    run.fails(with(student("joint", &joint, "refused"), "words"), 1, "another tokenizer");
    run.fails(with(student("joint", &joint, "refused"), "texts"), 1, "of --task joint");
    let mut hidden = with(student("classify", &texts, "refused"), "texts");
    hidden.push("--distill-hidden".into());
    run.fails(hidden, 1, "another tokenizer");
    let renamed = run.path("renamed.tsv");
    std::fs::write(&renamed, two.join("\n").replace("switch_on", "switch_up")).unwrap();
    run.fails(with(student("classify", &renamed, "refused"), "texts"), 1, "\"switch_on\"");
}
