//! The product in f64.

use super::{Activation, Transpose};
use crate::ops::activation::reference::activate;

/// op(A) · op(B), `[m, n]`.
pub(crate) fn product(
    a: &[f64],
    b: &[f64],
    (m, n, k): (usize, usize, usize),
    transpose: Transpose,
) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for row in 0..m {
        for column in 0..n {
            c[row * n + column] = (0..k)
                .map(|p| {
                    let left = match transpose {
                        Transpose::TN => a[p * m + row],
                        Transpose::NN | Transpose::NT => a[row * k + p],
                    };
                    let right = match transpose {
                        Transpose::NT => b[column * k + p],
                        Transpose::NN | Transpose::TN => b[p * n + column],
                    };
                    left * right
                })
                .sum();
        }
    }
    c
}

/// C + bias, and its activation.
pub(crate) fn epilogue(
    c: &[f64],
    bias: &[f64],
    activation: Option<Activation>,
) -> (Vec<f64>, Vec<f64>) {
    let pre: Vec<f64> =
        c.iter().enumerate().map(|(at, value)| value + bias[at % bias.len()]).collect();
    let out = match activation {
        Some(activation) => pre.iter().map(|&x| activate(x, activation)).collect(),
        None => pre.clone(),
    };
    (pre, out)
}
