//! `bert-trainer report`

use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::CommandFactory as _;
use clap::error::ErrorKind;
use serde_json::json;

use super::{Cli, Report};
use crate::atomic;
use crate::report::{Run, figures, groups, name_apart, render};

/// Write one HTML page about a run: curves, evaluation, configuration, data.
///
/// A run is the directory that `pretrain` or `finetune` wrote. Of several runs the curves lie over
/// each other, and those that differ only by seed are one row: mean ± standard deviation. The page
/// needs no other file and no network.
///
/// Example: bert-trainer report assistant
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directories of runs.
    #[arg(required = true, value_name = "DIR")]
    runs: Vec<PathBuf>,
    /// File to write; DIR/report.html of a single run if not given.
    #[arg(long)]
    output: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> anyhow::Result<Report> {
    let output = match (args.output, args.runs.as_slice()) {
        (Some(output), _) => output,
        (None, [directory]) => directory.join("report.html"),
        (None, _) => {
            let message = "several runs: --output FILE says where their report goes";
            Cli::command().error(ErrorKind::MissingRequiredArgument, message).exit()
        }
    };
    let mut runs: Vec<Run> =
        args.runs.iter().map(|run| Run::open(run)).collect::<Result<_, _>>()?;
    refuse_twice(&runs)?;
    name_apart(&mut runs);
    let groups = groups(&runs);
    let page = render(&runs, &groups)?;
    atomic::write_file(&output, page.as_bytes())?;
    let mut json = figures(&runs, &groups);
    json["output"] = json!(output.display().to_string());
    Ok(Report { lines: vec![format!("report in {}", output.display())], json })
}

/// A run beside itself would be two runs without any deviation.
fn refuse_twice(runs: &[Run]) -> anyhow::Result<()> {
    let places: Vec<PathBuf> = runs.iter().map(|run| whole(&run.directory)).collect();
    for (index, place) in places.iter().enumerate() {
        let directory = runs[index].directory.display();
        ensure!(!places[..index].contains(place), "{directory}: given twice");
    }
    Ok(())
}

fn whole(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
