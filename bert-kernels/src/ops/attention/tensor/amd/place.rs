//! How tiles lie in shared memory, and where lanes read of them.
//!
//! A tile has the rows of some tokens. Products along D read chunks of a row: MFMA's lanes a fourth of
//! them, of which each serves two products, WMMA's all. Products along tokens read a few neighbours of
//! each of a lane's tokens. The indices are plain functions, which the tests below run for every lane.

use cubecl::prelude::*;

use super::super::TensorTiling;
use crate::MatrixCore;
use crate::amd_tile::sum_row;
use crate::tensor_tile::{CHUNK, M};

/// Most neighbours along D that a lane reads of a token: the 16 lanes of a token read 128 bytes.
const MOST_NEIGHBOURS: usize = 4;

impl TensorTiling {
    /// Tokens of a plane.
    pub(super) const fn plane_tokens(&self) -> usize {
        M * self.columns()
    }

    /// Tokens that all units together bring one chunk each of.
    pub(super) fn rows_at_once(&self) -> usize {
        self.units() / self.chunks()
    }

    /// Chunks that each unit brings of a tile of `tokens`.
    pub(super) fn copies(&self, tokens: usize) -> usize {
        tokens / self.rows_at_once()
    }

    /// Chunks from a token to the next in shared memory.
    pub(super) fn pitch(&self) -> usize {
        self.chunks() + usize::from(self.core == MatrixCore::Wmma)
    }

    /// Chunks of a tile of `tokens` in shared memory.
    pub(super) fn tile_chunks(&self, tokens: usize) -> usize {
        tokens * self.pitch()
    }

    /// Whether a plane's rows of some operands stay in its registers beside as many sums. On RDNA an operand
    /// takes as many as a sum, and what is read of shared memory needs some too.
    pub(super) fn keeps(&self, operands: usize, sums: usize) -> bool {
        self.core == MatrixCore::Mfma || (operands + sums) * self.width <= 3 * 64
    }

    /// Whether the next tile is loaded while this one is used: on RDNA the sums of a wide head leave no
    /// registers for it.
    pub(super) fn loads_ahead(&self) -> bool {
        self.core == MatrixCore::Mfma || self.width <= 64
    }

    /// Chunks of a cube's shared memory: two tiles that it walks, then those of its own `operands` that do not
    /// stay in registers beside as many `sums`.
    pub(super) fn shared_chunks(&self, operands: usize, sums: usize) -> usize {
        let own = if self.keeps(operands, sums) { 0 } else { operands };
        2 * self.walk_chunks() + own * self.tile_chunks(self.tile)
    }

    /// Chunks of a tile that it walks.
    pub(super) fn walk_chunks(&self) -> usize {
        self.tile_chunks(self.walk())
    }

    /// Chunks from a group of 16 tokens to the next.
    pub(super) fn group_chunks(&self) -> usize {
        self.tile_chunks(M)
    }

    /// Chunks of a row that a lane reads for products along D.
    pub(super) fn lane_chunks(&self) -> usize {
        match self.core {
            MatrixCore::Mfma => self.chunks() / 4,
            _ => self.chunks(),
        }
    }

    /// Neighbours along D that a lane reads of a token, one for each of as many fragments.
    pub(super) fn neighbours(&self) -> usize {
        self.steps().min(MOST_NEIGHBOURS)
    }

    /// Parts of D that the lanes of a token read at once.
    pub(super) fn parts(&self) -> usize {
        self.steps() / self.neighbours()
    }

    /// Tokens of a group that a lane reads for products along them: steps of k of its fragment.
    pub(super) fn lane_steps(&self) -> usize {
        2 * self.core.words()
    }

    /// Places from which all tokens of a lane are a constant away.
    fn token_places(&self) -> usize {
        match self.core {
            MatrixCore::Mfma => self.lane_steps(),
            _ => 1,
        }
    }

    /// Accumulators of a plane: fragments of 16 along D, for each of its columns.
    pub(super) const fn sums(&self) -> usize {
        self.steps() * self.columns()
    }

    /// Rows from an accumulator of a lane to its next; bits that the first's row does not have.
    pub(super) const fn sum_step(&self) -> usize {
        match self.core {
            MatrixCore::Wmma => 2,
            _ => 1,
        }
    }
}

/// Which chunk of a tile holds chunk `chunk` of row `row`.
///
/// Lanes that are served at once read one column of eight rows, or on CDNA one column of four and its
/// neighbour of the next four: chunks are permuted within 128 bytes. RDNA has rows that begin one chunk
/// further on instead, which leaves all else a lane reads a constant away.
#[cube]
pub(super) fn chunk_place(row: usize, chunk: usize, #[comptime] tiling: TensorTiling) -> usize {
    let at = row * comptime!(tiling.pitch()) + chunk;
    if comptime!(tiling.core == MatrixCore::Wmma) {
        at
    } else if comptime!(tiling.chunks() >= 8) {
        at ^ (row % 8)
    } else {
        // Two rows fill all banks; tokens four apart, which are read at once, lie in different halves.
        let pair = row / 2 % 4;
        at ^ (pair + pair / 2 * 4)
    }
}

/// Where a lane reads in a tile.
#[derive(CubeType)]
pub(super) struct Places {
    /// Its chunks of a row, for products along D.
    pub(super) along_width: Array<usize>,
    /// Its neighbours of a token, in as many elements, for products along tokens.
    pub(super) along_tokens: Array<usize>,
}

#[cube]
pub(super) fn places(lane: usize, #[comptime] tiling: TensorTiling) -> Places {
    let chunks = comptime!(tiling.lane_chunks());
    let mut along_width = Array::<usize>::new(chunks);
    #[unroll]
    for i in 0..chunks {
        along_width[i] = chunk_place(lane % comptime!(M), lane_chunk(lane, i, tiling), tiling);
    }
    let tokens = comptime!(tiling.token_places());
    let mut along_tokens = Array::<usize>::new(tokens);
    #[unroll]
    for i in 0..tokens {
        along_tokens[i] = token_place(lane, i, tiling);
    }
    Places { along_width, along_tokens }
}

/// Where this lane's neighbours of its `i`th token are, in as many elements.
#[cube]
fn token_place(lane: usize, #[comptime] i: usize, #[comptime] tiling: TensorTiling) -> usize {
    let token = if comptime!(tiling.core == MatrixCore::Wmma) {
        comptime!(token_of_step(i)).runtime()
    } else {
        sum_row(lane, i, tiling.core)
    };
    let neighbours = comptime!(tiling.neighbours());
    let column = row_along_width(lane, tiling) * neighbours;
    let chunk = chunk_place(token, column / comptime!(CHUNK), tiling);
    (chunk * comptime!(CHUNK) + column % comptime!(CHUNK)) / neighbours
}

/// The `i`th chunk of a row that this lane reads for products along D. Both operands have the same order of
/// k, which is all a sum needs.
#[cube]
pub(super) fn lane_chunk(
    lane: usize,
    #[comptime] i: usize,
    #[comptime] tiling: TensorTiling,
) -> usize {
    if comptime!(tiling.core == MatrixCore::Mfma) {
        lane / comptime!(M) + comptime!(4 * i)
    } else {
        comptime!(i).runtime()
    }
}

/// Which of 16 rows along D this lane reads, such that those it gets in its accumulators are neighbours.
#[cube]
fn row_along_width(lane: usize, #[comptime] tiling: TensorTiling) -> usize {
    let row = lane % comptime!(M);
    if comptime!(tiling.core == MatrixCore::Wmma) { row % 2 * 8 + row / 2 } else { row }
}

/// Token of a group that step `step` of k is, of those that all lanes of WMMA have: the accumulators of the
/// lower half of the plane first.
pub(super) fn token_of_step(step: usize) -> usize {
    step % 8 * 2 + step / 8
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::amd_tile::tests::served_at_once;

    pub(in super::super) fn tilings() -> Vec<TensorTiling> {
        let cores = [MatrixCore::Mfma, MatrixCore::Wmma];
        let widths = [32, 64, 128];
        let of_core =
            |core| widths.map(|width| TensorTiling { width, tile: 64, core, drops: false });
        cores.into_iter().flat_map(of_core).collect()
    }

    #[test]
    fn a_tile_is_shared_out_without_a_rest() {
        for tiling in tilings() {
            for tile in [32, 64] {
                let tiling = TensorTiling { tile, ..tiling };
                for tokens in [tiling.tile, tiling.walk()] {
                    let chunks = tiling.copies(tokens) * tiling.units();
                    assert_eq!(chunks, tokens * tiling.chunks(), "{tiling:?}");
                }
            }
        }
    }

    #[test]
    fn chunks_have_places_of_their_own() {
        for tiling in tilings() {
            let mut seen = vec![false; tiling.tile_chunks(tiling.tile)];
            for item in 0..tiling.tile * tiling.chunks() {
                let at = chunk_place(item / tiling.chunks(), item % tiling.chunks(), tiling);
                assert!(!std::mem::replace(&mut seen[at], true), "{tiling:?} {item}");
            }
        }
    }

    /// Whether what is served at once comes from different banks, or from the same word.
    fn expect_no_conflict(pieces: impl Iterator<Item = usize>, piece: usize, what: &str) {
        let mut words = std::collections::BTreeMap::new();
        for word in pieces.flat_map(|place| place * piece / 2..(place + 1) * piece / 2) {
            let of_bank = words.entry(word % 32).or_insert(word);
            assert_eq!(*of_bank, word, "{what}");
        }
    }

    #[test]
    fn neither_reads_nor_writes_of_shared_memory_meet_in_a_bank() {
        for tiling in tilings() {
            for lanes in served_at_once(tiling.core, 2 * CHUNK) {
                for i in 0..tiling.lane_chunks() {
                    let place =
                        |lane: &usize| chunk_place(lane % M, lane_chunk(*lane, i, tiling), tiling);
                    expect_no_conflict(lanes.iter().map(place), CHUNK, &format!("{tiling:?} {i}"));
                }
            }
            let neighbours = tiling.neighbours();
            for lanes in served_at_once(tiling.core, 2 * neighbours) {
                for i in 0..tiling.lane_steps() {
                    let place = |lane: &usize| token_place(*lane, i, tiling);
                    let what = format!("{tiling:?} token {i}");
                    expect_no_conflict(lanes.iter().map(place), neighbours, &what);
                }
            }
            // Two narrow rows that begin one chunk further on each have a bank in common.
            if tiling.core == MatrixCore::Wmma && tiling.width == 32 {
                continue;
            }
            for first in (0..tiling.tile * tiling.chunks()).step_by(8) {
                let chunks = tiling.chunks();
                let place = |item| chunk_place(item / chunks, item % chunks, tiling);
                expect_no_conflict((first..first + 8).map(place), CHUNK, &format!("{tiling:?}"));
            }
        }
    }
}
