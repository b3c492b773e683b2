//! Rows of `ops/mean_squared_error.rs`.

use super::{Bound, Case, CaseFailure, Random, check_gradient, compare, expect, upload, widen};
use crate::ops::mean_squared_error::reference;
use crate::ops::{self, SquaredErrorBackward, SquaredErrorForward};
use crate::{Context, DType};

/// Per term a difference and a square, 3 u with u = 2⁻²⁴; a sum of up to W ≤ 1001 positive terms by
/// one unit rounds as often; the share of each adds 2 u.
const SQUARED_ERROR_LOSS_ERROR: f64 = 1006.0 / 16_777_216.0;
/// A difference, the factor and their product, one rounding each.
const SQUARED_ERROR_GRADIENT_ERROR: f64 = 3.0 / 16_777_216.0;

pub(super) fn rows() -> Vec<Case> {
    let mut rows = Vec::new();
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        for (count, width) in [(1, 1), (300, 1), (5, 3), (16, 16), (9, 130), (2, 1001), (3, 4096)] {
            for target in [DType::F32, DType::Bf16, DType::F16] {
                if target != DType::F32 && target != dtype {
                    continue;
                }
                rows.push(Case::new(
                    "mean_squared_error",
                    format!("R={count} W={width} target={target}"),
                    dtype,
                    move |ctx| both(ctx, count, width, dtype, target),
                ));
            }
        }
    }
    rows
}

fn both(
    ctx: &Context,
    rows: usize,
    width: usize,
    dtype: DType,
    target_dtype: DType,
) -> Result<(), CaseFailure> {
    let mut random = Random::new((rows * width) as u64);
    let prediction = random.values(rows * width, 3.0, dtype);
    let mut target = random.values(rows * width, 3.0, target_dtype);
    // The first row has all its targets, the second none, later ones some.
    for (row, values) in target.chunks_mut(width).enumerate() {
        match row {
            0 => {}
            1 => values.fill(f32::NAN),
            _ => values.iter_mut().step_by(5).for_each(|value| *value = -f32::NAN),
        }
    }
    let scale = 0.125;
    let prediction_buffer = upload(ctx, &prediction, dtype);
    let target_buffer = upload(ctx, &target, target_dtype);
    let loss = ctx.empty(DType::F32, rows);
    ops::squared_error_forward(
        ctx,
        SquaredErrorForward {
            prediction: &prediction_buffer,
            target: &target_buffer,
            loss: &loss,
            rows,
            width,
        },
    )?;
    let d_prediction = ctx.empty(dtype, rows * width);
    ops::squared_error_backward(
        ctx,
        SquaredErrorBackward {
            prediction: &prediction_buffer,
            target: &target_buffer,
            d_prediction: &d_prediction,
            scale,
            rows,
            width,
        },
    )?;

    let (prediction, wide_target) = (widen(&prediction), widen(&target));
    let expected = reference::forward(&prediction, &wide_target, width);
    let bound = Bound::relative("SQUARED_ERROR_LOSS_ERROR", SQUARED_ERROR_LOSS_ERROR);
    compare("loss", &ctx.read_f32(&loss)?, &expected, bound)?;
    let gradient = reference::backward(&prediction, &wide_target, f64::from(scale), width);
    let found = ctx.read_f32(&d_prediction)?;
    let bound = Bound::relative("SQUARED_ERROR_GRADIENT_ERROR", SQUARED_ERROR_GRADIENT_ERROR)
        .stored_as(dtype);
    compare("d_prediction", &found, &gradient, bound)?;
    for (at, (target, found)) in target.iter().zip(&found).enumerate() {
        expect(!target.is_nan() || *found == 0.0, || {
            format!("the value {at} has no target and the gradient {found:e}")
        })?;
    }
    let loss = |x: &[f64]| {
        let loss = reference::forward(x, &wide_target, width);
        loss.iter().sum::<f64>() * f64::from(scale)
    };
    check_gradient("d_prediction", loss, &prediction, &gradient)
}
