//! `bert-trainer export`

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bert_core::format::Layout;
use bert_core::{Model, Pooling};
use serde_json::json;

use super::embed::PoolingName;
use super::{AnswerArgs, ReadArgs, Report, Task};
use crate::atomic;
use crate::data::tasks::{self, TaskKind};
use crate::evaluate::{DevicePredictor, Predictor as _, evaluate};
use crate::export::{ExportOptions, export};
use crate::report::{DataFile, Int8Record, Metrics, RunRecord};

/// Quantize a fine-tuned model to int8 and write it as one file for the device.
///
/// The file holds the vocabulary, the labels, the exact scratch size and a self-test, and every
/// section carries a checksum. With --embed, any checkpoint becomes a model that gives vectors.
///
/// Example: bert-trainer export --model assistant --output model.bert --max-length 64 --eval test.tsv
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Checkpoint directory of a fine-tuned model.
    #[arg(long)]
    model: PathBuf,
    /// Model file to write.
    #[arg(long)]
    output: PathBuf,
    /// Tokens of a text at most; decides the scratch memory. All positions if not given.
    #[arg(long)]
    max_length: Option<u32>,
    /// Examples to evaluate the written model on, through the code of the device.
    #[arg(long)]
    eval: Option<PathBuf>,
    /// Task of the model, where its checkpoint does not say whether it reads one text or two:
    /// classify or pair.
    #[arg(long, value_enum)]
    task: Option<Task>,
    /// Give a vector for a text instead of the task's answer: the mean over its tokens, or the row of
    /// [CLS], from the last layer.
    #[arg(long, value_enum, conflicts_with_all = ["task", "eval"])]
    embed: Option<PoolingName>,
    /// How the weights lie: panels suit every instruction set, rows the readers before version 3.
    #[arg(long, value_enum, default_value = "panels")]
    layout: LayoutName,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    answers: AnswerArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LayoutName {
    /// Sixteen channels side by side, four inputs of each together.
    Panels,
    /// One channel after another.
    Rows,
}

pub(super) fn run(args: Args) -> anyhow::Result<Report> {
    let options = ExportOptions {
        task: args.task.map(TaskKind::from),
        embed: args.embed.map(Pooling::from),
        max_length: args.max_length.map(|length| length as usize),
        layout: match args.layout {
            LayoutName::Panels => Layout::Panels,
            LayoutName::Rows => Layout::Rows,
        },
    };
    let bytes = export(&args.model, &options)?;
    if args.embed.is_some() {
        return embedding(&args.output, &bytes);
    }
    let mut predictor = DevicePredictor::from_bytes(&args.output, bytes)?;
    let mut lines = Vec::new();
    let (mut evaluation, mut int8) = (json!(null), None);
    if let Some(eval) = &args.eval {
        let task = predictor.task();
        let examples = tasks::read(eval, task, &args.read.options())?;
        let metrics = evaluate(&mut predictor, eval, &examples, args.answers.options())?;
        lines.push(format!(
            "int8 on {} examples of {}: {}",
            examples.len(),
            eval.display(),
            metrics.describe()
        ));
        evaluation = json!({
            "task": task,
            "metrics": metrics.to_json(),
            "examples": examples.len(),
        });
        let finite = metrics.iter().filter(|(_, value)| value.is_finite());
        int8 = Some(Int8Record {
            data: DataFile::of("eval", eval, examples.len() as u64)?,
            metrics: finite.collect::<Metrics>(),
            f32: None,
            model_bytes: predictor.model_bytes() as u64,
            scratch_bytes: predictor.scratch_bytes() as u64,
        });
    }
    write(&args.output, predictor.bytes())?;
    // The record is of use to the report alone: where it cannot be written, the model is no worse.
    if let Some(int8) = int8
        && let Err(error) = RunRecord::add_int8(&args.model, int8)
    {
        eprintln!("the record of the run does not have the figures of int8: {error}");
    }
    lines.insert(
        0,
        format!(
            "{}: {} bytes, {} bytes of scratch",
            args.output.display(),
            predictor.model_bytes(),
            predictor.scratch_bytes()
        ),
    );
    Ok(Report {
        lines,
        json: json!({
            "output": args.output,
            "model_bytes": predictor.model_bytes(),
            "scratch_bytes": predictor.scratch_bytes(),
            "eval": evaluation,
        }),
    })
}

/// A model that gives vectors has no examples to be evaluated on.
fn embedding(output: &Path, bytes: &[u8]) -> anyhow::Result<Report> {
    let model = Model::parse(bytes).with_context(|| output.display().to_string())?;
    let (width, length) = (model.config().hidden, model.config().max_length);
    let scratch = model.scratch_bytes(usize::from(length));
    write(output, bytes)?;
    Ok(Report {
        lines: vec![format!(
            "{}: {} bytes, {scratch} bytes of scratch, vectors of {width} numbers",
            output.display(),
            bytes.len()
        )],
        json: json!({
            "output": output,
            "model_bytes": bytes.len(),
            "scratch_bytes": scratch,
            "width": width,
            "eval": null,
        }),
    })
}

fn write(output: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    atomic::write_file(output, bytes)
        .with_context(|| format!("{}: cannot write the model", output.display()))
}
