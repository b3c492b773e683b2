//! Softmax cross-entropy of explicit logits, for the small heads.
//!
//! Forward, per row: `lse = log Σ_c exp(x_c)`, `loss = lse − x_target`, and whether the largest
//! logit (the first of equals) is the target's. Backward: `d_x = (exp(x − lse) − onehot) · scale`.
//! Rows whose target is [`IGNORE`] have no loss and no gradient.
//!
//! With weights w of the classes and label smoothing ε (Szegedy et al. 2016, §7), as
//! torch.nn.CrossEntropyLoss with `reduction='none'`:
//! `loss = (1 − ε) w_target (lse − x_target) + ε / C · Σ_c w_c (lse − x_c)`, whose gradient is
//! `d_x = (a · exp(x − lse) − b · onehot − ε / C · w) · scale` with `b = (1 − ε) w_target` and
//! `a = b + ε / C · Σ_c w_c`. A mean divides by the sum of the targets' weights, which is in the
//! caller's scale.
//!
//! The kernels take a chunk of the classes and carry what is known of a row from chunk to chunk;
//! [`linear_cross_entropy`](super::linear_cross_entropy) feeds them the vocabulary piece by piece.
//! A row is the work of one unit on a CPU and of one cube on a GPU.

mod chunks;
mod kernels;
#[cfg(feature = "cases")]
pub(crate) mod reference;

pub(crate) use chunks::{Chunk, Rows, Scale, chunk_backward, chunk_forward};
use chunks::{Emphasis, launch_backward, launch_forward};
pub(crate) use kernels::NOTHING;

use super::dropout::expect_act;
use crate::lanes::expect_u32;
use crate::{Buffer, Context, DType, KernelError};

/// The target of a row without a loss.
pub const IGNORE: u32 = u32::MAX;

/// Operands of [`cross_entropy_forward`].
pub struct CrossEntropyForward<'a> {
    /// `[R, C]`, f32, bf16 or f16.
    pub logits: &'a Buffer,
    /// `[R]` u32, below C or [`IGNORE`].
    pub targets: &'a Buffer,
    /// `[R]` f32, out: in nats, 0 where ignored.
    pub loss: &'a Buffer,
    /// `[R]` u32, out: 1 where the largest logit is the target's, else 0.
    pub correct: &'a Buffer,
    /// `[R]` f32, out: log Σ exp, for the backward pass.
    pub lse: &'a Buffer,
    /// C.
    pub classes: usize,
    /// ε, in [0, 1]: the share of a target that is spread over all classes; 0 spreads nothing.
    pub smoothing: f32,
    /// w `[C]` f32; 1 if absent.
    pub weights: Option<&'a Buffer>,
}

/// Operands of [`cross_entropy_backward`].
pub struct CrossEntropyBackward<'a> {
    /// `[R, C]`, f32, bf16 or f16.
    pub logits: &'a Buffer,
    /// `[R]` u32, below C or [`IGNORE`].
    pub targets: &'a Buffer,
    /// `[R]` f32 of the forward pass.
    pub lse: &'a Buffer,
    /// `[R, C]`, like `logits`, out; may be `logits` itself.
    pub d_logits: &'a Buffer,
    /// Gradient of each row's loss, as 1 / rows for a mean.
    pub scale: f32,
    /// C.
    pub classes: usize,
    /// ε of the forward pass.
    pub smoothing: f32,
    /// w of the forward pass.
    pub weights: Option<&'a Buffer>,
}

/// Loss, accuracy and log Σ exp of each row.
///
/// # Errors
///
/// Lengths or types that do not fit together, C = 0, or a smoothing outside [0, 1]. Targets are not
/// checked: one past C counts as a logit of 0.
pub fn cross_entropy_forward(
    ctx: &Context,
    args: CrossEntropyForward<'_>,
) -> Result<(), KernelError> {
    const OP: &str = "cross_entropy_forward";
    let CrossEntropyForward { logits, targets, loss, correct, lse, classes, smoothing, weights } =
        args;
    let rows = targets.len();
    check(OP, logits, targets, lse, classes)?;
    let emphasis = Emphasis::new(OP, smoothing, weights, classes)?;
    loss.expect_dtype(OP, "loss", DType::F32)?;
    loss.expect_len(OP, "loss", rows)?;
    correct.expect_dtype(OP, "correct", DType::U32)?;
    correct.expect_len(OP, "correct", rows)?;
    if rows == 0 {
        return Ok(());
    }
    let state = Rows { targets, loss, correct, lse, best: None };
    launch_forward(ctx, logits, &state, &Chunk::whole(rows, classes), emphasis);
    Ok(())
}

/// `d_logits = (exp(logits − lse) − onehot) · scale`, and the general form above with smoothing and
/// weights.
///
/// # Errors
///
/// Lengths or types that do not fit together, C = 0, or a smoothing outside [0, 1].
pub fn cross_entropy_backward(
    ctx: &Context,
    args: CrossEntropyBackward<'_>,
) -> Result<(), KernelError> {
    const OP: &str = "cross_entropy_backward";
    let CrossEntropyBackward { logits, targets, lse, d_logits, scale, classes, smoothing, weights } =
        args;
    let rows = targets.len();
    check(OP, logits, targets, lse, classes)?;
    let emphasis = Emphasis::new(OP, smoothing, weights, classes)?;
    d_logits.expect_dtype(OP, "d_logits", logits.dtype())?;
    d_logits.expect_len(OP, "d_logits", rows * classes)?;
    if rows == 0 {
        return Ok(());
    }
    let chunk = Chunk::whole(rows, classes);
    let scale = Scale { value: scale, factor: None };
    launch_backward(ctx, logits, targets, lse, d_logits, scale, &chunk, emphasis);
    Ok(())
}

fn check(
    op: &'static str,
    logits: &Buffer,
    targets: &Buffer,
    lse: &Buffer,
    classes: usize,
) -> Result<(), KernelError> {
    if classes == 0 {
        return Err(KernelError::Size { op, what: "classes", expected: "positive", found: 0 });
    }
    let rows = targets.len();
    expect_act(op, "logits", logits)?;
    logits.expect_len(op, "logits", rows * classes)?;
    targets.expect_dtype(op, "targets", DType::U32)?;
    lse.expect_dtype(op, "lse", DType::F32)?;
    lse.expect_len(op, "lse", rows)?;
    expect_u32(op, "elements", logits.len())
}
