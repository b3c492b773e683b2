//! Rows of `ops/span_cross_entropy.rs`.

use super::{
    Bound, Case, CaseFailure, Random, check_gradient, compare, compare_u32, epsilon, expect,
    upload, widen,
};
use crate::ops::span_cross_entropy::reference;
use crate::ops::{self, IGNORE, SpanCrossEntropyBackward, SpanCrossEntropyForward};
use crate::{Context, DType};

/// Logits up to 8: log Σ exp rounds at half an ulp of 16, exp and ln add some ulp, a sum of up to 700
/// positive terms by one unit as many roundings, of which the logarithm sees the relative error.
const SPAN_LSE_ERROR: f64 = 5e-5;
/// exp(x − lse) ≤ 1 with the error of lse and its own, before the scale.
const SPAN_SOFTMAX_ERROR: f64 = 6e-5;

/// Lengths of the sequences: one token, odd ones, one longer than a cube has units, an empty one.
const BATCHES: [&[usize]; 6] =
    [&[1], &[2, 1], &[7, 1, 16, 33], &[5, 0, 3], &[700, 1, 64], &[3; 300]];

pub(super) fn rows() -> Vec<Case> {
    let mut rows = Vec::new();
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        for lengths in BATCHES {
            let (sequences, tokens) = (lengths.len(), lengths.iter().sum::<usize>());
            rows.push(Case::new(
                "span_cross_entropy",
                format!("B={sequences} T={tokens}"),
                dtype,
                move |ctx| both(ctx, lengths, dtype),
            ));
        }
    }
    rows
}

fn both(ctx: &Context, lengths: &[usize], dtype: DType) -> Result<(), CaseFailure> {
    let sequences = lengths.len();
    let mut cu_seqlens = vec![0u32];
    for length in lengths {
        cu_seqlens.push(cu_seqlens[cu_seqlens.len() - 1] + *length as u32);
    }
    let tokens = cu_seqlens[sequences] as usize;
    let mut random = Random::new((sequences + tokens) as u64);
    let mut logits = random.values(tokens * 2, 8.0, dtype);
    let mut targets = Vec::new();
    for (sequence, &length) in lengths.iter().enumerate() {
        let mut pair = random.indices(2, length.max(1));
        let first = 2 * cu_seqlens[sequence] as usize;
        match sequence % 5 {
            // Right, though a later token has equal logits.
            0 if length > 0 => {
                let at = first + 2 * (length / 2);
                logits[at..at + 2].fill(8.0);
                let last = first + 2 * (length - 1);
                logits[last..last + 2].fill(8.0);
                pair.fill(length as u32 / 2);
            }
            1 => pair[1] = IGNORE,
            2 => pair[0] = length as u32,
            3 => pair.fill(IGNORE),
            _ => {}
        }
        targets.extend(pair);
    }
    let scale = 0.125;
    let logits_buffer = upload(ctx, &logits, dtype);
    let cu_seqlens_buffer = ctx.upload_u32(&cu_seqlens);
    let targets_buffer = ctx.upload_u32(&targets);
    let loss = ctx.empty(DType::F32, sequences);
    let lse = ctx.empty(DType::F32, sequences * 2);
    let correct = ctx.empty(DType::U32, sequences);
    ops::span_cross_entropy_forward(
        ctx,
        SpanCrossEntropyForward {
            logits: &logits_buffer,
            cu_seqlens: &cu_seqlens_buffer,
            targets: &targets_buffer,
            loss: &loss,
            correct: &correct,
            lse: &lse,
            sequences,
            tokens,
        },
    )?;
    let d_logits = ctx.empty(dtype, tokens * 2);
    ops::span_cross_entropy_backward(
        ctx,
        SpanCrossEntropyBackward {
            logits: &logits_buffer,
            cu_seqlens: &cu_seqlens_buffer,
            targets: &targets_buffer,
            lse: &lse,
            d_logits: &d_logits,
            scale,
            sequences,
            tokens,
        },
    )?;

    let wide = widen(&logits);
    let expected = reference::forward(&wide, &cu_seqlens, &targets);
    let bound = Bound::relative("SPAN_LSE_ERROR", 0.0).or_absolute(SPAN_LSE_ERROR);
    let found = ctx.read_f32(&lse)?;
    // A sequence without tokens has no log Σ exp.
    let (found, wanted): (Vec<f32>, Vec<f64>) = (found.into_iter().zip(expected.lse))
        .enumerate()
        .filter_map(|(side, pair)| (lengths[side / 2] > 0).then_some(pair))
        .unzip();
    compare("lse", &found, &wanted, bound)?;
    compare("loss", &ctx.read_f32(&loss)?, &expected.loss, bound)?;
    compare_u32("correct", &ctx.read_u32(&correct)?, &expected.correct)?;
    let found = ctx.read_f32(&d_logits)?;
    let gradient = reference::backward(&wide, &cu_seqlens, &targets, f64::from(scale));
    let bound = Bound::relative("SPAN_SOFTMAX_ERROR", 0.0)
        .stored_as(dtype)
        .or_absolute(SPAN_SOFTMAX_ERROR * f64::from(scale));
    compare("d_logits", &found, &gradient, bound)?;
    // Softmax sums to one, so the gradients of a side sum to zero.
    for (sequence, bounds) in cu_seqlens.windows(2).enumerate() {
        for side in 0..2 {
            let of_side = (bounds[0]..bounds[1]).map(|token| found[2 * token as usize + side]);
            let sum: f64 = of_side.map(f64::from).sum();
            let allowed = f64::from(scale) * (2.0 * epsilon(dtype) + SPAN_SOFTMAX_ERROR);
            expect(sum.abs() <= allowed, || {
                format!("gradients of side {side} of sequence {sequence} sum to {sum:e}")
            })?;
        }
    }
    let loss = |x: &[f64]| {
        let loss = reference::forward(x, &cu_seqlens, &targets).loss;
        loss.iter().sum::<f64>() * f64::from(scale)
    };
    check_gradient("d_logits", loss, &wide, &gradient)
}
