//! Rows of `ops/binary_cross_entropy.rs`.

use super::{
    Bound, Case, CaseFailure, Random, check_gradient, compare, compare_u32, upload, widen,
};
use crate::ops::binary_cross_entropy::reference;
use crate::ops::{self, BinaryCrossEntropyBackward, BinaryCrossEntropyForward};
use crate::{Context, DType};

/// With u = 2⁻²⁴: a class's loss is up to 100 (a logit of 25, a weight of 4) with some ten roundings,
/// of which a mean sees the largest; a sum of up to C ≤ 1001 positive terms by one unit rounds as
/// often, relative to the mean.
const BINARY_LOSS_ERROR: f64 = 1010.0 / 16_777_216.0;
/// The logarithm's own error of 4 u, times a weight of 4, and the rounding of 1 + e.
const BINARY_LOSS_FLOOR: f64 = 24.0 / 16_777_216.0;
/// A sigmoid has the exponential's 4 u, a sum and a quotient of up to 5 u on a GPU; weight, target,
/// difference and factor add 5 u, of the larger side where both pull: up to the weight of 4.
const BINARY_GRADIENT_ERROR: f64 = 4.0 * 16.0 / 16_777_216.0;

pub(super) fn rows() -> Vec<Case> {
    let mut rows = Vec::new();
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        for (count, classes) in [(1, 1), (300, 2), (5, 3), (16, 16), (7, 77), (2, 1001), (3, 2048)]
        {
            for weighted in [false, true] {
                let how = if weighted { " weighted" } else { "" };
                rows.push(Case::new(
                    "binary_cross_entropy",
                    format!("R={count} C={classes}{how}"),
                    dtype,
                    move |ctx| both(ctx, count, classes, weighted, dtype),
                ));
            }
        }
    }
    rows
}

fn both(
    ctx: &Context,
    rows: usize,
    classes: usize,
    weighted: bool,
    dtype: DType,
) -> Result<(), CaseFailure> {
    let mut random = Random::new((rows * classes) as u64);
    let logits = random.values(rows * classes, 25.0, dtype);
    // No, yes, and somewhat, and every other row altogether right.
    let targets: Vec<f32> = logits
        .iter()
        .enumerate()
        .map(|(at, &x)| match (at / classes % 2, random.bits() % 3) {
            (1, _) => f32::from(u8::from(x > 0.0)),
            (_, 0) => 0.0,
            (_, 1) => 1.0,
            _ => random.unit() as f32,
        })
        .collect();
    let weights: Vec<f32> =
        (0..classes).map(|_| if weighted { random.unit() as f32 * 4.0 } else { 1.0 }).collect();
    let scale = 0.125;
    let logits_buffer = upload(ctx, &logits, dtype);
    let targets_buffer = ctx.upload_f32(&targets);
    let weights_buffer = weighted.then(|| ctx.upload_f32(&weights));
    let loss = ctx.empty(DType::F32, rows);
    let correct = ctx.empty(DType::U32, rows);
    ops::binary_cross_entropy_forward(
        ctx,
        BinaryCrossEntropyForward {
            logits: &logits_buffer,
            targets: &targets_buffer,
            weights: weights_buffer.as_ref(),
            loss: &loss,
            correct: &correct,
            classes,
        },
    )?;
    let d_logits = ctx.empty(dtype, rows * classes);
    ops::binary_cross_entropy_backward(
        ctx,
        BinaryCrossEntropyBackward {
            logits: &logits_buffer,
            targets: &targets_buffer,
            weights: weights_buffer.as_ref(),
            d_logits: &d_logits,
            scale,
            classes,
        },
    )?;

    let (logits, targets, weights) = (widen(&logits), widen(&targets), widen(&weights));
    let (expected, right) = reference::forward(&logits, &targets, &weights);
    let bound =
        Bound::relative("BINARY_LOSS_ERROR", BINARY_LOSS_ERROR).or_absolute(BINARY_LOSS_FLOOR);
    compare("loss", &ctx.read_f32(&loss)?, &expected, bound)?;
    compare_u32("correct", &ctx.read_u32(&correct)?, &right)?;
    let gradient = reference::backward(&logits, &targets, &weights, f64::from(scale));
    let bound = Bound::relative("BINARY_GRADIENT_ERROR", 0.0)
        .stored_as(dtype)
        .or_absolute(BINARY_GRADIENT_ERROR * f64::from(scale) / classes as f64);
    compare("d_logits", &ctx.read_f32(&d_logits)?, &gradient, bound)?;
    let loss = |x: &[f64]| {
        let loss = reference::forward(x, &targets, &weights).0;
        loss.iter().sum::<f64>() * f64::from(scale)
    };
    check_gradient("d_logits", loss, &logits, &gradient)
}
