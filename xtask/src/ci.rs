//! What must pass before a merge, in the order that finds mistakes soonest.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::test::{self, FEATURES};
use crate::{
    capi, demo as flow, firmware, gpu_compile, identity, python, service, setup, shell, targets,
    web,
};

/// Arguments of `cargo xtask ci`.
#[derive(clap::Args)]
pub struct Args {
    /// Only these steps, by name; without it all.
    #[arg(value_parser = STEPS.map(|step| step.name))]
    steps: Vec<String>,
}

struct Step {
    name: &'static str,
    /// `Ok(Some(reason))` if the step had to be left out.
    run: fn() -> Result<Option<String>>,
}

const STEPS: [Step; 16] = [
    Step { name: "setup", run: || done(setup::ensure_for_tests()) },
    Step { name: "format", run: || done(format()) },
    Step { name: "lints", run: || done(lints()) },
    Step { name: "docs", run: || done(docs()) },
    Step { name: "tests", run: || done(tests()) },
    Step { name: "bare-metal", run: || done(bare_metal()) },
    Step { name: "capi", run: capi::test },
    Step { name: "python", run: python::test },
    Step { name: "identity", run: || done(identity::run(&identity::Args::brief())) },
    Step { name: "gpu-compile", run: || done(gpu_compile::run(&Default::default())) },
    Step { name: "vulkan", run: test::vulkan },
    Step { name: "demo", run: || done(demo()) },
    // They ask the model that the demo has made.
    Step { name: "firmware", run: firmware::test },
    Step { name: "web", run: web::test },
    Step { name: "browser", run: web::browser },
    Step { name: "service", run: service::page },
];

fn done(result: Result<()>) -> Result<Option<String>> {
    result.map(|()| None)
}

/// Runs the steps, stops at the first that fails, and closes with a table of all.
pub fn run(args: &Args) -> Result<()> {
    let named = |step: &Step| args.steps.iter().any(|name| name == step.name);
    let chosen = |step: &&Step| args.steps.is_empty() || named(step);
    let started = Instant::now();
    let mut rows: Vec<(&str, Duration, String)> = Vec::new();
    let mut failure = None;
    for step in STEPS.iter().filter(chosen) {
        eprintln!("\n== {} ==", step.name);
        let began = Instant::now();
        let result = (step.run)();
        let outcome = match &result {
            Ok(None) => "ok".into(),
            Ok(Some(reason)) => format!("left out: {}", first_line(reason)),
            Err(error) => format!("FAILED: {}", first_line(&format!("{error:#}"))),
        };
        rows.push((step.name, began.elapsed(), outcome));
        if result.is_err() {
            failure = Some(step.name);
            break;
        }
    }
    println!("\n{:<12} {:>8}  result", "step", "time");
    for (name, took, outcome) in &rows {
        println!("{name:<12} {:>8}  {outcome}", clock(*took));
    }
    println!("{:<12} {:>8}", "all", clock(started.elapsed()));
    println!("steps: {}", counts(&rows));
    match failure {
        Some(step) => bail!("step `{step}` failed; repeat it alone with `cargo xtask ci {step}`"),
        None => Ok(()),
    }
}

/// `8 passed, 0 failed, 1 skipped`, the form in which test runners close.
fn counts(rows: &[(&str, Duration, String)]) -> String {
    let of = |start: &str| rows.iter().filter(|(.., outcome)| outcome.starts_with(start)).count();
    format!("{} passed, {} failed, {} skipped", of("ok"), of("FAILED"), of("left out"))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn clock(time: Duration) -> String {
    format!("{}:{:04.1}", time.as_secs() / 60, time.as_secs_f64() % 60.0)
}

fn format() -> Result<()> {
    shell::run(&mut shell::cargo(["fmt", "--all", "--check"]))?;
    // Workspaces of their own.
    let workspaces = [
        "tests/identity/firmware/Cargo.toml",
        "tests/peers/engines/Cargo.toml",
        "bert-edge/firmware/machine/Cargo.toml",
        "bert-edge/firmware/cortex-m/Cargo.toml",
        "bert-edge/firmware/riscv/Cargo.toml",
        "bert-edge/firmware/boards/nrf52840/Cargo.toml",
        "bert-edge/firmware/boards/esp32c3/Cargo.toml",
        "bert-edge/python/Cargo.toml",
        "bert-edge/web/Cargo.toml",
    ];
    workspaces.iter().try_for_each(|manifest| {
        shell::run(&mut shell::cargo(["fmt", "--all", "--check", "--manifest-path", manifest]))
    })
}

fn lints() -> Result<()> {
    let mut command = shell::cargo(["clippy", "--release", "--workspace", "--all-targets"]);
    shell::run(command.args(["--features", FEATURES, "--", "-D", "warnings"]))?;
    // What no machine without GPUs can run should at least compile.
    let mut command = shell::cargo(["clippy", "--release", "-p", "bert-trainer"]);
    shell::run(command.args(["--features", "nccl", "--", "-D", "warnings"]))
}

fn docs() -> Result<()> {
    let mut command = shell::cargo(["doc", "--release", "--workspace", "--no-deps"]);
    command.args(["--features", FEATURES]).env("RUSTDOCFLAGS", "-D warnings");
    shell::run(&mut command)
}

fn tests() -> Result<()> {
    test::workspace(FEATURES, &[])
}

fn demo() -> Result<()> {
    test::binaries(FEATURES)?;
    flow::run(&flow::Args { prebuilt: true })
}

fn bare_metal() -> Result<()> {
    targets::DEFAULT.iter().try_for_each(|target| targets::build(target))
}
