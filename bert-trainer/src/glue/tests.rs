#![allow(clippy::unwrap_used)]
use std::path::Path;

use serde_json::json;

use super::*;

/// Counts what it is asked to run, and scores better the nearer the rate is to 3e-5.
struct Fake {
    runs: Vec<(String, f64, u64)>,
    best: Vec<(String, f64, u64)>,
    /// Runs after which it fails.
    limit: usize,
}

impl Fake {
    fn new(limit: usize) -> Self {
        Self { runs: Vec::new(), best: Vec::new(), limit }
    }
}

impl Run for Fake {
    fn run(&mut self, job: &Job<'_>) -> anyhow::Result<Vec<Scores>> {
        ensure!(self.runs.len() < self.limit, "the device is gone");
        let task = job.files.task;
        self.runs.push((task.name.to_owned(), job.setting.learning_rate, job.seed));
        let base = 0.8 - (job.setting.learning_rate - 3e-5).abs() * 1e4;
        let score = |evaluation: usize| {
            let value = base + 0.01 * job.seed as f64 - 0.1 * evaluation as f64;
            task.metrics.iter().map(|metric| ((*metric).to_owned(), json!(value))).collect()
        };
        Ok((0..task.evaluations.len()).map(score).collect())
    }

    fn done(&mut self, job: &Job<'_>, is_best: bool) -> anyhow::Result<()> {
        if is_best {
            self.best.push((job.files.task.name.to_owned(), job.setting.learning_rate, job.seed));
        }
        Ok(())
    }
}

/// A folder with two small tasks.
fn data() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |folder: &str, file: &str, text: &str| {
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        std::fs::write(dir.path().join(folder).join(file), text).unwrap();
    };
    for file in ["train.tsv", "dev.tsv"] {
        write("CoLA", file, "s\t1\t\tA dog barks.\ns\t0\t*\tDog a bark.\n");
    }
    for file in ["train.tsv", "dev_matched.tsv", "dev_mismatched.tsv"] {
        write("MNLI", file, "sentence1\tsentence2\tgold_label\na\tb\tneutral\n");
    }
    dir
}

fn plan(data: &Path, rates: &[f64], seeds: &[u64]) -> Plan {
    Plan {
        system: "mine".to_owned(),
        data: data.to_owned(),
        output: data.join("out"),
        tasks: TASKS.iter().collect(),
        settings: Grid { epochs: vec![3], batch_sizes: vec![32], learning_rates: rates.to_vec() }
            .settings(),
        seeds: seeds.to_vec(),
        conditions: Map::from_iter([("model".to_owned(), json!("abc"))]),
    }
}

fn start(plan: &Plan, limit: usize) -> (anyhow::Result<Report>, Fake, Vec<String>) {
    let (mut fake, mut notes) = (Fake::new(limit), Vec::new());
    let report = run(plan, &mut fake, &mut |note| notes.push(note.to_owned()));
    (report, fake, notes)
}

#[test]
fn every_setting_runs_with_every_seed_and_the_best_is_reported() {
    let dir = data();
    let plan = plan(dir.path(), &[5e-5, 3e-5, 2e-5], &[1, 2, 3]);
    let (report, fake, notes) = start(&plan, usize::MAX);
    let report = report.unwrap();
    assert_eq!(fake.runs.len(), 2 * 3 * 3);
    assert_eq!(report.skipped, ["sst2", "mrpc", "stsb", "qqp", "qnli", "rte", "wnli"]);
    assert_eq!(notes.iter().filter(|note| note.contains("skipped")).count(), 7);
    assert!(
        notes.contains(&"run 18 of 18: mnli, epochs 3, batch 32, rate 2e-5, seed 3".to_owned())
    );
    let [cola, mnli] = &report.tasks[..] else { panic!("{report:?}") };
    for task in [cola, mnli] {
        assert_eq!((task.setting.learning_rate, task.settings), (3e-5, 3));
    }
    let near = |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() < 1e-9;
    let figure = cola.find("CoLA", "matthews_correlation").unwrap();
    assert!(near(figure.mean, 0.82) && near(figure.deviation, 0.01), "{figure:?}");
    assert!(near(mnli.find("MNLI-mm", "accuracy").unwrap().mean, 0.72));
    assert_eq!(mnli.find("CoLA", "accuracy"), None);
    // Its checkpoint is the best one of all.
    assert_eq!(fake.best.last().unwrap(), &("mnli".to_owned(), 3e-5, 3));
    assert!(!fake.best.contains(&("cola".to_owned(), 2e-5, 1)));
}

#[test]
fn what_is_done_is_not_run_again() {
    let dir = data();
    let first = plan(dir.path(), &[5e-5, 3e-5], &[1, 2]);
    let (report, fake, _) = start(&first, 3);
    assert_eq!(report.unwrap_err().to_string(), "the device is gone");
    assert_eq!(fake.runs.len(), 3);
    let (report, fake, _) = start(&first, usize::MAX);
    assert_eq!(fake.runs.len(), 8 - 3);
    let (again, fake, _) = start(&first, 0);
    assert!(fake.runs.is_empty());
    let (report, again) = (report.unwrap(), again.unwrap());
    assert_eq!(report.to_json()["tasks"], again.to_json()["tasks"]);
    // A larger plan runs what it adds; a smaller one reports its part.
    let (report, fake, _) = start(&plan(dir.path(), &[5e-5, 3e-5, 2e-5], &[1, 2]), usize::MAX);
    assert_eq!((fake.runs.len(), report.unwrap().tasks[0].settings), (4, 3));
    let (report, fake, _) = start(&plan(dir.path(), &[2e-5], &[2]), 0);
    assert_eq!((fake.runs.len(), report.unwrap().tasks[0].setting.learning_rate), (0, 2e-5));
    // Another model and other data are other runs.
    let mut other = first.clone();
    other.conditions.insert("model".to_owned(), json!("def"));
    assert_eq!(start(&other, usize::MAX).1.runs.len(), 8);
    std::fs::write(dir.path().join("CoLA/dev.tsv"), "s\t1\t\tA cat sleeps.\n").unwrap();
    assert_eq!(start(&first, usize::MAX).1.runs.len(), 4);
}

#[test]
fn nothing_is_run_and_nothing_left_if_files_are_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (report, fake, notes) = start(&plan(dir.path(), &[2e-5], &[1]), usize::MAX);
    let error = report.unwrap_err().to_string();
    assert!(error.contains("expected a folder of a task, as CoLA, SST-2,"), "{error}");
    assert_eq!((fake.runs.len(), notes.len()), (0, 9));
    let dir = data();
    std::fs::remove_file(dir.path().join("MNLI/dev_mismatched.tsv")).unwrap();
    let (report, fake, _) = start(&plan(dir.path(), &[2e-5], &[1]), usize::MAX);
    assert!(report.unwrap_err().to_string().contains("dev_mismatched.tsv: cannot read"));
    assert!(fake.runs.is_empty() && !dir.path().join("out").exists());
}

#[test]
fn scores_of_too_few_evaluations_are_an_error() {
    struct Half;
    impl Run for Half {
        fn run(&mut self, _: &Job<'_>) -> anyhow::Result<Vec<Scores>> {
            Ok(vec![Scores::new()])
        }
    }
    let dir = data();
    let error = run(&plan(dir.path(), &[2e-5], &[1]), &mut Half, &mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "mnli: 2 evaluations, but scores of 1");
}

#[test]
fn the_table_has_own_and_published_rows() {
    let dir = data();
    let (report, ..) = start(&plan(dir.path(), &[3e-5, 2e-5], &[1, 2, 3]), usize::MAX);
    let report = report.unwrap();
    let table = report.to_markdown();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "| system                   | part | CoLA MCC | MNLI-m acc | MNLI-mm acc |",
            "|--------------------------|------|----------|------------|-------------|",
            "| mine                     | dev  | 82.0±1.0 | 82.0±1.0   | 72.0±1.0    |",
        ]
    );
    assert_eq!(
        lines[8],
        "| BERT_BASE (12/768) [3]   | test | 52.1     | 84.6       | 83.4        |"
    );
    assert_eq!(
        lines[7],
        "| BERT_BASE (12/768) [2]   | dev  | –        | 84.4       | –           |"
    );
    assert!(table.contains("\n* CoLA: 2 training examples, epochs 3, batch 32, rate 3e-5 (the best of 2 on dev), 3 seeds, 0 s\n"), "{table}");
    assert!(table.ends_with("* [3] Devlin et al. 2018, arXiv:1810.04805v2, table 1"), "{table}");
    let value = report.to_json();
    assert!(
        (value["tasks"]["mnli"]["results"]["MNLI-mm"]["accuracy"]["mean"].as_f64().unwrap() - 0.72)
            .abs()
            < 1e-9
    );
    assert_eq!(value["tasks"]["cola"]["setting"]["epochs"], 3);
    assert_eq!(value["average"], Value::Null);
    assert_eq!(value["published"][6]["results"]["CoLA"]["matthews_correlation"], json!(0.605));
}

#[test]
fn an_average_stands_where_all_tasks_were_run() {
    let figure = Figure { mean: Some(0.5), deviation: None };
    let undefined = Figure { mean: None, deviation: None };
    let summary = |task: &'static GlueTask| TaskSummary {
        task,
        train_examples: 9,
        setting: Setting { epochs: 3, batch_size: 32, learning_rate: 2e-5 },
        settings: 1,
        seeds: vec![7],
        seconds: 1.0,
        figures: vec![vec![figure; task.metrics.len()]; task.evaluations.len()],
    };
    let tasks = TASKS.iter().map(summary).collect();
    let mut report = Report { system: "mine".to_owned(), tasks, skipped: Vec::new() };
    assert_eq!(report.average(), Some(0.5));
    let table = report.to_markdown();
    let row = |name: &str| table.lines().find(|line| line.contains(name)).unwrap().to_owned();
    assert!(row("| system").trim_end().ends_with("| average |"), "{table}");
    assert!(row("| mine").ends_with("| 50.0     | 50.0    |"), "{table}");
    assert!(row("BERT_LARGE").ends_with("| –        | 82.1    |"), "{table}");
    assert!(row("BERT-Tiny").contains("| 81.1/71.1   | 74.3/73.6              |"), "{table}");
    assert!(
        table.contains("* RTE: 9 training examples, epochs 3, batch 32, rate 2e-5, seed 7, 1 s")
    );
    report.tasks[3].figures[0] = vec![undefined; 2];
    assert_eq!(report.average(), None);
    assert!(report.to_markdown().contains("| undefined/undefined "));
    assert_eq!(
        report.to_json()["tasks"]["stsb"]["results"]["STS-B"]["pearson"]["mean"],
        Value::Null
    );
}
