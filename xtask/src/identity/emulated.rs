//! Machines that run in an emulator.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use super::ask::{Report, count_by_plugin};
use super::host::Host;
use super::machines::{Machine, command};
use super::record::Counts;
use super::{Answer, Args, Row, Verdict, build};
use crate::packages;

/// Builds for a machine, asks it, and counts.
pub fn row(machine: &Machine, args: &Args, host: &mut Host) -> Row {
    let empty = |verdict| Row {
        machine: machine.name.into(),
        verdict,
        answer: None,
        counts: Err("not asked".into()),
    };
    let (program, package) = machine.emulator.program();
    let ready = packages::program(program, package, machine.name)
        .and_then(|()| crate::targets::Way::find(machine.target));
    let way = match ready {
        Ok(way) => way,
        // What was asked for by name must not be left out.
        Err(error) if args.names(machine.group()) => {
            return empty(Verdict::Failed(format!("{error:#}")));
        }
        Err(error) => return empty(Verdict::LeftOut(format!("{error:#}"))),
    };
    let compiler = way.compiler();
    let sentences = args.sentences(machine.sentences());
    let asked = build::firmware(machine, &way).and_then(|file| {
        let reference = host.reference(sentences)?;
        let began = Instant::now();
        let mut ask = command(machine, &file, &["identity", &sentences.to_string()], &[]);
        let report = Report::ask(&mut ask, machine.name)?;
        let seconds = began.elapsed().as_secs_f64();
        Ok((file, Verdict::of(&report, reference), report, seconds))
    });
    let (file, verdict, report, seconds) = match asked {
        Ok(asked) => asked,
        Err(error) => return empty(Verdict::Failed(format!("{error:#}"))),
    };
    let counts = count(machine, &file).and_then(|counts| Ok((compiler?, counts)));
    Row {
        machine: machine.name.into(),
        verdict,
        answer: Some(Answer {
            sentences,
            hash: report.hash,
            stack_bytes: report.stack_bytes,
            seconds,
        }),
        counts: counts.map_err(|error| format!("{error:#}")),
    }
}

fn count(machine: &Machine, file: &Path) -> Result<Counts> {
    if !machine.counts() {
        anyhow::bail!("the emulator has no counter");
    }
    let plugin = build::plugin()?;
    let (plugin, out) = (plugin.display().to_string(), file.with_extension("counts"));
    let options = ["-plugin", &plugin, "-d", "plugin", "-D", &out.display().to_string()];
    let mut command = command(machine, file, &["count"], &options);
    count_by_plugin(&mut command, &format!("{} count", machine.name), &out)
}
