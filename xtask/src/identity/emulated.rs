//! Machines that run in an emulator.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::ask::{Report, count_by_plugin};
use super::host::Host;
use super::machines::{Emulator, MACHINES, Machine, command};
use super::record::Counts;
use super::{Answer, Args, Counted, Row, Verdict, build};
use crate::targets::Way;
use crate::{packages, shell};

/// QEMU's first major version whose plugins have version 2 of the interface, without what ours calls.
const PLUGIN_API_2: u32 = 9;
/// A program that is only asked its version.
const ASKED: Duration = Duration::from_secs(10);

/// A machine with what is needed to ask it.
struct Ready {
    machine: &'static Machine,
    runner: PathBuf,
    compiler: Result<String>,
    plugin: Result<PathBuf>,
    sentences: usize,
    reference: Arc<Report>,
}

/// A row for each machine that is asked for. They are built one after the other, since cargo takes
/// all cores, and asked side by side.
pub fn rows(args: &Args, host: &mut Host) -> Vec<Row> {
    let machines = MACHINES.iter().filter(|machine| args.wants(machine.group()));
    let prepared: Vec<_> =
        machines.map(|machine| (machine, prepare(machine, args, host))).collect();
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    let ask = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some((machine, prepared)) = prepared.get(place) else {
                return;
            };
            let row = match prepared {
                Ok(ready) => ask(ready),
                Err(verdict) => unasked(machine, verdict.clone()),
            };
            eprintln!("identity: {}: {}", row.machine, row.verdict);
            rows.lock().unwrap_or_else(PoisonError::into_inner).push((place, row));
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(ask))));
    let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by_key(|(place, _)| *place);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// Finds emulator and compiler and builds; else says why the machine is not asked.
fn prepare(machine: &'static Machine, args: &Args, host: &mut Host) -> Result<Ready, Verdict> {
    let (program, package) = machine.emulator.program();
    let way = packages::program(program, package, machine.name)
        .and_then(|()| Way::find(machine.target))
        .map_err(|error| match args.names(machine.group()) {
            // What was asked for by name must not be left out.
            true => failed(error),
            false => Verdict::LeftOut(format!("{error:#}")),
        })?;
    let runner = build::firmware(machine, &way).map_err(failed)?;
    let sentences = args.sentences(machine.sentences());
    let reference = host.reference(sentences).map_err(failed)?;
    let (compiler, plugin) = (way.compiler(), build::plugin());
    Ok(Ready { machine, runner, compiler, plugin, sentences, reference })
}

fn failed(error: anyhow::Error) -> Verdict {
    Verdict::Failed(format!("{error:#}"))
}

fn unasked(machine: &Machine, verdict: Verdict) -> Row {
    let counted = Counted::Not("it gave no answer".into());
    Row { machine: machine.name.into(), verdict, answer: None, counted }
}

/// Asks a machine, and counts.
fn ask(ready: &Ready) -> Row {
    let Ready { machine, runner, sentences, .. } = ready;
    let began = Instant::now();
    let mut asked = command(machine, runner, &["identity", &sentences.to_string()], &[]);
    let report = match Report::ask(&mut asked, machine.name) {
        Ok(report) => report,
        Err(error) => return unasked(machine, failed(error)),
    };
    let seconds = began.elapsed().as_secs_f64();
    let counted = match counter(machine) {
        Ok(()) => Counted::of(count(ready)),
        Err(reason) => Counted::Not(reason),
    };
    Row {
        machine: machine.name.into(),
        verdict: Verdict::of(&report, &ready.reference),
        answer: Some(Answer {
            sentences: *sentences,
            hash: report.hash,
            stack_bytes: report.stack_bytes,
            seconds,
        }),
        counted,
    }
}

/// Whether the emulator counts instructions, or why it does not.
fn counter(machine: &Machine) -> Result<(), String> {
    if machine.emulator == Emulator::Node {
        return Err("the engine has no counter".into());
    }
    let program = machine.emulator.program().0;
    let printed = shell::output_within(Command::new(program).arg("--version"), ASKED);
    // `QEMU emulator version 7.2.22 (Debian …)`
    let major = printed
        .as_deref()
        .and_then(|text| text.split("version ").nth(1)?.split('.').next()?.parse::<u32>().ok());
    match major {
        Some(major) if major < PLUGIN_API_2 => Ok(()),
        Some(major) => Err(format!("plugins of QEMU {major} have another interface")),
        None => Err(format!("`{program} --version` says no version")),
    }
}

fn count(ready: &Ready) -> Result<(String, Counts)> {
    let Ready { machine, runner, .. } = ready;
    let compiler = ready.compiler.as_ref().map_err(|error| anyhow!("{error:#}"))?;
    let plugin = ready.plugin.as_ref().map_err(|error| anyhow!("{error:#}"))?;
    let plugin = plugin.display().to_string();
    let out = runner.with_extension("counts");
    let options = ["-plugin", &plugin, "-d", "plugin", "-D", &out.display().to_string()];
    let mut command = command(machine, runner, &["count"], &options);
    let counts = count_by_plugin(&mut command, &format!("{} count", machine.name), &out)?;
    Ok((compiler.clone(), counts))
}
