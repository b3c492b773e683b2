//! The backward pass: gradients of keys and values, then those of queries, each with a kernel that
//! recomputes the probabilities from `lse`.

use cubecl::prelude::*;
use half::{bf16, f16};

use super::super::Sizes;
use super::super::backward::AttentionBackward;
use super::{TensorTiling, amd, nvidia};
use crate::ops::dropout::{DropMask, Mask};
use crate::tensor_tile::CHUNK;
use crate::{Context, DType, MatrixCore};

/// Computes the gradients from `delta` if matrix cores can, and says whether it did.
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

#[cube(launch_unchecked)]
fn differentiate_keys_tensor<E: Float, L: Size>(
    qkv: &[Vector<E, L>],
    cu_seqlens: &[u32],
    lse: &[f32],
    d_out: &[Vector<E, L>],
    delta: &[f32],
    d_qkv: &mut [Vector<E, L>],
    blocks: usize,
    heads: usize,
    scale: f32,
    mask: DropMask,
    #[comptime] tiling: TensorTiling,
) {
    if comptime!(tiling.core == MatrixCore::Mma) {
        nvidia::differentiate_keys::<E, L>(
            qkv, cu_seqlens, lse, d_out, delta, d_qkv, blocks, heads, scale, &mask, tiling,
        );
    } else {
        amd::differentiate_keys::<E, L>(
            qkv, cu_seqlens, lse, d_out, delta, d_qkv, blocks, heads, scale, &mask, tiling,
        );
    }
}

#[cube(launch_unchecked)]
fn differentiate_queries_tensor<E: Float, L: Size>(
    qkv: &[Vector<E, L>],
    cu_seqlens: &[u32],
    lse: &[f32],
    d_out: &[Vector<E, L>],
    delta: &[f32],
    d_qkv: &mut [Vector<E, L>],
    blocks: usize,
    heads: usize,
    scale: f32,
    mask: DropMask,
    #[comptime] tiling: TensorTiling,
) {
    if comptime!(tiling.core == MatrixCore::Mma) {
        nvidia::differentiate_queries::<E, L>(
            qkv, cu_seqlens, lse, d_out, delta, d_qkv, blocks, heads, scale, &mask, tiling,
        );
    } else {
        amd::differentiate_queries::<E, L>(
            qkv, cu_seqlens, lse, d_out, delta, d_qkv, blocks, heads, scale, &mask, tiling,
        );
    }
}
