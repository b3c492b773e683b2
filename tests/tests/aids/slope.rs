//! Every head with a teacher: gradients against central differences.

use bert_kernels::Context;
use bert_trainer::data::TaskBatch;
use bert_trainer::model::{
    Additions, DeviceBatch, DropoutPlan, Head, Losses, Model, ParameterTable, Precision, Targets,
    Teaching, initial_values,
};

use crate::{mean, scattered, sequences, small_config};

/// The whole loss of a distillation.
fn total(ctx: &Context, losses: &Losses, weight: f64) -> f64 {
    let task = [&losses.sequence, &losses.words, &losses.spans];
    let parts = &losses.imitation;
    let taught = [&parts.sequence, &parts.words, &parts.spans, &parts.hidden];
    (1.0 - weight) * task.map(|term| mean(ctx, term)).iter().sum::<f64>()
        + weight * taught.map(|term| mean(ctx, term)).iter().sum::<f64>()
}

/// Every head with a teacher: the slope of the loss along some directions is what the gradient says.
#[test]
fn distillation_has_the_slope_of_central_differences() {
    const WEIGHT: f32 = 0.4;
    // Along a unit vector, a step of h errs by h² of a third derivative, and by 2⁻²⁴ · loss / h of
    // rounding: both about 1e-5 here, below slopes of 0.1.
    const STEP: f32 = 1e-2;
    const MAX_SLOPE_ERROR: f64 = 2e-3;
    let ctx = Context::open("cpu").unwrap();
    let config = small_config();
    let tokens = sequences(50, &[7, 3, 12]);
    let (rows, count, words) = (3, tokens.tokens(), [1, 4, 8, 11, 20]);
    let device_batch = DeviceBatch::upload(&ctx, &tokens);
    for head in [
        Head::Classify { labels: 3 },
        Head::MultiLabel { labels: 3 },
        Head::Regress { outputs: 1 },
        Head::Tag { labels: 5 },
        Head::Joint { intents: 3, slots: 5 },
        Head::Span,
    ] {
        for projection in [None, Some(20)] {
            let table = ParameterTable::with_projection(&config, &head, projection);
            let values = initial_values(&table, &config, 3);
            let additions = Additions { projection, ..Additions::default() };
            let model_of = |values: &[f32]| {
                let precision = Precision::F32;
                Model::with_additions(&ctx, &config, head, precision, values, additions).unwrap()
            };
            let task = TaskBatch {
                labels: vec![0, 2, 1],
                label_sets: vec![1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0],
                values: vec![0.5, -1.0, 2.0],
                spans: vec![1, 3, 0, 0, 5, 5],
                tag_index: words.to_vec(),
                tag_target: vec![0, 4, 2, 1, 3],
                ..Default::default()
            };
            let mut targets = Targets::task(&ctx, head, &task);
            let taught = |len, seed| Some(ctx.upload_f32(&scattered(len, seed)));
            let outputs = if matches!(head, Head::Regress { .. }) { 1 } else { 3 };
            targets.teaching = Teaching {
                weight: WEIGHT,
                sequence: taught(rows * outputs, 1),
                words: taught(words.len() * 5, 2),
                spans: taught(count * 2, 3),
                hidden: taught(count * projection.unwrap_or(16), 4),
            };
            let model = model_of(&values);
            model.accumulate_gradients(&device_batch, &targets, &DropoutPlan::OFF, 1.0).unwrap();
            let gradient = ctx.read_f32(model.gradients()).unwrap();
            let norm = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            // Along the gradient, where all of it counts, and along others.
            let mut directions = vec![gradient.clone()];
            directions.extend((5..7).map(|seed| {
                let noise = scattered(values.len(), seed);
                let along = gradient.iter().zip(noise).map(|(g, noise)| g * noise);
                along.collect::<Vec<f32>>()
            }));
            for direction in directions {
                let length = norm(&direction);
                let at = |step: f32| {
                    let moved = values.iter().zip(&direction);
                    let moved: Vec<f32> =
                        moved.map(|(x, d)| x + step * (f64::from(*d) / length) as f32).collect();
                    let (losses, _) = model_of(&moved).evaluate(&device_batch, &targets).unwrap();
                    total(&ctx, &losses, f64::from(WEIGHT))
                };
                let found = (at(STEP) - at(-STEP)) / (2.0 * f64::from(STEP));
                let product = gradient.iter().zip(&direction);
                let expected: f64 =
                    product.map(|(g, d)| f64::from(*g) * f64::from(*d)).sum::<f64>() / length;
                let error = (found - expected).abs() / norm(&gradient);
                assert!(
                    error <= MAX_SLOPE_ERROR,
                    "{head:?} {projection:?}: {found} for {expected}"
                );
            }
        }
    }
}
