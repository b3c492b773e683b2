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

pub(super) fn rows() -> Vec<Case> {
    let mut rows = Vec::new();
    for dtype in [DType::F32, DType::Bf16] {
        for (count, classes) in
            [(1, 1), (5, 2), (16, 16), (33, 77), (9, 1024), (3, 8000), (1500, 3)]
        {
            for in_place in [false, true] {
                let how = if in_place { " in place" } else { "" };
                rows.push(Case::new(
                    "cross_entropy",
                    format!("R={count} C={classes}{how}"),
                    dtype,
                    move |ctx| both(ctx, count, classes, in_place, dtype),
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
    let scale = 0.125;
    let logits_buffer = upload(ctx, &logits, dtype);
    let targets_buffer = ctx.upload_u32(&targets);
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
        },
    )?;
    let wide = widen(&logits);
    let expected = reference::forward(&wide, &targets, classes);
    let bound =
        Bound::relative("CROSS_ENTROPY_LSE_ERROR", 0.0).or_absolute(CROSS_ENTROPY_LSE_ERROR);
    compare("lse", &ctx.read_f32(&lse)?, &expected.lse, bound)?;
    compare("loss", &ctx.read_f32(&loss)?, &expected.loss, bound)?;
    compare_u32("correct", &ctx.read_u32(&correct)?, &expected.correct)?;
    let found = ctx.read_f32(&d_logits)?;
    let gradient = reference::backward(&wide, &targets, f64::from(scale), classes);
    let bound = Bound::relative("CROSS_ENTROPY_SOFTMAX_ERROR", epsilon(dtype))
        .or_absolute(CROSS_ENTROPY_SOFTMAX_ERROR * f64::from(scale));
    compare("d_logits", &found, &gradient, bound)?;
    // Softmax sums to one, so a row's gradient sums to zero.
    for (row, d) in found.chunks(classes).enumerate() {
        let sum: f64 = widen(d).iter().sum();
        let allowed = f64::from(scale) * (2.0 * epsilon(dtype) + CROSS_ENTROPY_SOFTMAX_ERROR);
        expect(sum.abs() <= allowed, || format!("gradients of row {row} sum to {sum:e}"))?;
    }
    let loss = |x: &[f64]| {
        let loss = reference::forward(x, &targets, classes).loss;
        loss.iter().sum::<f64>() * f64::from(scale)
    };
    check_gradient("d_logits", loss, &wide, &gradient)
}
