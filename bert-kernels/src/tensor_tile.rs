//! The inner tile on NVIDIA's tensor cores: 16 × 8 × 16 products of a plane, `mma.sync`, with
//! fragments that `ldmatrix` takes from shared memory.
//!
//! Shared memory holds an operand as it lies in global memory, in rows of 16-byte chunks: rows along
//! m (or n) if k is contiguous, else rows along k. Chunks are permuted within their row, so that the
//! eight rows of one phase of `ldmatrix`, which begin at the same column, lie in eight different
//! groups of banks, and so do the chunks that neighbouring units fill.
//!
//! The indices are plain functions, which the tests below run beside an emulation of the two
//! instructions.
//!
//! Source: PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type" and "ldmatrix".

use cubecl::cmma::{MatrixIdent, MmaDefinition};
use cubecl::prelude::*;

/// Rows, columns and depth of one product of a plane.
pub(crate) const M: usize = 16;
pub(crate) const N: usize = 8;
pub(crate) const K: usize = 16;
/// Elements of 16 bits in the 16 bytes that shared and global memory move at once.
pub(crate) const CHUNK: usize = 8;
/// Units of a plane.
pub(crate) const LANES: usize = 32;

/// Two neighbours: what a register holds of an operand, and two of the accumulators.
pub(crate) type Pair = Const<2>;

/// An operand's tile in shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stage {
    /// Rows of A or columns of B.
    pub(crate) outer: usize,
    /// Steps of k.
    pub(crate) depth: usize,
    /// Whether neighbours in memory are neighbours along k.
    pub(crate) k_contiguous: bool,
}

impl Stage {
    pub(crate) fn rows(&self) -> usize {
        if self.k_contiguous { self.outer } else { self.depth }
    }

    /// Chunks of a row.
    pub(crate) fn chunks(&self) -> usize {
        (if self.k_contiguous { self.depth } else { self.outer }) / CHUNK
    }

    pub(crate) fn elements(&self) -> usize {
        self.outer * self.depth
    }

    /// Fragments that follow each other within rows, as opposed to one below the other.
    pub(crate) fn steps_in_row(&self, span: usize) -> usize {
        if self.k_contiguous { self.depth / K } else { span / M }
    }
}

/// Element at which chunk `chunk` of row `row` begins.
#[cube]
pub(crate) fn chunk_at(row: usize, chunk: usize, #[comptime] stage: Stage) -> usize {
    let chunks = comptime!(stage.chunks());
    // Rows that together fill all banks once, and what of the chunk's number the row permutes.
    let shared = comptime!((8 / chunks).max(1));
    let mask = comptime!(chunks.min(8) - 1);
    (row * chunks + (chunk ^ ((row / shared) & mask))) * comptime!(CHUNK)
}

/// Whether the four 8 × 8 matrices of a load lie first within the row and then below each other, or
/// the other way round: the registers of A count rows first, those of B depth.
pub(crate) fn across(ident: MatrixIdent, stage: Stage) -> bool {
    (ident == MatrixIdent::B) == stage.k_contiguous
}

/// Row of the chunk that `lane` names to `ldmatrix`, counted from the corner of the 16 × 16.
#[cube]
pub(crate) fn lane_row(lane: usize, #[comptime] across: bool) -> usize {
    if across { lane / 16 * 8 + lane % 8 } else { lane % 16 }
}

/// Chunk of that row.
#[cube]
pub(crate) fn lane_chunk(lane: usize, #[comptime] across: bool) -> usize {
    if across { lane / 8 % 2 } else { lane / 16 }
}

/// Where this lane's chunk begins, counted in elements from the stage, for the fragment `step` of
/// those within the rows and the first of those below each other. `corner` is where along m (or n)
/// the plane's part of the tile begins.
#[cube]
pub(crate) fn fragment_at(
    lane: usize,
    corner: usize,
    step: usize,
    #[comptime] stage: Stage,
    #[comptime] across: bool,
) -> usize {
    let row = lane_row(lane, across);
    let chunk = step * comptime!(M / CHUNK) + lane_chunk(lane, across);
    if comptime!(stage.k_contiguous) {
        chunk_at(corner + row, chunk, stage)
    } else {
        chunk_at(row, corner / comptime!(CHUNK) + chunk, stage)
    }
}

/// Elements from a fragment to that below it. A multiple of 16 rows leaves the permutation as it is.
pub(crate) fn fragment_stride(stage: Stage) -> usize {
    M * stage.chunks() * CHUNK
}

/// Row of the first accumulator of `lane`; its third lies eight rows below.
#[cube]
pub(crate) fn accumulator_row(lane: usize) -> usize {
    lane / 4
}

/// Column of the first accumulator of `lane`; its second is the neighbour.
#[cube]
pub(crate) fn accumulator_column(lane: usize) -> usize {
    lane % 4 * 2
}

/// Four registers of this lane: a 16 × 16 of A, or two neighbouring 16 × 8 of B.
#[cube]
pub(crate) fn load_fragment<E: Float>(
    stage: &[E],
    at: usize,
    #[comptime] ident: MatrixIdent,
    #[comptime] transpose: bool,
) -> Array<Vector<E, Pair>> {
    let tile = MmaDefinition::<E, E, f32>::new(M, N, K);
    tile.load_matrix::<E, Pair>(&stage[at..at + comptime!(CHUNK)], ident, 4usize, transpose)
}

/// [`load_fragment`] from a stage of pairs; `at` counts pairs.
#[cube]
pub(crate) fn load_fragment_of_pairs<E: Float>(
    stage: &[Vector<E, Pair>],
    at: usize,
    #[comptime] ident: MatrixIdent,
    #[comptime] transpose: bool,
) -> Array<Vector<E, Pair>> {
    let tile = MmaDefinition::<E, E, f32>::new(M, N, K);
    let chunk = &stage[at..at + comptime!(CHUNK / 2)];
    tile.load_matrix::<Vector<E, Pair>, Pair>(chunk, ident, 4usize, transpose)
}

/// Adds a product to the accumulators that begin at `at`: four a lane. `half` is which 8 columns of
/// the fragment of B.
#[cube]
pub(crate) fn multiply_add<E: Float>(
    a: &Array<Vector<E, Pair>>,
    b: &Array<Vector<E, Pair>>,
    #[comptime] half: usize,
    acc: &mut Array<Vector<f32, Pair>>,
    #[comptime] at: usize,
) {
    let tile = MmaDefinition::<E, E, f32>::new(M, N, K);
    let mut of_b = Array::<Vector<E, Pair>>::new(2usize);
    of_b[0] = b[comptime!(2 * half)];
    of_b[1] = b[comptime!(2 * half + 1)];
    let mut sums = Array::<Vector<f32, Pair>>::new(2usize);
    sums[0] = acc[at];
    sums[1] = acc[comptime!(at + 1)];
    let sums = tile.execute(a, &of_b, &sums);
    acc[at] = sums[0];
    acc[comptime!(at + 1)] = sums[1];
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both operands of every block, in either layout, and how much of one a plane has.
    fn stages() -> Vec<(Stage, usize)> {
        let mut stages = Vec::new();
        for (outer, span) in [(64, 32), (64, 64), (128, 32), (128, 64), (256, 64)] {
            for k_contiguous in [false, true] {
                stages.push((Stage { outer, depth: 32, k_contiguous }, span));
            }
        }
        // Attention has a tile of tokens of one head in both.
        for (tokens, width) in [32, 64].into_iter().flat_map(|t| [32, 64, 128].map(|w| (t, w))) {
            stages.push((Stage { outer: tokens, depth: width, k_contiguous: true }, 16));
            stages.push((Stage { outer: width, depth: tokens, k_contiguous: false }, width));
        }
        stages
    }

    /// What `ldmatrix.x4` leaves in the lanes' registers, given where each lane's chunk begins.
    fn ldmatrix(shared: &[i64], at: [usize; LANES], transpose: bool) -> [[[i64; 2]; 4]; LANES] {
        std::array::from_fn(|lane| {
            std::array::from_fn(|matrix| {
                std::array::from_fn(|pair| {
                    let (row, column) = (lane / 4, lane % 4 * 2 + pair);
                    let (row, column) = if transpose { (column, row) } else { (row, column) };
                    shared[at[matrix * 8 + row] + column]
                })
            })
        })
    }

    #[test]
    fn chunks_are_a_permutation_without_bank_conflicts() {
        for (stage, _) in stages() {
            let mut seen = vec![false; stage.elements() / CHUNK];
            for row in 0..stage.rows() {
                for chunk in 0..stage.chunks() {
                    let at = chunk_at(row, chunk, stage) / CHUNK;
                    assert!(!std::mem::replace(&mut seen[at], true), "{stage:?} {row} {chunk}");
                }
            }
            // A phase reads one column of eight rows; the 128 bytes of all banks are eight chunks.
            for row in (0..stage.rows()).step_by(8) {
                for chunk in 0..stage.chunks() {
                    let banks = (row..row + 8).fold(0u32, |banks, row| {
                        banks | 1 << (chunk_at(row, chunk, stage) / CHUNK % 8)
                    });
                    assert_eq!(banks, 0xff, "{stage:?} {row} {chunk}");
                }
            }
        }
    }

    /// The registers of both operands are those that the PTX ISA draws, for each fragment of a tile.
    #[test]
    fn fragments_hold_what_the_instruction_multiplies() {
        for (stage, span) in stages() {
            // Element (outer, k) says where it is from.
            let mut shared = vec![-1i64; stage.elements()];
            for outer in 0..stage.outer {
                for k in 0..stage.depth {
                    let (row, column) = if stage.k_contiguous { (outer, k) } else { (k, outer) };
                    let at = chunk_at(row, column / CHUNK, stage) + column % CHUNK;
                    shared[at] = (outer * 1000 + k) as i64;
                }
            }
            for ident in [MatrixIdent::A, MatrixIdent::B] {
                let across = across(ident, stage);
                for corner in (0..stage.outer).step_by(span) {
                    for (i, depth) in
                        (0..span / M).flat_map(|i| (0..stage.depth / K).map(move |d| (i, d)))
                    {
                        let (step, below) =
                            if stage.k_contiguous { (depth, i) } else { (i, depth) };
                        let at = std::array::from_fn(|lane| {
                            fragment_at(lane, corner, step, stage, across)
                                + below * fragment_stride(stage)
                        });
                        let found = ldmatrix(&shared, at, !stage.k_contiguous);
                        for (lane, registers) in found.iter().enumerate() {
                            for (register, pair) in registers.iter().enumerate() {
                                // A counts rows first; a load of B is two fragments of two registers.
                                let (down, right) = match ident {
                                    MatrixIdent::A => (register % 2, register / 2),
                                    _ => (register / 2, register % 2),
                                };
                                let outer = corner + i * M + down * 8 + lane / 4;
                                let k = depth * K + right * 8 + lane % 4 * 2;
                                let first = (outer * 1000 + k) as i64;
                                assert_eq!(pair, &[first, first + 1], "{stage:?} {ident:?} {lane}");
                            }
                        }
                    }
                }
            }
        }
    }
}
