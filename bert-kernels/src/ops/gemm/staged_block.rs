//! How a cube of the register-tiled path is laid over C, and which one suits a product.

use super::tile_register::Tile;
use crate::DeviceShape;

/// A cube's tile of C and how its units share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Block {
    /// Accumulators of a unit.
    pub(crate) tile: Tile,
    /// Units below each other and side by side.
    pub(crate) units: (usize, usize),
    /// Steps of k staged at once.
    pub(crate) depth: usize,
}

/// Lanes of a GPU unit: one load of 16 bytes of f32.
pub(crate) const GPU_LANES: usize = 4;

impl Block {
    pub(crate) fn rows(&self) -> usize {
        self.tile.rows * self.units.0
    }

    /// Vectors side by side.
    pub(crate) fn vectors(&self) -> usize {
        self.tile.vectors * self.units.1
    }

    pub(crate) fn columns(&self) -> usize {
        self.vectors() * GPU_LANES
    }

    pub(crate) fn threads(&self) -> usize {
        self.units.0 * self.units.1
    }

    /// Elements of f32 from one step of k of A in shared memory to the next: one of padding keeps units
    /// that store along k off each other's banks.
    pub(crate) fn a_pitch(&self) -> usize {
        self.rows() + 1
    }

    /// Vectors from one step of k of B to the next, padded where it is stored along k.
    pub(crate) fn b_pitch(&self, b_transposed: bool) -> usize {
        self.vectors() + usize::from(b_transposed)
    }

    /// Bytes of shared memory of a cube at most.
    fn shared_bytes(&self) -> usize {
        self.depth * (self.a_pitch() + self.b_pitch(true) * GPU_LANES) * 4
    }

    /// Whether a device runs such a cube.
    pub(crate) fn fits(&self, shape: DeviceShape) -> bool {
        self.threads() <= shape.max_units_per_cube as usize
            && self.shared_bytes() <= shape.shared_memory_bytes
    }
}

const fn block(tile: (usize, usize), units: (usize, usize)) -> Block {
    Block { tile: Tile { rows: tile.0, vectors: tile.1 }, units, depth: 16 }
}

const LARGE: Block = block((8, 2), (16, 16));
const SMALL: Block = block((4, 1), (16, 16));
/// For devices with few units a cube.
const TINY: Block = block((4, 1), (8, 8));

/// All that a product may be laid out with; a device that was measured says which.
pub(crate) const BLOCKS: [Block; 6] = [
    LARGE,
    SMALL,
    block((8, 1), (16, 16)),
    block((4, 2), (16, 16)),
    // As much work a unit as the large one, in cubes of a quarter.
    block((8, 2), (8, 8)),
    TINY,
];

/// Below this many blocks of 128 × 128, smaller blocks keep more of the device busy.
const FEW_BLOCKS: usize = 128;

/// The block for a product `[m, n]` where nothing was measured.
pub(crate) fn block_for(shape: DeviceShape, m: usize, n: usize) -> Block {
    let blocks = m.div_ceil(LARGE.rows()) * n.div_ceil(LARGE.columns());
    if (shape.max_units_per_cube as usize) < SMALL.threads() {
        TINY
    } else if blocks < FEW_BLOCKS {
        SMALL
    } else {
        LARGE
    }
}
