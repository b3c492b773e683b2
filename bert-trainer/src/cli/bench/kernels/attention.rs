//! Attention over packed sequences.

use std::sync::Arc;

use bert_kernels::ops::{self, AttentionBackward, AttentionForward, DeviceDropout, Dropout};
use bert_kernels::{Buffer, Context, DType, KernelError};
use serde_json::json;

use super::super::lengths::ragged;
use super::data::values;
use super::{Case, Size};

/// Forward and backward, without and with dropout, sequences all as long and as long as texts.
pub(super) fn cases(size: &Size<'_>, longest: usize) -> Vec<Case> {
    let sequences = size.tokens / longest;
    let full = Arc::new(vec![longest; sequences]);
    let texts = Arc::new(ragged(sequences, longest, 0));
    let mut cases = Vec::new();
    for (kind, lengths) in [("full", full), ("ragged", texts)] {
        for probability in [0.0, 0.1] {
            for backward in [false, true] {
                cases.push(case(size, longest, kind, &lengths, probability, backward));
            }
        }
    }
    cases
}

fn case(
    size: &Size<'_>,
    longest: usize,
    kind: &str,
    lengths: &Arc<Vec<usize>>,
    probability: f32,
    backward: bool,
) -> Case {
    let heads = size.config.num_attention_heads;
    let hidden = size.config.hidden_size;
    let head_width = hidden / heads;
    let dtype = size.precision.dtype();
    let tokens: usize = lengths.iter().sum();
    let squares: f64 = lengths.iter().map(|&length| (length * length) as f64).sum();
    // Two products forward; five backward, as scores are computed again (Dao et al. 2022).
    let products = if backward { 5.0 } else { 2.0 };
    // Forward reads qkv and writes out; backward reads qkv, out, d_out and writes d_qkv. `lse` is f32.
    let rows = if backward { 8 } else { 4 };
    let pass = if backward { "backward" } else { "forward" };
    let lengths = lengths.clone();
    Case {
        op: "attention",
        name: format!(
            "{} B={} L={longest} {kind} p={probability} {pass}",
            size.name,
            lengths.len()
        ),
        sizes: json!({
            "heads": heads,
            "head_width": head_width,
            "max_length": longest,
            "lengths": *lengths,
            "dropout": probability,
            "pass": pass,
        }),
        precision: size.precision,
        flops: Some(products * 2.0 * hidden as f64 * squares),
        bytes: (rows * tokens * hidden * dtype.size_bytes() + tokens * heads * 4) as f64,
        prepare: Box::new(move |ctx| {
            let operands = Operands::new(ctx, dtype, &lengths, (heads, head_width), probability);
            if !backward {
                return Box::new(move |ctx| operands.forward(ctx));
            }
            // What fails here fails again when the case is launched.
            let _ = operands.forward(ctx);
            let d_out = values(ctx, dtype, tokens * hidden);
            let delta = ctx.zeros(DType::F32, tokens * heads);
            let d_qkv = ctx.zeros(dtype, tokens * 3 * hidden);
            Box::new(move |ctx| operands.backward(ctx, &d_out, &delta, &d_qkv))
        }),
    }
}

/// What both passes read.
struct Operands {
    qkv: Buffer,
    cu_seqlens: Buffer,
    token_sequence: Buffer,
    out: Buffer,
    lse: Buffer,
    tokens: usize,
    sequences: usize,
    heads: usize,
    head_width: usize,
    max_length: usize,
    dropout: Option<DeviceDropout>,
}

impl Operands {
    fn new(
        ctx: &Context,
        dtype: DType,
        lengths: &[usize],
        (heads, head_width): (usize, usize),
        probability: f32,
    ) -> Self {
        let mut ends = vec![0];
        let mut owner = Vec::new();
        for (sequence, &length) in (0u32..).zip(lengths) {
            owner.extend(std::iter::repeat_n(sequence, length));
            ends.push(owner.len() as u32);
        }
        let tokens = owner.len();
        let hidden = heads * head_width;
        Self {
            qkv: values(ctx, dtype, tokens * 3 * hidden),
            cu_seqlens: ctx.upload_u32(&ends),
            token_sequence: ctx.upload_u32(&owner),
            out: ctx.zeros(dtype, tokens * hidden),
            lse: ctx.zeros(DType::F32, tokens * heads),
            tokens,
            sequences: lengths.len(),
            heads,
            head_width,
            max_length: lengths.iter().copied().max().unwrap_or(0),
            dropout: (probability > 0.0)
                .then(|| Dropout { probability, seed: 1, stream: 1, first: 0 }.on(ctx)),
        }
    }

    fn forward(&self, ctx: &Context) -> Result<(), KernelError> {
        ops::attention_forward(
            ctx,
            AttentionForward {
                qkv: &self.qkv,
                cu_seqlens: &self.cu_seqlens,
                token_sequence: &self.token_sequence,
                out: &self.out,
                lse: &self.lse,
                tokens: self.tokens,
                sequences: self.sequences,
                heads: self.heads,
                head_width: self.head_width,
                max_length: self.max_length,
                dropout: self.dropout.as_ref(),
            },
        )
    }

    fn backward(
        &self,
        ctx: &Context,
        d_out: &Buffer,
        delta: &Buffer,
        d_qkv: &Buffer,
    ) -> Result<(), KernelError> {
        ops::attention_backward(
            ctx,
            AttentionBackward {
                qkv: &self.qkv,
                cu_seqlens: &self.cu_seqlens,
                token_sequence: &self.token_sequence,
                out: &self.out,
                lse: &self.lse,
                d_out,
                delta,
                d_qkv,
                tokens: self.tokens,
                sequences: self.sequences,
                heads: self.heads,
                head_width: self.head_width,
                max_length: self.max_length,
                dropout: self.dropout.as_ref(),
            },
        )
    }
}
