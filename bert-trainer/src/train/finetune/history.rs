//! What a fine-tuning tells its report beside `metrics.jsonl`: options, data, epochs, evaluation.

use std::path::Path;
use std::time::Instant;

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::{FinetunePlan, Keep};
use crate::data::tasks::TaskKind;
use crate::evaluate::TaskMetrics;
use crate::model::{Model, ParameterTable};
use crate::report::{
    DataFile, EpochRecord, EvaluationRecord, Metrics, ReportError, RunRecord, model_numbers,
};

/// The record of a fine-tuning in progress.
pub(super) struct History {
    record: RunRecord,
    epoch: Instant,
}

/// An epoch that has been evaluated.
pub(super) struct Epoch<'a> {
    /// From 1.
    pub number: u32,
    /// Steps done.
    pub step: u64,
    /// Mean training loss.
    pub loss: f64,
    /// Learning rate of the last step.
    pub learning_rate: f32,
    pub metrics: &'a TaskMetrics,
    /// Whether it was the best so far.
    pub is_best: bool,
}

impl History {
    /// Begins the record; `examples` are those of the training and of the evaluation file.
    pub fn begin(
        plan: &FinetunePlan,
        model: &Model,
        examples: [usize; 2],
    ) -> Result<Self, ReportError> {
        let mut record = RunRecord::begin("finetune", plan.task.name(), &options(plan));
        record.model = model_numbers(model.config());
        let table = ParameterTable::new(model.config(), &model.head());
        record.parameters = table.parameter_count() as u64;
        let [train, eval] = examples.map(|count| count as u64);
        record.data = vec![
            DataFile::of("train", &plan.train, train)?,
            DataFile::of("eval", &plan.eval, eval)?,
        ];
        Ok(Self { record, epoch: Instant::now() })
    }

    /// Adds an epoch and writes the record, so that a run that is killed has one.
    pub fn add(&mut self, output: &Path, epoch: &Epoch<'_>) -> Result<(), ReportError> {
        self.record.push_epoch(EpochRecord {
            epoch: u64::from(epoch.number),
            step: epoch.step,
            train_loss: epoch.loss,
            metrics: finite(epoch.metrics),
            learning_rate: f64::from(epoch.learning_rate),
            seconds: self.epoch.elapsed().as_secs_f64(),
            is_best: epoch.is_best,
        });
        self.epoch = Instant::now();
        self.record.write(output)
    }

    /// Ends the record with the epoch whose checkpoint was kept and what it says of the evaluation
    /// file.
    pub fn finish(
        mut self,
        plan: &FinetunePlan,
        kept: u32,
        metrics: &TaskMetrics,
        evaluations: Vec<EvaluationRecord>,
    ) -> Result<(), ReportError> {
        self.record.best_epoch = Some(u64::from(kept));
        self.record.best_by = (plan.keep == Keep::Best).then(|| metrics.headline().0.to_owned());
        self.record.evaluations = evaluations;
        self.record.finish(&plan.output)
    }
}

/// A correlation of constant predictions is no number, and a record holds numbers only.
fn finite(metrics: &TaskMetrics) -> Metrics {
    metrics.iter().filter(|(_, value)| value.is_finite()).collect()
}

/// The plan under the names of the command line; what was not asked for and has no default is left
/// out.
fn options(plan: &FinetunePlan) -> Value {
    let mut options = Map::new();
    let mut add = |name: &str, value: Value| {
        if !value.is_null() {
            options.insert(name.into(), value);
        }
    };
    let path = |path: &Path| json!(path.display().to_string());
    add("task", json!(plan.task));
    add("train", path(&plan.train));
    add("eval", path(&plan.eval));
    add("model", path(&plan.model));
    add("output", path(&plan.output));
    add("epochs", json!(plan.epochs));
    add("batch_size", json!(plan.batch_size));
    add("accumulate", json!(plan.accumulate));
    add("recompute", json!(plan.recompute));
    add("learning_rate", decimal(plan.learning_rate));
    add("warmup_ratio", decimal(plan.warmup_ratio));
    add("weight_decay", decimal(plan.weight_decay));
    add("layer_decay", decimal(plan.layer_decay));
    add("freeze_layers", json!(plan.freeze_layers));
    if let Some(distillation) = &plan.distillation {
        add("teacher", path(&distillation.teacher));
        add("distill_weight", decimal(distillation.weight));
        add("distill_hidden", json!(distillation.hidden));
    }
    add("quantize_aware", json!(plan.quantize_aware));
    add("dropout", json!(plan.dropout));
    add("label_smoothing", decimal(plan.label_smoothing));
    add("class_weights", named(plan.class_weights));
    add("max_length", json!(plan.max_length));
    add("keep", named(plan.keep));
    add("patience", json!(plan.patience));
    add("seed", json!(plan.seed));
    add("precision", named(plan.precision));
    if plan.task.has_tags() {
        add("tag_column", json!(plan.read.tag_column));
    }
    let columns = &plan.read.columns;
    add("text_column", json!(columns.text));
    add("second_column", json!(columns.second));
    add("label_column", json!(columns.label));
    add("format", plan.read.format.map_or(Value::Null, named));
    if plan.task == TaskKind::Span {
        add("stride", json!(plan.answers.stride));
        add("max_answer_tokens", json!(plan.answers.max_answer_tokens));
        add("no_answer_threshold", plan.answers.no_answer_threshold.map_or(Value::Null, decimal));
    }
    Value::Object(options)
}

/// A value as the command line names it.
fn named(value: impl ValueEnum) -> Value {
    value.to_possible_value().map_or(Value::Null, |value| json!(value.get_name()))
}

/// The shortest decimal that is this f32: 0.1 and not 0.10000000149.
fn decimal(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, |value| json!(value))
}
