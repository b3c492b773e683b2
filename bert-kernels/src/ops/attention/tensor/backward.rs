//! The backward pass: gradients of keys and values, then those of queries, each with a kernel that
//! recomputes the probabilities from `lse`.

use cubecl::prelude::*;
use half::{bf16, f16};

use super::super::Sizes;
use super::super::backward::AttentionBackward;
use super::TensorTiling;
use super::keys::differentiate_keys_tensor;
use super::queries::differentiate_queries_tensor;
use crate::ops::dropout::Mask;
use crate::tensor_tile::CHUNK;
use crate::{Context, DType};

/// Computes the gradients from `delta` if tensor cores can, and says whether it did.
pub(in super::super) fn backward(
    ctx: &Context,
    args: &AttentionBackward<'_>,
    sizes: Sizes,
    mask: &Mask,
) -> bool {
    let Some(tiling) = TensorTiling::new(ctx, args.qkv, sizes, mask) else {
        return false;
    };
    match args.qkv.dtype() {
        DType::Bf16 => launch::<bf16>(ctx, args, sizes, mask, tiling),
        _ => launch::<f16>(ctx, args, sizes, mask, tiling),
    }
    true
}

#[allow(unsafe_code)]
fn launch<E: Float + CubeElement>(
    ctx: &Context,
    args: &AttentionBackward<'_>,
    sizes: Sizes,
    mask: &Mask,
    tiling: TensorTiling,
) {
    let (count, dim) = tiling.grid(sizes);
    let blocks = tiling.blocks(sizes);
    let scale = 1.0 / (sizes.head_width as f32).sqrt();
    // SAFETY: rows past the end of a sequence are not read and not stored.
    unsafe {
        differentiate_keys_tensor::launch_unchecked::<E>(
            ctx.client(),
            count.clone(),
            dim,
            CHUNK,
            args.qkv.arg(),
            args.cu_seqlens.arg(),
            args.lse.arg(),
            args.d_out.arg(),
            args.delta.arg(),
            args.d_qkv.arg(),
            blocks,
            sizes.heads,
            scale,
            mask.launch(),
            tiling,
        );
    }
    // SAFETY: as above.
    unsafe {
        differentiate_queries_tensor::launch_unchecked::<E>(
            ctx.client(),
            count,
            dim,
            CHUNK,
            args.qkv.arg(),
            args.cu_seqlens.arg(),
            args.lse.arg(),
            args.d_out.arg(),
            args.delta.arg(),
            args.d_qkv.arg(),
            blocks,
            sizes.heads,
            scale,
            mask.launch(),
            tiling,
        );
    }
}
