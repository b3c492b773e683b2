//! The steps in f64.

use super::BLOCK;

/// Numbers of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) max_norm: f64,
    pub(crate) grad_scale: f64,
    pub(crate) learning_rate: f64,
    pub(crate) beta1: f64,
    pub(crate) beta2: f64,
    pub(crate) epsilon: f64,
    pub(crate) weight_decay: f64,
    pub(crate) step: i32,
}

/// √Σ x².
pub(crate) fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Updates the moments; returns the bias-corrected m / (√v + ε) of each element.
fn moments(grad: &[f64], m: &mut [f64], v: &mut [f64], s: &Step) -> Vec<f64> {
    let mut factor = s.grad_scale;
    if s.max_norm > 0.0 {
        factor *= (s.max_norm / (norm(grad) * s.grad_scale + 1e-6)).min(1.0);
    }
    let corrections = (1.0 - s.beta1.powi(s.step), 1.0 - s.beta2.powi(s.step));
    grad.iter()
        .zip(m.iter_mut().zip(v))
        .map(|(grad, (m, v))| {
            let g = grad * factor;
            *m = s.beta1 * *m + (1.0 - s.beta1) * g;
            *v = s.beta2 * *v + (1.0 - s.beta2) * g * g;
            (*m / corrections.0) / ((*v / corrections.1).sqrt() + s.epsilon)
        })
        .collect()
}

/// One step of AdamW.
pub(crate) fn adamw(
    param: &mut [f64],
    grad: &[f64],
    m: &mut [f64],
    v: &mut [f64],
    decay: &[f32],
    rates: &[f32],
    s: &Step,
) {
    let update = moments(grad, m, v, s);
    for (at, (p, u)) in param.iter_mut().zip(update).enumerate() {
        let rate = s.learning_rate * f64::from(rates[at / BLOCK]);
        *p *= 1.0 - rate * s.weight_decay * f64::from(decay[at / BLOCK]);
        *p -= rate * u;
    }
}

/// One step of LAMB over tensors of whole blocks.
pub(crate) fn lamb(
    param: &mut [f64],
    grad: &[f64],
    m: &mut [f64],
    v: &mut [f64],
    decay: &[f32],
    rates: &[f32],
    tensors: &[u32],
    s: &Step,
) {
    let mut update = moments(grad, m, v, s);
    for (at, (u, p)) in update.iter_mut().zip(param.iter()).enumerate() {
        *u += s.weight_decay * f64::from(decay[at / BLOCK]) * p;
    }
    for bounds in tensors.windows(2) {
        let range = bounds[0] as usize * BLOCK..bounds[1] as usize * BLOCK;
        let (p, u) = (norm(&param[range.clone()]), norm(&update[range.clone()]));
        let adapts = p > 0.0 && u > 0.0 && decay[bounds[0] as usize] > 0.0;
        let ratio = if adapts { p / u } else { 1.0 };
        for at in range {
            let rate = s.learning_rate * f64::from(rates[at / BLOCK]);
            param[at] -= rate * ratio * update[at];
        }
    }
}
