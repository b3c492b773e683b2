//! The GLUE benchmark from outside, on small folders of the usual layout: what it prints, what it
//! leaves, that it goes on where it stood, and that its figures are those of `eval`.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use bert_tests::command::{self, Outcome};
use bert_tests::fixture::fixture;
use bert_trainer::glue::{PUBLISHED, RESULTS_FILE, TASKS};
use serde_json::Value;
use tempfile::TempDir;

const WORDS: [&str; 6] = ["lamp", "fan", "radio", "heater", "kitchen", "garage"];

/// Sentence number `n`; with a quote that TSV does not close, as GLUE has them.
fn sentence(n: usize) -> String {
    let (one, two) = (WORDS[n % 6], WORDS[(n / 6) % 6]);
    format!("is the \"{one} in the {two} still on ?")
}

/// A GLUE directory with the folders of all tasks. Labels alternate, so that they can be learnt
/// only by luck.
fn glue_data() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for task in &TASKS {
        let folder = dir.path().join(task.folder);
        fs::create_dir_all(&folder).unwrap();
        let evaluations = task.evaluations.iter().map(|evaluation| evaluation.file);
        for (part, file) in ["train.tsv"].into_iter().chain(evaluations).enumerate() {
            let rows = if part == 0 { 24 } else { 11 + part };
            let mut text = header(task.name).to_owned();
            for n in 0..rows {
                let label = match task.labels {
                    [] => format!("{}.{}", n % 5, n % 10),
                    labels => labels[(n + n / 5) % labels.len()].to_owned(),
                };
                text.push_str(&row(task.name, n, &sentence(n), &sentence(7 * n + part), &label));
            }
            fs::write(folder.join(file), text).unwrap();
        }
    }
    dir
}

/// The first line of a file, as the download has it.
fn header(task: &str) -> &'static str {
    match task {
        "cola" => "",
        "sst2" => "sentence\tlabel\n",
        "mrpc" => "\u{feff}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n",
        "stsb" => {
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
        }
        "qqp" => "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n",
        "mnli" => {
            "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t\
             sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n"
        }
        "qnli" => "index\tquestion\tsentence\tlabel\n",
        "rte" | "wnli" => "index\tsentence1\tsentence2\tlabel\n",
        other => panic!("no task {other}"),
    }
}

fn row(task: &str, n: usize, a: &str, b: &str, label: &str) -> String {
    match task {
        "cola" => format!("gj04\t{label}\t*\t{a}\n"),
        "sst2" => format!("{a} \t{label}\n"),
        "mrpc" => format!("{label}\t{n}\t{n}\t{a}\t{b}\r\n"),
        "stsb" => format!("{n}\tmain\tnews\t2012\t{n}\tnone\tnone\t{a}\t{b}\t{label}\n"),
        "qqp" => format!("{n}\t{n}\t{n}\t{a}\t{b}\t{label}\n"),
        "mnli" => format!("{n}\t{n}\t{n}e\tfiction\t(\t(\t(\t(\t{a}\t{b}\t{label}\t{label}\n"),
        _ => format!("{n}\t{a}\t{b}\t{label}\n"),
    }
}

/// Runs the benchmark for `tasks` with small settings.
fn arguments(data: &Path, output: &Path, tasks: &str, more: &[&str]) -> Vec<String> {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let mut arguments: Vec<String> =
        ["glue", "--batch-size", "8", "--tasks", tasks].map(String::from).to_vec();
    arguments.extend(["--model".to_owned(), path(&fixture().path("pretrained"))]);
    arguments.extend(["--data".to_owned(), path(data), "--output".to_owned(), path(output)]);
    for (option, value) in [("--max-length", "40"), ("--epochs", "1")] {
        if !more.contains(&option) {
            arguments.extend([option.to_owned(), value.to_owned()]);
        }
    }
    arguments.extend(more.iter().map(|&one| one.to_owned()));
    arguments
}

fn glue(data: &Path, output: &Path, tasks: &str, more: &[&str]) -> Value {
    command::json("bert-trainer", arguments(data, output, tasks, more))
}

fn fails(data: &Path, output: &Path, tasks: &str, more: &[&str]) -> Outcome {
    let outcome = command::run("bert-trainer", arguments(data, output, tasks, more));
    assert_eq!(outcome.stdout, "", "{outcome:?}");
    assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
    outcome
}

fn results(output: &Path) -> Vec<Value> {
    let text = fs::read_to_string(output.join(RESULTS_FILE)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn all_tasks_run_on_their_files_as_they_are() {
    let data = glue_data();
    let output = data.path().join("output");
    let every = TASKS.each_ref().map(|task| task.name).join(",");
    let report = glue(data.path(), &output, &every, &[]);
    assert_eq!(results(&output).len(), TASKS.len());
    assert_eq!(report["skipped"], serde_json::json!([]));
    assert_eq!(report["published"].as_array().unwrap().len(), PUBLISHED.len());
    for task in &TASKS {
        let found = &report["tasks"][task.name];
        assert_eq!(found["train_examples"], 24, "{}", task.name);
        for evaluation in task.evaluations {
            for &metric in task.metrics {
                let figure = &found["results"][evaluation.column][metric];
                let least = if ["f1", "accuracy"].contains(&metric) { 0.0 } else { -1.0 };
                let mean = figure["mean"].as_f64().unwrap();
                assert!((least..=1.0).contains(&mean), "{}: {figure}", task.name);
                assert_eq!(figure["deviation"], Value::Null);
            }
        }
        assert!(output.join("checkpoints").join(task.name).join("model.safetensors").is_file());
    }
    assert!(!output.join("checkpoints/run").exists());
    assert!(report["average"].is_f64());
}

#[test]
fn figures_are_those_of_eval_and_the_best_checkpoint_is_kept() {
    let data = glue_data();
    let output = data.path().join("output");
    let more = ["--seeds", "2", "--learning-rate", "1e-3,1e-2"];
    let report = glue(data.path(), &output, "mnli", &more);
    let records = results(&output);
    assert_eq!(records.len(), 4);
    let accuracy = |record: &Value, set: usize| record["scores"][set]["accuracy"].as_f64().unwrap();
    // The best run of all, of equals the first.
    let score = |record: &Value| accuracy(record, 0) + accuracy(record, 1);
    let mut best = &records[0];
    for record in &records {
        if score(record) > score(best) {
            best = record;
        }
    }
    for (set, file) in ["dev_matched.tsv", "dev_mismatched.tsv"].into_iter().enumerate() {
        let path = |path: PathBuf| path.to_str().unwrap().to_owned();
        let found = command::json(
            "bert-trainer",
            [
                "eval",
                "--model",
                &path(output.join("checkpoints/mnli")),
                "--data",
                &path(data.path().join("MNLI").join(file)),
                "--text-column",
                "sentence1",
                "--second-column",
                "sentence2",
                "--label-column",
                "gold_label",
            ],
        );
        assert_eq!(found["examples"], 12 + set);
        assert_eq!(found["metrics"]["accuracy"].as_f64().unwrap(), accuracy(best, set));
    }
    // The reported setting is the one with the better mean, with mean and deviation of its seeds.
    let chosen = &report["tasks"]["mnli"];
    let rate = chosen["setting"]["learning_rate"].as_f64().unwrap();
    let of_rate: Vec<f64> = records
        .iter()
        .filter(|record| record["learning_rate"].as_f64() == Some(rate))
        .map(|record| accuracy(record, 1))
        .collect();
    let [one, two] = of_rate[..] else { panic!("{of_rate:?}") };
    let figure = &chosen["results"]["MNLI-mm"]["accuracy"];
    let near = |found: &Value, expected: f64| (found.as_f64().unwrap() - expected).abs() < 1e-12;
    assert!(near(&figure["mean"], (one + two) / 2.0), "{figure}");
    assert!(near(&figure["deviation"], (one - two).abs() / 2f64.sqrt()), "{figure}");
}

#[test]
fn a_benchmark_goes_on_where_it_stood() {
    let data = glue_data();
    let output = data.path().join("output");
    let more = ["--seeds", "2"];
    let whole = glue(data.path(), &output, "sst2,rte", &more);
    let path = output.join(RESULTS_FILE);
    let text = fs::read(&path).unwrap();
    let outcome = command::run("bert-trainer", arguments(data.path(), &output, "sst2,rte", &more));
    assert_eq!((outcome.code, &fs::read(&path).unwrap()), (Some(0), &text));
    assert!(!outcome.stderr.contains("run 1 of"), "{}", outcome.stderr);
    assert!(outcome.stdout.starts_with("| system"), "{}", outcome.stdout);
    // As if it had been killed while the last result was being written, which comes out the same.
    fs::write(&path, &text[..text.len() - 9]).unwrap();
    fs::create_dir_all(output.join("checkpoints/run/half")).unwrap();
    let again = glue(data.path(), &output, "rte,sst2", &more);
    let scores = |records: &[Value]| -> Vec<Value> {
        records.iter().map(|record| record["scores"].clone()).collect()
    };
    let before: Vec<Value> = text
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(scores(&results(&output)), scores(&before));
    for task in ["sst2", "rte"] {
        assert_eq!(again["tasks"][task]["results"], whole["tasks"][task]["results"]);
    }
    // One more seed is one more run a task.
    glue(data.path(), &output, "sst2,rte", &["--seeds", "3"]);
    assert_eq!(results(&output).len(), 6);
}

#[test]
fn missing_tasks_are_skipped_and_broken_rows_left_out_aloud() {
    let data = glue_data();
    let output = data.path().join("output");
    fs::remove_dir_all(data.path().join("SST-2")).unwrap();
    let train = data.path().join("QQP/train.tsv");
    let mut text = fs::read_to_string(&train).unwrap();
    let rows: String = (0..200).map(|n| row("qqp", n, &sentence(n), "is it ?", "1")).collect();
    text.push_str(&rows);
    text.push_str("9\t9\t9\tis this\nbroken ?\tno\t1\n");
    fs::write(&train, text).unwrap();
    let outcome = command::run("bert-trainer", arguments(data.path(), &output, "sst2,qqp", &[]));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stderr.contains("glue: sst2: skipped, there is no"), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("glue: qqp: 2 broken rows left out, the first: ")
            && outcome.stderr.contains("QQP/train.tsv:226: expected 6 columns as in the header"),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stdout.contains("QQP: 224 training examples"), "{}", outcome.stdout);
}

#[test]
fn bad_input_is_one_line_and_leaves_nothing() {
    let data = glue_data();
    let output = data.path().join("output");
    let check = |tasks: &str, more: &[&str], code: i32, expected: &str| {
        let outcome = fails(data.path(), &output, tasks, more);
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        assert!(outcome.stderr.contains(expected), "{outcome:?}");
        assert!(!output.exists(), "{outcome:?}");
    };
    check("sst2,glue", &[], 2, "the tasks are cola, sst2");
    check("sst2", &["--epochs", "0"], 2, "--epochs");
    check("sst2", &["--grid", "mine"], 2, "--grid");
    check("sst2", &["--max-length", "41"], 1, "--max-length 41: ");
    let train = data.path().join("RTE/train.tsv");
    let text = fs::read_to_string(&train).unwrap();
    fs::write(&train, text.replacen("\tentailment", "\tyes", 1)).unwrap();
    check("sst2,rte", &[], 1, "expected a label of entailment, not_entailment, found \"yes\"");
    fs::remove_file(data.path().join("MNLI/dev_mismatched.tsv")).unwrap();
    check("mnli", &[], 1, "dev_mismatched.tsv: cannot read");
    let empty = tempfile::tempdir().unwrap();
    let outcome = fails(empty.path(), &output, "sst2,rte", &[]);
    let expected = "expected a folder of a task, as SST-2, RTE; found none";
    assert!(outcome.code == Some(1) && outcome.stderr.contains(expected), "{outcome:?}");
    fs::create_dir_all(&output).unwrap();
    fs::write(output.join(RESULTS_FILE), "{}\n").unwrap();
    let outcome = fails(data.path(), &output, "sst2", &[]);
    let expected = "glue.jsonl:1: expected a record of a run";
    assert!(outcome.code == Some(1) && outcome.stderr.contains(expected), "{outcome:?}");
}
