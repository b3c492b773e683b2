//! `bert-trainer export`

use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::json;

use super::{AnswerArgs, ReadArgs, Report, Task};
use crate::atomic;
use crate::data::tasks::{self, TaskKind};
use crate::evaluate::{DevicePredictor, Predictor as _, evaluate};
use crate::export::export;
use crate::report::{DataFile, Int8Record, RunRecord};

/// Quantize a fine-tuned model to int8 and write it as one file for the device.
///
/// The file holds the vocabulary, the labels, the exact scratch size and a self-test, and every
/// section carries a checksum.
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
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    answers: AnswerArgs,
}

pub(super) fn run(args: Args) -> anyhow::Result<Report> {
    let task = args.task.map(TaskKind::from);
    let bytes = export(&args.model, task, args.max_length.map(|length| length as usize))?;
    let mut predictor = DevicePredictor::from_bytes(&args.output, bytes)?;
    let mut lines = Vec::new();
    let mut evaluation = json!(null);
    let mut int8 = None;
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
        int8 = Some(Int8Record {
            data: DataFile::of("eval", eval, examples.len() as u64)?,
            metrics: metrics.iter().filter(|(_, value)| value.is_finite()).collect(),
            f32: None,
            model_bytes: predictor.model_bytes() as u64,
            scratch_bytes: predictor.scratch_bytes() as u64,
        });
        evaluation = json!({
            "task": task,
            "metrics": metrics.to_json(),
            "examples": examples.len(),
        });
    }
    atomic::write_file(&args.output, predictor.bytes())
        .with_context(|| format!("{}: cannot write the model", args.output.display()))?;
    if let Some(int8) = int8 {
        // For the report of the run that trained the checkpoint.
        RunRecord::add_int8(&args.model, int8)?;
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
