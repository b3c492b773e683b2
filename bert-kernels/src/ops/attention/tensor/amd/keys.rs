//! Gradients of keys and values: a cube owns a tile of them and walks the queries and the gradients of
//! their results.

use cubecl::prelude::*;

use super::super::super::tiles::Owner;
use super::super::{TensorTiling, rows_of, this_owner};
use super::place::places;
use super::tile::{
    add_weighted, factors, fetch, load_own, multiply_rows, no_sums, put, put_own, store_rows,
};
use crate::MatrixCore;
use crate::amd_tile::Words;
use crate::exp2::exp2_approx;
use crate::matrix_core::keep_order;
use crate::ops::dropout::{DropMask, ShortRow};
use crate::tensor_tile::M;

/// A cube's tile of keys and values.
#[cube]
pub(in super::super) fn differentiate<E: Float, L: Size>(
    qkv: &[Vector<E, L>],
    cu_seqlens: &[u32],
    lse: &[f32],
    d_out: &[Vector<E, L>],
    delta: &[f32],
    d_qkv: &mut [Vector<E, L>],
    blocks: usize,
    heads: usize,
    scale: f32,
    mask: &DropMask,
    #[comptime] tiling: TensorTiling,
) {
    let size!(NF) = comptime!(tiling.core.words());
    let size!(NS) = comptime!(tiling.core.sums());
    let tile = comptime!(tiling.tile);
    let walk = comptime!(tiling.walk());
    let kept = comptime!(tiling.keeps(2, 2));
    let ahead = comptime!(tiling.loads_ahead());
    let chunks = comptime!(tiling.walk_chunks());
    let own_chunks = comptime!(tiling.tile_chunks(tile));
    let mut shared = Shared::<[Vector<u32, Words>]>::new_aligned_slice(
        comptime!(tiling.shared_chunks(2, 2)),
        128usize,
    );
    // Of each query, those of a lane's accumulators side by side.
    let mut of_shift = Shared::<[f32]>::new_aligned_slice(walk, 128usize);
    let mut of_delta = Shared::<[f32]>::new_aligned_slice(walk, 128usize);
    let mut of_draws = Shared::<[ShortRow]>::new_aligned_slice(
        comptime!(if tiling.drops { walk } else { 1 }),
        128usize,
    );
    let owner = this_owner(cu_seqlens, blocks, tiling);
    if owner.start < owner.length {
        let key_rows = rows_of(&owner, heads, 3usize, 1usize, tiling).block(owner.start, tile);
        let value_rows = rows_of(&owner, heads, 3usize, 2usize, tiling).block(owner.start, tile);
        let query_rows = rows_of(&owner, heads, 3usize, 0usize, tiling);
        let d_out_rows = rows_of(&owner, heads, 1usize, 0usize, tiling);
        let mut queries = Array::<Vector<E, L>>::new(comptime!(tiling.copies(walk)));
        let mut d_outs = Array::<Vector<E, L>>::new(comptime!(tiling.copies(walk)));
        let mut known = Array::<f32>::new(2usize);
        let first_queries = query_rows.block(0usize, walk);
        let first_d_out = d_out_rows.block(0usize, walk);
        fetch::<E, L>(qkv, &first_queries, &mut queries, walk, tiling);
        fetch::<E, L>(d_out, &first_d_out, &mut d_outs, walk, tiling);
        fetch_known(lse, delta, &owner, heads, 0usize.runtime(), &mut known);

        let lane = UNIT_POS_PLANE as usize;
        let corner =
            UNIT_POS as usize / comptime!(tiling.core.lanes()) * comptime!(tiling.plane_tokens());
        let busy = corner < key_rows.count;
        let keys = load_own::<E, L>(qkv, &key_rows, corner, lane, kept, tiling);
        let values = load_own::<E, L>(qkv, &value_rows, corner, lane, kept, tiling);
        let places = places(lane, tiling);
        let scale_log2 = scale * std::f32::consts::LOG2_E;
        let columns = comptime!(tiling.columns());
        let key = (owner.start + corner + lane % comptime!(M)) as u32;
        let mut d_keys = no_sums::<NS>(tiling);
        let mut d_values = no_sums::<NS>(tiling);
        put::<E, L>(&queries, &first_queries, &mut shared, 0usize, walk, tiling);
        put::<E, L>(&d_outs, &first_d_out, &mut shared, chunks, walk, tiling);
        put_known(
            &known,
            &owner,
            heads,
            mask,
            0usize.runtime(),
            &mut of_shift,
            &mut of_delta,
            &mut of_draws,
            tiling,
        );
        if comptime!(!kept) {
            put_own::<E, L>(qkv, &key_rows, &mut shared, comptime!(2 * chunks), tiling);
            put_own::<E, L>(
                qkv,
                &value_rows,
                &mut shared,
                comptime!(2 * chunks + own_chunks),
                tiling,
            );
        }
        sync_cube();

        for start in range_stepped(0usize, owner.length, walk) {
            let next = start + walk;
            let more = next < owner.length;
            if comptime!(ahead) {
                if more {
                    fetch::<E, L>(qkv, &query_rows.block(next, walk), &mut queries, walk, tiling);
                    fetch::<E, L>(d_out, &d_out_rows.block(next, walk), &mut d_outs, walk, tiling);
                    fetch_known(lse, delta, &owner, heads, next, &mut known);
                }
            }
            keep_order();
            let count = owner.length - start;
            if busy {
                #[unroll]
                for group in 0..comptime!(tiling.groups()) {
                    if comptime!(M * group).runtime() < count {
                        let first = comptime!(group * tiling.group_chunks());
                        let of_queries = first.runtime();
                        let of_d_out = comptime!(first + chunks).runtime();
                        let of_keys =
                            comptime!(2 * chunks) + corner * comptime!(tiling.tile_chunks(1));
                        let of_values = of_keys + own_chunks;
                        let mut scores = Array::<Vector<f32, NS>>::new(columns);
                        let mut d_scores = Array::<Vector<f32, NS>>::new(columns);
                        multiply_rows::<E, NF, NS>(
                            &shared,
                            of_queries,
                            &keys,
                            of_keys,
                            &places,
                            &mut scores,
                            0usize,
                            kept,
                            tiling,
                        );
                        multiply_rows::<E, NF, NS>(
                            &shared,
                            of_d_out,
                            &values,
                            of_values,
                            &places,
                            &mut d_scores,
                            0usize,
                            kept,
                            tiling,
                        );
                        differentiate_scores::<NS>(
                            &mut scores,
                            &mut d_scores,
                            &of_shift,
                            &of_delta,
                            &of_draws,
                            comptime!(M * group) + lane / comptime!(M) * NS::value(),
                            key,
                            mask,
                            scale_log2,
                            tiling,
                        );
                        add_weighted::<E, NF, NS>(
                            &scores,
                            &shared,
                            of_d_out,
                            &places,
                            &mut d_values,
                            lane,
                            0usize,
                            tiling,
                        );
                        add_weighted::<E, NF, NS>(
                            &d_scores,
                            &shared,
                            of_queries,
                            &places,
                            &mut d_keys,
                            lane,
                            0usize,
                            tiling,
                        );
                    }
                }
            }
            if more {
                // Everybody is done with this tile, and then the next one is there for everybody.
                sync_cube();
                if comptime!(!ahead) {
                    fetch::<E, L>(qkv, &query_rows.block(next, walk), &mut queries, walk, tiling);
                    fetch::<E, L>(d_out, &d_out_rows.block(next, walk), &mut d_outs, walk, tiling);
                    fetch_known(lse, delta, &owner, heads, next, &mut known);
                }
                put::<E, L>(
                    &queries,
                    &query_rows.block(next, walk),
                    &mut shared,
                    0usize,
                    walk,
                    tiling,
                );
                put::<E, L>(
                    &d_outs,
                    &d_out_rows.block(next, walk),
                    &mut shared,
                    chunks,
                    walk,
                    tiling,
                );
                put_known(
                    &known,
                    &owner,
                    heads,
                    mask,
                    next,
                    &mut of_shift,
                    &mut of_delta,
                    &mut of_draws,
                    tiling,
                );
                sync_cube();
            }
        }
        if busy {
            let scales = factors(scale, tiling);
            let ones = factors(1.0f32.runtime(), tiling);
            store_rows::<E, L, NS>(&d_keys, &scales, d_qkv, &key_rows, lane, corner, tiling);
            store_rows::<E, L, NS>(&d_values, &ones, d_qkv, &value_rows, lane, corner, tiling);
        }
    }
}

/// Loads what is known of a query of the tile that begins at `start`, one a unit.
#[cube]
fn fetch_known(
    lse: &[f32],
    delta: &[f32],
    owner: &Owner,
    heads: usize,
    start: usize,
    known: &mut Array<f32>,
) {
    let query = min(start + UNIT_POS as usize, owner.length - 1);
    let row = (owner.token + query) * heads + owner.head;
    known[0] = lse[row];
    known[1] = delta[row];
}

/// Puts it to shared memory, with the query's row of the mask, which is computed here, once for the cube.
///
/// What is missing is zero: such a query has zeros for a gradient, so nothing is added for it.
#[cube]
fn put_known(
    known: &Array<f32>,
    owner: &Owner,
    heads: usize,
    mask: &DropMask,
    start: usize,
    of_shift: &mut Shared<[f32]>,
    of_delta: &mut Shared<[f32]>,
    of_draws: &mut Shared<[ShortRow]>,
    #[comptime] tiling: TensorTiling,
) {
    let query = UNIT_POS as usize;
    if query < comptime!(tiling.walk()) {
        let inside = start + query < owner.length;
        let to = place_of_sum(query, tiling);
        of_shift[to] = select(inside, -known[0] * std::f32::consts::LOG2_E, 0.0f32);
        of_delta[to] = select(inside, known[1], 0.0f32);
        if comptime!(tiling.drops) {
            let row = (owner.token + start + query) * heads + owner.head;
            of_draws[to] = mask.short_row(row as u32);
        }
    }
}

/// Where a query of a tile is, if those of a lane's accumulators are to be neighbours.
#[cube]
fn place_of_sum(query: usize, #[comptime] tiling: TensorTiling) -> usize {
    if comptime!(tiling.core == MatrixCore::Wmma) {
        query / comptime!(M) * comptime!(M) + query % 2 * 8 + query % comptime!(M) / 2
    } else {
        query
    }
}

/// Turns scores into dropped-out probabilities, and gradients of those into gradients of the scores before
/// their scale. Rows are queries, the lane's from `query` on in shared memory; columns are keys, `key` the
/// lane's in the first.
#[cube]
fn differentiate_scores<NS: Size>(
    scores: &mut Array<Vector<f32, NS>>,
    d_scores: &mut Array<Vector<f32, NS>>,
    of_shift: &Shared<[f32]>,
    of_delta: &Shared<[f32]>,
    of_draws: &Shared<[ShortRow]>,
    query: usize,
    key: u32,
    mask: &DropMask,
    scale_log2: f32,
    #[comptime] tiling: TensorTiling,
) {
    let shifts = of_shift.as_vectorized().with_vector_size::<NS>();
    let deltas = of_delta.as_vectorized().with_vector_size::<NS>();
    let shift = shifts[query / NS::value()];
    let delta = deltas[query / NS::value()];
    #[unroll]
    for column in 0..comptime!(tiling.columns()) {
        let key = key + comptime!((M * column) as u32);
        let mut weights = scores[column];
        let mut gradients = d_scores[column];
        #[unroll]
        for i in 0..comptime!(tiling.core.sums()) {
            let score = fma(weights.extract(i), scale_log2, shift.extract(i));
            let probability = exp2_approx(score, tiling.core);
            let mut weight = probability;
            let mut gradient = gradients.extract(i);
            if comptime!(tiling.drops) {
                let factor = mask.factor(of_draws[query + i], key);
                weight = weight * factor;
                gradient = gradient * factor;
            }
            weights.insert(i, weight);
            gradients.insert(i, probability * (gradient - delta.extract(i)));
        }
        scores[column] = weights;
        d_scores[column] = gradients;
    }
}
