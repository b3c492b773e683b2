//! `bert-trainer finetune`

use std::path::PathBuf;

use serde_json::json;

use super::{AnswerArgs, DeviceArgs, MemoryArgs, ReadArgs, Report, Task};
use crate::data::tasks::TaskKind;
use crate::train::collective::alone_or_refused;
use crate::train::{ClassWeights, Distillation, FinetunePlan, Keep, finetune};

/// Heading of the options that make small models better.
const DEVICE_MODELS: &str = "Small models for devices";

/// Fine-tune a pre-trained model for a task.
///
/// classify: `label<TAB>text`. multi-label: `label|label<TAB>text`. pair: `label<TAB>a<TAB>b`.
/// regress: `number<TAB>text` or `number<TAB>a<TAB>b`. tag: CoNLL, `token<TAB>tag`, blank line
/// between sentences. joint: `intent<TAB>tokens<TAB>BIO tags`. span: JSON of SQuAD v1.1 or v2.0.
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
    #[command(flatten)]
    memory: MemoryArgs,
    /// Peak learning rate (paper: 2e-5 to 5e-5 for bert-base; small models take 3e-4 to 1e-3).
    #[arg(long, default_value_t = 5e-5)]
    learning_rate: f32,
    /// Share of the steps over which the learning rate rises.
    #[arg(long, default_value_t = 0.1)]
    warmup_ratio: f32,
    /// Decoupled weight decay of all but biases and layer norms.
    #[arg(long, default_value_t = 0.01)]
    weight_decay: f32,
    /// Each layer learns this much slower than the one above it, the embeddings slowest; head and
    /// pooler learn with --learning-rate. 0.95 keeps more of the pre-training; 1 is the same for all.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    layer_decay: f32,
    /// Keep the embeddings and the lowest N layers as they are, which saves their backward pass; 0
    /// keeps the embeddings alone, and all layers leave pooler and head to learn.
    #[arg(long, value_name = "N")]
    freeze_layers: Option<u32>,
    /// Learn from this larger model too (knowledge distillation): a checkpoint that finetune made for
    /// the same task and labels. Its tokenizer may be another one if the task labels whole texts.
    #[arg(long, value_name = "DIR", help_heading = DEVICE_MODELS)]
    teacher: Option<PathBuf>,
    /// Share of the loss that is the distance from the teacher's logits; the rest is the task's.
    #[arg(long, default_value_t = 0.5, requires = "teacher", help_heading = DEVICE_MODELS)]
    distill_weight: f32,
    /// Come close to the teacher's last hidden states too, through a learned projection where the
    /// widths differ. The teacher must have the same tokenizer, and reads every batch anew.
    #[arg(long, requires = "teacher", help_heading = DEVICE_MODELS)]
    distill_hidden: bool,
    /// Round weights and activations to int8 while training, exactly as a device will, so that the
    /// exported model loses less. The metrics are those of the rounded model. Needs f32.
    #[arg(long, help_heading = DEVICE_MODELS)]
    quantize_aware: bool,
    /// Dropout probability of hidden states, attention and classifier; the config's if not given.
    #[arg(long)]
    dropout: Option<f64>,
    /// Tokens of a sequence at most; the model's positions if not given.
    #[arg(long)]
    max_length: Option<u32>,
    /// Probability that is spread evenly over all labels of a text.
    #[arg(long, default_value_t = 0.0)]
    label_smoothing: f32,
    /// How much the labels of texts count: all alike, or the rarer the more.
    #[arg(long, value_enum, default_value_t)]
    class_weights: ClassWeights,
    /// Which epoch's checkpoint is kept: the last, or the best on --eval by the task's first metric.
    #[arg(long, value_enum)]
    keep: Option<Keep>,
    /// Stop after this many epochs without a better one, and keep the best.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    patience: Option<u32>,
    /// Seed of the new head, shuffles and dropout.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    answers: AnswerArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(super) fn run(args: Args) -> anyhow::Result<Report> {
    alone_or_refused("finetune")?;
    let task = TaskKind::from(args.task);
    let plan = FinetunePlan {
        task,
        train: args.train,
        eval: args.eval,
        read: args.read.options(),
        model: args.model,
        output: args.output,
        epochs: args.epochs,
        batch_size: args.batch_size as usize,
        accumulate: args.memory.accumulate as usize,
        recompute: args.memory.recompute,
        learning_rate: args.learning_rate,
        warmup_ratio: args.warmup_ratio,
        weight_decay: args.weight_decay,
        layer_decay: args.layer_decay,
        freeze_layers: args.freeze_layers.map(|layers| layers as usize),
        distillation: args.teacher.map(|teacher| Distillation {
            teacher,
            weight: args.distill_weight,
            hidden: args.distill_hidden,
        }),
        quantize_aware: args.quantize_aware,
        dropout: args.dropout,
        label_smoothing: args.label_smoothing,
        class_weights: args.class_weights,
        max_length: args.max_length.map(|length| length as usize),
        answers: args.answers.options(),
        keep: args.keep.unwrap_or(if args.patience.is_some() { Keep::Best } else { Keep::Last }),
        patience: args.patience,
        seed: args.seed,
        precision: args.device.precision,
    };
    let ctx = args.device.open()?;
    let summary = finetune(&ctx, &plan)?;
    Ok(Report {
        lines: vec![
            format!(
                "{} training examples, {} epochs, {:.0} s; epoch {} kept, loss {:.4}",
                summary.train_examples,
                summary.epochs,
                summary.seconds,
                summary.epoch,
                summary.loss
            ),
            format!(
                "on {} examples of {}: {}",
                summary.eval_examples,
                plan.eval.display(),
                summary.metrics.describe()
            ),
            format!("checkpoint in {}", plan.output.display()),
        ],
        json: json!({
            "task": task,
            "metrics": summary.metrics.to_json(),
            "loss": summary.loss,
            "epoch": summary.epoch,
            "epochs": summary.epochs,
            "train_examples": summary.train_examples,
            "examples": summary.eval_examples,
            "seconds": summary.seconds,
        }),
    })
}
