//! Scaled dot-product attention over packed sequences of any lengths.
//!
//! Per sequence and head, with `q`, `k`, `v` of width D:
//! `P = softmax(q kᵀ / √D)`, `out = dropout(P) v` (Vaswani et al. 2017). No T × T matrix is ever in
//! memory: keys come in blocks, and a running maximum and sum renormalize what was added before
//! (online softmax: Milakov and Gimelshein 2018; Dao et al. 2022, whose backward pass this is too).
//! The forward pass saves `lse = log Σ exp(q kᵀ / √D)` per query, from which the backward pass
//! recomputes P:
//! `d_v = dropout(P)ᵀ d_out`, `d_P = dropout(d_out vᵀ)`, `delta = Σ d_out · out` per query,
//! `d_S = P · (d_P − delta) / √D`, `d_q = d_S k`, `d_k = d_Sᵀ q`.
//!
//! A row of d_q has one owner, and so has a row of d_k and d_v: nothing is atomic, the order of every
//! sum depends on the sequence alone, so its result does not depend on its neighbours in the batch.
//!
//! Where planes have matrix instructions for 16-bit floats, they compute both passes (`tensor`), with
//! weights rounded to 16 bits between two products; elsewhere units do, on tiles in shared memory (`tiles`).
//!
//! Dropout's element index is `(token · A + head) · 2³² + key`, where `token` is the query's row in
//! the batch and `key` counts from the start of its sequence.

mod backward;
mod forward;
#[cfg(feature = "cases")]
pub(crate) mod reference;
mod row_dots;
mod tensor;
mod tiles;

pub use backward::{AttentionBackward, attention_backward};
pub use forward::{AttentionForward, attention_forward};

use super::dropout::expect_act;
use crate::lanes::{MAX_CUBES, expect_u32, lanes};
use crate::{Buffer, Context, DType, KernelError};
use cubecl::prelude::*;

/// Sizes that both passes check and share.
#[derive(Clone, Copy)]
struct Sizes {
    tokens: usize,
    sequences: usize,
    heads: usize,
    head_width: usize,
    max_length: usize,
}

impl Sizes {
    fn hidden(&self) -> usize {
        self.heads * self.head_width
    }

    /// Checks sizes and the operands that both passes have.
    fn check(
        &self,
        op: &'static str,
        qkv: &Buffer,
        cu_seqlens: &Buffer,
        token_sequence: &Buffer,
        out: &Buffer,
        lse: &Buffer,
    ) -> Result<(), KernelError> {
        for (what, size) in [("heads", self.heads), ("head_width", self.head_width)] {
            if size == 0 {
                return Err(KernelError::Size { op, what, expected: "at least 1", found: size });
            }
        }
        if self.max_length > self.tokens {
            return Err(KernelError::Size {
                op,
                what: "max_length",
                expected: "at most the number of tokens",
                found: self.max_length,
            });
        }
        expect_u32(op, "tokens · heads", self.tokens * self.heads)?;
        expect_act(op, "qkv", qkv)?;
        qkv.expect_len(op, "qkv", self.tokens * 3 * self.hidden())?;
        cu_seqlens.expect_dtype(op, "cu_seqlens", DType::U32)?;
        cu_seqlens.expect_len(op, "cu_seqlens", self.sequences + 1)?;
        token_sequence.expect_dtype(op, "token_sequence", DType::U32)?;
        token_sequence.expect_len(op, "token_sequence", self.tokens)?;
        out.expect_dtype(op, "out", qkv.dtype())?;
        out.expect_len(op, "out", self.tokens * self.hidden())?;
        lse.expect_dtype(op, "lse", DType::F32)?;
        lse.expect_len(op, "lse", self.tokens * self.heads)
    }
}

/// How a pass is cut into tiles, all of it known when the kernel is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Tiling {
    heads: usize,
    /// D.
    width: usize,
    /// Lanes of every vector; divides D and `keys`.
    lanes: usize,
    /// Queries that one owner has.
    queries: usize,
    /// Queries whose scores are in memory at once; divides `queries`.
    stripe: usize,
    /// Keys whose transposes are in memory at once.
    keys: usize,
    /// Rows of a register tile; divides `stripe`.
    tile_rows: usize,
    /// Vectors of keys of a register tile; divides `keys / lanes`.
    tile_keys: usize,
    /// Vectors of D of a register tile; divides `width / lanes`.
    tile_width: usize,
    /// Units that share one owner's tiles: 1 on a CPU, a cube on a GPU.
    team: usize,
    /// Whether the exponential is an instruction.
    native_exp: bool,
    drops: bool,
}

/// Elements along D of a GPU's register tile: with 4 rows 64 accumulators. Twice as many spill.
const GPU_TILE_WIDTH: usize = 16;

impl Tiling {
    /// Tiles for a device; `floats` says how many f32 of shared memory a pass needs with them.
    fn new(
        ctx: &Context,
        qkv: &Buffer,
        sizes: Sizes,
        drops: bool,
        floats: impl Fn(&Self) -> usize,
    ) -> Result<Self, KernelError> {
        let shape = ctx.shape();
        let width = sizes.head_width;
        let lanes = lanes(ctx, qkv.dtype(), width);
        let vectors = width / lanes;
        // A vector of 16-bit values has twice the lanes, and a GPU keeps the tile in registers of one each.
        let most = if shape.is_cpu() { 4 } else { (GPU_TILE_WIDTH / lanes).clamp(1, 4) };
        let tile_width =
            (1..=most).rev().find(|candidate| vectors.is_multiple_of(*candidate)).unwrap_or(1);
        let mut tiling = Self {
            heads: sizes.heads,
            width,
            lanes,
            queries: 128,
            stripe: 16,
            keys: 128,
            tile_rows: 4,
            tile_keys: 2,
            tile_width,
            team: 1,
            native_exp: false,
            drops,
        };
        if shape.is_cpu() {
            return Ok(tiling);
        }
        tiling.native_exp = true;
        tiling.tile_keys = 1;
        tiling.team = 64.min(shape.max_units_per_cube as usize);
        for block in [64usize, 32, 16, 8] {
            if !block.is_multiple_of(lanes) {
                continue;
            }
            tiling.queries = block;
            tiling.stripe = block;
            tiling.keys = block;
            if floats(&tiling) * size_of::<f32>() <= shape.shared_memory_bytes {
                return Ok(tiling);
            }
        }
        Err(KernelError::Size {
            op: "attention",
            what: "head_width",
            expected: "small enough for the device's shared memory",
            found: width,
        })
    }

    /// Vectors of a row of D.
    const fn row_vectors(&self) -> usize {
        self.width / self.lanes
    }

    /// Vectors of a row of scores.
    const fn key_vectors(&self) -> usize {
        self.keys / self.lanes
    }

    /// Owners that together have `blocks` blocks of every sequence and head.
    fn owners(&self, sizes: Sizes, block: usize) -> usize {
        sizes.sequences * sizes.heads * sizes.max_length.div_ceil(block)
    }

    /// A launch over `owners`.
    fn grid(&self, ctx: &Context, owners: usize) -> (CubeCount, CubeDim) {
        if self.team == 1 {
            let units = (ctx.shape().max_units_per_cube as usize).min(owners).max(1);
            return (CubeCount::Static(1, 1, 1), CubeDim::new_1d(units as u32));
        }
        let cubes = owners.clamp(1, MAX_CUBES);
        (CubeCount::Static(cubes as u32, 1, 1), CubeDim::new_1d(self.team as u32))
    }
}
