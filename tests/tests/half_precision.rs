//! Training in 16 bits: it follows f32, and f16 scales its loss so that gradients neither vanish nor
//! spoil the parameters.

#![allow(clippy::unwrap_used)]

use bert_kernels::{Buffer, Context};
use bert_trainer::config::Config;
use bert_trainer::data::{PackedBatch, PretrainBatch};
use bert_trainer::model::{
    DeviceBatch, DropoutPlan, Head, Model, ParameterTable, Precision, Shares, Targets,
    initial_values,
};
use bert_trainer::train::{LossScale, Optimizer, OptimizerOptions};

/// Unit roundoff of the types: half the distance between 1 and the next value.
const BF16_EPSILON: f64 = 1.0 / 256.0;
const F16_EPSILON: f64 = 1.0 / 2048.0;

/// Errors of a gradient in roundings: some sixty meet a value on its way there and back through three
/// layers, and add up as the steps of a random walk do.
const ROUNDINGS: f64 = 8.0;

fn config() -> Config {
    Config {
        vocab_size: 150,
        hidden_size: 32,
        num_hidden_layers: 3,
        num_attention_heads: 2,
        intermediate_size: 64,
        max_position_embeddings: 32,
        initializer_range: 0.1,
        ..Config::default()
    }
}

fn model(ctx: &Context, precision: Precision) -> Model {
    let config = config();
    let table = ParameterTable::new(&config, &Head::Pretraining);
    let values = initial_values(&table, &config, 5);
    Model::new(ctx, &config, Head::Pretraining, precision, &values).unwrap()
}

fn batch() -> PretrainBatch {
    let mut tokens = PackedBatch::new();
    let mut id = 1;
    for length in [9, 32, 1, 17, 30] {
        let ids: Vec<u32> = (0..length)
            .map(|_| {
                id = (id * 37 + 11) % 150;
                id
            })
            .collect();
        let segments: Vec<u32> = (0..length).map(|at| u32::from(at * 2 > length)).collect();
        tokens.push(&ids, &segments);
    }
    let masked_index: Vec<u32> = (1..tokens.tokens() as u32).step_by(4).collect();
    PretrainBatch {
        masked_target: masked_index.iter().map(|at| at * 7 % 150).collect(),
        masked_index,
        nsp_label: vec![0, 1, 1, 0, 1],
        tokens,
    }
}

/// One pass; gives the sum of the two mean losses.
fn pass(model: &Model, scale: f32) -> f64 {
    let (ctx, batch) = (model.context(), batch());
    let device_batch = DeviceBatch::upload(ctx, &batch.tokens);
    let targets = Targets::pretraining(ctx, &batch, Shares::default());
    let losses =
        model.accumulate_gradients(&device_batch, &targets, &DropoutPlan::OFF, scale).unwrap();
    let terms = [losses.masked.unwrap(), losses.sequence.unwrap()];
    terms.iter().map(|term| term.read(ctx).unwrap().mean_loss()).sum()
}

fn gradients(model: &Model) -> Vec<f32> {
    model.context().read_f32(model.gradients()).unwrap()
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

/// ‖found / scale − expected‖ / ‖expected‖.
fn distance(found: &[f32], scale: f32, expected: &[f32]) -> f64 {
    let pairs = found.iter().zip(expected);
    let differences = pairs.map(|(a, b)| f64::from(*a) / f64::from(scale) - f64::from(*b));
    norm(differences) / norm(expected.iter().map(|value| f64::from(*value)))
}

#[test]
fn gradients_in_16_bits_are_those_of_f32() {
    let ctx = Context::open("cpu").unwrap();
    let of = |precision, scale| {
        let model = model(&ctx, precision);
        let loss = pass(&model, scale);
        (loss, gradients(&model))
    };
    let (expected_loss, expected) = of(Precision::F32, 1.0);
    for (precision, epsilon, scale) in
        [(Precision::Bf16, BF16_EPSILON, 1.0), (Precision::F16, F16_EPSILON, 1024.0)]
    {
        let (loss, found) = of(precision, scale);
        let far = distance(&found, scale, &expected);
        let off = (loss - expected_loss).abs() / expected_loss;
        println!("{precision:?}: loss {off:.2e}, gradients {far:.2e} of f32's");
        assert!(far > 0.0 && far < ROUNDINGS * epsilon, "{precision:?}: {far}");
        assert!(off < ROUNDINGS * epsilon, "{precision:?}: {loss} for {expected_loss}");
    }
}

/// A loss so small that its gradients in f16 are zeros, or nearly: scaled they are right.
#[test]
fn scaling_keeps_gradients_that_would_vanish() {
    const SMALL: f32 = 1.0 / 65_536.0;
    let ctx = Context::open("cpu").unwrap();
    let of = |precision, scale| {
        let model = model(&ctx, precision);
        pass(&model, scale);
        gradients(&model)
    };
    let expected = of(Precision::F32, SMALL);
    let vanished = distance(&of(Precision::F16, SMALL), 1.0, &expected);
    let scale = LossScale::default().scale();
    let scaled = distance(&of(Precision::F16, SMALL * scale), scale, &expected);
    println!("error of gradients: {vanished:.2e} as they are, {scaled:.2e} scaled");
    assert!(scaled < ROUNDINGS * F16_EPSILON && vanished > 10.0 * scaled);
}

#[test]
fn training_in_f16_follows_f32() {
    const STEPS: usize = 12;
    let ctx = Context::open("cpu").unwrap();
    let losses = |precision| {
        let model = model(&ctx, precision);
        let mut optimizer = Optimizer::new(&model, OptimizerOptions::default());
        let mut losses = Vec::new();
        while losses.len() < STEPS {
            let loss = pass(&model, optimizer.loss_scale());
            if optimizer.step(&model, 1e-3).unwrap().is_none() {
                losses.push(loss);
            }
        }
        assert_eq!(optimizer.steps() as usize, STEPS);
        let norm = optimizer.gradient_norm(&ctx).unwrap();
        (losses, f64::from(norm))
    };
    let (expected, expected_norm) = losses(Precision::F32);
    let (found, norm) = losses(Precision::F16);
    assert!(expected[STEPS - 1] < expected[0] * 0.9, "{expected:?}");
    for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let off = (found - expected).abs() / expected;
        assert!(off < ROUNDINGS * F16_EPSILON, "step {step}: {found} for {expected}");
    }
    // The norm is that of the gradient, not that of the scaled one.
    assert!((norm / expected_norm - 1.0).abs() < 0.1, "{norm} for {expected_norm}");
}

#[test]
fn a_step_that_overflows_is_left_out() {
    let ctx = Context::open("cpu").unwrap();
    let model = model(&ctx, Precision::F16);
    let mut optimizer = Optimizer::new(&model, OptimizerOptions::default());
    let largest = 16_777_216.0;
    optimizer.set_scaling(LossScale::starting_at(largest), 0.0);
    let read = |buffer: &Buffer| ctx.read_f32(buffer).unwrap();
    let before = read(model.parameters());

    pass(&model, optimizer.loss_scale());
    let overflow = optimizer.step(&model, 1e-3).unwrap().unwrap();
    // Among the heads, where the way back begins; not the embeddings, to which it spreads.
    assert!(overflow.tensor.as_ref().unwrap().starts_with("cls."), "{overflow}");
    assert_eq!((overflow.scale, overflow.next), (largest, largest / 2.0));
    assert!(overflow.to_string().contains("step left out"), "{overflow}");
    assert!(read(model.parameters()) == before && gradients(&model).iter().all(|g| *g == 0.0));
    let (first, second) = optimizer.moments();
    assert!(read(first).iter().chain(&read(second)).all(|moment| *moment == 0.0));
    assert_eq!((optimizer.steps(), optimizer.gradient_norm(&ctx).unwrap()), (0, 0.0));

    let mut left_out = 1;
    loop {
        pass(&model, optimizer.loss_scale());
        match optimizer.step(&model, 1e-3).unwrap() {
            Some(_) => left_out += 1,
            None => break,
        }
    }
    assert_eq!(optimizer.scaling().unwrap().left_out(), left_out);
    assert_eq!(optimizer.loss_scale(), largest / 2f32.powi(left_out as i32));
    assert_eq!(optimizer.steps(), 1);
    assert!(read(model.parameters()) != before);
    assert!(read(model.parameters()).iter().all(|value| value.is_finite()));
}
