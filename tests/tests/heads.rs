//! Every head and loss against PyTorch: one small encoder under each class of Transformers, loaded from
//! the directory that `save_pretrained` wrote; logits, losses, the gradient of every parameter, and ten
//! AdamW steps of question answering.
//!
//! The golden files come from `tests/golden/make_heads.py`, which says how each loss is meant.

#![allow(clippy::unwrap_used)]

use bert_kernels::{Buffer, Context};
use bert_tests::golden::{self, Tensors, number, relative_error};
use bert_trainer::data::{PretrainBatch, TaskBatch};
use bert_trainer::model::{
    DeviceBatch, DropoutPlan, Head, LoadedCheckpoint, Losses, Model, ParameterTable, Precision,
    Shaping, Shares, Targets,
};
use bert_trainer::train::{Optimizer, OptimizerOptions, Schedule};
use serde_json::Value;

/// Relative error of logits and gradients, in the Euclidean norm of a tensor (see `parity.rs`).
const MAX_RELATIVE_ERROR: f64 = 1e-4;
/// Gradients below this are zero: a key's bias has none, and the pooler's in a model without one.
const GRADIENT_FLOOR: f64 = 6e-3;
/// Of a loss.
const MAX_LOSS_ERROR: f64 = 1e-4;

struct Case {
    name: &'static str,
    ctx: Context,
    tensors: Tensors,
    facts: Value,
    model: Model,
}

impl Case {
    /// The golden directory as our loader reads it.
    fn open(name: &'static str, head: Head) -> Self {
        let dir = golden::folder().join("heads").join(name);
        let loaded = LoadedCheckpoint::open(&dir).unwrap();
        assert_eq!(loaded.head, head, "{name}");
        Self::new(name, head, loaded.values())
    }

    fn new(name: &'static str, head: Head, values: &[f32]) -> Self {
        let ctx = Context::open("cpu").unwrap();
        let config = golden::config(&format!("heads/{name}"));
        let model = Model::new(&ctx, &config, head, Precision::F32, values).unwrap();
        let facts = golden::json("heads.json")[name].clone();
        Self { name, ctx, tensors: Tensors::open("heads.safetensors"), facts, model }
    }

    /// A batch with the targets of this head.
    fn batch(&self, number: usize) -> (DeviceBatch, Targets) {
        let tokens = self.tensors.batch(number);
        let device_batch = DeviceBatch::upload(&self.ctx, &tokens);
        let ids = |key: &str| self.tensors.u32(&format!("{}.{number}.{key}", self.name));
        let values = || self.tensors.f32(&format!("{}.{number}.value", self.name));
        let batch = match self.model.head() {
            Head::Pretraining if self.name == "masked_lm" => {
                let part = |key: &str| self.tensors.u32(&format!("batch.{number}.{key}"));
                let (masked_index, masked_target) = (part("masked_index"), part("masked_target"));
                let batch = PretrainBatch { masked_index, masked_target, ..Default::default() };
                let targets = Targets::pretraining(&self.ctx, &batch, Shares::default());
                return (device_batch, Targets { sequence: None, ..targets });
            }
            Head::Pretraining => {
                let sequence = Some(self.ctx.upload_u32(&ids("label")));
                return (device_batch, Targets { sequence, ..Default::default() });
            }
            Head::Classify { .. } => TaskBatch { labels: ids("label"), ..Default::default() },
            Head::MultiLabel { .. } => TaskBatch { label_sets: values(), ..Default::default() },
            Head::Regress { .. } => TaskBatch { values: values(), ..Default::default() },
            Head::Span => {
                let pairs = ids("start").into_iter().zip(ids("end"));
                let spans = pairs.flat_map(|(start, end)| [start, end]).collect();
                TaskBatch { spans, ..Default::default() }
            }
            _ => {
                TaskBatch { tag_index: ids("index"), tag_target: ids("tag"), ..Default::default() }
            }
        };
        let mut targets = Targets::task(&self.ctx, self.model.head(), &batch);
        if self.name == "weighted" {
            targets.shaping = self.shaping(&batch.labels, true, true);
        }
        (device_batch, targets)
    }

    fn shaping(&self, labels: &[u32], weigh: bool, smooth: bool) -> Shaping {
        let weights: Vec<f32> = self.facts["class_weights"]
            .as_array()
            .unwrap()
            .iter()
            .map(|weight| if weigh { number(weight) as f32 } else { 1.0 })
            .collect();
        Shaping {
            label_smoothing: if smooth {
                number(&self.facts["label_smoothing"]) as f32
            } else {
                0.0
            },
            total: Some(labels.iter().map(|&label| weights[label as usize]).sum()),
            class_weights: Some(self.ctx.upload_f32(&weights)),
        }
    }

    fn read(&self, buffer: &Buffer) -> Vec<f32> {
        self.ctx.read_f32(buffer).unwrap()
    }

    fn check(&self, what: &str, found: &[f32], floor: f64) {
        let error = relative_error(found, &self.tensors.f32(what), floor);
        assert!(error <= MAX_RELATIVE_ERROR, "{what}: relative error {error:.2e}");
    }

    /// The loss of a batch as its mean over rows (or over weights).
    fn loss(&self, losses: &Losses, targets: &Targets) -> f64 {
        let terms = [&losses.masked, &losses.sequence, &losses.words, &losses.spans];
        let [term] = terms.into_iter().flatten().collect::<Vec<_>>()[..] else {
            panic!("{}: expected one loss", self.name)
        };
        let tally = term.read(&self.ctx).unwrap();
        tally.loss / targets.shaping.total.map_or(tally.rows as f64, f64::from)
    }

    fn check_loss(&self, found: f64, expected: &Value) {
        let error = (found - number(expected)).abs();
        assert!(error <= MAX_LOSS_ERROR, "{}: loss {found} for {expected}", self.name);
    }

    /// Hidden states, logits, losses, gradients.
    fn check_all(&self) {
        for number in [0, 1] {
            let (batch, targets) = self.batch(number);
            let (losses, logits) = self.model.evaluate(&batch, &targets).unwrap();
            for (layer, hidden) in logits.hidden.iter().enumerate() {
                self.check(&format!("hidden.{number}.{layer}"), &self.read(hidden), 0.0);
            }
            let masked = self.model.masked_logits(&batch, &targets).unwrap();
            let found = [masked, logits.sequence, logits.words, logits.spans];
            let [found] = &found.into_iter().flatten().collect::<Vec<_>>()[..] else {
                panic!("{}: expected one kind of logits", self.name)
            };
            self.check(&format!("{}.logits.{number}", self.name), &self.read(found), 0.0);
            self.check_loss(self.loss(&losses, &targets), &self.facts["losses"][number]);
        }
        let (batch, targets) = self.batch(0);
        self.model.zero_gradients().unwrap();
        self.model.accumulate_gradients(&batch, &targets, &DropoutPlan::OFF, 1.0).unwrap();
        let gradients = self.read(self.model.gradients());
        let golden = self.tensors.names(&format!("{}.gradient.", self.name));
        assert!(!golden.is_empty());
        let mut compared = 0;
        for parameter in self.model.table().parameters() {
            let name = format!("{}.gradient.{}", self.name, parameter.name);
            let found = &gradients[parameter.range()];
            if golden.contains(&name) {
                self.check(&name, found, GRADIENT_FLOOR);
                compared += 1;
            } else {
                // A part that this class of Transformers lacks has no say in its loss.
                assert!(found.iter().all(|&value| value == 0.0), "{name} is not zero");
            }
        }
        assert_eq!(compared, golden.len(), "{}", self.name);
    }
}

#[test]
fn several_labels_equal_transformers() {
    Case::open("multi_label", Head::MultiLabel { labels: 4 }).check_all();
}

#[test]
fn a_number_equals_transformers() {
    Case::open("one_number", Head::Regress { outputs: 1 }).check_all();
}

/// The head learns any number of numbers; a checkpoint of more than one has no task here yet and says so.
#[test]
fn three_numbers_equal_transformers() {
    let (name, head) = ("three_numbers", Head::Regress { outputs: 3 });
    let config = golden::config("heads/three_numbers");
    let values = golden::values("heads/three_numbers", &ParameterTable::new(&config, &head));
    Case::new(name, head, &values).check_all();
    let error = LoadedCheckpoint::open(&golden::folder().join("heads").join(name)).err().unwrap();
    assert!(error.to_string().contains("regression of 3 numbers"), "{error}");
}

#[test]
fn class_weights_and_label_smoothing_equal_pytorchs() {
    let case = Case::open("weighted", Head::Classify { labels: 4 });
    case.check_all();
    // Each of the two by itself.
    let (batch, mut targets) = case.batch(0);
    let labels = case.tensors.u32("weighted.0.label");
    for (weigh, smooth, key) in [(true, false, "weights"), (false, true, "smoothing")] {
        targets.shaping = case.shaping(&labels, weigh, smooth);
        let (losses, _) = case.model.evaluate(&batch, &targets).unwrap();
        case.check_loss(case.loss(&losses, &targets), &case.facts[format!("loss_with_{key}")]);
    }
}

#[test]
fn tagging_equals_transformers() {
    Case::open("tagging", Head::Tag { labels: 3 }).check_all();
}

#[test]
fn a_masked_lm_without_pooler_equals_transformers() {
    Case::open("masked_lm", Head::Pretraining).check_all();
}

#[test]
fn next_sentence_prediction_without_mlm_head_equals_transformers() {
    Case::open("next_sentence", Head::Pretraining).check_all();
}

#[test]
fn question_answering_equals_transformers() {
    let case = Case::open("question_answering", Head::Span);
    case.check_all();
    let setting = |key: &str| number(&case.facts["adamw"][key]);
    let options = OptimizerOptions {
        beta1: setting("beta1") as f32,
        beta2: setting("beta2") as f32,
        epsilon: setting("epsilon") as f32,
        weight_decay: setting("weight_decay") as f32,
        max_norm: setting("max_norm") as f32,
    };
    let schedule = Schedule {
        peak: setting("learning_rate") as f32,
        warmup_steps: setting("warmup_steps") as u64,
        total_steps: setting("total_steps") as u64,
    };
    let batches = [case.batch(0), case.batch(1)];
    let mut optimizer = Optimizer::new(&case.model, options);
    case.model.zero_gradients().unwrap();
    let losses = case.facts["adamw_losses"].as_array().unwrap();
    assert_eq!(losses.len(), 10);
    for (step, expected) in losses.iter().enumerate() {
        let (batch, targets) = &batches[step % 2];
        let found =
            case.model.accumulate_gradients(batch, targets, &DropoutPlan::OFF, 1.0).unwrap();
        optimizer.step(&case.model, schedule.learning_rate(step as u64)).unwrap();
        case.check_loss(case.loss(&found, targets), expected);
    }
}
