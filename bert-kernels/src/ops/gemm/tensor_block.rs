//! How a cube of the tensor-core path is laid over C, and which one suits a product.

use super::tensor_tile::{LANES, Stage};

/// A cube's tile of C and how it is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TensorBlock {
    /// Rows of C.
    pub(crate) rows: usize,
    /// Columns of C.
    pub(crate) columns: usize,
    /// Steps of k staged at once.
    pub(crate) depth: usize,
    /// Stages in shared memory: one is multiplied while the others fill.
    pub(crate) stages: usize,
    /// Planes below each other and side by side.
    pub(crate) planes: (usize, usize),
}

impl TensorBlock {
    pub(crate) fn plane_rows(&self) -> usize {
        self.rows / self.planes.0
    }

    pub(crate) fn plane_columns(&self) -> usize {
        self.columns / self.planes.1
    }

    pub(crate) fn units(&self) -> usize {
        self.planes.0 * self.planes.1 * LANES
    }

    pub(crate) fn a_stage(&self, k_contiguous: bool) -> Stage {
        Stage { outer: self.rows, depth: self.depth, k_contiguous }
    }

    pub(crate) fn b_stage(&self, k_contiguous: bool) -> Stage {
        Stage { outer: self.columns, depth: self.depth, k_contiguous }
    }
}

/// Planes of 64 × 64, whose fragments are read from shared memory for 32 operations a byte; 128
/// accumulators a unit leave room for two cubes on a multiprocessor of Hopper; Ampere's shared memory
/// holds one.
const LARGE: TensorBlock =
    TensorBlock { rows: 128, columns: 128, depth: 32, stages: 4, planes: (2, 2) };
/// Planes of 32 × 32: half as many operations a byte, but four times as many cubes.
const SMALL: TensorBlock =
    TensorBlock { rows: 64, columns: 64, depth: 32, stages: 4, planes: (2, 2) };
/// With fewer large tiles than a large GPU has multiprocessors, most of them would be idle.
const FEW_TILES: usize = 128;

/// The block for a product `[m, n]`. It does not change the sums: each runs along k, 16 steps at a
/// time, in every block.
pub(crate) fn block_for(m: usize, n: usize) -> TensorBlock {
    let large = m.div_ceil(LARGE.rows) * n.div_ceil(LARGE.columns);
    if large < FEW_TILES { SMALL } else { LARGE }
}
