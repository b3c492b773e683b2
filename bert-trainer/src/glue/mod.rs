//! GLUE (Wang et al. 2018): fine-tunes a model for each task of the benchmark, with a grid of
//! hyper-parameters and several seeds, and puts what comes out beside what was published.
//!
//! ```text
//! tasks × settings × seeds ─► Run ─► glue.jsonl ─► best setting, mean and deviation ─► table
//! ```
//!
//! | module | has |
//! |---|---|
//! | [`TASKS`] | files, columns, labels and metrics of each task |
//! | [`Grid`] | the grids of the papers |
//! | [`Results`] | what was run already; a killed benchmark goes on where it stood |
//! | [`PUBLISHED`] | rows of the papers, with sources |
//! | [`Report`] | the table |
//!
//! The labels of the test sets are secret, so all figures are of development sets, on which the
//! setting is chosen as well: with many settings they are a little too good.

mod data;
mod fine_tune;
mod grid;
mod published;
mod report;
mod results;
mod summary;
mod tasks;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::ensure;
use serde_json::{Map, Value};

pub use data::TaskFiles;
pub use fine_tune::FineTuning;
pub use grid::{Grid, Setting};
pub use published::{PUBLISHED, Published};
pub use report::Report;
pub use results::{RESULTS_FILE, Results, RunRecord, Scores};
pub use summary::{Figure, TaskSummary, paper_average};
pub use tasks::{Evaluation, GlueTask, TASKS, TRAIN_FILE};

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Name of the model in the table.
    pub system: String,
    /// Directory with a folder a task.
    pub data: PathBuf,
    /// Directory of `glue.jsonl`.
    pub output: PathBuf,
    /// The tasks; those without a folder are skipped.
    pub tasks: Vec<&'static GlueTask>,
    /// The settings to choose from.
    pub settings: Vec<Setting>,
    /// The seeds to run each setting with.
    pub seeds: Vec<u64>,
    /// All else that decides what comes out, apart from the data: a result under other conditions
    /// is another result.
    pub conditions: Map<String, Value>,
}

/// One fine-tuning.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The task and its files.
    pub files: &'a TaskFiles,
    /// The hyper-parameters.
    pub setting: Setting,
    /// The seed.
    pub seed: u64,
}

/// Something that fine-tunes.
pub trait Run {
    /// Fine-tunes a model for a task and evaluates it: scores for each evaluation of the task, in
    /// its order, with all its metrics.
    ///
    /// # Errors
    /// What stops the benchmark.
    fn run(&mut self, job: &Job<'_>) -> anyhow::Result<Vec<Scores>>;

    /// Is told of each run before its result is written, and whether it is the best of its task so
    /// far.
    ///
    /// # Errors
    /// What stops the benchmark.
    fn done(&mut self, _job: &Job<'_>, _is_best: bool) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Runs what is planned and not yet done; `note` gets lines for a person.
///
/// # Errors
/// No task has its files; files or earlier results that are not as they should be, all before the
/// first run; what a run reports. Results so far are kept, and the same plan goes on after them.
pub fn run(
    plan: &Plan,
    runner: &mut dyn Run,
    note: &mut dyn FnMut(&str),
) -> anyhow::Result<Report> {
    let (mut there, mut skipped) = (Vec::new(), Vec::new());
    for task in &plan.tasks {
        let Some(files) = TaskFiles::open(&plan.data, task)? else {
            let folder = plan.data.join(task.folder);
            note(&format!("{}: skipped, there is no {}", task.name, folder.display()));
            skipped.push(task.name);
            continue;
        };
        if let Some(first) = &files.first_left_out {
            note(&format!(
                "{}: {} broken rows left out, the first: {first}",
                task.name, files.left_out
            ));
        }
        there.push(files);
    }
    ensure!(
        !there.is_empty(),
        "{}: expected a folder of a task, as {}; found none",
        plan.data.display(),
        plan.tasks.iter().map(|task| task.folder).collect::<Vec<_>>().join(", ")
    );
    let mut results = Results::open(&plan.output)?;
    let total = there.len() * plan.settings.len() * plan.seeds.len();
    let mut number = 0;
    let mut tasks = Vec::new();
    for files in &there {
        let mut conditions = plan.conditions.clone();
        conditions.insert("data_sha256".to_owned(), files.sha256.as_str().into());
        for &setting in &plan.settings {
            for &seed in &plan.seeds {
                number += 1;
                let name = files.task.name;
                if results.find(name, setting, seed, &conditions).is_some() {
                    continue;
                }
                let described = format!("{name}, {}, seed {seed}", setting.describe());
                note(&format!("run {number} of {total}: {described}"));
                let job = Job { files, setting, seed };
                let record = run_one(&job, &conditions, runner)?;
                let score = record.score(files.task);
                let is_best =
                    results.of_task(name, &conditions).all(|other| other.score(files.task) < score);
                runner.done(&job, is_best)?;
                results.add(record)?;
            }
        }
        let records: Vec<&RunRecord> = results.of_task(files.task.name, &conditions).collect();
        tasks.push(TaskSummary::new(files, &records, &plan.settings, &plan.seeds)?);
    }
    Ok(Report { system: plan.system.clone(), tasks, skipped })
}

fn run_one(
    job: &Job<'_>,
    conditions: &Map<String, Value>,
    runner: &mut dyn Run,
) -> anyhow::Result<RunRecord> {
    let start = Instant::now();
    let task = job.files.task;
    let scores = runner.run(job)?;
    ensure!(
        scores.len() == task.evaluations.len(),
        "{}: {} evaluations, but scores of {}",
        task.name,
        task.evaluations.len(),
        scores.len()
    );
    Ok(RunRecord {
        task: task.name.to_owned(),
        setting: job.setting,
        seed: job.seed,
        conditions: conditions.clone(),
        scores,
        seconds: start.elapsed().as_secs_f64(),
    })
}

#[cfg(test)]
mod tests;
