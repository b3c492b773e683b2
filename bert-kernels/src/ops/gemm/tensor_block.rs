//! How a cube of the tensor-core path is laid over C, and which one suits a product.

use crate::amd_tile::Operand;
use crate::tensor_tile::{CHUNK, M, Stage};
use crate::{DeviceShape, MatrixCore};

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
    /// What multiplies.
    pub(crate) core: MatrixCore,
}

impl TensorBlock {
    /// The same tile on other matrix cores. Those of AMD load one step ahead; planes of RDNA, half as
    /// many units as CDNA's, halve what each of them sums up in a large tile.
    pub(crate) fn on(self, core: MatrixCore) -> Self {
        let (stages, planes) = match core {
            MatrixCore::Mma => (self.stages, self.planes),
            MatrixCore::Mfma => (2, self.planes),
            MatrixCore::Wmma => (2, (2, (self.columns / 32).max(1))),
        };
        Self { stages, planes, core, ..self }
    }

    pub(crate) fn plane_rows(&self) -> usize {
        self.rows / self.planes.0
    }

    pub(crate) fn plane_columns(&self) -> usize {
        self.columns / self.planes.1
    }

    pub(crate) fn plane_count(&self) -> usize {
        self.planes.0 * self.planes.1
    }

    pub(crate) fn units(&self) -> usize {
        self.plane_count() * self.core.lanes()
    }

    pub(crate) fn a_stage(&self, k_contiguous: bool) -> Stage {
        Stage { outer: self.rows, depth: self.depth, k_contiguous }
    }

    pub(crate) fn b_stage(&self, k_contiguous: bool) -> Stage {
        Stage { outer: self.columns, depth: self.depth, k_contiguous }
    }

    /// A plane's part of an operand on AMD's cores, `outer` rows of A or columns of B.
    pub(crate) fn operand(&self, stage: Stage, outer: usize) -> Operand {
        Operand { stage, fragments: outer / M, core: self.core }
    }

    /// Chunks of a stage that each unit brings.
    pub(crate) fn copies(&self, stage: Stage) -> usize {
        stage.elements() / CHUNK / self.units()
    }

    /// Elements of f32 from one finished row in shared memory to the next: pairs of rows eight apart
    /// begin at different banks.
    pub(crate) fn finished_pitch(&self) -> usize {
        self.plane_columns() + 8
    }

    /// Pairs of f32 that the finished rows of all planes take in shared memory.
    pub(crate) fn finished_pairs(&self) -> usize {
        self.plane_count() * M * self.finished_pitch() / 2
    }

    /// Bytes of shared memory of a cube: the stages in 16 bits, and the finished rows, which on AMD's
    /// cores take the place of the stages.
    fn shared_bytes(&self) -> usize {
        let stages = self.stages * (self.rows + self.columns) * self.depth * 2;
        let finished = self.finished_pairs() * 8;
        if self.core == MatrixCore::Mma { stages + finished } else { stages.max(finished) }
    }

    /// Whether a device runs such a cube.
    pub(crate) fn fits(&self, shape: DeviceShape) -> bool {
        self.units() <= shape.max_units_per_cube as usize
            && self.shared_bytes() <= shape.shared_memory_bytes
    }
}

/// Steps of k that every block stages at once, so that parts of k, which begin at multiples of it, and the
/// zeros behind the last step are the same in all of them.
const DEPTH: usize = 32;

const fn block(size: (usize, usize), planes: (usize, usize), stages: usize) -> TensorBlock {
    TensorBlock {
        rows: size.0,
        columns: size.1,
        depth: DEPTH,
        stages,
        planes,
        core: MatrixCore::Mma,
    }
}

/// Planes of 64 × 64, whose fragments are read from shared memory for 32 operations a byte; 128
/// accumulators a unit leave room for two cubes on a multiprocessor of Hopper; Ampere's shared memory
/// holds one.
const LARGE: TensorBlock = block((128, 128), (2, 2), 4);
/// Planes of 32 × 32: half as many operations a byte, but four times as many cubes.
const SMALL: TensorBlock = block((64, 64), (2, 2), 4);

/// All that a product may be laid out with; a device that was measured says which.
pub(crate) const BLOCKS: [TensorBlock; 8] = [
    LARGE,
    SMALL,
    // Between the two, for products whose tiles fill a last wave of cubes badly.
    block((128, 64), (2, 2), 4),
    block((64, 128), (2, 2), 4),
    // Two cubes on a multiprocessor of Ampere.
    block((128, 128), (2, 2), 3),
    // Twice the planes to hide what each waits for.
    block((128, 128), (2, 4), 4),
    // A quarter less to read from the second-level cache.
    block((128, 256), (2, 4), 4),
    block((256, 128), (4, 2), 4),
];

/// The blocks for some matrix cores. For AMD's only the two of the rule have been looked at.
pub(crate) fn blocks_on(core: MatrixCore) -> Vec<TensorBlock> {
    match core {
        MatrixCore::Mma => BLOCKS.to_vec(),
        MatrixCore::Mfma | MatrixCore::Wmma => [LARGE, SMALL].map(|block| block.on(core)).to_vec(),
    }
}

/// With fewer large tiles than a large GPU has multiprocessors, most of them would be idle.
const FEW_TILES: usize = 128;
/// Cubes that a large GPU runs at once, two on each multiprocessor.
const AT_ONCE: usize = 256;
/// Least length of a part of k: shorter ones spend more on filling their stages, and on the sum of the
/// parts, than they win.
const LEAST_PART: usize = 512;

/// How a product is laid over the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) block: TensorBlock,
    /// Parts of k, each with cubes of its own.
    pub(crate) parts: usize,
    /// Length of a part; the last one may be shorter, and none is empty.
    pub(crate) part: usize,
}

/// The layout for a product `[m, n]` along k where nothing was measured.
///
/// The parts follow from the sizes alone, whatever block takes the place of this one, so a product has the
/// same bits on every device with the same matrix cores: within a part the sum runs along k, 16 steps at a time, in every block, and
/// parts are added in their order.
pub(crate) fn layout_for(m: usize, n: usize, k: usize, may_split: bool) -> Layout {
    let tiles = |block: &TensorBlock| m.div_ceil(block.rows) * n.div_ceil(block.columns);
    let parts_with = |block: &TensorBlock| match may_split {
        true => (AT_ONCE / tiles(block)).min(k / LEAST_PART).max(1),
        false => 1,
    };
    let block = if tiles(&LARGE) * parts_with(&LARGE) < FEW_TILES { SMALL } else { LARGE };
    let part = k.div_ceil(parts_with(&block)).max(1).next_multiple_of(DEPTH);
    Layout { block, parts: k.div_ceil(part).max(1), part }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn gradients_of_weights_are_split_along_their_tokens() {
        for (m, n, k, expected) in [
            // BERT-base at 16,384 tokens: projections, output, feed-forward.
            (2304, 768, 16_384, (LARGE, 2)),
            (768, 768, 16_384, (LARGE, 7)),
            (3072, 768, 16_384, (LARGE, 1)),
            // Small models and few tokens.
            (256, 256, 16_384, (LARGE, 32)),
            (128, 128, 4_096, (SMALL, 8)),
            (768, 768, 1_000, (SMALL, 1)),
            (5, 3, 7, (SMALL, 1)),
            (5, 3, 0, (SMALL, 1)),
        ] {
            let layout = layout_for(m, n, k, true);
            assert_eq!((layout.block, layout.parts), expected, "{m}x{n}x{k}");
            assert!(layout.parts * layout.part >= k);
            assert!(k == 0 || (layout.parts - 1) * layout.part < k, "no part is empty");
            assert_eq!(layout_for(m, n, k, false).parts, 1);
        }
    }

    #[test]
    fn every_block_suits_every_core() {
        use crate::amd_tile::DEPTH;
        for (block, core) in [LARGE, SMALL].into_iter().flat_map(|block| {
            [MatrixCore::Mma, MatrixCore::Mfma, MatrixCore::Wmma].map(|core| (block, core))
        }) {
            let on = block.on(core);
            assert_eq!((on.rows, on.columns, on.core), (block.rows, block.columns, core));
            // Part of a product that is split along k, so that it has the same length everywhere.
            assert_eq!(on.depth, DEPTH);
            assert!(on.plane_rows() >= 2 * M && on.plane_columns() >= 2 * M, "{on:?}");
            for k_contiguous in [false, true] {
                for stage in [on.a_stage(k_contiguous), on.b_stage(k_contiguous)] {
                    assert_eq!(on.copies(stage) * on.units() * CHUNK, stage.elements(), "{on:?}");
                }
            }
            if core != MatrixCore::Mma {
                let bytes = 2 * on.stages * on.depth * (on.rows + on.columns);
                assert!(2 * bytes <= 64 * 1024, "two cubes in the shared memory of a compute unit");
            }
        }
    }

    /// Copies and stores are shared out without a rest, and a sum takes the same steps in all blocks.
    #[test]
    fn every_block_is_shared_out_evenly() {
        for block in BLOCKS {
            assert_eq!(block.depth, DEPTH);
            assert!(block.stages >= 2 && block.plane_rows() % M == 0, "{block:?}");
            assert_eq!(block.plane_columns() % (2 * CHUNK), 0, "{block:?}");
            for k_contiguous in [false, true] {
                for stage in [block.a_stage(k_contiguous), block.b_stage(k_contiguous)] {
                    let copies = stage.rows() * stage.chunks();
                    assert_eq!(copies % block.units(), 0, "{block:?} {stage:?}");
                }
            }
            assert_eq!(M * block.plane_columns() / CHUNK % block.core.lanes(), 0, "{block:?}");
        }
        assert_eq!(BLOCKS.iter().collect::<HashSet<_>>().len(), BLOCKS.len());
    }
}
