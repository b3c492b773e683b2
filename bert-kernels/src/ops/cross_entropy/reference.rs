//! Both passes in f64.

use super::IGNORE;

/// What the forward pass writes.
pub(crate) struct Forward {
    pub(crate) loss: Vec<f64>,
    pub(crate) correct: Vec<u32>,
    pub(crate) lse: Vec<f64>,
}

pub(crate) fn forward(logits: &[f64], targets: &[u32], classes: usize) -> Forward {
    let mut found = Forward { loss: Vec::new(), correct: Vec::new(), lse: Vec::new() };
    for (row, &target) in logits.chunks(classes).zip(targets) {
        let mut top = 0;
        for class in 1..classes {
            if row[class] > row[top] {
                top = class;
            }
        }
        let sum: f64 = row.iter().map(|x| (x - row[top]).exp()).sum();
        let lse = row[top] + sum.ln();
        found.lse.push(lse);
        let ignored = target == IGNORE;
        found.loss.push(if ignored { 0.0 } else { lse - row[target as usize] });
        found.correct.push(u32::from(top as u32 == target));
    }
    found
}

pub(crate) fn backward(logits: &[f64], targets: &[u32], scale: f64, classes: usize) -> Vec<f64> {
    let lse = forward(logits, targets, classes).lse;
    logits
        .iter()
        .enumerate()
        .map(|(at, x)| {
            let (row, class) = (at / classes, at % classes);
            if targets[row] == IGNORE {
                return 0.0;
            }
            let onehot = f64::from(u8::from(class as u32 == targets[row]));
            ((x - lse[row]).exp() - onehot) * scale
        })
        .collect()
}

/// The loss with smoothing ε and weights `[C]`.
pub(crate) fn emphasized(
    logits: &[f64],
    targets: &[u32],
    smoothing: f64,
    weights: &[f64],
) -> Vec<f64> {
    let classes = weights.len();
    let lse = forward(logits, targets, classes).lse;
    let rows = logits.chunks(classes).zip(targets).zip(lse);
    rows.map(|((row, &target), lse)| {
        if target == IGNORE {
            return 0.0;
        }
        let own = |class: usize| weights[class] * (lse - row[class]);
        let all: f64 = (0..classes).map(own).sum();
        (1.0 - smoothing) * own(target as usize) + smoothing / classes as f64 * all
    })
    .collect()
}

/// Its gradient: the derivative of `lse − x_c` is `softmax − onehot_c` in each term.
pub(crate) fn emphasized_backward(
    logits: &[f64],
    targets: &[u32],
    smoothing: f64,
    weights: &[f64],
    scale: f64,
) -> Vec<f64> {
    let classes = weights.len();
    let lse = forward(logits, targets, classes).lse;
    let mut d_logits = Vec::new();
    for ((row, &target), lse) in logits.chunks(classes).zip(targets).zip(lse) {
        let mut shares: Vec<f64> =
            weights.iter().map(|weight| smoothing / classes as f64 * weight).collect();
        if target == IGNORE {
            shares.fill(0.0);
        } else {
            shares[target as usize] += (1.0 - smoothing) * weights[target as usize];
        }
        let total: f64 = shares.iter().sum();
        d_logits.extend(
            row.iter().zip(shares).map(|(x, share)| ((x - lse).exp() * total - share) * scale),
        );
    }
    d_logits
}
