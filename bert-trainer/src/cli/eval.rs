//! `bert-trainer eval`

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::ensure;
use serde_json::{Value, json};

use super::{AnswerArgs, DeviceArgs, OpenCheckpoint, ReadArgs, Report, Task, is_model_file};
use crate::data::tasks::{self, RawExample, TaskKind};
use crate::evaluate::{DevicePredictor, Predictor, evaluate, evaluate_pretraining};

/// Evaluate a checkpoint, or an exported model through the code of the device.
///
/// A pre-trained model is evaluated on text (a sentence a line, blank lines between documents); a
/// fine-tuned one on a file of its task.
///
/// Example: bert-trainer eval --model assistant --data test.tsv
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Checkpoint directory or exported model.bert.
    #[arg(long)]
    model: PathBuf,
    /// Examples of the model's task, or text for a pre-trained model.
    #[arg(long)]
    data: PathBuf,
    /// Task the model must be of; it is read from the model if not given. A checkpoint of labels from
    /// elsewhere does not say whether it reads two texts: `pair` does.
    #[arg(long, value_enum)]
    task: Option<Task>,
    /// Tokens of a sequence at most; for a pre-trained model 128, else the model's positions.
    #[arg(long)]
    max_length: Option<u32>,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    answers: AnswerArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(super) fn run(args: Args) -> anyhow::Result<Report> {
    let start = Instant::now();
    if is_model_file(&args.model)? {
        let mut predictor = DevicePredictor::open(&args.model)?;
        return task_report(&args, start, &mut predictor, "int8");
    }
    let task = args.task.map(TaskKind::from);
    let open = OpenCheckpoint::open(&args.model, task, &args.device, args.max_length)?;
    match open.predictor() {
        Some(mut predictor) => task_report(&args, start, &mut predictor, "f32"),
        None => pretraining_report(&args, start, &open),
    }
}

fn task_report(
    args: &Args,
    start: Instant,
    predictor: &mut dyn Predictor,
    arithmetic: &str,
) -> anyhow::Result<Report> {
    let task = predictor.task();
    expect_task(args, Some(task))?;
    let examples = tasks::read(&args.data, task, &args.read.options())?;
    let metrics = evaluate(predictor, &args.data, &examples, args.answers.options())?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Report {
        lines: vec![format!(
            "{} examples of {}, {arithmetic}: {} ({seconds:.1} s)",
            examples.len(),
            args.data.display(),
            metrics.describe()
        )],
        json: report_json(json!(task), Value::Object(metrics.to_json()), &examples, seconds),
    })
}

fn report_json(task: Value, metrics: Value, examples: &[RawExample], seconds: f64) -> Value {
    json!({ "task": task, "metrics": metrics, "examples": examples.len(), "seconds": seconds })
}

fn pretraining_report(
    args: &Args,
    start: Instant,
    open: &OpenCheckpoint,
) -> anyhow::Result<Report> {
    expect_task(args, None)?;
    // Pre-training rarely uses all positions, and those it did not use know nothing.
    let max_length = if args.max_length.is_some() { open.max_length } else { 128 };
    let max_length = max_length.min(open.max_length);
    let model_dir: &Path = &args.model;
    let metrics = evaluate_pretraining(&open.model, model_dir, &args.data, max_length)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Report {
        lines: vec![format!(
            "{} pairs of {}: MLM loss {:.3} nats ({}), accuracy {:.1} %; NSP accuracy {:.1} % \
             ({seconds:.1} s)",
            metrics.examples,
            args.data.display(),
            metrics.mlm_loss,
            beside_unigram(metrics.mlm_loss, metrics.mlm_unigram_loss),
            metrics.mlm_accuracy * 100.0,
            metrics.nsp_accuracy * 100.0
        )],
        json: json!({
            "task": "pretrain",
            "metrics": metrics,
            "examples": metrics.examples,
            "seconds": seconds,
        }),
    })
}

/// `1.725 under the unigram loss of 6.889`.
fn beside_unigram(loss: f64, unigram: f64) -> String {
    let side = if loss <= unigram { "under" } else { "above" };
    format!("{:.3} {side} the unigram loss of {unigram:.3}", (unigram - loss).abs())
}

fn expect_task(args: &Args, found: Option<TaskKind>) -> anyhow::Result<()> {
    let wanted = args.task.map(TaskKind::from);
    ensure!(
        wanted.is_none() || wanted == found,
        "{}: --task {} was asked for, but this is a model of {}",
        args.model.display(),
        wanted.map_or("", TaskKind::name),
        found.map_or("pre-training", TaskKind::name)
    );
    Ok(())
}
