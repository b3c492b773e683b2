//! Rows of `ops/attention/`.

use super::{
    Bound, Case, CaseFailure, Random, check_gradient, compare, epsilon, expect, round_to, upload,
    widen,
};
use crate::lanes::EXP_ERROR;
use crate::ops::attention::reference::Batch;
use crate::ops::{self, AttentionBackward, AttentionForward, Dropout};
use crate::{Buffer, Context, DType};

/// Half an ulp of f32.
const ULP: f64 = 5.97e-8;
/// A score is a sum of D ≤ 128 products of values below 1 in size, a quarter on average, over √D;
/// each of its D additions rounds by at most half an ulp of the sum of their sizes.
const SCORE_ERROR: f64 = 128.0 * 128.0 / 4.0 / 11.3 * ULP;
/// A weight is e to the difference of a score and `lse`; keys of the longest row here are added.
const OUT_ERROR: f64 = 2.0 * SCORE_ERROR + EXP_ERROR + 300.0 * ULP;
/// `lse` is a mean of scores, and a logarithm.
const LSE_ERROR: f64 = SCORE_ERROR + EXP_ERROR + 300.0 * ULP;
/// A gradient is a sum over the tokens of products of a weight and of a difference of two sums over
/// D, each as exact as a score.
const GRADIENT_ERROR: f64 = 2.0 * (OUT_ERROR + 2.0 * SCORE_ERROR) + 300.0 * ULP;

/// Matrix cores take weights rounded to the type of the values, which here are at most 1. Weights of a
/// query sum up to 1 / (1 − p) = 1.25 with [`DROPOUT`]; sums over queries, and those of gradients of scores,
/// stay below that in these rows.
const WEIGHT_SUM: f64 = 1.25;

const DROPOUT: Dropout = Dropout { probability: 0.2, seed: 3, stream: 9, first: 37 << 32 };

#[derive(Clone)]
struct Row {
    lengths: Vec<usize>,
    heads: usize,
    head_width: usize,
    dtype: DType,
    dropout: Option<Dropout>,
}

pub(super) fn rows() -> Vec<Case> {
    // Kernels are compiled per width and type, so each row earns its place: lengths below, at and
    // above lanes and blocks, and a width for every number of lanes.
    let f32_sizes: [(&[usize], usize, usize, bool); 12] = [
        (&[1], 1, 16, false),
        (&[1, 1, 1], 2, 24, true),
        (&[2, 5, 1], 3, 17, true),
        (&[16, 15], 2, 64, false),
        (&[16, 15], 2, 64, true),
        (&[128, 17, 33], 2, 64, true),
        (&[129], 2, 64, true),
        (&[300, 1, 64], 2, 64, false),
        (&[31, 130], 1, 128, true),
        (&[64, 63, 65], 2, 24, false),
        (&[40], 12, 64, true),
        (&[7, 33], 2, 32, true),
    ];
    let half_sizes: [(&[usize], usize, usize, bool); 11] = [
        (&[1], 2, 64, false),
        (&[31, 16, 5], 2, 64, true),
        (&[128, 17, 33], 2, 64, true),
        (&[129, 40], 2, 64, true),
        (&[63, 1, 65], 3, 64, false),
        (&[7, 33], 2, 32, true),
        (&[31, 130, 64], 1, 128, true),
        (&[17, 32], 1, 32, false),
        (&[17, 32], 1, 128, false),
        (&[2, 5, 1], 2, 24, false),
        (&[31, 9], 1, 17, true),
    ];
    let mut rows = Vec::new();
    for (dtype, sizes) in [
        (DType::F32, &f32_sizes[..]),
        (DType::Bf16, &half_sizes[..]),
        (DType::F16, &half_sizes[..]),
    ] {
        for &(lengths, heads, head_width, drops) in sizes {
            let dropout = drops.then_some(DROPOUT);
            let row = Row { lengths: lengths.to_vec(), heads, head_width, dtype, dropout };
            let drops = if dropout.is_some() { " dropout" } else { "" };
            let name = format!("lengths={lengths:?} A={heads} D={head_width}{drops}");
            let forward = row.clone();
            rows.push(Case::new("attention", format!("forward {name}"), dtype, move |ctx| {
                forward.forward(ctx)
            }));
            rows.push(Case::new("attention", format!("backward {name}"), dtype, move |ctx| {
                row.backward(ctx)
            }));
        }
    }
    rows
}

/// Begin of each sequence, and the end.
fn bounds(lengths: &[usize]) -> Vec<u32> {
    let mut end = 0;
    let ends = lengths.iter().map(|&length| {
        end += length as u32;
        end
    });
    std::iter::once(0).chain(ends).collect()
}

/// Sequence of each token.
fn owners(lengths: &[usize]) -> Vec<u32> {
    let each = lengths.iter().enumerate();
    each.flat_map(|(sequence, &length)| vec![sequence as u32; length]).collect()
}

impl Row {
    fn tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    fn hidden(&self) -> usize {
        self.heads * self.head_width
    }

    fn random(&self) -> Random {
        Random::new((self.tokens() * 1000 + self.head_width) as u64)
    }

    fn bound(&self, ctx: &Context, name: &'static str, error: f64) -> Bound {
        let bound = Bound::of_max(name, error).stored_as(self.dtype);
        match self.dtype {
            DType::F32 => bound,
            _ if ctx.shape().matrix_core.is_none() => bound,
            dtype => bound.or_absolute(WEIGHT_SUM * epsilon(dtype)),
        }
    }

    /// Queues the forward pass over sequences of `lengths`; returns out and lse.
    fn launch(
        &self,
        ctx: &Context,
        lengths: &[usize],
        qkv: &[f32],
    ) -> Result<[Buffer; 2], CaseFailure> {
        let tokens = lengths.iter().sum();
        let out = ctx.empty(self.dtype, tokens * self.hidden());
        let lse = ctx.empty(DType::F32, tokens * self.heads);
        ops::attention_forward(
            ctx,
            AttentionForward {
                qkv: &upload(ctx, qkv, self.dtype),
                cu_seqlens: &ctx.upload_u32(&bounds(lengths)),
                token_sequence: &ctx.upload_u32(&owners(lengths)),
                out: &out,
                lse: &lse,
                tokens,
                sequences: lengths.len(),
                heads: self.heads,
                head_width: self.head_width,
                max_length: lengths.iter().copied().max().unwrap_or(0),
                dropout: self.dropout.map(|dropout| dropout.on(ctx)).as_ref(),
            },
        )?;
        Ok([out, lse])
    }

    fn forward(&self, ctx: &Context) -> Result<(), CaseFailure> {
        let row = 3 * self.hidden();
        let qkv = self.random().values(self.tokens() * row, 1.0, self.dtype);
        let mut ones = qkv.clone();
        for token in ones.chunks_mut(row) {
            token[2 * self.hidden()..].fill(1.0);
        }
        let last = self.lengths[self.lengths.len() - 1];
        let start = self.tokens() - last;
        let [out, lse] = self.launch(ctx, &self.lengths, &qkv)?;
        // Dropout breaks the sums of one, and draws by the token's place in the batch.
        let plain = match self.dropout {
            Some(_) => None,
            None => Some((
                self.launch(ctx, &self.lengths, &ones)?,
                self.launch(ctx, &[last], &qkv[start * row..])?,
            )),
        };

        let cu_seqlens = bounds(&self.lengths);
        let batch = Batch {
            cu_seqlens: &cu_seqlens,
            heads: self.heads,
            head_width: self.head_width,
            dropout: self.dropout,
        };
        let expected = batch.forward(&widen(&qkv));
        let bound = self.bound(ctx, "OUT_ERROR", OUT_ERROR);
        compare("out", &ctx.read_f32(&out)?, &expected.out, bound)?;
        let bound = Bound::of_max("LSE_ERROR", LSE_ERROR).or_absolute(LSE_ERROR);
        compare("lse", &ctx.read_f32(&lse)?, &expected.lse, bound)?;
        let Some(([sums, _], [alone, _])) = plain else {
            return Ok(());
        };
        // Probabilities sum to one, which values of one show.
        let sums = ctx.read_f32(&sums)?;
        let bound = self.bound(ctx, "OUT_ERROR", OUT_ERROR);
        compare("out for v = 1", &sums, &vec![1.0; sums.len()], bound)?;
        // A sequence does not notice its neighbours.
        let together = ctx.read_f32(&out)?;
        let alone = ctx.read_f32(&alone)?;
        expect(together[start * self.hidden()..] == alone[..], || {
            "the last sequence differs from itself alone".into()
        })
    }

    fn backward(&self, ctx: &Context) -> Result<(), CaseFailure> {
        let tokens = self.tokens();
        let mut random = self.random();
        let qkv = random.values(tokens * 3 * self.hidden(), 1.0, self.dtype);
        let d_out = random.values(tokens * self.hidden(), 1.0, self.dtype);
        let cu_seqlens = bounds(&self.lengths);
        let batch = Batch {
            cu_seqlens: &cu_seqlens,
            heads: self.heads,
            head_width: self.head_width,
            dropout: self.dropout,
        };
        let wide = widen(&qkv);
        let forward = batch.forward(&wide);
        let out: Vec<f32> =
            forward.out.iter().map(|&value| round_to(value as f32, self.dtype)).collect();
        let lse: Vec<f32> = forward.lse.iter().map(|&value| value as f32).collect();
        let d_qkv = ctx.empty(self.dtype, qkv.len());
        ops::attention_backward(
            ctx,
            AttentionBackward {
                qkv: &upload(ctx, &qkv, self.dtype),
                cu_seqlens: &ctx.upload_u32(&cu_seqlens),
                token_sequence: &ctx.upload_u32(&owners(&self.lengths)),
                out: &upload(ctx, &out, self.dtype),
                lse: &ctx.upload_f32(&lse),
                d_out: &upload(ctx, &d_out, self.dtype),
                delta: &ctx.empty(DType::F32, tokens * self.heads),
                d_qkv: &d_qkv,
                tokens,
                sequences: self.lengths.len(),
                heads: self.heads,
                head_width: self.head_width,
                max_length: self.lengths.iter().copied().max().unwrap_or(0),
                dropout: self.dropout.map(|dropout| dropout.on(ctx)).as_ref(),
            },
        )?;
        let found = ctx.read_f32(&d_qkv)?;
        let d_out = widen(&d_out);
        let expected = batch.backward(&wide, &widen(&out), &d_out);
        let bound = self.bound(ctx, "GRADIENT_ERROR", GRADIENT_ERROR);
        compare("d_qkv", &found, &expected, bound)?;

        // The reference against central differences of Σ d_out · out.
        if self.dtype != DType::F32 || tokens > 70 {
            return Ok(());
        }
        let gradient = batch.backward(&wide, &forward.out, &d_out);
        let loss = |qkv: &[f64]| {
            let out = batch.forward(qkv).out;
            out.iter().zip(&d_out).map(|(out, d)| out * d).sum()
        };
        check_gradient("d_qkv", loss, &wide, &gradient)
    }
}
