//! The forward pass: a cube owns a tile of queries.

use cubecl::prelude::*;
use half::{bf16, f16};

use super::super::Sizes;
use super::super::forward::AttentionForward;
use super::{TensorTiling, amd, nvidia};
use crate::ops::dropout::{DropMask, Mask};
use crate::tensor_tile::CHUNK;
use crate::{Context, DType, MatrixCore};

/// Computes the pass if matrix cores can, and says whether it did.
pub(in super::super) fn forward(
    ctx: &Context,
    args: &AttentionForward<'_>,
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
    args: &AttentionForward<'_>,
    sizes: Sizes,
    mask: &Mask,
    tiling: TensorTiling,
) {
    let (count, dim) = tiling.grid(sizes);
    // SAFETY: rows past the end of a sequence are not read and not stored.
    unsafe {
        attend_tensor::launch_unchecked::<E>(
            ctx.client(),
            count,
            dim,
            CHUNK,
            args.qkv.arg(),
            args.cu_seqlens.arg(),
            args.out.arg(),
            args.lse.arg(),
            tiling.blocks(sizes),
            sizes.heads,
            1.0 / (sizes.head_width as f32).sqrt(),
            mask.launch(),
            tiling,
        );
    }
}

#[cube(launch_unchecked)]
fn attend_tensor<E: Float, L: Size>(
    qkv: &[Vector<E, L>],
    cu_seqlens: &[u32],
    out: &mut [Vector<E, L>],
    lse: &mut [f32],
    blocks: usize,
    heads: usize,
    scale: f32,
    mask: DropMask,
    #[comptime] tiling: TensorTiling,
) {
    if comptime!(tiling.core == MatrixCore::Mma) {
        nvidia::attend::<E, L>(qkv, cu_seqlens, out, lse, blocks, heads, scale, &mask, tiling);
    } else {
        amd::attend::<E, L>(qkv, cu_seqlens, out, lse, blocks, heads, scale, &mask, tiling);
    }
}
