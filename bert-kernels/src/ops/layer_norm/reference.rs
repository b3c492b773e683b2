//! Both passes in f64.

use crate::ops::dropout::{Dropout, reference::factor};

/// What the forward pass writes.
pub(crate) struct Forward {
    pub(crate) sum: Vec<f64>,
    pub(crate) out: Vec<f64>,
    pub(crate) mean: Vec<f64>,
    pub(crate) rstd: Vec<f64>,
}

/// `s = residual + dropout(x)`.
pub(crate) fn residual_sum(
    x: &[f64],
    residual: Option<&[f64]>,
    dropout: Option<Dropout>,
) -> Vec<f64> {
    x.iter()
        .enumerate()
        .map(|(at, x)| x * factor(dropout, at as u64) + residual.map_or(0.0, |r| r[at]))
        .collect()
}

/// Normalization of `sum`.
pub(crate) fn forward(sum: Vec<f64>, gamma: &[f64], beta: &[f64], epsilon: f64) -> Forward {
    let hidden = gamma.len();
    let (mut out, mut means, mut rstds) = (Vec::new(), Vec::new(), Vec::new());
    for row in sum.chunks(hidden) {
        let mean = row.iter().sum::<f64>() / hidden as f64;
        let variance = row.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / hidden as f64;
        let rstd = 1.0 / (variance + epsilon).sqrt();
        let scaled = row.iter().zip(gamma).zip(beta);
        out.extend(scaled.map(|((s, gamma), beta)| (s - mean) * rstd * gamma + beta));
        means.push(mean);
        rstds.push(rstd);
    }
    Forward { sum, out, mean: means, rstd: rstds }
}

/// What the backward pass writes.
pub(crate) struct Backward {
    pub(crate) d_sum: Vec<f64>,
    pub(crate) d_x: Vec<f64>,
    pub(crate) d_gamma: Vec<f64>,
    pub(crate) d_beta: Vec<f64>,
}

/// Gradients for the gradient `d_out` of y.
pub(crate) fn backward(
    d_out: &[f64],
    sum: &[f64],
    mean: &[f64],
    rstd: &[f64],
    gamma: &[f64],
    dropout: Option<Dropout>,
) -> Backward {
    let hidden = gamma.len();
    let mut d_sum = Vec::new();
    let (mut d_gamma, mut d_beta) = (vec![0.0; hidden], vec![0.0; hidden]);
    for (row, (d_row, s_row)) in d_out.chunks(hidden).zip(sum.chunks(hidden)).enumerate() {
        let normal: Vec<f64> = s_row.iter().map(|s| (s - mean[row]) * rstd[row]).collect();
        let g: Vec<f64> = d_row.iter().zip(gamma).map(|(d, gamma)| d * gamma).collect();
        let g_mean = g.iter().sum::<f64>() / hidden as f64;
        let gx_mean = g.iter().zip(&normal).map(|(g, n)| g * n).sum::<f64>() / hidden as f64;
        for column in 0..hidden {
            d_gamma[column] += d_row[column] * normal[column];
            d_beta[column] += d_row[column];
            d_sum.push(rstd[row] * (g[column] - g_mean - normal[column] * gx_mean));
        }
    }
    let d_x = d_sum.iter().enumerate().map(|(at, d)| d * factor(dropout, at as u64)).collect();
    Backward { d_sum, d_x, d_gamma, d_beta }
}
