use std::path::PathBuf;

use bert_core::AnswerOptions;

use crate::data::tasks::{ReadOptions, TaskKind};
use crate::model::Precision;

/// What to train on and how.
#[derive(Debug, Clone)]
pub struct FinetunePlan {
    /// What to learn.
    pub task: TaskKind,
    /// Training examples.
    pub train: PathBuf,
    /// Examples to evaluate on after every epoch.
    pub eval: PathBuf,
    /// How both files are read.
    pub read: ReadOptions,
    /// Checkpoint to start from.
    pub model: PathBuf,
    /// Directory of the fine-tuned checkpoint.
    pub output: PathBuf,
    /// Passes over the training examples.
    pub epochs: u32,
    /// Examples a step.
    pub batch_size: usize,
    /// Passes that the batch of a step is cut into, to need less memory at once.
    pub accumulate: usize,
    /// Compute the layers again in the backward pass instead of keeping what they computed.
    pub recompute: bool,
    /// Peak learning rate.
    pub learning_rate: f32,
    /// Share of the steps over which the learning rate rises.
    pub warmup_ratio: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// ξ, by which each layer learns slower than the one above it, in (0, 1]; 1 changes nothing.
    pub layer_decay: f32,
    /// Keep the embeddings and this many of the lowest layers as they are.
    pub freeze_layers: Option<usize>,
    /// Learn from another model too.
    pub distillation: Option<Distillation>,
    /// Round what a device rounds to int8, so that the weights learn to live with it.
    pub quantize_aware: bool,
    /// Dropout probability, where it should differ from the checkpoint's.
    pub dropout: Option<f64>,
    /// Probability that is spread evenly over all labels of a text.
    pub label_smoothing: f32,
    /// How much the labels of texts count.
    pub class_weights: ClassWeights,
    /// Tokens of a sequence at most; the model's positions if `None`.
    pub max_length: Option<usize>,
    /// Windows over a context, and how answers are looked for.
    pub answers: AnswerOptions,
    /// Which epoch's checkpoint is kept.
    pub keep: Keep,
    /// Stop after this many epochs without a better one.
    pub patience: Option<u32>,
    /// Seed of the new head, shuffles and dropout.
    pub seed: u64,
    /// In which type products are computed.
    pub precision: Precision,
}

/// Whom to learn from, and how much.
#[derive(Debug, Clone, PartialEq)]
pub struct Distillation {
    /// Checkpoint of a model that is fine-tuned for the same task with the same labels.
    pub teacher: PathBuf,
    /// w in `(1 − w) · task + w · teacher`, in [0, 1].
    pub weight: f32,
    /// Learn the last hidden states beside the logits.
    pub hidden: bool,
}

/// How much the labels of texts count in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ClassWeights {
    /// All alike.
    #[default]
    Uniform,
    /// The rarer, the more: examples / (labels · examples of the label), as scikit-learn's
    /// `balanced`; with several labels a text, absent / present examples of each label.
    Balanced,
}

/// Which epoch's checkpoint is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Keep {
    /// The last one.
    #[default]
    Last,
    /// The best one on the evaluation file, by the first metric of the task.
    Best,
}
