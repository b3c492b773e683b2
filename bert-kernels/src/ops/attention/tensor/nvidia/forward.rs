//! The forward pass: a cube owns a tile of queries.

use cubecl::cmma::MatrixIdent;
use cubecl::prelude::*;

use super::super::super::forward::NO_PEAK;
use super::super::super::tiles::{Owner, Rows};
use super::super::{TensorTiling, rows_of, this_owner};
use super::tile::{
    add_weighted, fill, group_stride, load_rows, multiply_rows, no_sums, places, store_rows,
};
use crate::async_copy::{commit_copies, wait_copies};
use crate::exp2::exp2_approx;
use crate::ops::dropout::{DropMask, ShortRow};
use crate::tensor_tile::{LANES, M, Pair, accumulator_column, accumulator_row};

/// What a lane knows of its two rows, upper and lower.
#[derive(CubeType)]
struct Softmax {
    /// Highest score so far.
    peaks: Array<f32>,
    /// This lane's share of the sum of exponentials relative to it.
    totals: Array<f32>,
    /// Weighted values relative to it.
    sums: Array<Vector<f32, Pair>>,
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
    let pairs = comptime!(tiling.pairs());
    let mut of_queries = Shared::<[Vector<E, Pair>]>::new_aligned_slice(pairs, 128usize);
    let mut of_keys =
        Shared::<[Vector<E, Pair>]>::new_aligned_slice(comptime!(2 * pairs), 128usize);
    let mut of_values =
        Shared::<[Vector<E, Pair>]>::new_aligned_slice(comptime!(2 * pairs), 128usize);
    let owner = this_owner(cu_seqlens, blocks, tiling);
    if owner.start < owner.length {
        let tile = comptime!(tiling.tile);
        let query_rows = rows_of(&owner, heads, 3usize, 0usize, tiling).block(owner.start, tile);
        let key_rows = rows_of(&owner, heads, 3usize, 1usize, tiling);
        let value_rows = rows_of(&owner, heads, 3usize, 2usize, tiling);
        fill::<E, L>(qkv, &query_rows, &mut of_queries, 0usize.runtime(), tiling);
        let first = 0usize.runtime();
        fill_both::<E, L>(
            qkv,
            &key_rows,
            &value_rows,
            first,
            first,
            &mut of_keys,
            &mut of_values,
            tiling,
        );

        let lane = UNIT_POS_PLANE as usize;
        let corner = UNIT_POS as usize / comptime!(LANES) * comptime!(M);
        let busy = corner < query_rows.count;
        let key_places = places(lane, 0usize.runtime(), MatrixIdent::B, true, tiling);
        let value_places = places(lane, 0usize.runtime(), MatrixIdent::B, false, tiling);
        let upper = corner + accumulator_row(lane);
        let row = (owner.token + owner.start + upper) * heads + owner.head;
        let mut draws = Array::<ShortRow>::new(2usize);
        draws[0] = mask.short_row(row as u32);
        draws[1] = mask.short_row((row + 8 * heads) as u32);
        let scale_log2 = scale * std::f32::consts::LOG2_E;
        let mut softmax = Softmax {
            peaks: Array::new(2usize),
            totals: Array::new(2usize),
            sums: no_sums(tiling),
        };
        #[unroll]
        for i in 0..2usize {
            softmax.peaks[i] = NO_PEAK;
            softmax.totals[i] = 0.0f32;
        }
        wait_copies(0usize);
        sync_cube();
        let query_places = places(lane, corner, MatrixIdent::A, true, tiling);
        let queries = load_rows::<E>(&of_queries, &query_places, true, tiling);

        let mut slot = 0usize.runtime();
        for start in range_stepped(0usize, owner.length, tile) {
            let next = start + tile;
            if next < owner.length {
                fill_both::<E, L>(
                    qkv,
                    &key_rows,
                    &value_rows,
                    next,
                    1 - slot,
                    &mut of_keys,
                    &mut of_values,
                    tiling,
                );
            }
            let count = owner.length - start;
            let base = slot * pairs;
            if busy {
                if count >= tile {
                    attend_tile::<E>(
                        &queries,
                        &of_queries,
                        &query_places,
                        &of_keys,
                        &of_values,
                        base,
                        &key_places,
                        &value_places,
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
                    attend_tile::<E>(
                        &queries,
                        &of_queries,
                        &query_places,
                        &of_keys,
                        &of_values,
                        base,
                        &key_places,
                        &value_places,
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
            // The next tile is there, and everybody is done with this one's stage.
            wait_copies(0usize);
            sync_cube();
            slot = 1 - slot;
        }
        if busy {
            finish::<E, L>(
                &owner,
                &query_rows,
                &softmax,
                &mut of_queries,
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

/// Starts the copies of the tiles of keys and values that begin at `start`.
#[cube]
fn fill_both<E: Float, L: Size>(
    qkv: &[Vector<E, L>],
    key_rows: &Rows,
    value_rows: &Rows,
    start: usize,
    slot: usize,
    of_keys: &mut Shared<[Vector<E, Pair>]>,
    of_values: &mut Shared<[Vector<E, Pair>]>,
    #[comptime] tiling: TensorTiling,
) {
    fill::<E, L>(qkv, &key_rows.block(start, tiling.tile), of_keys, slot, tiling);
    fill::<E, L>(qkv, &value_rows.block(start, tiling.tile), of_values, slot, tiling);
    commit_copies();
}

/// The plane's 16 queries and a tile of keys, of which `count` exist, or all if it is `whole`.
#[cube]
fn attend_tile<E: Float>(
    queries: &Sequence<Array<Vector<E, Pair>>>,
    of_queries: &Shared<[Vector<E, Pair>]>,
    query_places: &Array<usize>,
    keys: &Shared<[Vector<E, Pair>]>,
    values: &Shared<[Vector<E, Pair>]>,
    base: usize,
    key_places: &Array<usize>,
    value_places: &Array<usize>,
    start: usize,
    count: usize,
    scale_log2: f32,
    mask: &DropMask,
    draws: &Array<ShortRow>,
    lane: usize,
    softmax: &mut Softmax,
    #[comptime] whole: bool,
    #[comptime] tiling: TensorTiling,
) {
    let groups = comptime!(tiling.groups());
    let stride = comptime!(group_stride(tiling));
    let column = accumulator_column(lane);
    // A number that is known when compiling, so that a whole tile has no branches.
    let count = if comptime!(whole) { comptime!(tiling.tile).runtime() } else { count };
    let mut scores = Array::<Vector<f32, Pair>>::new(comptime!(4 * groups));
    let mut highest = Array::<f32>::new(2usize);
    highest[0] = softmax.peaks[0];
    highest[1] = softmax.peaks[1];
    #[unroll]
    for group in 0..groups {
        let at = comptime!(4 * group);
        let base = base + comptime!(group * stride);
        if comptime!(M * group).runtime() < count {
            multiply_rows::<E>(
                queries,
                of_queries,
                query_places,
                keys,
                base,
                key_places,
                &mut scores,
                at,
                true,
                tiling,
            );
        }
        #[unroll]
        for i in 0..4usize {
            let row = comptime!(i % 2);
            let mut pair = scores[comptime!(at + i)];
            if comptime!(!whole) {
                let key = comptime!(M * group + i / 2 * 8) + column;
                #[unroll]
                for j in 0..2usize {
                    pair.insert(j, select(key + j < count, pair.extract(j), NO_PEAK));
                }
                scores[comptime!(at + i)] = pair;
            }
            highest[row] = max(highest[row], max(pair.extract(0usize), pair.extract(1usize)));
        }
    }

    let mut shrink = Array::<f32>::new(2usize);
    let mut shift = Array::<f32>::new(2usize);
    #[unroll]
    for row in 0..2usize {
        let peak = quad_max(highest[row]);
        shrink[row] = exp2_approx((softmax.peaks[row] - peak) * scale_log2, tiling.core);
        shift[row] = -peak * scale_log2;
        softmax.peaks[row] = peak;
        softmax.totals[row] = softmax.totals[row] * shrink[row];
    }
    #[unroll]
    for i in 0..comptime!(4 * tiling.steps()) {
        softmax.sums[i] = softmax.sums[i] * Vector::new(shrink[comptime!(i % 2)]);
    }
    #[unroll]
    for group in 0..groups {
        let at = comptime!(4 * group);
        let base = base + comptime!(group * stride);
        if comptime!(M * group).runtime() < count {
            weigh(
                &mut scores,
                start + column,
                scale_log2,
                &shift,
                mask,
                draws,
                &mut softmax.totals,
                group,
                tiling,
            );
            add_weighted::<E>(&scores, values, base, value_places, &mut softmax.sums, at, tiling);
        }
    }
}

/// Turns the scores of 16 keys into dropped-out weights relative to the peak. `first` is the first of the
/// lane's keys in the tile.
#[cube]
fn weigh(
    scores: &mut Array<Vector<f32, Pair>>,
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
    for i in 0..4usize {
        let at = comptime!(4 * group + i);
        let row = comptime!(i % 2);
        let mut weights = scores[at];
        #[unroll]
        for j in 0..2usize {
            weights.insert(
                j,
                exp2_approx(fma(weights.extract(j), scale_log2, shift[row]), tiling.core),
            );
        }
        totals[row] += weights.extract(0usize) + weights.extract(1usize);
        if comptime!(tiling.drops) {
            #[unroll]
            for j in 0..2usize {
                // The first key has zeros where this has bits: no sum for each of them.
                let key = first as u32 ^ comptime!((M * group + i / 2 * 8 + j) as u32);
                weights.insert(j, weights.extract(j) * mask.factor(draws[row], key));
            }
        }
        scores[at] = weights;
    }
}

/// Divides by the totals and writes rows and `lse`.
#[cube]
fn finish<E: Float, L: Size>(
    owner: &Owner,
    query_rows: &Rows,
    softmax: &Softmax,
    tile: &mut Shared<[Vector<E, Pair>]>,
    out: &mut [Vector<E, L>],
    lse: &mut [f32],
    heads: usize,
    scale: f32,
    lane: usize,
    corner: usize,
    #[comptime] tiling: TensorTiling,
) {
    let mut factors = Array::<f32>::new(2usize);
    #[unroll]
    for row in 0..2usize {
        let total = quad_sum(softmax.totals[row]);
        factors[row] = 1.0f32 / total;
        let query = corner + accumulator_row(lane) + comptime!(8 * row);
        if accumulator_column(lane) == 0 {
            if query < query_rows.count {
                let token = owner.token + owner.start + query;
                lse[token * heads + owner.head] =
                    softmax.peaks[row] * scale + crate::math::ln(total);
            }
        }
    }
    let rows = rows_of(owner, heads, 1usize, 0usize, tiling).block(owner.start, tiling.tile);
    store_rows::<E, L>(
        &softmax.sums,
        factors[0],
        factors[1],
        tile,
        out,
        &rows,
        lane,
        corner,
        tiling,
    );
}

/// The largest of the four lanes that share a row.
#[cube]
fn quad_max(x: f32) -> f32 {
    let x = max(x, plane_shuffle_xor(x, 1u32));
    max(x, plane_shuffle_xor(x, 2u32))
}

/// The sum over the four lanes that share a row.
#[cube]
fn quad_sum(x: f32) -> f32 {
    let x = x + plane_shuffle_xor(x, 1u32);
    x + plane_shuffle_xor(x, 2u32)
}
