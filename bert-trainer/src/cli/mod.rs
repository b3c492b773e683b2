//! The command line, one file a command. Results go to stdout, everything else to stderr.

mod bench;
mod embed;
mod eval;
mod export;
mod finetune;
mod glue;
mod predict;
mod prepare;
mod pretrain;
mod pretrained;
mod prune;
mod recipe;
mod report;
mod tune;
mod vocab;

use std::path::Path;

use anyhow::ensure;
use bert_core::AnswerOptions;
use clap::{CommandFactory, Parser, Subcommand};
use serde_json::Value;

use crate::data::TextTokenizer;
use crate::data::tasks::table::{ColumnChoice, TableFormat};
use crate::data::tasks::{ReadOptions, TaskKind, TaskLabels};
use crate::evaluate::HostPredictor;
use crate::model::{LoadedCheckpoint, Model};
use crate::tuning::TuningChoice;

/// Pre-trains BERT, fine-tunes it, quantizes it and exports it for a device.
///
/// The flow: vocab → prepare → pretrain → finetune → export. `eval`, `predict` and `embed` take a
/// checkpoint directory or an exported model.bert, which runs through the code of the device. `prune`
/// makes a checkpoint smaller before it is fine-tuned.
#[derive(Debug, Parser)]
// What comes later wins, as the command line over a recipe.
#[command(version, arg_required_else_help = true, args_override_self = true)]
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
    Prune(prune::Args),
    Finetune(finetune::Args),
    Eval(eval::Args),
    Predict(predict::Args),
    Embed(embed::Args),
    Export(export::Args),
    Glue(glue::Args),
    Bench(bench::Args),
    Tune(tune::Args),
    Report(report::Args),
}

/// What a command has to say: lines for a person, one object for a program.
struct Report {
    lines: Vec<String>,
    json: Value,
}

impl Cli {
    /// The command line of this process, with the options of its recipe. Wrong usage ends the process.
    ///
    /// # Errors
    ///
    /// A recipe that cannot be read or has a key that is no option, with file and line.
    pub fn from_process() -> anyhow::Result<Self> {
        let words = recipe::expand(std::env::args_os().collect(), &Self::command())?;
        Ok(Self::parse_from(words))
    }

    /// Runs the command and prints its report.
    ///
    /// # Errors
    ///
    /// Whatever stops the command, with the file and the expectation in the message.
    pub fn run(self) -> anyhow::Result<()> {
        let report = match self.command {
            Command::Vocab(args) => vocab::run(args),
            Command::Prepare(args) => prepare::run(args),
            Command::Pretrain(args) => match pretrain::run(args)? {
                Some(report) => Ok(report),
                None => return Ok(()),
            },
            Command::Prune(args) => prune::run(args),
            Command::Finetune(args) => finetune::run(args),
            Command::Eval(args) => eval::run(args),
            Command::Predict(args) => predict::run(args),
            Command::Embed(args) => embed::run(args, self.json),
            Command::Export(args) => export::run(args),
            Command::Glue(args) => glue::run(args),
            Command::Bench(args) => bench::run(args, self.json),
            Command::Tune(args) => tune::run(&args),
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
    /// Blocks of products that `tune` measured: a FILE, `auto` for what it keeps for this device in the
    /// user's cache, or `off`. They change no bit of a result.
    #[arg(long, value_name = "FILE|off", default_value = "auto")]
    tuning: TuningChoice,
}

impl DeviceArgs {
    fn open(&self) -> anyhow::Result<bert_kernels::Context> {
        Ok(self.tuning.open(bert_kernels::Context::open(&self.device)?)?)
    }
}

/// How a training step gets by with less memory; shared by all commands that train.
#[derive(Debug, Clone, clap::Args)]
struct MemoryArgs {
    /// Passes that the batch of a step is cut into, one after another.
    #[arg(long, value_name = "PASSES", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..))]
    accumulate: u32,
    /// Keep of each layer its input alone and run it again in the backward pass: a third more
    /// arithmetic, a fraction of the memory, the same bits.
    #[arg(long)]
    recompute: bool,
}

/// How a device is given its work; shared by the commands that pre-train.
#[derive(Debug, Clone, Copy, clap::Args)]
struct LaunchArgs {
    /// Launch every kernel by itself. Otherwise a GPU keeps the launches of a pass (a CUDA or HIP graph)
    /// and runs them at one request for each batch of that shape; batches are filled up by 1/64 at most.
    #[arg(long)]
    no_record: bool,
}

/// Tasks as the command line names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Task {
    /// One label a text.
    Classify,
    /// Any number of labels a text.
    MultiLabel,
    /// One label for two texts: entailment, paraphrase.
    Pair,
    /// A number for a text or for two: rating, similarity.
    Regress,
    /// One tag a word.
    Tag,
    /// An intent for the text and a slot for every word.
    Joint,
    /// The answer to a question, as a span of a context.
    Span,
}

impl From<Task> for TaskKind {
    fn from(task: Task) -> Self {
        match task {
            Task::Classify => Self::Classify,
            Task::MultiLabel => Self::MultiLabel,
            Task::Pair => Self::Pair,
            Task::Regress => Self::Regress,
            Task::Tag => Self::Tag,
            Task::Joint => Self::Joint,
            Task::Span => Self::Span,
        }
    }
}

/// How files of examples are read; shared by all commands that read some.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Reading examples")]
struct ReadArgs {
    /// For tag: 1-based column of the tag; the token is in the first.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..))]
    tag_column: u32,
    /// Column of the text, by its name in the header or its number from 1.
    #[arg(long, value_name = "NAME|NUMBER")]
    text_column: Option<String>,
    /// Column of the second text.
    #[arg(long, value_name = "NAME|NUMBER")]
    second_column: Option<String>,
    /// Column of the label, the labels or the number.
    #[arg(long, value_name = "NAME|NUMBER")]
    label_column: Option<String>,
    /// The first line names the columns; it does so anyway if a column is chosen by name.
    #[arg(long)]
    header: bool,
    /// How tables are written; told by the file's name if not given (.tsv, .csv, .jsonl).
    #[arg(long, value_enum)]
    format: Option<TableFormat>,
}

impl ReadArgs {
    fn options(&self) -> ReadOptions {
        ReadOptions {
            tag_column: self.tag_column as usize,
            columns: ColumnChoice {
                text: self.text_column.clone(),
                second: self.second_column.clone(),
                label: self.label_column.clone(),
            },
            has_header: self.header,
            format: self.format,
            leave_out_broken_rows: false,
        }
    }
}

/// How answers to questions are looked for; shared by all commands that do.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Answers to questions (task span)")]
struct AnswerArgs {
    /// Tokens that a window of a long context has in common with the one before.
    #[arg(long, default_value_t = 128)]
    stride: u32,
    /// Tokens of an answer at most.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    max_answer_tokens: u32,
    /// By how much no answer must score higher than the best one to be what is answered; if not
    /// given, 0 for files with questions that have none (SQuAD 2.0), else every question has one.
    #[arg(long, allow_negative_numbers = true)]
    no_answer_threshold: Option<f32>,
}

impl AnswerArgs {
    fn options(&self) -> AnswerOptions {
        AnswerOptions {
            stride: self.stride as usize,
            max_answer_tokens: self.max_answer_tokens as usize,
            no_answer_threshold: self.no_answer_threshold,
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
    /// Tensors that the checkpoint lacks, of heads that predict nothing therefore.
    missing: Vec<String>,
}

impl OpenCheckpoint {
    fn open(
        dir: &Path,
        task: Option<TaskKind>,
        device: &DeviceArgs,
        max_length: Option<u32>,
    ) -> anyhow::Result<Self> {
        let mut checkpoint = LoadedCheckpoint::open(dir)?;
        if let Some(note) = checkpoint.missing_note(dir) {
            eprintln!("{note}");
        }
        if let Some(task) = task {
            checkpoint.read_as(task);
        }
        Self::with(checkpoint, dir, device, max_length)
    }

    /// Puts a checkpoint that was read from `dir` on a device.
    fn with(
        checkpoint: LoadedCheckpoint,
        dir: &Path,
        device: &DeviceArgs,
        max_length: Option<u32>,
    ) -> anyhow::Result<Self> {
        let tokenizer = TextTokenizer::open(dir)?;
        ensure!(
            tokenizer.vocabulary_size() as usize <= checkpoint.config.vocab_size,
            "{}: its tokenizer has {} pieces, but config.json says vocab_size {}",
            dir.display(),
            tokenizer.vocabulary_size(),
            checkpoint.config.vocab_size
        );
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
        let LoadedCheckpoint { task, missing, .. } = checkpoint;
        Ok(Self { model, task, tokenizer, max_length, missing })
    }

    /// Something that predicts the checkpoint's task, if it has one.
    fn predictor(&self) -> Option<HostPredictor<'_>> {
        let (task, labels) = self.task.as_ref()?;
        Some(HostPredictor::new(&self.model, *task, labels, &self.tokenizer, self.max_length))
    }
}
