//! Distillation and rounding against PyTorch, from the files of `tests/golden/make_aids.py`.

use bert_kernels::Context;
use bert_tests::golden::{self, Tensors, number, relative_error};
use bert_trainer::data::TaskBatch;
use bert_trainer::model::{
    Additions, DeviceBatch, DropoutPlan, Head, Model, ParameterTable, Precision, Targets, Teaching,
};

use crate::mean;

/// As in `parity.rs`: f32 against f64 of PyTorch.
const MAX_RELATIVE_ERROR: f64 = 1e-4;
const GRADIENT_FLOOR: f64 = 1e-3;
const MAX_LOSS_ERROR: f64 = 1e-4;

const LABELS: usize = 4;

/// The student of the golden files.
fn student(ctx: &Context, tensors: &Tensors, additions: Additions) -> Model {
    let config = golden::config("aids/student");
    let head = Head::Classify { labels: LABELS };
    let table = ParameterTable::with_projection(&config, &head, additions.projection);
    let mut values = golden::values("aids/student", &ParameterTable::new(&config, &head));
    values.resize(table.len(), 0.0);
    for part in ["weight", "bias"] {
        if let Some(parameter) = table.find(&format!("distillation.projection.{part}")) {
            values[parameter.range()].copy_from_slice(&tensors.f32(&format!("projection.{part}")));
        }
    }
    Model::with_additions(ctx, &config, head, Precision::F32, &values, additions).unwrap()
}

/// A golden batch with its labels.
fn batch(ctx: &Context, tensors: &Tensors, number: usize) -> (DeviceBatch, Targets) {
    let tokens = tensors.batch(number);
    let device_batch = DeviceBatch::upload(ctx, &tokens);
    let labels = tensors.u32(&format!("batch.{number}.labels"));
    let head = Head::Classify { labels: LABELS };
    let batch = TaskBatch { tokens, labels, ..Default::default() };
    (device_batch, Targets::task(ctx, head, &batch))
}

/// Compares the gradient of every parameter with that of PyTorch.
fn check_gradients(model: &Model, tensors: &Tensors, name: &str) {
    let gradients = model.context().read_f32(model.gradients()).unwrap();
    let parameters = model.table().parameters();
    for parameter in parameters {
        let expected = tensors.f32(&format!("{name}.gradient.{}", parameter.name));
        let error = relative_error(&gradients[parameter.range()], &expected, GRADIENT_FLOOR);
        assert!(error <= MAX_RELATIVE_ERROR, "{name} {}: {error:.2e}", parameter.name);
    }
    assert_eq!(parameters.len(), tensors.names(&format!("{name}.gradient.")).len());
}

#[test]
fn distillation_equals_pytorch() {
    let ctx = Context::open("cpu").unwrap();
    let tensors = Tensors::open("aids.safetensors");
    let facts = golden::json("aids.json");
    let additions = Additions { projection: Some(24), ..Additions::default() };
    let model = student(&ctx, &tensors, additions);
    let (device_batch, mut targets) = batch(&ctx, &tensors, 0);
    let taught = |name: &str| ctx.upload_f32(&tensors.f32(&format!("distilled.teacher_{name}")));
    targets.teaching = Teaching {
        weight: number(&facts["distill_weight"]) as f32,
        sequence: Some(taught("logits")),
        hidden: Some(taught("hidden")),
        ..Teaching::default()
    };
    let losses =
        model.accumulate_gradients(&device_batch, &targets, &DropoutPlan::OFF, 1.0).unwrap();
    let found = [&losses.sequence, &losses.imitation.sequence, &losses.imitation.hidden];
    for (name, term) in ["task", "logits", "hidden"].into_iter().zip(found) {
        let error = (mean(&ctx, term) - number(&facts["losses"][name])).abs();
        assert!(error <= MAX_LOSS_ERROR, "{name}: {error:.2e}");
    }
    check_gradients(&model, &tensors, "distilled");
}

#[test]
fn a_teacher_computes_what_transformers_computes() {
    let ctx = Context::open("cpu").unwrap();
    let tensors = Tensors::open("aids.safetensors");
    let (config, head) = (golden::config("aids/teacher"), Head::Classify { labels: LABELS });
    let values = golden::values("aids/teacher", &ParameterTable::new(&config, &head));
    let model = Model::new(&ctx, &config, head, Precision::F32, &values).unwrap();
    let (device_batch, targets) = batch(&ctx, &tensors, 0);
    let (_, logits) = model.evaluate(&device_batch, &targets).unwrap();
    let found = [("logits", logits.sequence.as_ref()), ("hidden", logits.hidden.last())];
    for (name, buffer) in found {
        let found = ctx.read_f32(buffer.unwrap()).unwrap();
        let expected = tensors.f32(&format!("distilled.teacher_{name}"));
        assert!(relative_error(&found, &expected, 0.0) <= MAX_RELATIVE_ERROR, "{name}");
    }
}

#[test]
fn straight_through_gradients_equal_pytorchs() {
    let ctx = Context::open("cpu").unwrap();
    let tensors = Tensors::open("aids.safetensors");
    let model = student(&ctx, &tensors, Additions { quantize_aware: true, projection: None });
    let (device_batch, targets) = batch(&ctx, &tensors, 1);
    let losses =
        model.accumulate_gradients(&device_batch, &targets, &DropoutPlan::OFF, 1.0).unwrap();
    let expected = number(&golden::json("aids.json")["rounded_loss"]);
    assert!((mean(&ctx, &losses.sequence) - expected).abs() <= MAX_LOSS_ERROR);
    let (_, logits) = model.evaluate(&device_batch, &targets).unwrap();
    let found = ctx.read_f32(logits.sequence.as_ref().unwrap()).unwrap();
    let error = relative_error(&found, &tensors.f32("rounded.logits"), 0.0);
    assert!(error <= MAX_RELATIVE_ERROR, "logits: {error:.2e}");
    check_gradients(&model, &tensors, "rounded");

    // Without rounding the same weights give something else by far more than that.
    let plain = student(&ctx, &tensors, Additions::default());
    let (_, logits) = plain.evaluate(&device_batch, &targets).unwrap();
    let found = ctx.read_f32(logits.sequence.as_ref().unwrap()).unwrap();
    assert!(relative_error(&found, &tensors.f32("rounded.logits"), 0.0) > 1e-3);
}
