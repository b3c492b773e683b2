//! `bert-trainer finetune`

use std::path::PathBuf;

use serde_json::json;

use super::{DeviceArgs, Report, Task};
use crate::data::tasks::TaskKind;
use crate::train::{FinetunePlan, finetune};

/// Fine-tune a pre-trained model for a task.
///
/// classify: TSV `label<TAB>text`. tag: CoNLL, `token<TAB>tag`, blank line between sentences.
/// joint: TSV `intent<TAB>tokens<TAB>BIO tags`.
///
/// Example: bert-trainer finetune --task joint --train train.tsv --eval dev.tsv --model pretrained
/// --output assistant
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// What to learn.
    #[arg(long, value_enum)]
    task: Task,
    /// Training examples.
    #[arg(long)]
    train: PathBuf,
    /// Examples to evaluate on after every epoch; they are never trained on.
    #[arg(long)]
    eval: PathBuf,
    /// Checkpoint directory to start from; its head is replaced.
    #[arg(long)]
    model: PathBuf,
    /// Directory of the fine-tuned checkpoint.
    #[arg(long)]
    output: PathBuf,
    /// Passes over the training examples.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// Examples a step.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
    /// Peak learning rate (paper: 2e-5 to 5e-5 for bert-base; small models take 3e-4 to 1e-3).
    #[arg(long, default_value_t = 5e-5)]
    learning_rate: f32,
    /// Share of the steps over which the learning rate rises.
    #[arg(long, default_value_t = 0.1)]
    warmup_ratio: f32,
    /// Decoupled weight decay of all but biases and layer norms.
    #[arg(long, default_value_t = 0.01)]
    weight_decay: f32,
    /// Dropout probability of hidden states, attention and classifier; the config's if not given.
    #[arg(long)]
    dropout: Option<f64>,
    /// Tokens of a sequence at most; the model's positions if not given.
    #[arg(long)]
    max_length: Option<u32>,
    /// For tag: 1-based column of the tag; the token is in the first.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..))]
    tag_column: u32,
    /// Seed of the new head, shuffles and dropout.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(super) fn run(args: Args) -> anyhow::Result<Report> {
    let task = TaskKind::from(args.task);
    let plan = FinetunePlan {
        task,
        train: args.train,
        eval: args.eval,
        model: args.model,
        output: args.output,
        epochs: args.epochs,
        batch_size: args.batch_size as usize,
        learning_rate: args.learning_rate,
        warmup_ratio: args.warmup_ratio,
        weight_decay: args.weight_decay,
        dropout: args.dropout,
        max_length: args.max_length.map(|length| length as usize),
        tag_column: args.tag_column as usize,
        seed: args.seed,
        precision: args.device.precision,
    };
    let ctx = args.device.open()?;
    let summary = finetune(&ctx, &plan)?;
    Ok(Report {
        lines: vec![
            format!(
                "{} training examples, {} epochs, {:.0} s; loss {:.4}",
                summary.train_examples, plan.epochs, summary.seconds, summary.loss
            ),
            format!(
                "on {} examples of {}: {}",
                summary.eval_examples,
                plan.eval.display(),
                summary.metrics.describe(task)
            ),
            format!("checkpoint in {}", plan.output.display()),
        ],
        json: json!({
            "task": task,
            "metrics": summary.metrics.to_json(task),
            "loss": summary.loss,
            "train_examples": summary.train_examples,
            "examples": summary.eval_examples,
            "seconds": summary.seconds,
        }),
    })
}
