//! `bert-trainer glue`

use std::path::PathBuf;

use anyhow::Context as _;

use super::{DeviceArgs, Report};
use crate::glue::{FineTuning, GlueTask, Grid, Plan, TASKS, run as run_glue};
use crate::train::collective::alone_or_refused;

/// Folder of the checkpoints in the output directory.
const CHECKPOINTS: &str = "checkpoints";

/// Fine-tune for the tasks of GLUE, and compare with what was published.
///
/// DATA has the folders of the usual download: CoLA, SST-2, MRPC, STS-B, QQP, MNLI, QNLI, RTE, WNLI,
/// each with train.tsv and dev.tsv (MNLI: dev_matched.tsv and dev_mismatched.tsv). Tasks without a
/// folder are skipped. Results are added to OUTPUT/glue.jsonl; what is there already is not run
/// again. The best checkpoint of each task is OUTPUT/checkpoints/<task>.
///
/// Example: bert-trainer glue --data glue_data --model pretrained --output glue --grid compact
/// --seeds 3
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Directory with a folder a task.
    #[arg(long)]
    data: PathBuf,
    /// Pre-trained checkpoint directory.
    #[arg(long)]
    model: PathBuf,
    /// Directory of results and checkpoints.
    #[arg(long)]
    output: PathBuf,
    /// Tasks, separated by commas: cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli; all if not
    /// given.
    #[arg(long, value_delimiter = ',', value_parser = parse_task)]
    tasks: Vec<&'static GlueTask>,
    /// Runs of each setting, with the seeds 1, 2, …
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
    /// Settings to choose from; one list of values or more below can take the place of its own.
    #[arg(long, value_enum)]
    grid: Option<GridName>,
    /// Passes over the training examples: one value or several, separated by commas; 3 if not given.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    epochs: Vec<u32>,
    /// Examples a step, likewise; 32 if not given.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: Vec<u32>,
    /// Peak learning rates, likewise; 5e-5 if not given.
    #[arg(long, value_delimiter = ',')]
    learning_rate: Vec<f64>,
    /// Share of the steps over which the learning rate rises.
    #[arg(long, default_value_t = 0.1)]
    warmup_ratio: f32,
    /// Decoupled weight decay of all but biases and layer norms.
    #[arg(long, default_value_t = 0.01)]
    weight_decay: f32,
    /// Dropout probability of hidden states, attention and classifier; the config's if not given.
    #[arg(long)]
    dropout: Option<f64>,
    /// Tokens of a text or pair at most.
    #[arg(long, default_value_t = 128)]
    max_length: u32,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum GridName {
    /// 4 settings: 3 epochs of batches of 32, rates 5e-5 to 2e-5 (the figures of BERT's paper).
    Paper,
    /// 18 settings: 2 to 4 epochs, batches of 16 and 32, rates 5e-5 to 2e-5 (its appendix A.3).
    Recommended,
    /// 20 settings: 4 epochs, batches of 8 to 128, rates 3e-4 to 3e-5 (the compact models').
    Compact,
}

fn parse_task(name: &str) -> Result<&'static GlueTask, String> {
    let names = || TASKS.iter().map(|task| task.name).collect::<Vec<_>>().join(", ");
    GlueTask::find(name).ok_or_else(|| format!("the tasks are {}", names()))
}

impl Args {
    fn grid(&self) -> Grid {
        let mut grid = match self.grid {
            Some(GridName::Paper) => Grid::paper(),
            Some(GridName::Recommended) => Grid::recommended(),
            Some(GridName::Compact) => Grid::compact(),
            None => Grid { epochs: vec![3], batch_sizes: vec![32], learning_rates: vec![5e-5] },
        };
        if !self.epochs.is_empty() {
            grid.epochs.clone_from(&self.epochs);
        }
        if !self.batch_size.is_empty() {
            grid.batch_sizes.clone_from(&self.batch_size);
        }
        if !self.learning_rate.is_empty() {
            grid.learning_rates.clone_from(&self.learning_rate);
        }
        grid
    }

    /// The tasks in the order of the benchmark, each once.
    fn tasks(&self) -> Vec<&'static GlueTask> {
        let asked = |task: &&GlueTask| self.tasks.is_empty() || self.tasks.contains(task);
        TASKS.iter().filter(asked).collect()
    }
}

pub(super) fn run(args: Args) -> anyhow::Result<Report> {
    alone_or_refused("glue")?;
    let system = args.model.file_name().context("--model: expected a directory with a name")?;
    let system = system.to_string_lossy().into_owned();
    let ctx = args.device.open()?;
    let mut runner = FineTuning {
        ctx: &ctx,
        model: args.model.clone(),
        checkpoints: args.output.join(CHECKPOINTS),
        max_length: args.max_length as usize,
        warmup_ratio: args.warmup_ratio,
        weight_decay: args.weight_decay,
        dropout: args.dropout,
        precision: args.device.precision,
    };
    let plan = Plan {
        system,
        data: args.data.clone(),
        output: args.output.clone(),
        tasks: args.tasks(),
        settings: args.grid().settings(),
        seeds: (1..=u64::from(args.seeds)).collect(),
        conditions: runner.conditions()?,
    };
    let report = run_glue(&plan, &mut runner, &mut |note| eprintln!("glue: {note}"))?;
    Ok(Report {
        lines: report.to_markdown().lines().map(str::to_owned).collect(),
        json: report.to_json(),
    })
}
