//! Machines that run in an emulator.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow};

use super::ask::{Report, count_by_plugin};
use super::host::Host;
use super::record::Counts;
use super::{ALL, Answer, Args, BRIEF, Counted, Row, Verdict, build};
use crate::machines::{self, Emulator, MACHINES, Machine, command};

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
    let way = machine.prepare().map_err(|error| match args.names(machine.group()) {
        // What was asked for by name must not be left out.
        true => failed(error),
        false => Verdict::LeftOut(format!("{error:#}")),
    })?;
    let runner = build::firmware(machine, &way).map_err(failed)?;
    let sentences = args.sentences(usual_sentences(machine));
    let reference = host.reference(sentences).map_err(failed)?;
    let (compiler, plugin) = (way.compiler(), machines::plugin());
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
    let counted = match machines::cannot_count(machine) {
        None => Counted::of(count(ready)),
        Some(reason) => Counted::Not(reason),
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

fn count(ready: &Ready) -> Result<(String, Counts)> {
    let Ready { machine, runner, .. } = ready;
    let compiler = ready.compiler.as_ref().map_err(|error| anyhow!("{error:#}"))?;
    let plugin = ready.plugin.as_ref().map_err(|error| anyhow!("{error:#}"))?;
    let out = runner.with_extension("counts");
    let options = machines::counting(plugin, &out);
    let mut command = command(machine, runner, &["count"], &options.each_ref().map(|o| &**o));
    let counts = count_by_plugin(&mut command, &format!("{} count", machine.name), &out)?;
    Ok((compiler.clone(), counts))
}

/// Sentences that a machine answers in good time.
fn usual_sentences(machine: &Machine) -> usize {
    match machine.emulator {
        Emulator::Arm | Emulator::RiscV => BRIEF,
        Emulator::Process | Emulator::Node => ALL,
    }
}
