//! Rows of `ops/bias.rs`.

use super::{Bound, Case, CaseFailure, Random, check_gradient, compare, epsilon, upload, widen};
use crate::ops::bias::reference;
use crate::ops::{self, BiasBackward, bias_workspace_len};
use crate::{Context, DType};

/// A chain of `rows` additions: as a matrix product's.
fn bias_sum_error(rows: usize) -> f64 {
    16.0 * (rows as f64).sqrt().max(1.0) * epsilon(DType::F32)
}

pub(super) fn rows() -> Vec<Case> {
    let mut rows = Vec::new();
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        for (tokens, n) in [(1, 1), (3, 2), (63, 24), (64, 130), (65, 128), (1000, 384)] {
            let name = format!("backward T={tokens} n={n}");
            rows.push(Case::new("bias", name, dtype, move |ctx| backward(ctx, tokens, n, dtype)));
        }
    }
    rows
}

fn backward(ctx: &Context, tokens: usize, n: usize, dtype: DType) -> Result<(), CaseFailure> {
    let mut random = Random::new((tokens + n) as u64);
    let d_out = random.values(tokens * n, 1.0, dtype);
    let before = random.values(n, 1.0, DType::F32);
    let d_bias = ctx.upload_f32(&before);
    ops::bias_backward(
        ctx,
        BiasBackward {
            d_out: &upload(ctx, &d_out, dtype),
            d_bias: &d_bias,
            n,
            workspace: &ctx.empty(DType::F32, bias_workspace_len(ctx, tokens, n)),
        },
    )?;
    let gradient = reference::column_sums(&widen(&d_out), n);
    let expected: Vec<f64> =
        gradient.iter().zip(widen(&before)).map(|(gradient, before)| gradient + before).collect();
    // The sum may cancel to below its terms, which are up to 1.
    let bound =
        Bound::of_max("bias_sum_error", bias_sum_error(tokens)).or_absolute(bias_sum_error(tokens));
    compare("d_bias", &ctx.read_f32(&d_bias)?, &expected, bound)?;
    let d_out = widen(&d_out);
    let loss = |bias: &[f64]| {
        let rows = d_out.chunks(n);
        rows.map(|d| d.iter().zip(bias).map(|(d, b)| d * b).sum::<f64>()).sum()
    };
    check_gradient("d_bias", loss, &widen(&before), &gradient)
}
