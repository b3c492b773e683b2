//! Attention on matrix cores, for 16-bit types and heads of 32, 64 or 128.
//!
//! A cube owns a tile of tokens of one sequence and head, 64 or, where no sequence is longer, 32, and
//! walks the other side's tiles, which come to shared memory while the one before is used. Each plane has
//! 16 or 32 of the cube's tokens, so what it sums up stays in its registers, and planes meet only where a
//! tile changes hands.
//!
//! Two products follow each other: scores, and what they weigh. The accumulators of the first lie as an
//! operand of the second does, so weights go from one to the other in registers, rounded to 16 bits:
//! the left operand of NVIDIA's `mma` (`nvidia`), the right one of AMD's MFMA and WMMA (`amd`), where all
//! products are the transposes of these:
//!
//! * forward, a plane of queries: `S = Q Kᵀ`, online softmax along rows, which some lanes share, and
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

// The macro's hidden names make `n` and `N` neighbours.
#![allow(clippy::duplicate_underscore_argument)]

mod amd;
mod backward;
mod forward;
mod nvidia;

pub(super) use backward::backward;
pub(super) use forward::forward;

use cubecl::prelude::*;

use super::Sizes;
use super::tiles::{Owner, Rows};
use crate::ops::dropout::Mask;
use crate::tensor_tile::{CHUNK, M};
use crate::{Buffer, Context, DType, MatrixCore};

/// How a pass is cut into tiles, all of it known when the kernel is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct TensorTiling {
    /// D.
    width: usize,
    /// Tokens of a tile.
    tile: usize,
    /// What multiplies.
    core: MatrixCore,
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
    /// The tiling of a pass, if matrix cores compute it.
    fn new(ctx: &Context, qkv: &Buffer, sizes: Sizes, mask: &Mask) -> Option<Self> {
        let tile = if sizes.max_length <= TILES[1] { TILES[1] } else { TILES[0] };
        let core = ctx.shape().matrix_core?;
        let tiling = Self { width: sizes.head_width, tile, core, drops: mask.drops() };
        let fits = qkv.dtype() != DType::F32
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
        self.tile / (M * self.columns()) * self.core.lanes()
    }

    /// Groups of 16 of the cube's tokens that a plane has. With two of them, CDNA multiplies what it reads
    /// from shared memory twice, whose bandwidth is the limit otherwise; their registers are not there for
    /// wider heads, nor on RDNA, whose operands take twice as many.
    const fn columns(&self) -> usize {
        match self.core {
            MatrixCore::Mfma if self.width <= 64 => 2,
            _ => 1,
        }
    }

    /// Tokens of the tiles that a cube walks. On RDNA operands and sums leave few registers for loads.
    const fn walk(&self) -> usize {
        match self.core {
            MatrixCore::Wmma => TILES[1],
            _ => self.tile,
        }
    }

    /// Groups of 16 tokens of such a tile.
    const fn groups(&self) -> usize {
        self.walk() / M
    }

    /// Steps of 16 along D.
    const fn steps(&self) -> usize {
        self.width / M
    }

    /// Chunks of a row of one head.
    const fn chunks(&self) -> usize {
        self.width / CHUNK
    }
}

/// This cube's tile.
#[cube]
fn this_owner(cu_seqlens: &[u32], blocks: usize, #[comptime] tiling: TensorTiling) -> Owner {
    let index = CUBE_POS_X as usize;
    let sequence = index / blocks;
    let token = cu_seqlens[sequence] as usize;
    Owner {
        token,
        length: cu_seqlens[sequence + 1] as usize - token,
        head: CUBE_POS_Y as usize,
        start: index % blocks * comptime!(tiling.tile),
    }
}

/// The owner's rows of a buffer whose rows hold `parts` times H, in its part `part`, in chunks.
#[cube]
fn rows_of(
    owner: &Owner,
    heads: usize,
    #[comptime] parts: usize,
    #[comptime] part: usize,
    #[comptime] tiling: TensorTiling,
) -> Rows {
    let chunks = comptime!(tiling.chunks());
    let stride = heads * comptime!(parts * chunks);
    Rows {
        first: owner.token * stride + (heads * part + owner.head) * chunks,
        stride,
        count: owner.length,
    }
}
