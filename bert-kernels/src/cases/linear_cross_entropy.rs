//! Rows of `ops/linear_cross_entropy.rs`.

use super::cross_entropy::{CROSS_ENTROPY_LSE_ERROR, CROSS_ENTROPY_SOFTMAX_ERROR, draw_targets};
use super::{
    Bound, Case, CaseFailure, Random, check_gradient, compare, compare_u32, epsilon, expect,
    upload, widen,
};
use crate::ops::cross_entropy::reference as softmax;
use crate::ops::gemm::{Transpose, reference as matrix};
use crate::ops::{
    self, IGNORE, LinearCrossEntropyBackward, LinearCrossEntropyForward, bias,
    linear_cross_entropy_workspace_len,
};
use crate::{Context, DType};

/// One more f32 addition a chunk to each log Σ exp, of which there are at most 20 here.
const CHUNKED_LSE_ERROR: f64 = CROSS_ENTROPY_LSE_ERROR + 20.0 * 1e-6;
/// Terms of the products: softmax's error, and where the gradients are stored in 16 bits their
/// rounding, each as a fraction of the largest result.
fn product_error(dtype: DType) -> f64 {
    10.0 * CROSS_ENTROPY_SOFTMAX_ERROR
        + match dtype {
            DType::Bf16 | DType::F16 => 2.0 * epsilon(dtype),
            _ => 0.0,
        }
}

pub(super) fn rows() -> Vec<Case> {
    let mut rows = Vec::new();
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        for (count, vocabulary, width) in [
            (1, 1, 8),
            (5, 100, 24),
            (17, 1000, 32),
            // More than one chunk on a CPU, the last one ragged and odd.
            (1030, 1025, 16),
            (1100, 1501, 8),
        ] {
            rows.push(Case::new(
                "linear_cross_entropy",
                format!("M={count} V={vocabulary} H={width}"),
                dtype,
                move |ctx| both(ctx, count, vocabulary, width, dtype),
            ));
        }
    }
    rows
}

fn both(
    ctx: &Context,
    rows: usize,
    vocabulary: usize,
    width: usize,
    dtype: DType,
) -> Result<(), CaseFailure> {
    let mut random = Random::new((rows + vocabulary + width) as u64);
    let hidden = random.values(rows * width, 1.0, dtype);
    let weight = random.values(vocabulary * width, 1.0, dtype);
    let bias_values = random.values(vocabulary, 1.0, DType::F32);
    let targets = draw_targets(&mut random, rows, vocabulary);
    let d_weight_before = random.values(vocabulary * width, 0.01, DType::F32);
    let d_bias_before = random.values(vocabulary, 0.01, DType::F32);
    // f16 has no gradients below 2⁻²⁴, so there a loss is scaled, as a training scales it.
    let loss_scale = if dtype == DType::F16 { 1024.0 } else { 1.0 };
    let factor = 1.0 / rows as f32;

    let hidden_buffer = upload(ctx, &hidden, dtype);
    let weight_buffer = upload(ctx, &weight, dtype);
    let bias_buffer = ctx.upload_f32(&bias_values);
    let targets_buffer = ctx.upload_u32(&targets);
    let loss = ctx.empty(DType::F32, rows);
    let lse = ctx.empty(DType::F32, rows);
    let correct = ctx.empty(DType::U32, rows);
    let len = linear_cross_entropy_workspace_len(ctx, rows, vocabulary, width);
    let workspace = ctx.empty(DType::F32, len);
    ops::linear_cross_entropy_forward(
        ctx,
        LinearCrossEntropyForward {
            hidden: &hidden_buffer,
            weight: &weight_buffer,
            bias: &bias_buffer,
            targets: &targets_buffer,
            loss: &loss,
            correct: &correct,
            lse: &lse,
            workspace: &workspace,
            rows,
            vocabulary,
            hidden_width: width,
        },
    )?;
    let d_hidden = ctx.empty(dtype, rows * width);
    let d_weight = ctx.upload_f32(&d_weight_before);
    let d_bias = ctx.upload_f32(&d_bias_before);
    ops::linear_cross_entropy_backward(
        ctx,
        LinearCrossEntropyBackward {
            hidden: &hidden_buffer,
            weight: &weight_buffer,
            bias: &bias_buffer,
            targets: &targets_buffer,
            lse: &lse,
            scale: loss_scale,
            factor: &ctx.upload_f32(&[factor]),
            d_hidden: &d_hidden,
            d_weight: &d_weight,
            d_bias: &d_bias,
            workspace: &workspace,
            rows,
            vocabulary,
            hidden_width: width,
        },
    )?;

    let (hidden, weight, bias_values) = (widen(&hidden), widen(&weight), widen(&bias_values));
    let scale = f64::from(loss_scale * factor);
    let logits_of = |hidden: &[f64]| {
        let shape = (rows, vocabulary, width);
        let product = matrix::product(hidden, &weight, shape, Transpose::NT);
        matrix::epilogue(&product, &bias_values, None).1
    };
    let logits = logits_of(&hidden);
    let expected = softmax::forward(&logits, &targets, vocabulary);
    let bound = Bound::relative("CHUNKED_LSE_ERROR", 0.0).or_absolute(CHUNKED_LSE_ERROR);
    compare("lse", &ctx.read_f32(&lse)?, &expected.lse, bound)?;
    let found_loss = ctx.read_f32(&loss)?;
    compare("loss", &found_loss, &expected.loss, bound)?;
    let found_correct = ctx.read_u32(&correct)?;
    compare_u32("correct", &found_correct, &expected.correct)?;
    let ignored = (0..rows).filter(|&row| targets[row] == IGNORE);
    for row in ignored {
        expect(found_loss[row] == 0.0 && found_correct[row] == 0, || {
            format!("the ignored row {row} has a loss")
        })?;
    }

    let d_logits = softmax::backward(&logits, &targets, scale, vocabulary);
    let shape = (rows, width, vocabulary);
    let expected_hidden = matrix::product(&d_logits, &weight, shape, Transpose::NN);
    let shape = (vocabulary, width, rows);
    let expected_weight = matrix::product(&d_logits, &hidden, shape, Transpose::TN);
    let expected_bias = bias::reference::column_sums(&d_logits, vocabulary);
    let plus = |gradient: &[f64], before: &[f32]| -> Vec<f64> {
        gradient
            .iter()
            .zip(before)
            .map(|(gradient, before)| gradient + f64::from(*before))
            .collect()
    };
    let bound = Bound::of_max("product_error", product_error(dtype)).or_absolute(
        // Where everything is ignored or certain the largest result may be 0.
        1e-7,
    );
    let hidden_bound = bound.stored_as(dtype);
    compare("d_hidden", &ctx.read_f32(&d_hidden)?, &expected_hidden, hidden_bound)?;
    let expected = plus(&expected_weight, &d_weight_before);
    compare("d_weight", &ctx.read_f32(&d_weight)?, &expected, bound)?;
    let expected = plus(&expected_bias, &d_bias_before);
    compare("d_bias", &ctx.read_f32(&d_bias)?, &expected, bound)?;
    if rows * vocabulary > 20_000 {
        // The differences below cost two references an element.
        return Ok(());
    }
    let loss = |hidden: &[f64]| {
        let logits = logits_of(hidden);
        let loss = softmax::forward(&logits, &targets, vocabulary).loss;
        loss.iter().sum::<f64>() * scale
    };
    check_gradient("d_hidden", loss, &hidden, &expected_hidden)
}
