//! Rows of `ops/cross_entropy.rs`.

use super::{
    Bound, Case, CaseFailure, Random, check_gradient, compare, compare_u32, epsilon, expect,
    upload, widen,
};
use crate::ops::cross_entropy::reference;
use crate::ops::{self, CrossEntropyBackward, CrossEntropyForward, IGNORE};
use crate::{Context, DType};

/// Logits up to 8: log Σ exp rounds at half an ulp of 16, exp and ln add some ulp, a sum of C
/// positive terms at most C / lanes ≤ 200 roundings of which the logarithm sees the relative error.
pub(super) const CROSS_ENTROPY_LSE_ERROR: f64 = 2e-5;
/// exp(x − lse) ≤ 1 with the error of lse, before the scale.
pub(super) const CROSS_ENTROPY_SOFTMAX_ERROR: f64 = 3e-5;
/// With smoothing a loss has a sum of up to C / lanes ≤ 500 positive terms: as many roundings.
const SMOOTHED_LOSS_ERROR: f64 = 500.0 / 16_777_216.0;
/// The largest weight of a class, by which the errors above grow.
const MAX_WEIGHT: f64 = 2.0;

/// Smoothing, and whether classes have weights.
#[derive(Clone, Copy)]
struct Emphasis {
    smoothing: f32,
    weighted: bool,
}

pub(super) fn rows() -> Vec<Case> {
    let mut rows = Vec::new();
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        for (count, classes) in
            [(1, 1), (5, 2), (16, 16), (33, 77), (9, 1024), (3, 8000), (1500, 3)]
        {
            for in_place in [false, true] {
                let how = if in_place { " in place" } else { "" };
                let plain = Emphasis { smoothing: 0.0, weighted: false };
                rows.push(Case::new(
                    "cross_entropy",
                    format!("R={count} C={classes}{how}"),
                    dtype,
                    move |ctx| both(ctx, count, classes, in_place, plain, dtype),
                ));
            }
        }
        for (count, classes) in [(1, 1), (33, 2), (16, 16), (33, 77), (3, 8000)] {
            for (smoothing, weighted) in [(0.0, true), (0.1, false), (0.1, true), (1.0, true)] {
                let how = if weighted { " weighted" } else { "" };
                rows.push(Case::new(
                    "cross_entropy",
                    format!("R={count} C={classes} smoothing={smoothing}{how}"),
                    dtype,
                    move |ctx| {
                        let emphasis = Emphasis { smoothing, weighted };
                        both(ctx, count, classes, false, emphasis, dtype)
                    },
                ));
            }
        }
    }
    rows
}

/// Targets with every fourth row ignored, from the second on.
pub(super) fn draw_targets(random: &mut Random, rows: usize, classes: usize) -> Vec<u32> {
    let mut targets = random.indices(rows, classes);
    for target in targets.iter_mut().skip(1).step_by(4) {
        *target = IGNORE;
    }
    targets
}

fn both(
    ctx: &Context,
    rows: usize,
    classes: usize,
    in_place: bool,
    emphasis: Emphasis,
    dtype: DType,
) -> Result<(), CaseFailure> {
    let mut random = Random::new((rows * classes) as u64);
    let mut logits = random.values(rows * classes, 8.0, dtype);
    let targets = draw_targets(&mut random, rows, classes);
    // Equal largest logits: the first class counts.
    for row in logits.chunks_mut(classes).step_by(3) {
        row[classes - 1] = 8.0;
        row[classes / 2] = 8.0;
    }
    let Emphasis { smoothing, weighted } = emphasis;
    let weights: Vec<f32> = (0..classes)
        .map(|_| if weighted { (random.unit() * MAX_WEIGHT) as f32 } else { 1.0 })
        .collect();
    let scale = 0.125;
    let logits_buffer = upload(ctx, &logits, dtype);
    let targets_buffer = ctx.upload_u32(&targets);
    let weights_buffer = weighted.then(|| ctx.upload_f32(&weights));
    let loss = ctx.empty(DType::F32, rows);
    let lse = ctx.empty(DType::F32, rows);
    let correct = ctx.empty(DType::U32, rows);
    ops::cross_entropy_forward(
        ctx,
        CrossEntropyForward {
            logits: &logits_buffer,
            targets: &targets_buffer,
            loss: &loss,
            correct: &correct,
            lse: &lse,
            classes,
            smoothing,
            weights: weights_buffer.as_ref(),
        },
    )?;
    let d_logits = if in_place { logits_buffer.clone() } else { ctx.empty(dtype, rows * classes) };
    ops::cross_entropy_backward(
        ctx,
        CrossEntropyBackward {
            logits: &logits_buffer,
            targets: &targets_buffer,
            lse: &lse,
            d_logits: &d_logits,
            scale,
            classes,
            smoothing,
            weights: weights_buffer.as_ref(),
        },
    )?;
    let (wide, weights) = (widen(&logits), widen(&weights));
    let most = if weighted { MAX_WEIGHT } else { 1.0 };
    let (spread, scale) = (f64::from(smoothing), f64::from(scale));
    let expected = reference::forward(&wide, &targets, classes);
    let bound =
        Bound::relative("CROSS_ENTROPY_LSE_ERROR", 0.0).or_absolute(CROSS_ENTROPY_LSE_ERROR);
    compare("lse", &ctx.read_f32(&lse)?, &expected.lse, bound)?;
    compare_u32("correct", &ctx.read_u32(&correct)?, &expected.correct)?;
    let found_loss = ctx.read_f32(&loss)?;
    if smoothing == 0.0 && !weighted {
        compare("loss", &found_loss, &expected.loss, bound)?;
    }
    let expected = reference::emphasized(&wide, &targets, spread, &weights);
    let bound = Bound::relative("SMOOTHED_LOSS_ERROR", SMOOTHED_LOSS_ERROR)
        .or_absolute(most * CROSS_ENTROPY_LSE_ERROR);
    compare("loss", &found_loss, &expected, bound)?;

    let found = ctx.read_f32(&d_logits)?;
    let gradient = reference::emphasized_backward(&wide, &targets, spread, &weights, scale);
    if smoothing == 0.0 && !weighted {
        let plain = reference::backward(&wide, &targets, scale, classes);
        let same = plain.iter().zip(&gradient).all(|(a, b)| (a - b).abs() <= 1e-15);
        expect(same, || "the references differ where nothing is smoothed or weighted".into())?;
    }
    let bound = Bound::relative("CROSS_ENTROPY_SOFTMAX_ERROR", 0.0)
        .stored_as(dtype)
        .or_absolute(CROSS_ENTROPY_SOFTMAX_ERROR * most * scale);
    compare("d_logits", &found, &gradient, bound)?;
    // Softmax sums to one, so a row's gradient sums to zero.
    for (row, d) in found.chunks(classes).enumerate() {
        let sum: f64 = widen(d).iter().sum();
        let allowed = scale * most * (2.0 * epsilon(dtype) + CROSS_ENTROPY_SOFTMAX_ERROR);
        expect(sum.abs() <= allowed, || format!("gradients of row {row} sum to {sum:e}"))?;
    }
    let loss = |x: &[f64]| {
        reference::emphasized(x, &targets, spread, &weights).iter().sum::<f64>() * scale
    };
    check_gradient("d_logits", loss, &wide, &gradient)
}
