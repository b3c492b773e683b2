//! The forward pass: a cube owns a tile of queries and walks the keys and values.

use cubecl::prelude::*;

use super::super::super::forward::NO_PEAK;
use super::super::super::tiles::{Owner, Rows};
use super::super::{TensorTiling, rows_of, this_owner};
use super::place::{Places, places};
use super::tile::{
    add_weighted, fetch, load_own, multiply_rows, no_sums, put, put_own, store_rows,
};
use crate::MatrixCore;
use crate::amd_tile::{Words, sum_row};
use crate::exp2::exp2_approx;
use crate::matrix_core::{keep_order, swap_halves};
use crate::ops::dropout::{DropMask, ShortRow};
use crate::tensor_tile::M;

/// What a lane knows of its queries, one for each of the plane's columns.
#[derive(CubeType)]
struct Softmax<NS: Size> {
    /// Highest score so far.
    peaks: Array<f32>,
    /// This lane's share of the sum of exponentials relative to it.
    totals: Array<f32>,
    /// Weighted values relative to it.
    sums: Array<Vector<f32, NS>>,
}

/// A cube's tile of queries.
#[cube]
pub(in super::super) fn attend<E: Float, L: Size>(
    qkv: &[Vector<E, L>],
    cu_seqlens: &[u32],
    out: &mut [Vector<E, L>],
    lse: &mut [f32],
    blocks: usize,
    heads: usize,
    scale: f32,
    mask: &DropMask,
    #[comptime] tiling: TensorTiling,
) {
    let size!(NF) = comptime!(tiling.core.words());
    let size!(NS) = comptime!(tiling.core.sums());
    let walk = comptime!(tiling.walk());
    let kept = comptime!(tiling.keeps(1, 1));
    let ahead = comptime!(tiling.loads_ahead());
    let chunks = comptime!(tiling.walk_chunks());
    let mut shared = Shared::<[Vector<u32, Words>]>::new_aligned_slice(
        comptime!(tiling.shared_chunks(1, 1)),
        128usize,
    );
    let owner = this_owner(cu_seqlens, blocks, tiling);
    if owner.start < owner.length {
        let query_rows = rows_of(&owner, heads, 3usize, 0usize, tiling);
        let query_rows = query_rows.block(owner.start, comptime!(tiling.tile));
        let key_rows = rows_of(&owner, heads, 3usize, 1usize, tiling);
        let value_rows = rows_of(&owner, heads, 3usize, 2usize, tiling);
        let mut keys = Array::<Vector<E, L>>::new(comptime!(tiling.copies(walk)));
        let mut values = Array::<Vector<E, L>>::new(comptime!(tiling.copies(walk)));
        let first_keys = key_rows.block(0usize, walk);
        let first_values = value_rows.block(0usize, walk);
        fetch::<E, L>(qkv, &first_keys, &mut keys, walk, tiling);
        fetch::<E, L>(qkv, &first_values, &mut values, walk, tiling);

        let lane = UNIT_POS_PLANE as usize;
        let corner =
            UNIT_POS as usize / comptime!(tiling.core.lanes()) * comptime!(tiling.plane_tokens());
        let busy = corner < query_rows.count;
        let queries = load_own::<E, L>(qkv, &query_rows, corner, lane, kept, tiling);
        let places = places(lane, tiling);
        let scale_log2 = scale * std::f32::consts::LOG2_E;
        let columns = comptime!(tiling.columns());
        let mut draws = Array::<ShortRow>::new(columns);
        let mut softmax = Softmax::<NS> {
            peaks: Array::new(columns),
            totals: Array::new(columns),
            sums: no_sums::<NS>(tiling),
        };
        #[unroll]
        for column in 0..columns {
            let query = owner.start + corner + comptime!(M * column) + lane % comptime!(M);
            draws[column] = mask.short_row(((owner.token + query) * heads + owner.head) as u32);
            softmax.peaks[column] = NO_PEAK;
            softmax.totals[column] = 0.0f32;
        }
        put::<E, L>(&keys, &first_keys, &mut shared, 0usize, walk, tiling);
        put::<E, L>(&values, &first_values, &mut shared, chunks, walk, tiling);
        if comptime!(!kept) {
            put_own::<E, L>(qkv, &query_rows, &mut shared, comptime!(2 * chunks), tiling);
        }
        sync_cube();

        for start in range_stepped(0usize, owner.length, walk) {
            let next = start + walk;
            let more = next < owner.length;
            if comptime!(ahead) {
                if more {
                    fetch::<E, L>(qkv, &key_rows.block(next, walk), &mut keys, walk, tiling);
                    fetch::<E, L>(qkv, &value_rows.block(next, walk), &mut values, walk, tiling);
                }
            }
            keep_order();
            let count = owner.length - start;
            if busy {
                if count >= walk {
                    attend_tile::<E, NF, NS>(
                        &queries,
                        &shared,
                        corner,
                        &places,
                        start,
                        count,
                        scale_log2,
                        mask,
                        &draws,
                        lane,
                        &mut softmax,
                        true,
                        tiling,
                    );
                } else {
                    attend_tile::<E, NF, NS>(
                        &queries,
                        &shared,
                        corner,
                        &places,
                        start,
                        count,
                        scale_log2,
                        mask,
                        &draws,
                        lane,
                        &mut softmax,
                        false,
                        tiling,
                    );
                }
            }
            if more {
                // Everybody is done with this tile, and then the next one is there for everybody.
                sync_cube();
                if comptime!(!ahead) {
                    fetch::<E, L>(qkv, &key_rows.block(next, walk), &mut keys, walk, tiling);
                    fetch::<E, L>(qkv, &value_rows.block(next, walk), &mut values, walk, tiling);
                }
                put::<E, L>(&keys, &key_rows.block(next, walk), &mut shared, 0usize, walk, tiling);
                put::<E, L>(
                    &values,
                    &value_rows.block(next, walk),
                    &mut shared,
                    chunks,
                    walk,
                    tiling,
                );
                sync_cube();
            }
        }
        if busy {
            finish::<E, L, NS>(
                &owner,
                &query_rows,
                &softmax,
                out,
                lse,
                heads,
                scale,
                lane,
                corner,
                tiling,
            );
        }
    }
}

/// The plane's queries and a tile of keys, of which `count` exist, or all if it is `whole`.
#[cube]
fn attend_tile<E: Float, NF: Size, NS: Size>(
    queries: &Array<Vector<u32, Words>>,
    shared: &Shared<[Vector<u32, Words>]>,
    corner: usize,
    places: &Places,
    start: usize,
    count: usize,
    scale_log2: f32,
    mask: &DropMask,
    draws: &Array<ShortRow>,
    lane: usize,
    softmax: &mut Softmax<NS>,
    #[comptime] whole: bool,
    #[comptime] tiling: TensorTiling,
) {
    let groups = comptime!(tiling.groups());
    let walk_chunks = comptime!(tiling.walk_chunks());
    let own = comptime!(2 * walk_chunks) + corner * comptime!(tiling.tile_chunks(1));
    let columns = comptime!(tiling.columns());
    // A number that is known when compiling, so that a whole tile has no branches.
    let count = if comptime!(whole) { comptime!(tiling.walk()).runtime() } else { count };
    let mut scores = Array::<Vector<f32, NS>>::new(comptime!(columns * groups));
    let mut highest = Array::<f32>::new(columns);
    #[unroll]
    for column in 0..columns {
        highest[column] = softmax.peaks[column];
    }
    #[unroll]
    for group in 0..groups {
        // Of the few groups of RDNA's tiles none is skipped: products would be put off past the branch, and
        // their operands would take registers until then.
        let all = comptime!(tiling.core == MatrixCore::Wmma);
        if comptime!(all).runtime() || comptime!(M * group).runtime() < count {
            multiply_rows::<E, NF, NS>(
                shared,
                comptime!(group * tiling.group_chunks()).runtime(),
                queries,
                own,
                places,
                &mut scores,
                comptime!(columns * group),
                comptime!(tiling.keeps(1, 1)),
                tiling,
            );
        }
        #[unroll]
        for column in 0..columns {
            let mut of_column = scores[comptime!(columns * group + column)];
            #[unroll]
            for i in 0..comptime!(tiling.core.sums()) {
                if comptime!(!whole) {
                    let key = comptime!(M * group) + sum_row(lane, i, tiling.core);
                    of_column.insert(i, select(key < count, of_column.extract(i), NO_PEAK));
                }
                highest[column] = max(highest[column], of_column.extract(i));
            }
            scores[comptime!(columns * group + column)] = of_column;
        }
    }

    let mut shift = Array::<f32>::new(columns);
    #[unroll]
    for column in 0..columns {
        let peak = max_of_query(highest[column], tiling);
        let shrink = exp2_approx((softmax.peaks[column] - peak) * scale_log2, tiling.core);
        shift[column] = -peak * scale_log2;
        softmax.peaks[column] = peak;
        softmax.totals[column] = softmax.totals[column] * shrink;
        #[unroll]
        for step in 0..comptime!(tiling.steps()) {
            let at = comptime!(step * columns + column);
            softmax.sums[at] = softmax.sums[at] * Vector::new(shrink);
        }
    }
    #[unroll]
    for group in 0..groups {
        if comptime!(M * group).runtime() < count {
            weigh::<NS>(
                &mut scores,
                start + sum_row(lane, 0usize, tiling.core),
                scale_log2,
                &shift,
                mask,
                draws,
                &mut softmax.totals,
                group,
                tiling,
            );
            add_weighted::<E, NF, NS>(
                &scores,
                shared,
                comptime!(walk_chunks + group * tiling.group_chunks()).runtime(),
                places,
                &mut softmax.sums,
                lane,
                comptime!(columns * group),
                tiling,
            );
        }
    }
}

/// Turns the scores of 16 keys into dropped-out weights relative to the peak. `first` is the first of the
/// lane's keys in the tile.
#[cube]
fn weigh<NS: Size>(
    scores: &mut Array<Vector<f32, NS>>,
    first: usize,
    scale_log2: f32,
    shift: &Array<f32>,
    mask: &DropMask,
    draws: &Array<ShortRow>,
    totals: &mut Array<f32>,
    #[comptime] group: usize,
    #[comptime] tiling: TensorTiling,
) {
    #[unroll]
    for column in 0..comptime!(tiling.columns()) {
        let at = comptime!(tiling.columns() * group + column);
        let mut weights = scores[at];
        #[unroll]
        for i in 0..comptime!(tiling.core.sums()) {
            let score = fma(weights.extract(i), scale_log2, shift[column]);
            let mut weight = exp2_approx(score, tiling.core);
            totals[column] += weight;
            if comptime!(tiling.drops) {
                // The first key has zeros where this has bits: no sum for each of them.
                let key = first as u32 ^ comptime!((M * group + tiling.sum_step() * i) as u32);
                weight = weight * mask.factor(draws[column], key);
            }
            weights.insert(i, weight);
        }
        scores[at] = weights;
    }
}

/// Divides by the totals and writes rows and `lse`.
#[cube]
fn finish<E: Float, L: Size, NS: Size>(
    owner: &Owner,
    query_rows: &Rows,
    softmax: &Softmax<NS>,
    out: &mut [Vector<E, L>],
    lse: &mut [f32],
    heads: usize,
    scale: f32,
    lane: usize,
    corner: usize,
    #[comptime] tiling: TensorTiling,
) {
    let columns = comptime!(tiling.columns());
    let mut factors = Array::<f32>::new(columns);
    #[unroll]
    for column in 0..columns {
        let total = sum_of_query(softmax.totals[column], tiling);
        factors[column] = 1.0f32 / total;
        let query = corner + comptime!(M * column) + lane;
        if lane < comptime!(M) {
            if query < query_rows.count {
                let token = owner.token + owner.start + query;
                lse[token * heads + owner.head] =
                    softmax.peaks[column] * scale + crate::math::ln(total);
            }
        }
    }
    let rows = rows_of(owner, heads, 1usize, 0usize, tiling).block(owner.start, tiling.tile);
    store_rows::<E, L, NS>(&softmax.sums, &factors, out, &rows, lane, corner, tiling);
}

/// The largest of the lanes that share a query.
#[cube]
fn max_of_query(x: f32, #[comptime] tiling: TensorTiling) -> f32 {
    if comptime!(tiling.core == MatrixCore::Wmma) {
        max(x, of_other_half(x))
    } else {
        let x = max(x, plane_shuffle_xor(x, 16u32));
        max(x, plane_shuffle_xor(x, 32u32))
    }
}

/// The sum over the lanes that share a query.
#[cube]
fn sum_of_query(x: f32, #[comptime] tiling: TensorTiling) -> f32 {
    if comptime!(tiling.core == MatrixCore::Wmma) {
        x + of_other_half(x)
    } else {
        let x = x + plane_shuffle_xor(x, 16u32);
        x + plane_shuffle_xor(x, 32u32)
    }
}

#[cube]
fn of_other_half(x: f32) -> f32 {
    f32::reinterpret(swap_halves(u32::reinterpret(x)))
}
