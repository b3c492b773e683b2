//! Softmax cross-entropy of a linear layer over a large vocabulary, without its logits in memory.
//!
//! `logits = hidden Wᵀ + bias` `[M, V]` exists one chunk of the vocabulary at a time, `[M, C]`. Forward:
//! each chunk's logits go into the workspace and what is known of a row (log Σ exp, the largest
//! logit, the target's logit) is brought up to date. Backward: each chunk's logits are computed
//! again, become `d = (exp(logits − lse) − onehot) · scale`, and give `d_hidden += d W_c`,
//! `d_W_c += dᵀ hidden` and `d_bias_c += Σ_m d`. Chunks follow each other in ascending order.
//!
//! The idea of chunks with recomputation is that of Liger's and of Wijmans et al.'s ("Cut your
//! losses", 2024) fused cross-entropies; this one keeps the exact gradient.

use super::bias::bias_workspace_len;
use super::cross_entropy::{Chunk, Rows, Scale, chunk_backward, chunk_forward};
use super::dropout::expect_act;
use super::elementwise::cast;
use super::gemm::{Epilogue, Gemm, Transpose, multiply};
use crate::column_sums::column_sums;
use crate::lanes::expect_u32;
use crate::{Buffer, Context, DType, KernelError};

/// Operands of [`linear_cross_entropy_forward`].
pub struct LinearCrossEntropyForward<'a> {
    /// `[M, H]`, f32, bf16 or f16.
    pub hidden: &'a Buffer,
    /// `[V, H]`, like `hidden`.
    pub weight: &'a Buffer,
    /// `[V]` f32.
    pub bias: &'a Buffer,
    /// `[M]` u32, below V or [`IGNORE`](super::IGNORE).
    pub targets: &'a Buffer,
    /// `[M]` f32, out: in nats, 0 where ignored.
    pub loss: &'a Buffer,
    /// `[M]` u32, out: 1 where the largest logit is the target's, else 0.
    pub correct: &'a Buffer,
    /// `[M]` f32, out: log Σ exp, for the backward pass.
    pub lse: &'a Buffer,
    /// Scratch of [`linear_cross_entropy_workspace_len`] f32.
    pub workspace: &'a Buffer,
    /// M.
    pub rows: usize,
    /// V.
    pub vocabulary: usize,
    /// H.
    pub hidden_width: usize,
}

/// Operands of [`linear_cross_entropy_backward`].
pub struct LinearCrossEntropyBackward<'a> {
    /// `[M, H]`, f32, bf16 or f16.
    pub hidden: &'a Buffer,
    /// `[V, H]`, like `hidden`.
    pub weight: &'a Buffer,
    /// `[V]` f32.
    pub bias: &'a Buffer,
    /// `[M]` u32, below V or [`IGNORE`](super::IGNORE).
    pub targets: &'a Buffer,
    /// `[M]` f32 of the forward pass.
    pub lse: &'a Buffer,
    /// Gradient of each row's loss, times `factor`.
    pub scale: f32,
    /// `[1]` f32: 1 / rows for a mean. In memory, so that it can change where the launches are recorded.
    pub factor: &'a Buffer,
    /// `[M, H]`, like `hidden`, out.
    pub d_hidden: &'a Buffer,
    /// `[V, H]` f32, added to.
    pub d_weight: &'a Buffer,
    /// `[V]` f32, added to.
    pub d_bias: &'a Buffer,
    /// Scratch of [`linear_cross_entropy_workspace_len`] f32.
    pub workspace: &'a Buffer,
    /// M.
    pub rows: usize,
    /// V.
    pub vocabulary: usize,
    /// H.
    pub hidden_width: usize,
}

/// Chunks begin at multiples of this many words, so that slices of weight, bias and their gradients
/// are aligned, and rows of logits are whole vectors.
const CHUNK_ALIGN: usize = 128;
/// Most logits of a chunk on a CPU: 2 MiB of f32, what a core's cache holds.
const CPU_CHUNK_LOGITS: usize = 1 << 19;
/// Most logits of a chunk on a GPU: 128 MiB of f32.
const GPU_CHUNK_LOGITS: usize = 1 << 25;
/// A chunk is not narrower than this, or its products are too thin.
const MIN_CHUNK: usize = 512;

/// Parts of the workspace; each begins aligned.
struct Layout {
    /// Words of a chunk.
    chunk: usize,
    logits: std::ops::Range<usize>,
    /// Gradients in the operands' type where that is not f32, counted in f32.
    gradients: std::ops::Range<usize>,
    /// Sums of d_hidden over the chunks, in f32.
    d_hidden: std::ops::Range<usize>,
    best: std::ops::Range<usize>,
    bias: std::ops::Range<usize>,
}

impl Layout {
    fn new(ctx: &Context, rows: usize, vocabulary: usize, width: usize) -> Self {
        let chunk = linear_cross_entropy_chunk(ctx, rows, vocabulary);
        let mut end = 0;
        let mut part = |len: usize| {
            let first = end;
            end += len.next_multiple_of(CHUNK_ALIGN);
            first..first + len
        };
        Self {
            chunk,
            logits: part(rows * chunk),
            gradients: part((rows * chunk).div_ceil(2)),
            d_hidden: part(rows * width),
            best: part(rows),
            bias: part(bias_workspace_len(ctx, rows, chunk)),
        }
    }

    fn len(&self) -> usize {
        self.bias.end.next_multiple_of(CHUNK_ALIGN)
    }

    /// First word and number of words of each chunk.
    fn chunks(&self, vocabulary: usize) -> impl Iterator<Item = (usize, usize)> {
        let chunk = self.chunk;
        (0..vocabulary).step_by(chunk).map(move |first| (first, chunk.min(vocabulary - first)))
    }
}

/// Elements of the workspace of both passes for M `rows`, V words and width H.
pub fn linear_cross_entropy_workspace_len(
    ctx: &Context,
    rows: usize,
    vocabulary: usize,
    hidden_width: usize,
) -> usize {
    Layout::new(ctx, rows, vocabulary, hidden_width).len()
}

/// Words of a chunk for M `rows`: with the rows and the width, the sizes of the products of both passes.
pub fn linear_cross_entropy_chunk(ctx: &Context, rows: usize, vocabulary: usize) -> usize {
    let most = if ctx.shape().is_cpu() { CPU_CHUNK_LOGITS } else { GPU_CHUNK_LOGITS };
    (most / rows.max(1)).max(MIN_CHUNK).min(vocabulary).next_multiple_of(CHUNK_ALIGN)
}

/// Loss, accuracy and log Σ exp of each row.
///
/// # Errors
///
/// Lengths or types that do not fit together.
pub fn linear_cross_entropy_forward(
    ctx: &Context,
    args: LinearCrossEntropyForward<'_>,
) -> Result<(), KernelError> {
    const OP: &str = "linear_cross_entropy_forward";
    let LinearCrossEntropyForward {
        targets, loss, correct, lse, workspace, rows, vocabulary, ..
    } = args;
    let layer = Layer {
        hidden: args.hidden,
        weight: args.weight,
        bias: args.bias,
        rows,
        width: args.hidden_width,
    };
    let layout = layer.check(ctx, OP, targets, lse, workspace, vocabulary)?;
    loss.expect_dtype(OP, "loss", DType::F32)?;
    loss.expect_len(OP, "loss", rows)?;
    correct.expect_dtype(OP, "correct", DType::U32)?;
    correct.expect_len(OP, "correct", rows)?;
    if rows == 0 {
        return Ok(());
    }
    let logits = workspace.slice(layout.logits.clone());
    let best = workspace.slice(layout.best.clone());
    let state = Rows { targets, loss, correct, lse, best: Some(&best) };
    for (first, words) in layout.chunks(vocabulary) {
        let chunk = layer.chunk(&layout, first, words, vocabulary);
        layer.logits(ctx, &chunk, &logits);
        chunk_forward(ctx, &logits, &state, &chunk);
    }
    Ok(())
}

/// Gradients of hidden rows, weight and bias.
///
/// # Errors
///
/// Lengths or types that do not fit together.
pub fn linear_cross_entropy_backward(
    ctx: &Context,
    args: LinearCrossEntropyBackward<'_>,
) -> Result<(), KernelError> {
    const OP: &str = "linear_cross_entropy_backward";
    let LinearCrossEntropyBackward {
        hidden,
        weight,
        targets,
        lse,
        scale,
        factor,
        d_hidden,
        d_weight,
        d_bias,
        workspace,
        rows,
        vocabulary,
        hidden_width: width,
        ..
    } = args;
    let layer = Layer { hidden, weight, bias: args.bias, rows, width };
    let layout = layer.check(ctx, OP, targets, lse, workspace, vocabulary)?;
    d_hidden.expect_dtype(OP, "d_hidden", hidden.dtype())?;
    d_hidden.expect_len(OP, "d_hidden", rows * width)?;
    d_weight.expect_dtype(OP, "d_weight", DType::F32)?;
    d_weight.expect_len(OP, "d_weight", vocabulary * width)?;
    d_bias.expect_dtype(OP, "d_bias", DType::F32)?;
    d_bias.expect_len(OP, "d_bias", vocabulary)?;
    factor.expect_dtype(OP, "factor", DType::F32)?;
    factor.expect_len(OP, "factor", 1)?;
    let scale = Scale { value: scale, factor: Some(factor) };
    if rows == 0 {
        return Ok(());
    }
    let logits = workspace.slice(layout.logits.clone());
    // Both products want operands of one type; f32 gradients take the place of the logits.
    let gradients = match hidden.dtype() {
        DType::F32 => logits.clone(),
        dtype => workspace.slice(layout.gradients.clone()).reinterpret(dtype, rows * layout.chunk),
    };
    let sums = match hidden.dtype() {
        DType::F32 => d_hidden.clone(),
        _ => workspace.slice(layout.d_hidden.clone()),
    };
    let bias_workspace = workspace.slice(layout.bias.clone());
    for (first, words) in layout.chunks(vocabulary) {
        let chunk = layer.chunk(&layout, first, words, vocabulary);
        layer.logits(ctx, &chunk, &logits);
        chunk_backward(ctx, &logits, targets, lse, &gradients, scale, &chunk);
        let product = Gemm {
            a: &gradients,
            b: &weight.slice(first * width..(first + words) * width),
            c: &sums,
            m: rows,
            n: width,
            k: words,
            transpose: Transpose::NN,
            accumulate: first > 0,
            epilogue: Epilogue::None,
        };
        multiply(ctx, &product, layout.chunk, width);
        let product = Gemm {
            b: hidden,
            c: &d_weight.slice(first * width..(first + words) * width),
            m: words,
            k: rows,
            transpose: Transpose::TN,
            accumulate: true,
            ..product
        };
        multiply(ctx, &product, layout.chunk, width);
        column_sums(
            ctx,
            &gradients,
            rows,
            words,
            layout.chunk,
            &d_bias.slice(first..first + words),
            &bias_workspace,
        );
    }
    if hidden.dtype() != DType::F32 {
        cast(ctx, &sums, d_hidden)?;
    }
    Ok(())
}

/// The linear layer.
struct Layer<'a> {
    hidden: &'a Buffer,
    weight: &'a Buffer,
    bias: &'a Buffer,
    rows: usize,
    width: usize,
}

impl Layer<'_> {
    fn check(
        &self,
        ctx: &Context,
        op: &'static str,
        targets: &Buffer,
        lse: &Buffer,
        workspace: &Buffer,
        vocabulary: usize,
    ) -> Result<Layout, KernelError> {
        for (what, found) in [("vocabulary", vocabulary), ("hidden_width", self.width)] {
            if found == 0 {
                return Err(KernelError::Size { op, what, expected: "positive", found });
            }
        }
        expect_act(op, "hidden", self.hidden)?;
        self.hidden.expect_len(op, "hidden", self.rows * self.width)?;
        self.weight.expect_dtype(op, "weight", self.hidden.dtype())?;
        self.weight.expect_len(op, "weight", vocabulary * self.width)?;
        self.bias.expect_dtype(op, "bias", DType::F32)?;
        self.bias.expect_len(op, "bias", vocabulary)?;
        targets.expect_dtype(op, "targets", DType::U32)?;
        targets.expect_len(op, "targets", self.rows)?;
        lse.expect_dtype(op, "lse", DType::F32)?;
        lse.expect_len(op, "lse", self.rows)?;
        let layout = Layout::new(ctx, self.rows, vocabulary, self.width);
        workspace.expect_dtype(op, "workspace", DType::F32)?;
        workspace.expect_len(op, "workspace", layout.len())?;
        expect_u32(op, "elements of weight", self.weight.len())?;
        expect_u32(op, "logits of a chunk", layout.logits.len())?;
        Ok(layout)
    }

    fn chunk(&self, layout: &Layout, first: usize, words: usize, vocabulary: usize) -> Chunk {
        Chunk {
            rows: self.rows,
            classes: words,
            offset: first,
            stride: layout.chunk,
            first: first == 0,
            last: first + words == vocabulary,
        }
    }

    /// Logits of a chunk.
    fn logits(&self, ctx: &Context, chunk: &Chunk, logits: &Buffer) {
        let words = chunk.offset..chunk.offset + chunk.classes;
        let product = Gemm {
            a: self.hidden,
            b: &self.weight.slice(words.start * self.width..words.end * self.width),
            c: logits,
            m: self.rows,
            n: chunk.classes,
            k: self.width,
            transpose: Transpose::NT,
            accumulate: false,
            epilogue: Epilogue::Bias(&self.bias.slice(words)),
        };
        multiply(ctx, &product, self.width, chunk.stride);
    }
}
