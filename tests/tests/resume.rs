//! Invariants 4 and 8: `pretrain` can be killed at any moment, its directory stays loadable, and
//! `--resume` goes on to the same bits as a run that nobody disturbed.

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use bert_tests::command;
use bert_tests::fixture::prepared;
use bert_trainer::data::TextTokenizer;
use bert_trainer::model::LoadedCheckpoint;
use serde_json::Value;

/// More than two epochs of the miniature corpus, with checkpoints in the middle of each.
const STEPS: usize = 36;
const SAVE_STEPS: usize = 5;
const LOG_STEPS: usize = 4;

fn arguments(output: &Path) -> Vec<OsString> {
    let fixture = prepared();
    let mut arguments: Vec<OsString> = Vec::new();
    let mut add = |flag: &str, value: OsString| arguments.extend([flag.into(), value]);
    add("--data", fixture.path("shards").into());
    add("--config", fixture.path("config.json").into());
    add("--output", output.into());
    add("--steps", STEPS.to_string().into());
    add("--save-steps", SAVE_STEPS.to_string().into());
    add("--log-steps", LOG_STEPS.to_string().into());
    add("--batch-size", "4".into());
    add("--max-length", "32".into());
    add("--learning-rate", "1e-3".into());
    arguments.insert(0, "pretrain".into());
    arguments
}

fn finish(output: &Path, resume: bool) -> Value {
    let resume = resume.then(|| OsString::from("--resume"));
    command::json("bert-trainer", arguments(output).into_iter().chain(resume))
}

fn start(output: &Path) -> Child {
    Command::new(command::binary("bert-trainer"))
        .args(arguments(output))
        .arg("--resume")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the run with SIGKILL as soon as `moment` is true; gives false if it ended before.
fn kill_when(child: &mut Child, moment: impl Fn() -> bool) -> bool {
    loop {
        if moment() {
            child.kill().unwrap();
        }
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().is_none();
        }
        // Nothing depends on how long this is: it leaves the processor to the run.
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Names of everything below a directory; what vanishes meanwhile is left out.
fn names_below(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        names.push(entry.file_name().to_string_lossy().into_owned());
        if entry.path().is_dir() {
            names.extend(names_below(&entry.path()));
        }
    }
    names
}

/// The weights, and every line of metrics.
fn results(output: &Path) -> (Vec<u8>, String) {
    let weights = std::fs::read(output.join("model.safetensors")).unwrap();
    let metrics = std::fs::read_to_string(output.join("metrics.jsonl")).unwrap();
    (weights, metrics)
}

/// A directory that `pretrain` has begun loads, whatever happened to the run.
fn check_loadable(output: &Path) {
    if output.join("model.safetensors").exists() {
        let loaded = LoadedCheckpoint::open(output).unwrap();
        assert!(loaded.missing.is_empty());
        TextTokenizer::open(output).unwrap();
    }
}

/// A run that nobody disturbs: what it reports and what it leaves.
fn calm() -> &'static (Value, (Vec<u8>, String)) {
    static CALM: OnceLock<(Value, (Vec<u8>, String))> = OnceLock::new();
    CALM.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("calm");
        let report = finish(&output, false);
        let results = results(&output);
        assert_eq!(results.1.lines().count(), STEPS / LOG_STEPS);
        (report, results)
    })
}

fn check_same_metrics(found: &Value, expected: &Value) {
    for key in ["steps", "mlm_loss_first", "mlm_loss", "mlm_accuracy", "nsp_loss", "nsp_accuracy"] {
        assert_eq!(found[key], expected[key], "{key}");
    }
}

#[test]
fn a_killed_run_resumes_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let (calm_report, expected) = calm();
    let disturbed = dir.path().join("disturbed");
    let state = |step: usize| format!("step-{step:09}");
    let saved = |step: usize| names_below(&disturbed).iter().any(|name| *name == state(step));
    let writing = || names_below(&disturbed).iter().any(|name| name.contains(".tmp-"));
    let logged = |lines: usize| {
        let text = std::fs::read_to_string(disturbed.join("metrics.jsonl")).unwrap_or_default();
        text.lines().count() >= lines
    };
    // In the middle of a write, the first and a later one; with a checkpoint just made; with steps
    // done, and metrics written, that no checkpoint has seen.
    let moments: [&dyn Fn() -> bool; 4] =
        [&writing, &|| saved(SAVE_STEPS), &|| logged(SAVE_STEPS * 3 / LOG_STEPS + 1), &|| {
            saved(SAVE_STEPS * 4) && writing()
        }];
    let mut killed = 0;
    for moment in moments {
        let mut child = start(&disturbed);
        killed += usize::from(kill_when(&mut child, moment));
        check_loadable(&disturbed);
    }
    assert!(killed >= 2, "only {killed} runs were still there to be killed");

    check_same_metrics(&finish(&disturbed, true), calm_report);
    let found = results(&disturbed);
    assert_eq!(found.1, expected.1, "metrics.jsonl");
    assert!(found.0 == expected.0, "model.safetensors differs");
    let leftovers: Vec<_> =
        names_below(&disturbed).into_iter().filter(|name| name.contains(".tmp-")).collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}

/// `--max-seconds` stops in the middle of an epoch, at a step that no `--save-steps` names.
#[test]
fn a_run_stopped_by_time_resumes_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let stopped = dir.path().join("stopped");
    let mut steps = 0;
    // Zero seconds: one step a process.
    for expected in 1..=2 {
        let more = ["--max-seconds", "0", "--resume"].map(OsString::from);
        let report = command::json("bert-trainer", arguments(&stopped).into_iter().chain(more));
        steps = report["steps"].as_u64().unwrap();
        assert_eq!(steps, expected);
    }
    assert!(steps < STEPS as u64);
    finish(&stopped, true);
    assert!(results(&stopped) == calm().1);
}

/// In f16 the scale of the loss goes on too.
#[test]
fn a_run_in_f16_resumes_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let run = |output: &Path, more: &[&str]| {
        let more = more.iter().chain(&["--precision", "f16"]).map(OsString::from);
        command::json("bert-trainer", arguments(output).into_iter().chain(more));
    };
    let (calm, stopped) = (dir.path().join("calm"), dir.path().join("stopped"));
    run(&calm, &[]);
    run(&stopped, &["--max-seconds", "0"]);
    run(&stopped, &["--max-seconds", "0", "--resume"]);
    run(&stopped, &["--resume"]);
    let results = results(&calm);
    assert!(results.1.contains("\"loss_scale\":"), "{}", results.1);
    assert!(self::results(&stopped) == results);
}

#[test]
fn a_finished_run_still_knows_its_figures() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("run");
    finish(&output, false);
    let again = finish(&output, true);
    check_same_metrics(&again, &calm().0);
    assert_eq!(again["tokens"], 0, "nothing was left to do");
    assert!(results(&output) == calm().1);
}

#[test]
fn another_run_is_not_continued() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("run");
    let stop = ["--max-seconds", "0"].map(OsString::from);
    command::json("bert-trainer", arguments(&output).into_iter().chain(stop));

    let again = command::run("bert-trainer", arguments(&output));
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("--resume"), "{}", again.stderr);

    let other = ["--resume", "--seed", "2"].map(OsString::from);
    let other = command::run("bert-trainer", arguments(&output).into_iter().chain(other));
    assert_eq!(other.code, Some(1));
    assert!(other.stderr.contains("cannot resume"), "{}", other.stderr);
}
