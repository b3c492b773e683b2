//! Matrix products: those of a layer, forward (NT), for the gradient of the input (NN) and for that of
//! the weights (TN).

use bert_kernels::ops;
use serde_json::json;

use super::{Case, Size};
use crate::cli::tune::{Ending, Product, linear_layers};
use crate::tuning::Pass;

/// Four linear layers by three passes.
pub(super) fn cases(size: &Size<'_>) -> Vec<Case> {
    linear_layers(size.config)
        .iter()
        .flat_map(|layer| {
            Pass::ALL.map(|pass| {
                let dtype = size.precision.dtype();
                let name = format!("{} T={} {}", size.name, size.tokens, layer.name);
                let product = Product::of_linear(name, dtype, pass, size.tokens, layer.widths);
                case(size, Product { ending: Ending::Plain, ..product })
            })
        })
        .collect()
}

fn case(size: &Size<'_>, product: Product) -> Case {
    let (m, n, k) = (product.m, product.n, product.k);
    let layout = format!("{:?}", product.pass.transpose());
    Case {
        op: "gemm",
        name: format!("{} {layout}", product.layer),
        sizes: json!({ "m": m, "n": n, "k": k, "layout": layout }),
        precision: size.precision,
        flops: Some(product.flops()),
        bytes: product.bytes(),
        prepare: Box::new(move |ctx| {
            let operands = product.operands(ctx);
            Box::new(move |ctx| ops::gemm(ctx, operands.gemm()))
        }),
    }
}
