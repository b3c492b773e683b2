//! Binary cross-entropy of each class by itself, for texts with several labels or none.
//!
//! With a target y in [0, 1], a weight w of the class's positives (1 without weights) and
//! `s(x) = log(1 + eˣ)`, as torch.nn.BCEWithLogitsLoss with `pos_weight`:
//! `loss = Σ_c (w_c y_c s(−x_c) + (1 − y_c) s(x_c)) / C` of each row, and
//! `d_x = ((1 − y) σ(x) − w y σ(−x)) / C · scale`.
//!
//! Both forms stay exact for logits of any size: `s(x) = max(x, 0) + log(1 + e^−|x|)`, and neither
//! side of the gradient cancels. A row is the work of one unit on a CPU and of one cube on a GPU.

use cubecl::prelude::*;

use super::dropout::expect_act;
use crate::lanes::{expect_u32, lanes, my_items, spread, with_act};
use crate::teams::{Keep, Teams, my_place, my_team, reduce_lanes, reduce_team, team_count};
use crate::{Buffer, Context, DType, KernelError, math};

/// Operands of [`binary_cross_entropy_forward`].
pub struct BinaryCrossEntropyForward<'a> {
    /// `[R, C]`, f32, bf16 or f16.
    pub logits: &'a Buffer,
    /// `[R, C]` f32, in [0, 1]: the probability that the class applies.
    pub targets: &'a Buffer,
    /// `[C]` f32: weights of the positives; 1 if absent.
    pub weights: Option<&'a Buffer>,
    /// `[R]` f32, out: mean over the classes in nats.
    pub loss: &'a Buffer,
    /// `[R]` u32, out: 1 where every class is on its side, (x > 0) = (y > ½), else 0.
    pub correct: &'a Buffer,
    /// C.
    pub classes: usize,
}

/// Operands of [`binary_cross_entropy_backward`].
pub struct BinaryCrossEntropyBackward<'a> {
    /// `[R, C]`, f32, bf16 or f16.
    pub logits: &'a Buffer,
    /// `[R, C]` f32, in [0, 1].
    pub targets: &'a Buffer,
    /// `[C]` f32: weights of the positives; 1 if absent.
    pub weights: Option<&'a Buffer>,
    /// `[R, C]`, like `logits`, out.
    pub d_logits: &'a Buffer,
    /// Gradient of each row's loss, as 1 / R for a mean.
    pub scale: f32,
    /// C.
    pub classes: usize,
}

/// Loss of each row, and whether all its classes are right.
///
/// # Errors
///
/// Lengths or types that do not fit together, or C = 0. The values of targets and weights are not
/// checked.
pub fn binary_cross_entropy_forward(
    ctx: &Context,
    args: BinaryCrossEntropyForward<'_>,
) -> Result<(), KernelError> {
    const OP: &str = "binary_cross_entropy_forward";
    let BinaryCrossEntropyForward { logits, targets, weights, loss, correct, classes } = args;
    let rows = loss.len();
    check(OP, logits, targets, weights, rows, classes)?;
    loss.expect_dtype(OP, "loss", DType::F32)?;
    correct.expect_dtype(OP, "correct", DType::U32)?;
    correct.expect_len(OP, "correct", rows)?;
    if rows == 0 {
        return Ok(());
    }
    let width = lanes(ctx, logits.dtype(), classes);
    let teams = Teams::new(ctx, rows, classes / width);
    with_act!(logits.dtype(), E => statistics::launch::<E>(
        ctx.client(),
        teams.count(),
        teams.dim(),
        width,
        logits.arg(),
        targets.arg(),
        weights.map(Buffer::arg).into(),
        loss.arg(),
        correct.arg(),
        (1.0 / classes as f64) as f32,
        rows,
        classes / width,
        teams.team,
    ));
    Ok(())
}

/// `d_logits = ((1 − y) σ(x) − w y σ(−x)) / C · scale`.
///
/// # Errors
///
/// Lengths or types that do not fit together, or C = 0. The values of targets and weights are not
/// checked.
pub fn binary_cross_entropy_backward(
    ctx: &Context,
    args: BinaryCrossEntropyBackward<'_>,
) -> Result<(), KernelError> {
    const OP: &str = "binary_cross_entropy_backward";
    let BinaryCrossEntropyBackward { logits, targets, weights, d_logits, scale, classes } = args;
    check(OP, logits, targets, weights, logits.len() / classes.max(1), classes)?;
    d_logits.expect_dtype(OP, "d_logits", logits.dtype())?;
    d_logits.expect_len(OP, "d_logits", logits.len())?;
    if logits.is_empty() {
        return Ok(());
    }
    let width = lanes(ctx, logits.dtype(), classes);
    let vectors = logits.len() / width;
    let work = spread(ctx, vectors);
    with_act!(logits.dtype(), E => gradients::launch::<E>(
        ctx.client(),
        work.count,
        work.dim,
        width,
        logits.arg(),
        targets.arg(),
        weights.map(Buffer::arg).into(),
        d_logits.arg(),
        (f64::from(scale) / classes as f64) as f32,
        vectors,
        classes / width,
        work.contiguous,
    ));
    Ok(())
}

fn check(
    op: &'static str,
    logits: &Buffer,
    targets: &Buffer,
    weights: Option<&Buffer>,
    rows: usize,
    classes: usize,
) -> Result<(), KernelError> {
    if classes == 0 {
        return Err(KernelError::Size { op, what: "classes", expected: "positive", found: 0 });
    }
    expect_act(op, "logits", logits)?;
    logits.expect_len(op, "logits", rows * classes)?;
    targets.expect_dtype(op, "targets", DType::F32)?;
    targets.expect_len(op, "targets", rows * classes)?;
    if let Some(weights) = weights {
        weights.expect_dtype(op, "weights", DType::F32)?;
        weights.expect_len(op, "weights", classes)?;
    }
    expect_u32(op, "elements", logits.len())
}

/// e^−|x|.
#[cube]
fn exp_of_size<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let negative = x.less_than(&Vector::new(0.0f32));
    math::exp::<N>(select_many(negative, x, -x))
}

#[cube(launch)]
fn statistics<E: Float, N: Size>(
    logits: &[Vector<E, N>],
    targets: &[Vector<f32, N>],
    weights: ComptimeOption<Box<[Vector<f32, N>]>>,
    loss: &mut [f32],
    correct: &mut [u32],
    share: f32,
    rows: usize,
    vectors: usize,
    #[comptime] team: usize,
) {
    let place = my_place(team);
    let zero = Vector::<f32, N>::new(0.0f32);
    let one = Vector::<f32, N>::new(1.0f32);
    let mut row = my_team(team);
    while row < rows {
        let base = row * vectors;
        let mut total = Vector::<f32, N>::new(0.0f32);
        let mut wrong = Vector::<u32, N>::new(0u32);
        for v in range_stepped(place, vectors, team) {
            let x = Vector::<f32, N>::cast_from(logits[base + v]);
            let y = targets[base + v];
            let e = exp_of_size::<N>(x);
            let mut tail = Vector::<f32, N>::empty();
            #[unroll]
            for lane in 0..N::value() {
                tail.insert(lane, math::ln(1.0f32 + e.extract(lane)));
            }
            let mut if_positive = y * (max(-x, zero) + tail);
            #[comptime]
            if let ComptimeOption::Some(weights) = &weights {
                if_positive = if_positive * weights[v];
            }
            total += if_positive + (one - y) * (max(x, zero) + tail);
            let says = select_many(x.greater_than(&zero), Vector::new(1u32), Vector::new(0u32));
            let half = Vector::<f32, N>::new(0.5f32);
            let is = select_many(y.greater_than(&half), Vector::new(1u32), Vector::new(0u32));
            wrong = wrong | (says ^ is);
        }
        let total = reduce_team::<f32>(reduce_lanes::<f32, N>(total, Keep::Sum), Keep::Sum, team);
        let wrong = reduce_team::<u32>(reduce_lanes::<u32, N>(wrong, Keep::Max), Keep::Max, team);
        if place == 0 {
            loss[row] = total * share;
            correct[row] = 1u32 - wrong;
        }
        row += team_count(team);
    }
}

#[cube(launch)]
fn gradients<E: Float, N: Size>(
    logits: &[Vector<E, N>],
    targets: &[Vector<f32, N>],
    weights: ComptimeOption<Box<[Vector<f32, N>]>>,
    d_logits: &mut [Vector<E, N>],
    factor: f32,
    vectors: usize,
    columns: usize,
    #[comptime] contiguous: bool,
) {
    let one = Vector::<f32, N>::new(1.0f32);
    let items = my_items(vectors, contiguous);
    let mut i = items.first;
    while i < items.end {
        let x = Vector::<f32, N>::cast_from(logits[i]);
        let y = targets[i];
        let e = exp_of_size::<N>(x);
        // σ of |x| and of −|x|.
        let more = one / (one + e);
        let less = e / (one + e);
        let negative = x.less_than(&Vector::new(0.0f32));
        let mut pull = y * select_many(negative, more, less);
        #[comptime]
        if let ComptimeOption::Some(weights) = &weights {
            pull = pull * weights[i % columns];
        }
        let push = (one - y) * select_many(negative, less, more);
        d_logits[i] = Vector::cast_from((push - pull) * Vector::new(factor));
        i += items.step;
    }
}

/// Both passes in f64.
#[cfg(feature = "cases")]
pub(crate) mod reference {
    /// log(1 + eˣ).
    fn softplus(x: f64) -> f64 {
        x.max(0.0) + (-x.abs()).exp().ln_1p()
    }

    fn sigmoid(x: f64) -> f64 {
        (-softplus(-x)).exp()
    }

    /// The loss of each row, and whether all its classes are right.
    pub(crate) fn forward(
        logits: &[f64],
        targets: &[f64],
        weights: &[f64],
    ) -> (Vec<f64>, Vec<u32>) {
        let classes = weights.len();
        let rows = logits.chunks(classes).zip(targets.chunks(classes));
        rows.map(|(x, y)| {
            let losses = (0..classes)
                .map(|c| weights[c] * y[c] * softplus(-x[c]) + (1.0 - y[c]) * softplus(x[c]));
            let right = (0..classes).all(|c| (x[c] > 0.0) == (y[c] > 0.5));
            (losses.sum::<f64>() / classes as f64, u32::from(right))
        })
        .unzip()
    }

    /// The gradient of the logits.
    pub(crate) fn backward(
        logits: &[f64],
        targets: &[f64],
        weights: &[f64],
        scale: f64,
    ) -> Vec<f64> {
        let classes = weights.len();
        let pairs = logits.iter().zip(targets).enumerate();
        pairs
            .map(|(at, (x, y))| {
                let pull = weights[at % classes] * y * sigmoid(-x);
                ((1.0 - y) * sigmoid(*x) - pull) / classes as f64 * scale
            })
            .collect()
    }
}
