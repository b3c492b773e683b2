//! What the passes share: how tiles come to shared memory, and products of a plane's 16 rows with a tile.

use cubecl::cmma::MatrixIdent;
use cubecl::prelude::*;

use super::super::super::tiles::Rows;
use super::super::TensorTiling;
use crate::async_copy::copy_async;
use crate::tensor_tile::{
    CHUNK, LANES, M, Pair, Stage, accumulator_column, accumulator_row, across, chunk_at,
    fragment_at, fragment_stride, load_fragment_of_pairs, multiply_add,
};

/// Pairs of elements of a chunk.
const CHUNK_PAIRS: usize = CHUNK / 2;

impl TensorTiling {
    /// A tile in shared memory, as an operand whose sums run along D.
    pub(super) const fn along_width(&self) -> Stage {
        Stage { outer: self.tile, depth: self.width, k_contiguous: true }
    }

    /// The same memory, as an operand whose sums run along its tokens.
    pub(super) const fn along_tokens(&self) -> Stage {
        Stage { outer: self.width, depth: self.tile, k_contiguous: false }
    }

    /// Pairs of elements of a tile.
    pub(super) const fn pairs(&self) -> usize {
        self.tile * self.width / 2
    }

    /// Whether a plane's rows of two operands fit in its registers beside two sums as wide.
    pub(super) const fn keeps_both(&self) -> bool {
        self.width <= 64
    }
}

/// Starts this unit's share of the copies of `rows`, a tile at most, to stage `slot` of shared memory;
/// what is missing of a tile becomes zeros.
#[cube]
pub(super) fn fill<E: Float, L: Size>(
    source: &[Vector<E, L>],
    rows: &Rows,
    shared: &mut Shared<[Vector<E, Pair>]>,
    slot: usize,
    #[comptime] tiling: TensorTiling,
) {
    let stage = comptime!(tiling.along_width());
    let chunks = comptime!(tiling.chunks());
    let copies = comptime!(tiling.tile * chunks / tiling.units());
    #[unroll]
    for copy in 0..copies {
        let item = UNIT_POS as usize + comptime!(copy * tiling.units());
        let row = item / chunks;
        let chunk = item % chunks;
        let inside = row < rows.count;
        let at = select(inside, rows.first + row * rows.stride + chunk, 0usize.runtime());
        let to = slot * comptime!(tiling.pairs()) + chunk_at(row, chunk, stage) / 2;
        copy_async::<Vector<E, L>, Vector<E, Pair>>(
            &source[at..at + 1],
            &mut shared[to..to + comptime!(CHUNK_PAIRS)],
            select(inside, 16u32.runtime(), 0u32.runtime()),
            16usize,
        );
    }
}

/// Where this lane's chunks of the fragments begin in a tile, in pairs: for each step along D.
///
/// `k_contiguous` says whether the product's sums run along D, `corner` is the plane's first row.
#[cube]
pub(super) fn places(
    lane: usize,
    corner: usize,
    #[comptime] ident: MatrixIdent,
    #[comptime] k_contiguous: bool,
    #[comptime] tiling: TensorTiling,
) -> Array<usize> {
    let stage = comptime!(if k_contiguous { tiling.along_width() } else { tiling.along_tokens() });
    let across = comptime!(across(ident, stage));
    let steps = comptime!(tiling.steps());
    let mut at = Array::<usize>::new(steps);
    #[unroll]
    for step in 0..steps {
        at[step] = fragment_at(lane, corner, step, stage, across) / 2;
    }
    at
}

/// Pairs from a group of 16 tokens to the next.
pub(super) fn group_stride(tiling: TensorTiling) -> usize {
    fragment_stride(tiling.along_width()) / 2
}

/// The left operand of products along D: this plane's 16 rows of a tile, if they are
/// `kept` in registers, else nothing.
#[cube]
pub(super) fn load_rows<E: Float>(
    tile: &Shared<[Vector<E, Pair>]>,
    at: &Array<usize>,
    #[comptime] kept: bool,
    #[comptime] tiling: TensorTiling,
) -> Sequence<Array<Vector<E, Pair>>> {
    let mut rows = Sequence::<Array<Vector<E, Pair>>>::new();
    #[unroll]
    for step in 0..comptime!(if kept { tiling.steps() } else { 0 }) {
        rows.push(load_fragment_of_pairs::<E>(tile, at[step], MatrixIdent::A, false));
    }
    rows
}

/// Products along D of the plane's rows with 16 tokens of a tile, to the accumulators from `at` on. The
/// rows are in registers if they are `kept`, else they come from `own` anew.
///
/// Accumulators come in fours for 16 columns: upper and lower row of the first eight, then of the others.
#[cube]
pub(super) fn multiply_rows<E: Float>(
    rows: &Sequence<Array<Vector<E, Pair>>>,
    own: &Shared<[Vector<E, Pair>]>,
    own_places: &Array<usize>,
    tile: &Shared<[Vector<E, Pair>]>,
    base: usize,
    places: &Array<usize>,
    acc: &mut Array<Vector<f32, Pair>>,
    #[comptime] at: usize,
    #[comptime] kept: bool,
    #[comptime] tiling: TensorTiling,
) {
    #[unroll]
    for i in 0..4usize {
        acc[comptime!(at + i)] = Vector::new(0.0f32);
    }
    #[unroll]
    for step in 0..comptime!(tiling.steps()) {
        let columns = load_fragment_of_pairs::<E>(tile, base + places[step], MatrixIdent::B, false);
        if comptime!(kept) {
            multiply_add::<E>(&rows[step], &columns, 0usize, acc, at);
            multiply_add::<E>(&rows[step], &columns, 1usize, acc, comptime!(at + 2));
        } else {
            let row = load_fragment_of_pairs::<E>(own, own_places[step], MatrixIdent::A, false);
            multiply_add::<E>(&row, &columns, 0usize, acc, at);
            multiply_add::<E>(&row, &columns, 1usize, acc, comptime!(at + 2));
        }
    }
}

/// Adds `weights · tile` for 16 tokens of a tile to the sums, four accumulators for 16 columns of D.
///
/// `weights` are accumulators from `at` on, which lie as a left operand does.
#[cube]
pub(super) fn add_weighted<E: Float>(
    weights: &Array<Vector<f32, Pair>>,
    tile: &Shared<[Vector<E, Pair>]>,
    base: usize,
    places: &Array<usize>,
    sums: &mut Array<Vector<f32, Pair>>,
    #[comptime] at: usize,
    #[comptime] tiling: TensorTiling,
) {
    let mut rounded = Array::<Vector<E, Pair>>::new(4usize);
    #[unroll]
    for i in 0..4usize {
        rounded[i] = Vector::cast_from(weights[comptime!(at + i)]);
    }
    #[unroll]
    for step in 0..comptime!(tiling.steps()) {
        let columns = load_fragment_of_pairs::<E>(tile, base + places[step], MatrixIdent::B, true);
        multiply_add::<E>(&rounded, &columns, 0usize, sums, comptime!(step * 4));
        multiply_add::<E>(&rounded, &columns, 1usize, sums, comptime!(step * 4 + 2));
    }
}

/// Sums of D columns for the plane's 16 rows, all zero.
#[cube]
pub(super) fn no_sums(#[comptime] tiling: TensorTiling) -> Array<Vector<f32, Pair>> {
    let mut sums = Array::<Vector<f32, Pair>>::new(comptime!(tiling.steps() * 4));
    #[unroll]
    for i in 0..comptime!(tiling.steps() * 4) {
        sums[i] = Vector::new(0.0f32);
    }
    sums
}

/// Writes the plane's sums to rows of a buffer, by way of the plane's rows of a tile that no other plane
/// reads. `count` of the rows exist, from the plane's first.
#[cube]
pub(super) fn store_rows<E: Float, L: Size>(
    sums: &Array<Vector<f32, Pair>>,
    upper: f32,
    lower: f32,
    tile: &mut Shared<[Vector<E, Pair>]>,
    out: &mut [Vector<E, L>],
    rows: &Rows,
    lane: usize,
    corner: usize,
    #[comptime] tiling: TensorTiling,
) {
    let stage = comptime!(tiling.along_width());
    let row = corner + accumulator_row(lane);
    let pair = accumulator_column(lane) / 2;
    sync_plane();
    #[unroll]
    for i in 0..comptime!(tiling.steps() * 4) {
        let factor = if comptime!(i % 2 == 0) { upper } else { lower };
        let chunk = comptime!(i / 2).runtime();
        let at = chunk_at(row + comptime!(i % 2 * 8), chunk, stage) / 2 + pair;
        tile[at] = Vector::cast_from(sums[i] * Vector::new(factor));
    }
    sync_plane();
    let chunks = comptime!(tiling.chunks());
    let finished = tile.with_vector_size::<L>();
    #[unroll]
    for item in 0..comptime!(M * tiling.chunks() / LANES) {
        let item = comptime!(item * LANES) + lane;
        let row = corner + item / chunks;
        let chunk = item % chunks;
        if row < rows.count {
            out[rows.first + row * rows.stride + chunk] =
                finished[chunk_at(row, chunk, stage) / comptime!(CHUNK)];
        }
    }
}
