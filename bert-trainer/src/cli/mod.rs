//! The command line, one file a command. Results go to stdout, everything else to stderr.

mod bench;
mod eval;
mod export;
mod finetune;
mod predict;
mod prepare;
mod pretrain;
mod report;
mod vocab;

use std::path::Path;

use anyhow::ensure;
use clap::{Parser, Subcommand};
use serde_json::Value;

use crate::data::TextTokenizer;
use crate::data::tasks::{TaskKind, TaskLabels};
use crate::evaluate::HostPredictor;
use crate::model::{LoadedCheckpoint, Model};

/// Pre-trains BERT, fine-tunes it, quantizes it and exports it for a device.
///
/// The flow: vocab → prepare → pretrain → finetune → export. `eval` and `predict` take a checkpoint
/// directory or an exported model.bert, which runs through the code of the device.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON object on stdout and nothing else there.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Vocab(vocab::Args),
    Prepare(prepare::Args),
    Pretrain(pretrain::Args),
    Finetune(finetune::Args),
    Eval(eval::Args),
    Predict(predict::Args),
    Export(export::Args),
    Bench(bench::Args),
    Report(report::Args),
}

/// What a command has to say: lines for a person, one object for a program.
struct Report {
    lines: Vec<String>,
    json: Value,
}

impl Cli {
    /// Runs the command and prints its report.
    ///
    /// # Errors
    ///
    /// Whatever stops the command, with the file and the expectation in the message.
    pub fn run(self) -> anyhow::Result<()> {
        let report = match self.command {
            Command::Vocab(args) => vocab::run(args),
            Command::Prepare(args) => prepare::run(args),
            Command::Pretrain(args) => pretrain::run(args),
            Command::Finetune(args) => finetune::run(args),
            Command::Eval(args) => eval::run(args),
            Command::Predict(args) => predict::run(args),
            Command::Export(args) => export::run(args),
            Command::Bench(args) => bench::run(args),
            Command::Report(args) => report::run(args),
        }?;
        if self.json {
            println!("{}", report.json);
        } else {
            for line in report.lines {
                println!("{line}");
            }
        }
        Ok(())
    }
}

/// Where to compute; shared by all commands that do.
#[derive(Debug, Clone, clap::Args)]
struct DeviceArgs {
    /// Device: auto, cpu, cuda, hip or wgpu, with an optional index as in cuda:1.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Type of activations and products; master weights and statistics are always f32.
    #[arg(long, value_enum, default_value_t)]
    precision: crate::model::Precision,
}

impl DeviceArgs {
    fn open(&self) -> anyhow::Result<bert_kernels::Context> {
        Ok(bert_kernels::Context::open(&self.device)?)
    }
}

/// Tasks as the command line names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Task {
    /// One label a text.
    Classify,
    /// One tag a word.
    Tag,
    /// An intent for the text and a slot for every word.
    Joint,
}

impl From<Task> for TaskKind {
    fn from(task: Task) -> Self {
        match task {
            Task::Classify => Self::Classify,
            Task::Tag => Self::Tag,
            Task::Joint => Self::Joint,
        }
    }
}

/// Whether a `--model` is an exported file; otherwise it is a checkpoint directory.
fn is_model_file(path: &Path) -> anyhow::Result<bool> {
    ensure!(
        path.exists(),
        "{}: no such file; expected a checkpoint directory or a model.bert",
        path.display()
    );
    Ok(path.is_file())
}

/// A checkpoint on a device, ready to predict.
struct OpenCheckpoint {
    model: Model,
    task: Option<(TaskKind, TaskLabels)>,
    tokenizer: TextTokenizer,
    max_length: usize,
}

impl OpenCheckpoint {
    fn open(dir: &Path, device: &DeviceArgs, max_length: Option<u32>) -> anyhow::Result<Self> {
        let checkpoint = LoadedCheckpoint::open(dir)?;
        let tokenizer = TextTokenizer::open(dir)?;
        let positions = checkpoint.config.max_position_embeddings;
        let max_length = max_length.map_or(positions, |length| length as usize);
        ensure!(
            (3..=positions).contains(&max_length),
            "--max-length {max_length}: {} has {positions} positions",
            dir.display()
        );
        let model = Model::new(
            &device.open()?,
            &checkpoint.config,
            checkpoint.head,
            device.precision,
            checkpoint.values(),
        )?;
        Ok(Self { model, task: checkpoint.task, tokenizer, max_length })
    }

    /// Something that predicts the checkpoint's task, if it has one.
    fn predictor(&self) -> Option<HostPredictor<'_>> {
        let (task, labels) = self.task.as_ref()?;
        Some(HostPredictor::new(&self.model, *task, labels, &self.tokenizer, self.max_length))
    }
}
