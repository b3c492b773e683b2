//! Layers that do not learn.

use bert_kernels::Context;
use bert_trainer::data::TaskBatch;
use bert_trainer::model::{
    DeviceBatch, DropoutPlan, Head, Model, ParameterTable, Precision, Targets, initial_values,
};
use bert_trainer::train::{Optimizer, OptimizerOptions};

use crate::{sequences, small_config};

/// Below the frozen layers nothing is computed and nothing changes; above them the gradients are
/// those of a whole backward pass, to the bit, and they alone make the norm that is clipped.
#[test]
fn the_backward_pass_ends_above_frozen_layers() {
    let ctx = Context::open("cpu").unwrap();
    let (config, head) = (small_config(), Head::Classify { labels: 3 });
    let table = ParameterTable::new(&config, &head);
    let values = initial_values(&table, &config, 3);
    let tokens = sequences(50, &[7, 3, 12]);
    let device_batch = DeviceBatch::upload(&ctx, &tokens);
    let batch = TaskBatch { labels: vec![0, 2, 1], ..Default::default() };
    let targets = Targets::task(&ctx, head, &batch);
    let dropout = DropoutPlan::training(&ctx, &config, 5, 1);
    let gradient = |frozen: Option<usize>| {
        let mut model = Model::new(&ctx, &config, head, Precision::F32, &values).unwrap();
        if let Some(layers) = frozen {
            model.freeze(layers);
        }
        model.accumulate_gradients(&device_batch, &targets, &dropout, 1.0).unwrap();
        (ctx.read_f32(model.gradients()).unwrap(), model)
    };
    let (whole, _) = gradient(None);
    for frozen in 0..=2 {
        let (found, model) = gradient(Some(frozen));
        let is_frozen = |name: &str| {
            let below = |layer| name.starts_with(&format!("bert.encoder.layer.{layer}."));
            name.starts_with("bert.embeddings.") || (0..frozen).any(below)
        };
        for parameter in table.parameters() {
            let range = parameter.range();
            if is_frozen(&parameter.name) {
                assert!(found[range].iter().all(|g| *g == 0.0), "{}", parameter.name);
            } else {
                assert!(found[range.clone()] == whole[range.clone()], "{}", parameter.name);
                assert!(found[range].iter().any(|g| *g != 0.0), "{}", parameter.name);
            }
        }
        let mut optimizer = Optimizer::new(&model, OptimizerOptions::default());
        let rates = table.blocks(|one| if is_frozen(&one.name) { 0.0 } else { 1.0 });
        optimizer.set_rates(&model, &rates);
        optimizer.step(&model, 0.1).unwrap();
        let norm = optimizer.gradient_norm(&ctx).unwrap();
        let expected = found.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        assert!((f64::from(norm) / expected - 1.0).abs() < 1e-5);
        let after = ctx.read_f32(model.parameters()).unwrap();
        for parameter in table.parameters() {
            let same = after[parameter.range()] == values[parameter.range()];
            assert_eq!(same, is_frozen(&parameter.name), "{}", parameter.name);
        }
    }
}
