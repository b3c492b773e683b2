//! What `export --report` says is what the code of the device does, and `--keep` mends what it names:
//! through the real binaries.

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bert_core::arch::ISAS;
use bert_tests::command::{self, json};
use bert_tests::fixture::{copy_directory, fixture};
use bert_trainer::config::Config;
use bert_trainer::data::tasks::{Labels, TaskKind, TaskLabels};
use bert_trainer::model::{ParameterTable, head_of, initial_values, name_task, write_checkpoint};
use bert_trainer::report::RunRecord;
use serde_json::Value;
use tempfile::TempDir;

const HOSTILE: &str = "<script>alert(1)</script>";

/// A place to export to.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn arguments(&self, model: &Path, eval: &Path, more: &[&str]) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["export".into()];
        for (flag, path) in [
            ("--model", model.to_owned()),
            ("--output", self.path("model.bert")),
            ("--eval", eval.to_owned()),
            ("--report", self.path("page.html")),
        ] {
            arguments.extend([flag.into(), path.into()]);
        }
        arguments.extend(more.iter().map(OsString::from));
        arguments
    }

    fn page(&self) -> String {
        std::fs::read_to_string(self.path("page.html")).unwrap()
    }

    /// Exports with a report, and checks what holds for every report.
    fn export(&self, model: &Path, eval: &Path, more: &[&str]) -> Value {
        let exported = json("bert-trainer", self.arguments(model, eval, more));
        let report = &exported["report"];
        let total = |part: &str| -> u64 {
            report[part].as_object().unwrap().values().map(|bytes| bytes.as_u64().unwrap()).sum()
        };
        assert_eq!(total("weights"), exported["model_bytes"].as_u64().unwrap());
        assert_eq!(total("scratch"), exported["scratch_bytes"].as_u64().unwrap());
        let file = std::fs::metadata(self.path("model.bert")).unwrap();
        assert_eq!(exported["model_bytes"], file.len());
        let kernels = report["kernels"].as_str().unwrap();
        assert!(ISAS.iter().any(|isa| isa.name == kernels), "{kernels}");

        let places = report["places"].as_array().unwrap();
        for name in ["int8", "kept"] {
            for decibels in report[name]["decibels"].as_array().into_iter().flatten() {
                assert!(decibels.as_f64().unwrap() > 10.0, "{name}: {decibels}");
            }
        }
        let decibels = report["int8"]["decibels"].as_array().unwrap();
        assert_eq!((places[0].as_str(), places.len()), (Some("embeddings"), decibels.len()));

        let slowest = report["slowest"].as_array().unwrap();
        let us: Vec<f64> = slowest.iter().map(|one| one["us"].as_f64().unwrap()).collect();
        assert!(us.is_sorted_by(|a, b| a >= b) && us.iter().all(|us| *us > 0.0));
        let total = &report["total_us"];
        let exported_as = if report["kept"].is_null() { "int8" } else { "kept" };
        assert!(report[exported_as]["median_us"].as_f64().unwrap() <= us[0]);
        assert!(total.as_f64().unwrap() >= us.iter().sum::<f64>());
        assert!(slowest.iter().all(|one| one["tokens"].as_u64().unwrap() >= 3));

        let page = self.page();
        for tag in ["html", "body", "section", "table", "tr", "td", "div", "svg", "figure"] {
            let opened = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        // It needs no other file and runs its own script only.
        assert_eq!(page.matches("<script").count(), 1);
        for foreign in ["<link", "<img", "<iframe", " src=", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        let proof = json("bert-edge", ["selftest".as_ref(), self.path("model.bert").as_os_str()]);
        assert_eq!(proof["ok"], true);
        exported
    }
}

fn decibels(report: &Value, name: &str) -> Vec<f64> {
    let decibels = report["report"][name]["decibels"].as_array().unwrap();
    decibels.iter().map(|value| value.as_f64().unwrap()).collect()
}

#[test]
fn the_page_has_the_figures_of_the_device() {
    let place = Place::new();
    let (run, data) = (place.path("assistant"), fixture().path("joint.tsv"));
    copy_directory(&fixture().path("assistant"), &run);
    let exported = place.export(&run, &data, &["--max-length", "24"]);
    let report = &exported["report"];

    // Both sides are what `eval` says of them.
    let eval = |model: &Path| {
        let arguments: [OsString; 5] =
            ["eval".into(), "--model".into(), model.into(), "--data".into(), data.clone().into()];
        let found = json("bert-trainer", arguments);
        found["metrics"].clone()
    };
    assert_eq!(report["f32"], eval(&run));
    assert_eq!(report["int8"]["metrics"], eval(&place.path("model.bert")));
    assert_eq!(report["int8"]["metrics"], exported["eval"]["metrics"]);
    assert_eq!(report["kept"], Value::Null);
    assert_eq!((&exported["keep"], &report["compared"]), (&serde_json::json!([]), &40.into()));
    assert_eq!(report["places"], serde_json::json!(["embeddings", "layer 0", "layer 1"]));
    // [CLS] turn on the lamp in the kitchen [SEP]: at least a piece a word.
    let slowest = &report["slowest"];
    assert_eq!(slowest.as_array().unwrap().len(), 10);
    assert!(slowest[0]["tokens"].as_u64().unwrap() >= 9);
    assert!(slowest[0]["text"].as_str().unwrap().starts_with("turn o"));

    let page = place.page();
    for decibels in decibels(&exported, "int8") {
        assert!(page.contains(&format!("<td class=\"number\">{decibels:.1}</td>")), "{decibels}");
    }
    let grouped = |value: &Value| {
        let value = value.as_u64().unwrap();
        assert!((1000..1_000_000).contains(&value));
        format!("{},{:03}", value / 1000, value % 1000)
    };
    let lists = ["weights", "scratch"].map(|part| report[part].as_object().unwrap());
    let parts = ["word table", "attention", "feed-forward", "residual stream", "keys", "values"];
    for part in parts {
        let bytes = lists.iter().find_map(|list| list.get(part)).unwrap().as_u64().unwrap();
        assert!(bytes > 0 && page.contains(&format!("<td>{part}</td>")), "{part}");
    }
    for part in [&exported["model_bytes"], &exported["scratch_bytes"]] {
        assert!(page.contains(&grouped(part)));
    }
    assert!(page.contains(report["kernels"].as_str().unwrap()));
    assert!(page.contains("--keep f16:") && page.contains("turn o"));

    // The record of the run has both sides now.
    let record = RunRecord::read(&run).unwrap().unwrap().int8.unwrap();
    assert_eq!(serde_json::json!(record.f32), report["f32"]);

    // For a person, the main figures and where the page is.
    let mut arguments = place.arguments(&run, &data, &["--max-length", "24"]);
    arguments.retain(|argument| argument != "--json");
    let outcome = command::run("bert-trainer", arguments);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    for part in
        ["f32 on the same", "signal to noise: ", " dB", "median ", "slowest: line", "page.html"]
    {
        assert!(outcome.stdout.contains(part), "no {part:?} in {}", outcome.stdout);
    }
}

/// With all options together: the noise is that of the checkpoint's own ids, although the file has
/// others, and the page has a row for each word table.
#[test]
fn a_smaller_word_table_has_its_rows() {
    let place = Place::new();
    let (run, data) = (place.path("assistant"), fixture().path("joint.tsv"));
    copy_directory(&fixture().path("assistant"), &run);
    let whole = place.export(&run, &data, &["--max-length", "24"]);
    assert!(!place.page().contains("id=\"words\""));
    let files = ["--prune-vocabulary", data.to_str().unwrap()];
    let pruned = place.export(&run, &data, &[&["--max-length", "24"][..], &files].concat());
    assert_eq!(decibels(&pruned, "int8"), decibels(&whole, "int8"));
    assert_eq!(pruned["report"]["int8"]["metrics"], whole["report"]["int8"]["metrics"]);
    let more = ["--max-length", "24", "--embeddings", "int4", "--keep", "f16:0"];
    let small = place.export(&run, &data, &[&more[..], &files].concat());
    let costs = small["costs"].as_array().unwrap();
    assert_eq!(costs.len(), 4);
    let page = place.page();
    assert!(page.contains("id=\"words\"") && page.contains("<td>int4, pruned</td>"));
    for cost in costs {
        let bytes = cost["word_table_bytes"].as_u64().unwrap();
        let shown = format!("<td class=\"number\">{},{:03}</td>", bytes / 1000, bytes % 1000);
        assert!((1000..1_000_000).contains(&bytes) && page.contains(&shown), "{bytes}");
    }
}

#[test]
fn what_is_kept_in_f16_is_mended() {
    // Weights large enough that a layer is more than its residual stream, which stays int8.
    let checkpoint = Place::new();
    let (model, data) = task(&checkpoint, TaskKind::Joint);
    let int8 = Place::new().export(&model, &data, &[]);
    let mut sizes = vec![int8["model_bytes"].as_u64().unwrap()];
    for (keep, parts) in [
        (&["--keep", "f16:1"][..], &["layer 1"][..]),
        (&["--keep", "f16:0-1"], &["layer 0", "layer 1"]),
        (
            &["--keep", "f16:0,1", "--keep", "f16:pooler,f16:head"],
            &["layer 0", "layer 1", "pooler", "head"],
        ),
    ] {
        let place = Place::new();
        let exported = place.export(&model, &data, keep);
        assert_eq!(exported["keep"], serde_json::json!(parts));
        let (plain, kept) = (decibels(&exported, "int8"), decibels(&exported, "kept"));
        assert_eq!(plain, decibels(&int8, "int8"));
        assert_eq!(kept[0], plain[0], "the embeddings stay int8");
        if parts[0] == "layer 1" {
            assert_eq!(kept[1], plain[1], "layer 0 stays int8");
        } else {
            assert!(kept[1] > plain[1] + 1.0, "{kept:?} {plain:?}");
        }
        assert!(kept[2] > plain[2] + 0.5, "{kept:?} {plain:?}");

        // What it costs, with and without.
        let without = &exported["eval"]["without_keep"];
        assert_eq!(without["model_bytes"], int8["model_bytes"]);
        assert_eq!(without["metrics"], int8["eval"]["metrics"]);
        assert_eq!(exported["report"]["kept"]["metrics"], exported["eval"]["metrics"]);
        assert_eq!(exported["scratch_bytes"], int8["scratch_bytes"]);
        let size = exported["model_bytes"].as_u64().unwrap();
        assert!(size > *sizes.last().unwrap());
        sizes.push(size);
        let page = place.page();
        for part in [*parts.last().unwrap(), "in f16", "in int8"] {
            assert!(page.contains(part), "no {part:?}");
        }

        // The file says so, and the device answers as the trainer does.
        let file = place.path("model.bert");
        let bytes = std::fs::read(&file).unwrap();
        assert_eq!(bytes[8..12], [4, 0, 4, 0]);
        let inspected = command::run("bert-edge", ["inspect".as_ref(), file.as_os_str()]).stdout;
        assert!(inspected.contains("layer 1 feed-forward in, f16"), "{inspected}");
        assert_eq!(inspected.contains("layer 0 attention output, f16"), parts[0] == "layer 0");
        let text = "turn off the heater in the attic";
        let ask = |package, command: &str| {
            json(package, [command.as_ref(), file.as_os_str(), text.as_ref()])
        };
        let edge = ask("bert-edge", "classify");
        let trainer = json(
            "bert-trainer",
            ["predict".as_ref(), "--model".as_ref(), file.as_os_str(), text.as_ref()],
        );
        assert_eq!(edge["results"][0]["label"], trainer["predictions"][0]["label"]);
    }
    // A second matrix of two bytes a weight for each of one: layer 0 and layer 1 cost the same.
    assert_eq!(sizes[2] - sizes[1], sizes[1] - sizes[0]);
}

#[test]
fn an_export_that_keeps_nothing_is_what_it_was() {
    let place = Place::new();
    let (model, data) = (fixture().path("assistant"), fixture().path("joint.tsv"));
    place.export(&model, &data, &["--max-length", "24"]);
    let bytes = std::fs::read(fixture().path("model.bert")).unwrap();
    assert!(std::fs::read(place.path("model.bert")).unwrap() == bytes);
}

#[test]
fn vectors_can_be_kept_in_f16_too() {
    let place = Place::new();
    let output = place.path("vectors.bert");
    let model = fixture().path("pretrained");
    let exported = json(
        "bert-trainer",
        [
            "export".as_ref(),
            "--model".as_ref(),
            model.as_os_str(),
            "--output".as_ref(),
            output.as_os_str(),
            "--embed".as_ref(),
            "mean".as_ref(),
            "--keep".as_ref(),
            "f16:1".as_ref(),
        ],
    );
    assert_eq!(exported["keep"], serde_json::json!(["layer 1"]));
    assert_eq!(std::fs::read(output).unwrap()[8..10], [4, 0]);
}

/// A checkpoint of a task with random weights, and a file of examples with a hostile text.
fn task(place: &Place, kind: TaskKind) -> (PathBuf, PathBuf) {
    let tokenizer = fixture().path("tokenizer");
    let mut config = Config::named("bert-tiny").unwrap();
    config.vocab_size =
        std::fs::read_to_string(tokenizer.join("vocab.txt")).unwrap().lines().count();
    (config.hidden_size, config.num_attention_heads) = (36, 3);
    (config.intermediate_size, config.max_position_embeddings) = (50, 40);
    config.initializer_range = 0.2;
    let names = |has: bool, names: &[&str]| has.then(|| Labels::new(names.iter().copied()));
    let labels = TaskLabels {
        classes: names(kind.has_classes(), &["off", "on"]),
        tags: names(kind.has_tags(), &["B-x", "I-x", "O"]),
    };
    name_task(&mut config, kind, &labels);
    let table = ParameterTable::new(&config, &head_of(kind, &labels));
    let values = initial_values(&table, &config, 7);
    let model = place.path("checkpoint");
    write_checkpoint(&model, &config, &table, &values, &tokenizer).unwrap();
    let text = format!("turn on the lamp {HOSTILE} in the attic");
    let (name, examples) = match kind {
        TaskKind::Classify => ("a.tsv", format!("on\t{text}\noff\tlamp off\n")),
        TaskKind::MultiLabel => ("a.tsv", format!("on|off\t{text}\noff\tlamp off\n")),
        TaskKind::Pair => ("a.tsv", format!("on\t{text}\t{text}\noff\ta\tlamp off\n")),
        TaskKind::Regress => ("a.tsv", format!("1.5\t{text}\n-2\tlamp off\n0\ta\n")),
        TaskKind::Tag => ("a.conll", format!("lamp\tB-x\n{HOSTILE}\tO\n\noff\tO\n")),
        TaskKind::Joint => ("a.tsv", format!("on\tlamp {HOSTILE}\tB-x O\noff\ta b\tO O\n")),
        TaskKind::Span => {
            let context = format!("{text} . ").repeat(5);
            let answer = serde_json::json!({ "text": "lamp", "answer_start": 12 });
            let question =
                serde_json::json!({ "id": "1", "question": HOSTILE, "answers": [answer] });
            let paragraph = serde_json::json!({ "context": context, "qas": [question] });
            let article = serde_json::json!({ "title": "t", "paragraphs": [paragraph] });
            ("a.json", serde_json::json!({ "version": "1.1", "data": [article] }).to_string())
        }
    };
    let data = place.path(name);
    std::fs::write(&data, examples).unwrap();
    (model, data)
}

#[test]
fn every_task_has_a_report_and_hostile_texts_stay_text() {
    for kind in TaskKind::ALL {
        let place = Place::new();
        let (model, data) = task(&place, kind);
        let mut more = vec!["--keep", "f16:head", "--max-length", "32"];
        match kind {
            TaskKind::Pair => more.extend(["--task", "pair"]),
            TaskKind::Span => more.extend(["--stride", "8"]),
            _ => {}
        }
        let exported = place.export(&model, &data, &more);
        assert_eq!(exported["eval"]["task"], kind.name());
        // A head has no part in hidden states.
        assert_eq!(decibels(&exported, "int8"), decibels(&exported, "kept"), "{}", kind.name());
        let page = place.page();
        assert!(page.contains("&lt;script&gt;alert"), "{}", kind.name());
        assert!(!page.contains("<script>alert"), "{}", kind.name());
        let slowest = exported["report"]["slowest"].as_array().unwrap();
        let shown = |one: &Value, key: &str| {
            one[key].as_str().is_some_and(|text| text.contains("<script>"))
        };
        assert!(slowest.iter().any(|one| shown(one, "text") || shown(one, "second")));
        if kind == TaskKind::Span {
            // Several windows.
            assert!(slowest[0]["tokens"].as_u64().unwrap() > 32);
        }
    }
}

#[test]
fn wrong_arguments_are_named_and_leave_nothing() {
    let place = Place::new();
    let (model, data) = (fixture().path("assistant"), fixture().path("joint.tsv"));
    let fails = |arguments: Vec<OsString>, code: i32, expected: &str| {
        let outcome = command::run("bert-trainer", arguments);
        assert_eq!(outcome.code, Some(code), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
        assert_eq!(std::fs::read_dir(place.0.path()).unwrap().count(), 0, "left behind");
    };
    let with = |more: &[&str]| place.arguments(&model, &data, more);
    let layers = "no layer 9: the model has 2 layers, counted from 0";
    fails(with(&["--keep", "f16:9"]), 1, layers);
    fails(with(&["--keep", "f16:0-2"]), 1, "no layer 2: the model has 2 layers");
    for (keep, expected) in [
        ("1", "expected f16: before what is to be kept"),
        ("f32:1", "expected f16: before"),
        ("f16:1-0", "expected layers in ascending order"),
        ("f16:x", "expected a layer counted from 0 (2), layers (0-2), pooler or head"),
        ("f16:", "expected a layer"),
        ("f16:-1", "expected a layer"),
    ] {
        fails(with(&["--keep", keep]), 2, expected);
    }
    let without = |flag: &str| {
        let mut arguments = with(&[]);
        let at = arguments.iter().position(|argument| argument == flag).unwrap();
        arguments.drain(at..at + 2);
        arguments
    };
    fails(without("--eval"), 2, "--eval <EVAL>");
    let mut device = without("--report");
    device.extend(["--device".into(), "cpu".into()]);
    fails(device, 2, "--report <PAGE.html>");
    let mut same = without("--report");
    same.extend(["--report".into(), place.path("model.bert").into()]);
    fails(same, 1, "both --output and --report");
    let mut nowhere = without("--report");
    nowhere.extend(["--report".into(), place.path("no/page.html").into()]);
    fails(nowhere, 1, "no/page.html");
    fails(with(&["--device", "abacus"]), 1, "abacus");
    for (keep, expected) in [("pooler", "has no pooler"), ("head", "has no head")] {
        let vectors: [OsString; 9] = [
            "export".into(),
            "--model".into(),
            fixture().path("pretrained").into(),
            "--output".into(),
            place.path("vectors.bert").into(),
            "--embed".into(),
            "mean".into(),
            "--keep".into(),
            format!("f16:{keep}").into(),
        ];
        fails(vectors.to_vec(), 1, expected);
    }
}
