//! Operations whose time is that of moving memory.
//!
//! Bytes count each operand once, what is updated twice; small tables (γ, β, biases, positions) are
//! not counted.

use bert_kernels::ops::{
    self, Activation, ActivationBackward, AdamW, BiasBackward, CrossEntropyBackward,
    CrossEntropyForward, Dropout, EmbeddingBackward, EmbeddingForward, GlobalNorm,
    LayerNormBackward, LayerNormForward,
};
use bert_kernels::{Buffer, Context, DType};
use serde_json::{Value, json};

use super::data::{constant, indices, values};
use super::{Case, Launch, Size};
use crate::model::{Head, ParameterTable};

/// Dropout of the hidden states, as in the paper.
const DROPOUT: Dropout = Dropout { probability: 0.1, seed: 1, stream: 1, first: 0 };
/// One token of so many is predicted.
const TOKENS_PER_MASKED: usize = 7;

pub(super) fn cases(size: &Size<'_>) -> Vec<Case> {
    let Size { config, tokens, .. } = *size;
    let dtype = size.precision.dtype();
    let (h, f, v) = (config.hidden_size, config.intermediate_size, config.vocab_size);
    let width = dtype.size_bytes();
    let (narrow, wide) = (tokens * h, tokens * f);
    let masked = (tokens / TOKENS_PER_MASKED).max(1);
    let parameters = ParameterTable::new(config, &Head::Pretraining).len();
    let case = |op, pass: &str, sizes: Value, bytes: usize, prepare: Prepare| Case {
        op,
        name: format!("{} T={tokens} {pass}", size.name).trim_end().into(),
        sizes,
        precision: size.precision,
        flops: None,
        bytes: bytes as f64,
        prepare,
    };
    let of_rows = json!({ "tokens": tokens, "hidden": h });
    let positions = config.max_position_embeddings;
    let ids = indices(tokens, v);
    let of_words = ops::group_rows(&ids);
    // Half of all tokens share each.
    let of_segments = ops::group_rows(&indices(tokens, 2));
    let touched = |groups: &ops::RowGroups| groups.rows.chunk_by(|row, next| row == next).count();
    vec![
        // The ceiling of the others: `cast` from f32 to f32 copies.
        case("copy", "", json!({ "len": wide }), 2 * wide * 4, copy(wide)),
        case(
            "layer_norm",
            "forward",
            of_rows.clone(),
            4 * narrow * width + 8 * tokens,
            layer_norm_forward(dtype, tokens, h),
        ),
        case(
            "layer_norm",
            "backward",
            of_rows.clone(),
            5 * narrow * width + 8 * tokens,
            layer_norm_backward(dtype, tokens, h),
        ),
        case("dropout", "", json!({ "len": narrow }), 2 * narrow * width, dropout(dtype, narrow)),
        case("gelu", "backward", json!({ "len": wide }), 3 * wide * width, gelu(dtype, wide)),
        case(
            "bias",
            "backward",
            json!({ "tokens": tokens, "columns": f }),
            wide * width,
            bias(dtype, tokens, f),
        ),
        case(
            "embedding",
            "forward",
            of_rows,
            2 * narrow * width + 12 * tokens,
            embedding_forward(dtype, (tokens, h, v, positions)),
        ),
        case(
            "embedding",
            "backward",
            json!({ "tokens": tokens, "hidden": h, "rows": touched(&of_words) }),
            narrow * width + 8 * touched(&of_words) * h + 8 * tokens,
            embedding_backward(dtype, of_words, (h, v)),
        ),
        case(
            "embedding",
            "segments backward",
            json!({ "tokens": tokens, "hidden": h, "rows": touched(&of_segments) }),
            narrow * width + 8 * touched(&of_segments) * h + 8 * tokens,
            embedding_backward(dtype, of_segments, (h, 2)),
        ),
        case(
            "cross_entropy",
            "forward",
            json!({ "rows": masked, "classes": v }),
            masked * v * width,
            cross_entropy(dtype, (masked, v), false),
        ),
        case(
            "cross_entropy",
            "backward",
            json!({ "rows": masked, "classes": v }),
            2 * masked * v * width,
            cross_entropy(dtype, (masked, v), true),
        ),
        case(
            "global_norm",
            "",
            json!({ "len": parameters }),
            4 * parameters,
            global_norm(parameters),
        ),
        // Parameters, gradients and both moments are read, all but the gradients written; in 16 bits a
        // copy of the parameters too.
        case(
            "adamw",
            "",
            json!({ "len": parameters }),
            parameters * (28 + if dtype == DType::F32 { 0 } else { 2 }),
            adamw(dtype, parameters),
        ),
    ]
}

type Prepare = Box<dyn Fn(&Context) -> Launch>;

fn copy(len: usize) -> Prepare {
    Box::new(move |ctx| {
        let (from, into) = (values(ctx, DType::F32, len), ctx.empty(DType::F32, len));
        Box::new(move |ctx| ops::cast(ctx, &from, &into))
    })
}

fn layer_norm_forward(dtype: DType, tokens: usize, hidden: usize) -> Prepare {
    Box::new(move |ctx| {
        let len = tokens * hidden;
        let (x, residual) = (values(ctx, dtype, len), values(ctx, dtype, len));
        let (sum, out) = (ctx.empty(dtype, len), ctx.empty(dtype, len));
        let (gamma, beta) = (constant(ctx, DType::F32, hidden, 1.0), ctx.zeros(DType::F32, hidden));
        let (mean, rstd) = (ctx.empty(DType::F32, tokens), ctx.empty(DType::F32, tokens));
        let dropout = DROPOUT.on(ctx);
        Box::new(move |ctx| {
            ops::layer_norm_forward(
                ctx,
                LayerNormForward {
                    x: &x,
                    residual: Some(&residual),
                    dropout: Some(&dropout),
                    gamma: &gamma,
                    beta: &beta,
                    epsilon: 1e-12,
                    sum: &sum,
                    out: &out,
                    mean: &mean,
                    rstd: &rstd,
                    hidden,
                },
            )
        })
    })
}

fn layer_norm_backward(dtype: DType, tokens: usize, hidden: usize) -> Prepare {
    Box::new(move |ctx| {
        let len = tokens * hidden;
        let [d_out, d_residual_in, sum] = [(); 3].map(|()| values(ctx, dtype, len));
        let (d_sum, d_x) = (ctx.empty(dtype, len), ctx.empty(dtype, len));
        let mean = ctx.zeros(DType::F32, tokens);
        let rstd = constant(ctx, DType::F32, tokens, 1.0);
        let gamma = constant(ctx, DType::F32, hidden, 1.0);
        let (d_gamma, d_beta) = (ctx.zeros(DType::F32, hidden), ctx.zeros(DType::F32, hidden));
        let workspace = ops::layer_norm_workspace_len(ctx, tokens, hidden);
        let workspace = ctx.empty(DType::F32, workspace);
        let dropout = DROPOUT.on(ctx);
        Box::new(move |ctx| {
            ops::layer_norm_backward(
                ctx,
                LayerNormBackward {
                    d_out: &d_out,
                    d_residual_in: Some(&d_residual_in),
                    sum: &sum,
                    mean: &mean,
                    rstd: &rstd,
                    gamma: &gamma,
                    dropout: Some(&dropout),
                    d_sum: &d_sum,
                    d_x: Some(&d_x),
                    d_gamma: &d_gamma,
                    d_beta: &d_beta,
                    workspace: &workspace,
                    hidden,
                },
            )
        })
    })
}

fn dropout(dtype: DType, len: usize) -> Prepare {
    Box::new(move |ctx| {
        let (x, out) = (values(ctx, dtype, len), ctx.empty(dtype, len));
        let dropout = DROPOUT.on(ctx);
        Box::new(move |ctx| {
            ops::dropout(ctx, ops::DropoutArgs { x: &x, out: &out, dropout: &dropout })
        })
    })
}

fn gelu(dtype: DType, len: usize) -> Prepare {
    Box::new(move |ctx| {
        let [d_out, pre] = [(); 2].map(|()| values(ctx, dtype, len));
        let d_pre = ctx.empty(dtype, len);
        Box::new(move |ctx| {
            let activation = Activation::Gelu;
            ops::activation_backward(
                ctx,
                ActivationBackward { d_out: &d_out, pre: &pre, d_pre: &d_pre, activation },
            )
        })
    })
}

fn bias(dtype: DType, tokens: usize, n: usize) -> Prepare {
    Box::new(move |ctx| {
        let d_out = values(ctx, dtype, tokens * n);
        let d_bias = ctx.zeros(DType::F32, n);
        let workspace = ctx.empty(DType::F32, ops::bias_workspace_len(ctx, tokens, n));
        Box::new(move |ctx| {
            ops::bias_backward(
                ctx,
                BiasBackward { d_out: &d_out, d_bias: &d_bias, n, workspace: &workspace },
            )
        })
    })
}

fn embedding_forward(
    dtype: DType,
    (tokens, hidden, vocabulary, positions): (usize, usize, usize, usize),
) -> Prepare {
    Box::new(move |ctx| {
        let table = |ctx: &Context, rows: usize| values(ctx, dtype, rows * hidden);
        let (word, position, segment) =
            (table(ctx, vocabulary), table(ctx, positions), table(ctx, 2));
        let index = |below| ctx.upload_u32(&indices(tokens, below));
        let (ids, places, segments) = (index(vocabulary), index(positions), index(2));
        let out = ctx.empty(dtype, tokens * hidden);
        Box::new(move |ctx| {
            ops::embedding_forward(
                ctx,
                EmbeddingForward {
                    word: &word,
                    position: &position,
                    segment: &segment,
                    ids: &ids,
                    positions: &places,
                    segments: &segments,
                    out: &out,
                    hidden,
                },
            )
        })
    })
}

fn embedding_backward(
    dtype: DType,
    groups: ops::RowGroups,
    (hidden, vocabulary): (usize, usize),
) -> Prepare {
    Box::new(move |ctx| {
        let d_out = values(ctx, dtype, groups.order.len() * hidden);
        let order = ctx.upload_u32(&groups.order);
        let rows = ctx.upload_u32(&groups.rows);
        let more_runs = ctx.upload_u32(&groups.more_runs);
        let workspace = ops::embedding_workspace_len(groups.order.len(), hidden);
        let workspace = ctx.empty(DType::F32, workspace);
        let d_table = constant(ctx, DType::F32, vocabulary * hidden, 0.0);
        Box::new(move |ctx| {
            ops::embedding_backward(
                ctx,
                EmbeddingBackward {
                    d_out: &d_out,
                    order: &order,
                    rows: &rows,
                    more_runs: &more_runs,
                    d_table: &d_table,
                    workspace: &workspace,
                    hidden,
                },
            )
        })
    })
}

fn cross_entropy(dtype: DType, (rows, classes): (usize, usize), backward: bool) -> Prepare {
    Box::new(move |ctx| {
        let logits = values(ctx, dtype, rows * classes);
        let targets = ctx.upload_u32(&indices(rows, classes));
        if backward {
            // What the rows' log Σ exp is about; the work does not depend on it.
            let lse = constant(ctx, DType::F32, rows, (classes as f32).ln());
            let d_logits = ctx.empty(dtype, rows * classes);
            return Box::new(move |ctx| {
                ops::cross_entropy_backward(
                    ctx,
                    CrossEntropyBackward {
                        logits: &logits,
                        targets: &targets,
                        lse: &lse,
                        d_logits: &d_logits,
                        scale: 1.0 / rows as f32,
                        classes,
                        smoothing: 0.0,
                        weights: None,
                    },
                )
            });
        }
        let row = |dtype| -> Buffer { ctx.empty(dtype, rows) };
        let (loss, correct, lse) = (row(DType::F32), row(DType::U32), row(DType::F32));
        Box::new(move |ctx| {
            ops::cross_entropy_forward(
                ctx,
                CrossEntropyForward {
                    logits: &logits,
                    targets: &targets,
                    loss: &loss,
                    correct: &correct,
                    lse: &lse,
                    classes,
                    smoothing: 0.0,
                    weights: None,
                },
            )
        })
    })
}

fn global_norm(len: usize) -> Prepare {
    Box::new(move |ctx| {
        let x = constant(ctx, DType::F32, len, 0.01);
        let norm = ctx.empty(DType::F32, 1);
        let workspace = ctx.empty(DType::F32, ops::global_norm_workspace_len(ctx, len));
        Box::new(move |ctx| {
            ops::global_norm(ctx, GlobalNorm { x: &x, norm: &norm, workspace: &workspace })
        })
    })
}

fn adamw(dtype: DType, len: usize) -> Prepare {
    Box::new(move |ctx| {
        let [param, grad, m, v] = [(); 4].map(|()| constant(ctx, DType::F32, len, 0.01));
        let decay = constant(ctx, DType::F32, len / ops::BLOCK, 1.0);
        let norm = constant(ctx, DType::F32, 1, 1.0);
        let low = (dtype != DType::F32).then(|| ctx.empty(dtype, len));
        Box::new(move |ctx| {
            ops::adamw(
                ctx,
                AdamW {
                    param: &param,
                    grad: &grad,
                    m: &m,
                    v: &v,
                    norm: &norm,
                    max_norm: 1.0,
                    grad_scale: 1.0,
                    decay: &decay,
                    rate: None,
                    learning_rate: 1e-4,
                    beta1: 0.9,
                    beta2: 0.999,
                    epsilon: 1e-6,
                    weight_decay: 0.01,
                    step: 1,
                    low: low.as_ref(),
                },
            )
        })
    })
}
