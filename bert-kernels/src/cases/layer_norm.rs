//! Rows of `ops/layer_norm.rs`.

use super::{
    Bound, Case, CaseFailure, Random, check_gradient, compare, epsilon, expect, round_to, upload,
    widen,
};
use crate::ops::layer_norm::reference;
use crate::ops::{self, Dropout, LayerNormBackward, LayerNormForward, layer_norm_workspace_len};
use crate::{Buffer, Context, DType};

/// Half an ulp of f32.
const ULP: f64 = 5.97e-8;
/// Adding the residual and scaling by dropout: two roundings of the sum, one of its term.
const SUM_ERROR: f64 = 3.0 * ULP;
/// A mean of H ≤ 768 values, summed by lanes and then as a tree: at most H/16 + 8 roundings of a
/// partial sum; the rest is in proportion to the deviations, which the rows keep near 1.
const STATISTICS_ERROR: f64 = 56.0 * ULP;
/// y is 4 roundings away from the statistics, and they enter twice.
const OUT_ERROR: f64 = (2.0 * 56.0 + 4.0) * ULP;
/// Two means of H terms and the statistics enter; 8 roundings besides.
const GRADIENT_ERROR: f64 = (4.0 * 56.0 + 8.0) * ULP;
/// Sums over T ≤ 700 tokens that may cancel: T roundings at most, of partial sums that stay within
/// the largest sum here to a factor of 4, beside x̂'s own error.
const PARAMETER_ERROR: f64 = (700.0 * 4.0 + 2.0 * 56.0) * ULP;

const EPSILON: f32 = 1e-5;
const DROPOUT: Dropout = Dropout { probability: 0.25, seed: 11, stream: 5, first: 999 };

#[derive(Clone, Copy)]
struct Row {
    tokens: usize,
    hidden: usize,
    dtype: DType,
    residual: bool,
    dropout: Option<Dropout>,
}

pub(super) fn rows() -> Vec<Case> {
    let mut rows = Vec::new();
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        for (tokens, hidden) in [(1, 8), (2, 24), (33, 128), (5, 130), (7, 768), (700, 16), (3, 17)]
        {
            for (residual, dropout) in
                [(false, None), (true, None), (true, Some(DROPOUT)), (false, Some(DROPOUT))]
            {
                let row = Row { tokens, hidden, dtype, residual, dropout };
                let mut name = format!("T={tokens} H={hidden}");
                if residual {
                    name.push_str(" residual");
                }
                if dropout.is_some() {
                    name.push_str(" dropout");
                }
                let op = "layer_norm";
                rows.push(Case::new(op, format!("forward {name}"), dtype, move |ctx| {
                    row.forward(ctx)
                }));
                rows.push(Case::new(op, format!("backward {name}"), dtype, move |ctx| {
                    row.backward(ctx)
                }));
            }
        }
    }
    rows
}

impl Row {
    fn random(&self) -> Random {
        Random::new((self.tokens * 1000 + self.hidden) as u64)
    }

    fn act_bound(&self, name: &'static str, error: f64) -> Bound {
        Bound::of_max(name, error).stored_as(self.dtype)
    }

    fn forward(&self, ctx: &Context) -> Result<(), CaseFailure> {
        let Self { tokens, hidden, dtype, .. } = *self;
        let mut random = self.random();
        let len = tokens * hidden;
        let x = random.values(len, 2.0, dtype);
        let residual = self.residual.then(|| random.values(len, 2.0, dtype));
        let gamma = random.values(hidden, 1.5, DType::F32);
        let beta = random.values(hidden, 0.5, DType::F32);
        let residual_buffer = residual.as_ref().map(|r| upload(ctx, r, dtype));
        let [sum, out, plain] = std::array::from_fn(|_| ctx.empty(dtype, len));
        let [mean, rstd] = std::array::from_fn(|_| ctx.empty(DType::F32, tokens));
        let dropout = self.dropout.map(|dropout| dropout.on(ctx));
        let launch = |gamma: &[f32], beta: &[f32], out: &Buffer| {
            ops::layer_norm_forward(
                ctx,
                LayerNormForward {
                    x: &upload(ctx, &x, dtype),
                    residual: residual_buffer.as_ref(),
                    dropout: dropout.as_ref(),
                    gamma: &ctx.upload_f32(gamma),
                    beta: &ctx.upload_f32(beta),
                    epsilon: EPSILON,
                    sum: &sum,
                    out,
                    mean: &mean,
                    rstd: &rstd,
                    hidden,
                },
            )
        };
        launch(&gamma, &beta, &out)?;
        launch(&vec![1.0; hidden], &vec![0.0; hidden], &plain)?;

        let found_sum = ctx.read_f32(&sum)?;
        let expected_sum = reference::residual_sum(
            &widen(&x),
            residual.map(|r| widen(&r)).as_deref(),
            self.dropout,
        );
        let bound = self.act_bound("SUM_ERROR", SUM_ERROR);
        compare("sum", &found_sum, &expected_sum, bound)?;
        // What follows is a function of the sum as it is stored.
        let expected = reference::forward(
            widen(&found_sum),
            &widen(&gamma),
            &widen(&beta),
            f64::from(EPSILON),
        );
        let statistics =
            Bound::of_max("STATISTICS_ERROR", STATISTICS_ERROR).or_absolute(STATISTICS_ERROR * 2.0);
        compare("mean", &ctx.read_f32(&mean)?, &expected.mean, statistics)?;
        compare("rstd", &ctx.read_f32(&rstd)?, &expected.rstd, statistics)?;
        let bound = self.act_bound("OUT_ERROR", OUT_ERROR);
        compare("out", &ctx.read_f32(&out)?, &expected.out, bound)?;

        // With γ = 1 and β = 0 each token has mean 0 and variance 1 − ε · rstd².
        let slack = 1e-4 + 2.0 * epsilon(dtype);
        for (row, rstd) in widen(&ctx.read_f32(&plain)?).chunks(hidden).zip(&expected.rstd) {
            let mean = row.iter().sum::<f64>() / hidden as f64;
            let variance = row.iter().map(|y| y * y).sum::<f64>() / hidden as f64;
            let ideal = 1.0 - f64::from(EPSILON) * rstd * rstd;
            expect(mean.abs() < slack && (variance - ideal).abs() < slack, || {
                format!("a token has mean {mean:e} and variance {variance}, not 0 and {ideal}")
            })?;
        }
        Ok(())
    }

    fn backward(&self, ctx: &Context) -> Result<(), CaseFailure> {
        let Self { tokens, hidden, dtype, dropout, .. } = *self;
        let mut random = self.random();
        let len = tokens * hidden;
        let x = widen(&random.values(len, 2.0, dtype));
        let gamma = random.values(hidden, 1.5, DType::F32);
        let beta = vec![0.0; hidden];
        let d_out = random.values(len, 1.0, dtype);
        let d_more = self.residual.then(|| random.values(len, 1.0, dtype));
        let before = random.values(2 * hidden, 1.0, DType::F32);

        let sum: Vec<f32> = reference::residual_sum(&x, None, dropout)
            .iter()
            .map(|&s| round_to(s as f32, dtype))
            .collect();
        let forward =
            |sum: Vec<f64>| reference::forward(sum, &widen(&gamma), &beta, f64::from(EPSILON));
        let stored = forward(widen(&sum));
        let narrow = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<_>>();
        let (mean, rstd) = (narrow(&stored.mean), narrow(&stored.rstd));

        let [d_sum, d_x] = std::array::from_fn(|_| ctx.empty(dtype, len));
        let d_gamma = ctx.upload_f32(&before[..hidden]);
        let d_beta = ctx.upload_f32(&before[hidden..]);
        let workspace = ctx.empty(DType::F32, layer_norm_workspace_len(ctx, tokens, hidden));
        let more_buffer = d_more.as_ref().map(|d| upload(ctx, d, dtype));
        ops::layer_norm_backward(
            ctx,
            LayerNormBackward {
                d_out: &upload(ctx, &d_out, dtype),
                d_residual_in: more_buffer.as_ref(),
                sum: &upload(ctx, &sum, dtype),
                mean: &ctx.upload_f32(&mean),
                rstd: &ctx.upload_f32(&rstd),
                gamma: &ctx.upload_f32(&gamma),
                dropout: dropout.map(|dropout| dropout.on(ctx)).as_ref(),
                d_sum: &d_sum,
                d_x: dropout.map(|_| &d_x),
                d_gamma: &d_gamma,
                d_beta: &d_beta,
                workspace: &workspace,
                hidden,
            },
        )?;

        let d_y: Vec<f64> = (0..len)
            .map(|at| f64::from(d_out[at]) + d_more.as_ref().map_or(0.0, |d| f64::from(d[at])))
            .collect();
        let expected = reference::backward(
            &d_y,
            &widen(&sum),
            &widen(&mean),
            &widen(&rstd),
            &widen(&gamma),
            dropout,
        );
        let bound = self.act_bound("GRADIENT_ERROR", GRADIENT_ERROR);
        compare("d_sum", &ctx.read_f32(&d_sum)?, &expected.d_sum, bound)?;
        if dropout.is_some() {
            compare("d_x", &ctx.read_f32(&d_x)?, &expected.d_x, bound)?;
        }
        let bound = Bound::of_max("PARAMETER_ERROR", PARAMETER_ERROR);
        let plus = |gradient: &[f64], before: &[f32]| -> Vec<f64> {
            let pairs = gradient.iter().zip(before);
            pairs.map(|(g, &b)| g + f64::from(b)).collect()
        };
        let expected_gamma = plus(&expected.d_gamma, &before[..hidden]);
        let expected_beta = plus(&expected.d_beta, &before[hidden..]);
        compare("d_gamma", &ctx.read_f32(&d_gamma)?, &expected_gamma, bound)?;
        compare("d_beta", &ctx.read_f32(&d_beta)?, &expected_beta, bound)?;

        // The reference against central differences of Σ d_y · y, with exact statistics.
        if dtype != DType::F32 || len > 2000 {
            return Ok(());
        }
        let dot = |y: &[f64]| y.iter().zip(&d_y).map(|(y, d)| y * d).sum::<f64>();
        let exact = forward(reference::residual_sum(&x, None, dropout));
        let gradient = reference::backward(
            &d_y,
            &exact.sum,
            &exact.mean,
            &exact.rstd,
            &widen(&gamma),
            dropout,
        );
        let loss = |x: &[f64]| dot(&forward(reference::residual_sum(x, None, dropout)).out);
        check_gradient("d_x", loss, &x, &gradient.d_x)?;
        let of_sum = |sum: &[f64]| dot(&forward(sum.to_vec()).out);
        check_gradient("d_sum", of_sum, &exact.sum, &gradient.d_sum)?;
        let out = |gamma: &[f64], beta: &[f64]| {
            let sum = exact.sum.clone();
            dot(&reference::forward(sum, gamma, beta, f64::from(EPSILON)).out)
        };
        let wide = widen(&gamma);
        check_gradient("d_gamma", |g| out(g, &beta), &wide, &gradient.d_gamma)?;
        check_gradient("d_beta", |b| out(&wide, b), &beta, &gradient.d_beta)
    }
}
