//! Runs of the benchmark on a device.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use bert_core::AnswerOptions;
use bert_kernels::Context;
use serde_json::{Map, Value, json};

use super::{GlueTask, Job, Run, Scores};
use crate::atomic::WriteError;
use crate::checkpoint::WEIGHTS_FILE;
use crate::config::{CONFIG_FILE, Config};
use crate::data::TextTokenizer;
use crate::data::corpus::{sha256, sha256_file};
use crate::data::tasks::{self, ReadOptions};
use crate::evaluate::{HostPredictor, TaskMetrics, evaluate};
use crate::model::{LoadedCheckpoint, Model, Precision};
use crate::train::{ClassWeights, FinetunePlan, Keep, finetune};

/// Folder of the checkpoint in the making; no task has this name.
const RUN_FOLDER: &str = "run";

/// Fine-tunes a checkpoint on a device, and keeps the best one of each task under its name.
pub struct FineTuning<'a> {
    /// The device.
    pub ctx: &'a Context,
    /// The pre-trained checkpoint.
    pub model: PathBuf,
    /// Directory of the fine-tuned checkpoints. It is not to be that of the results or the data:
    /// what has the name of a task in it is replaced.
    pub checkpoints: PathBuf,
    /// Tokens of a text or pair at most.
    pub max_length: usize,
    /// Share of the steps over which the learning rate rises.
    pub warmup_ratio: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Dropout probability, where it should differ from the checkpoint's.
    pub dropout: Option<f64>,
    /// In which type products are computed.
    pub precision: Precision,
}

impl FineTuning<'_> {
    /// What decides the results apart from task, setting, seed and data.
    ///
    /// # Errors
    /// `model` is no checkpoint with a vocabulary, or has fewer positions than `max_length`.
    pub fn conditions(&self) -> anyhow::Result<Map<String, Value>> {
        let positions = Config::load(&self.model)?.max_position_embeddings;
        ensure!(
            (3..=positions).contains(&self.max_length),
            "--max-length {}: {} has {positions} positions",
            self.max_length,
            self.model.display()
        );
        TextTokenizer::open(&self.model)?;
        let mut hashes = String::new();
        for file in [CONFIG_FILE, WEIGHTS_FILE, "vocab.txt"] {
            hashes.push_str(&sha256_file(&self.model.join(file))?);
        }
        let conditions = json!({
            "model_sha256": sha256(hashes.as_bytes()),
            "max_length": self.max_length,
            "warmup_ratio": self.warmup_ratio,
            "weight_decay": self.weight_decay,
            "dropout": self.dropout,
            "precision": format!("{:?}", self.precision).to_lowercase(),
        });
        conditions.as_object().cloned().context("an object was written above")
    }

    fn plan(&self, job: &Job<'_>, read: ReadOptions) -> FinetunePlan {
        FinetunePlan {
            task: job.files.task.kind,
            train: job.files.train.clone(),
            eval: job.files.evaluations[0].clone(),
            read,
            model: self.model.clone(),
            output: self.checkpoints.join(RUN_FOLDER),
            epochs: job.setting.epochs,
            batch_size: job.setting.batch_size as usize,
            accumulate: 1,
            recompute: false,
            layer_decay: 1.0,
            freeze_layers: None,
            distillation: None,
            quantize_aware: false,
            learning_rate: job.setting.learning_rate as f32,
            warmup_ratio: self.warmup_ratio,
            weight_decay: self.weight_decay,
            dropout: self.dropout,
            label_smoothing: 0.0,
            class_weights: ClassWeights::default(),
            max_length: Some(self.max_length),
            answers: AnswerOptions::default(),
            keep: Keep::Last,
            patience: None,
            seed: job.seed,
            precision: self.precision,
        }
    }

    /// Evaluates the checkpoint of a run on another file of its task.
    fn evaluate(&self, run: &Path, file: &Path, read: &ReadOptions) -> anyhow::Result<TaskMetrics> {
        let checkpoint = LoadedCheckpoint::open(run)?;
        let tokenizer = TextTokenizer::open(run)?;
        let (config, head) = (&checkpoint.config, checkpoint.head);
        let model = Model::new(self.ctx, config, head, self.precision, checkpoint.values())?;
        let (kind, labels) = checkpoint.task.as_ref().context("a checkpoint without a task")?;
        let mut predictor = HostPredictor::new(&model, *kind, labels, &tokenizer, self.max_length);
        let examples = tasks::read(file, *kind, read)?;
        evaluate(&mut predictor, file, &examples, AnswerOptions::default())
    }
}

impl Run for FineTuning<'_> {
    fn run(&mut self, job: &Job<'_>) -> anyhow::Result<Vec<Scores>> {
        let task = job.files.task;
        let read = ReadOptions {
            columns: task.wanted().columns,
            leave_out_broken_rows: true,
            ..ReadOptions::default()
        };
        let plan = self.plan(job, read);
        remove(&plan.output)?;
        let mut scores = vec![scores(task, &finetune(self.ctx, &plan)?.metrics)?];
        for file in &job.files.evaluations[1..] {
            scores.push(self::scores(task, &self.evaluate(&plan.output, file, &plan.read)?)?);
        }
        Ok(scores)
    }

    fn done(&mut self, job: &Job<'_>, is_best: bool) -> anyhow::Result<()> {
        let (run, best) =
            (self.checkpoints.join(RUN_FOLDER), self.checkpoints.join(job.files.task.name));
        if !is_best {
            return remove(&run);
        }
        remove(&best)?;
        let fail = |source| WriteError::new(&best, "rename the checkpoint to", source);
        Ok(fs::rename(&run, &best).map_err(fail)?)
    }
}

/// The metrics of the task.
fn scores(task: &GlueTask, metrics: &TaskMetrics) -> anyhow::Result<Scores> {
    let mut scores = Scores::new();
    for name in task.metrics {
        let value = metrics.find(name);
        let value = value.with_context(|| format!("{}: its data give no {name}", task.name))?;
        // What is not a number becomes null.
        scores.insert((*name).to_owned(), json!(value));
    }
    Ok(scores)
}

/// Removes a checkpoint that this module made, if it is there.
fn remove(directory: &Path) -> anyhow::Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    let fail = |source| WriteError::new(directory, "remove the directory", source);
    Ok(fs::remove_dir_all(directory).map_err(fail)?)
}
