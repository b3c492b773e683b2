//! How soon a process answers, how large the program is, and how much memory it takes.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::engines::{Engine, PEERS};
use super::folders::Folders;
use super::measure::{Timing, timing};
use super::report::milliseconds;
use super::worker::{Worker, pinned};
use crate::shell;

/// Processes started of each kind, in turns.
const STARTS: usize = 7;
const SENTENCE: &str = "turn on the light in the kitchen";
/// Tokens that a process answers first.
const TOKENS: usize = 16;
/// Linux tells the size of a process that waits for more input.
const LIMIT: Duration = Duration::from_secs(60);

/// What was found out.
pub struct Start {
    /// Process start to first answer: what, and times or why there are none.
    starts: Vec<(String, Result<Timing, String>)>,
    /// Bytes of `bert-edge` without symbols.
    program_bytes: Result<u64, String>,
    /// Or why it is not known.
    memory: Result<Memory, String>,
}

/// Bytes of memory of `bert-edge` after a text that fills the model.
struct Memory {
    /// The most that was resident (VmHWM).
    peak: u64,
    file: u64,
    scratch: u64,
    /// Of what is resident at the end: pages of the program's own, and pages of files.
    anonymous: u64,
    files: u64,
}

/// Measures with one model, by the engines that were chosen; `program` is `bert-edge` in another
/// build than that of the tests.
///
/// # Errors
/// `bert-edge` does not build.
pub fn measure(
    folders: &Folders,
    core: usize,
    model: &Path,
    program: Option<&Path>,
    workers: &[(&'static Engine, Result<Command, String>)],
) -> Result<Start> {
    let built = match program {
        Some(program) => program.to_owned(),
        None => {
            shell::run(&mut shell::cargo(["build", "--release", "--quiet", "-p", "bert-edge"]))?;
            shell::target_dir().join("release/bert-edge")
        }
    };
    let stripped = strip(&built, &folders.root.join("bert-edge"));
    let program = stripped.as_ref().unwrap_or(&built).clone();
    let program_bytes =
        stripped.and_then(|path| Ok(path.metadata()?.len())).map_err(|error| format!("{error:#}"));
    let starts = starts(folders, core, model, &program, workers)?;
    let memory = memory(&program, core, model).map_err(|error| format!("{error:#}"));
    Ok(Start { starts, program_bytes, memory })
}

/// A way to start, and its times so far or why there are none.
struct Kind<'a> {
    name: String,
    start: Box<dyn Fn() -> Result<f64> + 'a>,
    times: Result<Vec<f64>, String>,
}

/// Starts the command line and one worker of each peer, in turns.
fn starts(
    folders: &Folders,
    core: usize,
    model: &Path,
    program: &Path,
    workers: &[(&'static Engine, Result<Command, String>)],
) -> Result<Vec<(String, Result<Timing, String>)>> {
    eprintln!("bench: start of processes");
    let ids = super::models::ids(folders, TOKENS)?;
    let ids = ids.as_path();
    let mut kinds = vec![Kind {
        name: "bert-edge embed, from text".into(),
        start: Box::new(|| cli_start(program, core, model)),
        times: Ok(Vec::new()),
    }];
    for (peer, name) in PEERS {
        // The first way of a peer stands for it: they start alike.
        let Some((engine, command)) = workers.iter().find(|(engine, _)| engine.peer == peer) else {
            continue;
        };
        let log = folders.log(&format!("start-{}", engine.name));
        let start = move || match command {
            Ok(command) => worker_start(command, core, &log, ids),
            Err(reason) => bail!("{reason}"),
        };
        kinds.push(Kind {
            name: format!("{name}, as a worker, from ids"),
            start: Box::new(start),
            times: Ok(Vec::new()),
        });
    }
    for _ in 0..STARTS {
        for kind in &mut kinds {
            if let Ok(times) = &mut kind.times {
                match (kind.start)() {
                    Ok(time) => times.push(time),
                    Err(error) => kind.times = Err(format!("{error:#}")),
                }
            }
        }
    }
    Ok(kinds.into_iter().map(|kind| (kind.name, kind.times.map(timing))).collect())
}

fn strip(program: &Path, output: &Path) -> Result<PathBuf> {
    shell::run(Command::new("strip").arg("-o").arg(output).arg(program))?;
    Ok(output.to_owned())
}

/// Milliseconds until the first line of an answer.
fn cli_start(program: &Path, core: usize, model: &Path) -> Result<f64> {
    let mut command = Command::new(program);
    command.arg("embed").arg(model).arg(SENTENCE);
    let mut command = pinned(&command, core);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn()?;
    let line = first_line(&mut child)?;
    let took = start.elapsed();
    if !child.wait()?.success() || line.is_empty() {
        bail!("`{}` gave no answer", shell::shown(&command));
    }
    Ok(took.as_secs_f64() * 1e3)
}

fn worker_start(command: &Command, core: usize, log: &Path, ids: &Path) -> Result<f64> {
    let start = Instant::now();
    Worker::start(command, core, log)?.run(ids, 1)?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn first_line(child: &mut Child) -> Result<String> {
    let output = child.stdout.as_mut().context("no standard output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    Ok(line)
}

/// Memory of `bert-edge embed` once it has answered a text longer than the model reads.
fn memory(program: &Path, core: usize, model: &Path) -> Result<Memory> {
    let mut inspect = Command::new(program);
    inspect.args(["inspect", "--json"]).arg(model);
    let text = shell::output_within(&mut inspect, LIMIT).context("`bert-edge inspect` failed")?;
    let known: Value = serde_json::from_str(&text)?;
    let scratch =
        known["fast_scratch_bytes"].as_u64().context("no fast_scratch_bytes in `inspect`")?;

    let mut command = Command::new(program);
    command.arg("embed").arg(model).arg("-");
    let mut command = pinned(&command, core);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("no standard input")?;
    writeln!(input, "{}", [SENTENCE; 100].join(" "))?;
    input.flush()?;
    let answered = first_line(&mut child);
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
    drop(input);
    child.wait()?;
    if answered?.is_empty() {
        bail!("`{}` gave no answer", shell::shown(&command));
    }
    let status = status.context("only Linux tells the memory of a process")?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).with_context(|| format!("no {name} in the status of the process"))
    };
    Ok(Memory {
        peak: bytes("VmHWM")?,
        file: model.metadata()?.len(),
        scratch,
        anonymous: bytes("RssAnon")?,
        files: bytes("RssFile")?,
    })
}

impl Start {
    /// The section of the report.
    pub fn markdown(&self, model: &str) -> String {
        let mut text = format!("## Start and size ({model})\n\n");
        text.push_str("| process start to first answer | median ms (least) |\n| --- | --: |\n");
        for (name, times) in &self.starts {
            let cell = match times {
                Ok(Timing { median_ms, min_ms }) => {
                    format!("{} ({})", milliseconds(*median_ms), milliseconds(*min_ms))
                }
                Err(reason) => format!("– {reason}"),
            };
            _ = writeln!(text, "| {name} | {cell} |");
        }
        text.push('\n');
        _ = match &self.program_bytes {
            Ok(bytes) => writeln!(text, "Stripped `bert-edge`: {:.2} MB.", *bytes as f64 / 1e6),
            Err(reason) => writeln!(text, "Stripped `bert-edge`: unknown, {reason}."),
        };
        let mb = |bytes: u64| format!("{:.2} MB", bytes as f64 / 1e6);
        _ = match &self.memory {
            Ok(memory) => {
                let rest = memory.peak as i64 - (memory.file + memory.scratch) as i64;
                writeln!(
                    text,
                    "Peak memory of `bert-edge embed`: {} = file {} + scratch {} + {:.2} MB; \
                     resident in the end: {} of its own, {} of files (model, program, libraries).",
                    mb(memory.peak),
                    mb(memory.file),
                    mb(memory.scratch),
                    rest as f64 / 1e6,
                    mb(memory.anonymous),
                    mb(memory.files),
                )
            }
            Err(reason) => writeln!(text, "Peak memory of `bert-edge`: unknown, {reason}."),
        };
        text
    }
}
