//! Attention on tensor cores, for 16-bit types and heads of 32, 64 or 128.
//!
//! A cube owns a tile of tokens of one sequence and head, 64 or, where no sequence is longer, 32, and
//! walks the other side's tiles, which asynchronous copies bring to shared memory in two stages: one
//! fills while the other is used. Each plane has 16 of the cube's tokens, so what it sums up stays in its
//! registers, and planes meet only where a stage changes hands.
//!
//! Two products follow each other: scores, and what they weigh. The accumulators of `mma` m16n8 lie as
//! the left operand of the next m16n8k16 does, so weights go from one to the other in registers, rounded
//! to 16 bits:
//!
//! * forward, a plane of queries: `S = Q Kᵀ`, online softmax along rows, which four lanes share, and
//!   `O += P V`.
//! * gradients of keys and values, a plane of keys: `Sᵀ = K Qᵀ` and `d_Pᵀ = V d_Oᵀ`, then
//!   `d_V += Pᵀ d_O` and `d_K += d_Sᵀ Q`.
//! * gradients of queries, a plane of queries: `S` and `d_P = d_O Vᵀ`, then `d_Q += d_S K`.
//!
//! Tokens past the end of a sequence arrive as zeros; groups of 16 of them are skipped in the last tile,
//! and so are planes that own nothing else. Exponentials are of two: log₂ e is part of the scale.
//! Every sum runs along its tiles in their order, and a sequence that fits one tile adds the same numbers
//! whichever tile that is, so a result depends on the sequence alone.
//!
//! Source: Dao 2023, "FlashAttention-2" (the order of the loops, what is kept in registers).

mod backward;
mod forward;
mod keys;
mod queries;
mod tile;

pub(super) use backward::backward;
pub(super) use forward::forward;

use cubecl::prelude::*;

use super::Sizes;
use crate::ops::dropout::Mask;
use crate::tensor_tile::{CHUNK, LANES, M, Stage};
use crate::{Buffer, Context, DType, MatrixCore};

/// How a pass is cut into tiles, all of it known when the kernel is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct TensorTiling {
    /// D.
    width: usize,
    /// Tokens of a tile.
    tile: usize,
    drops: bool,
}

/// Tokens of a tile: the second suits sequences that do not fill the half of the first.
const TILES: [usize; 2] = [64, 32];
/// D for which tiles and their permutation are laid out.
const WIDTHS: [usize; 3] = [32, 64, 128];
/// Most cubes along x.
const MOST_CUBES: usize = i32::MAX as usize;
/// Most cubes along y.
const MOST_HEADS: usize = u16::MAX as usize;

impl TensorTiling {
    /// The tiling of a pass, if tensor cores compute it.
    fn new(ctx: &Context, qkv: &Buffer, sizes: Sizes, mask: &Mask) -> Option<Self> {
        let tile = if sizes.max_length <= TILES[1] { TILES[1] } else { TILES[0] };
        let tiling = Self { width: sizes.head_width, tile, drops: mask.drops() };
        let fits = ctx.shape().matrix_core == Some(MatrixCore::Mma)
            && qkv.dtype() != DType::F32
            && WIDTHS.contains(&sizes.head_width)
            && mask.is_short(sizes.max_length)
            && sizes.heads <= MOST_HEADS
            && tiling.blocks(sizes) * sizes.sequences <= MOST_CUBES;
        fits.then_some(tiling)
    }

    /// Tiles of the longest sequence.
    fn blocks(&self, sizes: Sizes) -> usize {
        sizes.max_length.div_ceil(self.tile)
    }

    /// A cube for each tile of each sequence, and for each head.
    fn grid(&self, sizes: Sizes) -> (CubeCount, CubeDim) {
        let cubes = self.blocks(sizes) * sizes.sequences;
        let count = CubeCount::Static(cubes as u32, sizes.heads as u32, 1);
        (count, CubeDim::new_1d(self.units() as u32))
    }

    const fn units(&self) -> usize {
        self.tile / M * LANES
    }

    /// A tile in shared memory, as an operand whose sums run along D.
    const fn along_width(&self) -> Stage {
        Stage { outer: self.tile, depth: self.width, k_contiguous: true }
    }

    /// The same memory, as an operand whose sums run along its tokens.
    const fn along_tokens(&self) -> Stage {
        Stage { outer: self.width, depth: self.tile, k_contiguous: false }
    }

    /// Groups of 16 tokens of a tile.
    const fn groups(&self) -> usize {
        self.tile / M
    }

    /// Steps of 16 along D.
    const fn steps(&self) -> usize {
        self.width / M
    }

    /// Pairs of elements of a tile.
    const fn pairs(&self) -> usize {
        self.tile * self.width / 2
    }

    /// Whether a plane's rows of two operands fit in its registers beside two sums as wide.
    const fn keeps_both(&self) -> bool {
        self.width <= 64
    }

    /// Chunks of a row of one head.
    const fn chunks(&self) -> usize {
        self.width / CHUNK
    }
}
