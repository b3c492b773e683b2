//! `cargo xtask bench edge`: `bert-core` beside its peers, one sentence at a time on one core.
//!
//! The engines are workers (`tests/peers/engines`, `tests/peers/edge`) that stay alive; this module
//! makes their models, asks them in turns, and reports.

pub(super) mod engines;
pub(super) mod folders;
mod measure;
mod models;
mod plot;
mod report;
mod start;
mod worker;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{setup, shell};
use engines::Engine;
use folders::Folders;
use measure::{Effort, PeakWorker, Workers};
use models::{Form, MODELS, Model, TOKENS};
use report::Measured;
use worker::Worker;

/// Shown at the end of the help.
pub const EXAMPLES: &str = "\
Examples:
  cargo xtask bench edge
  cargo xtask bench edge --models bert-tiny,minilm-l6 --tokens 16,128
  cargo xtask bench edge --engines bert-core,ort,rten --rounds 3 --budget 0.03   # a quick look
  cargo xtask bench edge --without-python   # bert-core and candle, which read what Rust writes";

/// Arguments of `cargo xtask bench edge`.
#[derive(clap::Args)]
pub struct Args {
    /// Sizes to measure; all if not given.
    #[arg(long, value_delimiter = ',', value_parser = MODELS.map(|model| model.name))]
    models: Vec<String>,
    /// Tokens of a sentence; 512 only with minilm-l6 and bert-base.
    #[arg(long, value_delimiter = ',', default_values_t = TOKENS,
          value_parser = clap::builder::ValueParser::new(length))]
    tokens: Vec<usize>,
    /// Engines to measure; all if not given: bert-core, ort, rten, openvino, ctranslate2, tract,
    /// candle, or a way of one of them, as in edge.json.
    #[arg(long, value_delimiter = ',')]
    engines: Vec<String>,
    /// Bursts of each engine for each size and length.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Seconds of a burst; a slow engine answers once at least.
    #[arg(long, default_value_t = 0.1, value_name = "SECONDS")]
    budget: f64,
    /// The core that everything runs on, from 0; the last one if not given.
    #[arg(long)]
    core: Option<usize>,
    /// Leaves out what Python must make or run: all peers but candle.
    #[arg(long)]
    without_python: bool,
    /// Takes this bert-trainer for the export instead of building it.
    #[arg(long, value_name = "BINARY")]
    trainer: Option<PathBuf>,
    /// Takes this bert-edge for start, size and memory instead of building it, e.g. one of profile edge.
    #[arg(long, value_name = "BINARY", conflicts_with = "without_start")]
    edge: Option<PathBuf>,
    /// Leaves out start, size and memory.
    #[arg(long)]
    without_start: bool,
}

fn length(text: &str) -> Result<usize, String> {
    let known = TOKENS.map(|tokens| tokens.to_string());
    match known.iter().position(|tokens| tokens == text) {
        Some(at) => Ok(TOKENS[at]),
        None => Err(format!("expected one of {}", known.join(", "))),
    }
}

/// Builds what is missing, measures, and writes the report.
pub fn run(args: &Args) -> Result<()> {
    if args.budget.is_nan() || args.budget <= 0.0 {
        bail!("--budget {}: expected seconds above 0", args.budget);
    }
    let chosen = measure::chosen(&args.engines)?;
    let folders = Folders::new(!args.without_python)?;
    let core = args.core.unwrap_or_else(last_core);
    let models: Vec<&Model> = MODELS
        .iter()
        .filter(|model| args.models.is_empty() || args.models.iter().any(|name| name == model.name))
        .collect();

    let lengths_of =
        |model: &Model| args.tokens.iter().filter(|&&tokens| model.has(tokens)).count();
    if models.iter().all(|model| lengths_of(model) == 0) {
        bail!("nothing to measure: of {} tokens are only minilm-l6 and bert-base", TOKENS[3]);
    }
    let trainer = match &args.trainer {
        Some(binary) => binary.clone(),
        None => build_trainer()?,
    };

    let built = build(&folders, &chosen);
    let mut peaks = peak_workers(&folders, core);
    let effort = Effort { rounds: args.rounds.into(), burst_ms: args.budget * 1e3 };
    let mut measured = Measured::default();
    for model in models {
        let commands = commands(&folders, &trainer, model, &chosen, &built);
        let mut workers = start_workers(&folders, core, model, commands);
        for &tokens in args.tokens.iter().filter(|&&tokens| model.has(tokens)) {
            let (rows, peaks) =
                measure::measure(&folders, model, tokens, &mut workers, &mut peaks, &effort)?;
            measured.rows.extend(rows);
            measured.peaks.extend(peaks);
        }
    }
    drop(peaks);

    let mut report = heading(core, &effort, &measured);
    report += &measured.markdown();
    if !args.without_start {
        report += &start(&folders, core, &trainer, args.edge.as_deref(), &chosen, &built)?;
    }
    write(&folders.root.join("edge.json"), &format!("{:#}\n", measured.json()))?;
    write(&folders.root.join("edge.svg"), &plot::svg(&measured)?)?;
    write(&folders.root.join("edge.md"), &report)?;
    print!("{report}");
    eprintln!("bench: wrote edge.json, edge.svg and edge.md in {}", folders.root.display());
    Ok(())
}

/// Programs by engine, or why there is none.
type Built = BTreeMap<&'static str, Result<(), String>>;

fn build(folders: &Folders, chosen: &[&'static Engine]) -> Built {
    let text = |error: anyhow::Error| format!("{error:#}");
    chosen.iter().map(|engine| (engine.name, engine.build(folders).map_err(text))).collect()
}

/// `bert-trainer` as the tests build it, so that nothing is compiled twice.
fn build_trainer() -> Result<PathBuf> {
    setup::ensure_for_tests()?;
    crate::test::binaries(crate::test::FEATURES)?;
    Ok(shell::target_dir().join("release/bert-trainer"))
}

/// The workers of a size, or why an engine has none.
fn commands(
    folders: &Folders,
    trainer: &Path,
    model: &Model,
    chosen: &[&'static Engine],
    built: &Built,
) -> Vec<(&'static Engine, Result<Command, String>)> {
    let command = |engine: &'static Engine| {
        if let Some(Err(reason)) = built.get(engine.name) {
            return Err(reason.clone());
        }
        let file = model.file(folders, trainer, engine.form);
        file.and_then(|file| engine.command(folders, &file)).map_err(|error| format!("{error:#}"))
    };
    chosen.iter().map(|&engine| (engine, command(engine))).collect()
}

fn start_workers(
    folders: &Folders,
    core: usize,
    model: &Model,
    commands: Vec<(&'static Engine, Result<Command, String>)>,
) -> Workers {
    let start = |(engine, command): (&'static Engine, Result<Command, String>)| {
        let log = folders.log(&format!("{}-{}", model.name, engine.name));
        let worker = command.and_then(|command| {
            Worker::start(&command, core, &log).map_err(|error| format!("{error:#}"))
        });
        (engine, worker)
    };
    commands.into_iter().map(start).collect()
}

/// The loops over dot product instructions that this core has; those it has not are named on stderr.
fn peak_workers(folders: &Folders, core: usize) -> Vec<PeakWorker> {
    let start = |kind: &str| -> Result<PeakWorker> {
        let mut command = Command::new(folders.program("worker-peak"));
        let worker = Worker::start(command.arg(kind), core, &folders.log(&format!("peak-{kind}")))?;
        let (name, products) = worker.detail.split_once(' ').context("no number of products")?;
        Ok(PeakWorker { name: name.into(), products: products.parse()?, worker })
    };
    if let Err(error) = engines::build(folders, "worker-peak") {
        eprintln!("bench: no peak: {error:#}");
        return Vec::new();
    }
    let named = |kind: &&str| {
        let started = start(kind);
        started.inspect_err(|error| eprintln!("bench: no {kind} peak: {error:#}")).ok()
    };
    ["vector", "matrix"].iter().filter_map(named).collect()
}

/// The section about start, size and memory.
fn start(
    folders: &Folders,
    core: usize,
    trainer: &Path,
    edge: Option<&Path>,
    chosen: &[&'static Engine],
    built: &Built,
) -> Result<String> {
    let model = MODELS.iter().find(|model| model.name == models::START).context("no such size")?;
    let file = model.file(folders, trainer, Form::Ours)?;
    let workers = commands(folders, trainer, model, chosen, built);
    Ok(start::measure(folders, core, &file, edge, &workers)?.markdown(model.name))
}

/// What machine this was, how busy, and what the figures are.
fn heading(core: usize, effort: &Effort, measured: &Measured) -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let name = name.map_or(std::env::consts::ARCH, |(_, name)| name);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("unknown").to_string();
    let ours = measured.rows.iter().find(|row| row.peer == engines::OURS);
    let detail = ours.map_or("", |row| row.detail.as_str());
    format!(
        "# One sentence at a time on one core\n\n\
         {name}, core {core}, load in the end {load}; bert-core: {detail}.\n\
         Median milliseconds (least in parentheses) of {} rounds of {:.0} ms in turns; of a peer with several \
         ways the fastest.\n\n",
        effort.rounds, effort.burst_ms
    )
}

/// The last core, on which an idle system does least.
fn last_core() -> usize {
    std::thread::available_parallelism().map_or(0, |cores| cores.get() - 1)
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
