//! Matrix products: those of a layer, forward (NT), for the gradient of the input (NN) and for that of
//! the weights (TN).

use bert_kernels::DType;
use bert_kernels::ops::{self, Epilogue, Gemm, Transpose};
use serde_json::json;

use super::data::values;
use super::{Case, Size};

/// Four linear layers by three passes.
pub(super) fn cases(size: &Size<'_>) -> Vec<Case> {
    let (h, f) = (size.config.hidden_size, size.config.intermediate_size);
    let layers = [("H→3H", h, 3 * h), ("H→H", h, h), ("H→F", h, f), ("F→H", f, h)];
    let passes = [Transpose::NT, Transpose::NN, Transpose::TN];
    layers
        .iter()
        .flat_map(|&(layer, inputs, outputs)| {
            passes.map(|pass| case(size, layer, inputs, outputs, pass))
        })
        .collect()
}

fn case(size: &Size<'_>, layer: &str, inputs: usize, outputs: usize, pass: Transpose) -> Case {
    let tokens = size.tokens;
    let dtype = size.precision.dtype();
    let (m, n, k) = match pass {
        Transpose::NT => (tokens, outputs, inputs),
        Transpose::NN => (tokens, inputs, outputs),
        Transpose::TN => (outputs, inputs, tokens),
    };
    // Gradients of weights are f32 and added to, as in training.
    let sums = pass == Transpose::TN;
    let c_dtype = if sums { DType::F32 } else { dtype };
    let moved = (m * k + k * n) * dtype.size_bytes()
        + m * n * c_dtype.size_bytes() * if sums { 2 } else { 1 };
    Case {
        op: "gemm",
        name: format!("{} T={tokens} {layer} {pass:?}", size.name),
        sizes: json!({ "m": m, "n": n, "k": k, "layout": format!("{pass:?}") }),
        precision: size.precision,
        flops: Some(2.0 * (m * n) as f64 * k as f64),
        bytes: moved as f64,
        prepare: Box::new(move |ctx| {
            let (a, b) = (values(ctx, dtype, m * k), values(ctx, dtype, k * n));
            let c = ctx.zeros(c_dtype, m * n);
            Box::new(move |ctx| {
                ops::gemm(
                    ctx,
                    Gemm {
                        a: &a,
                        b: &b,
                        c: &c,
                        m,
                        n,
                        k,
                        transpose: pass,
                        accumulate: sums,
                        epilogue: Epilogue::None,
                    },
                )
            })
        }),
    }
}
