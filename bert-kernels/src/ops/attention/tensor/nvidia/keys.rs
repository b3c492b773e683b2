//! Gradients of keys and values: a cube owns a tile of them and walks the queries and the gradients of
//! their results.

use cubecl::cmma::MatrixIdent;
use cubecl::prelude::*;

use super::super::super::tiles::{Owner, Rows};
use super::super::{TensorTiling, rows_of, this_owner};
use super::tile::{
    add_weighted, fill, group_stride, load_rows, multiply_rows, no_sums, places, store_rows,
};
use crate::async_copy::{commit_copies, copy_async, wait_copies};
use crate::exp2::exp2_approx;
use crate::ops::dropout::{DropMask, ShortRow};
use crate::tensor_tile::{LANES, M, Pair, accumulator_column, accumulator_row};

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
    let pairs = comptime!(tiling.pairs());
    let tile = comptime!(tiling.tile);
    let mut of_keys = Shared::<[Vector<E, Pair>]>::new_aligned_slice(pairs, 128usize);
    let mut of_values = Shared::<[Vector<E, Pair>]>::new_aligned_slice(pairs, 128usize);
    let mut of_queries =
        Shared::<[Vector<E, Pair>]>::new_aligned_slice(comptime!(2 * pairs), 128usize);
    let mut of_d_out =
        Shared::<[Vector<E, Pair>]>::new_aligned_slice(comptime!(2 * pairs), 128usize);
    // Of each query of both stages.
    let mut of_lse = Shared::<[f32]>::new_aligned_slice(comptime!(2 * tile), 128usize);
    let mut of_delta = Shared::<[f32]>::new_aligned_slice(comptime!(2 * tile), 128usize);
    let mut of_draws = Shared::<[ShortRow]>::new_aligned_slice(
        comptime!(if tiling.drops { 2 * tile } else { 1 }),
        128usize,
    );
    let owner = this_owner(cu_seqlens, blocks, tiling);
    if owner.start < owner.length {
        let key_rows = rows_of(&owner, heads, 3usize, 1usize, tiling).block(owner.start, tile);
        let value_rows = rows_of(&owner, heads, 3usize, 2usize, tiling).block(owner.start, tile);
        let query_rows = rows_of(&owner, heads, 3usize, 0usize, tiling);
        let d_out_rows = rows_of(&owner, heads, 1usize, 0usize, tiling);
        let first = 0usize.runtime();
        fill::<E, L>(qkv, &key_rows, &mut of_keys, first, tiling);
        fill::<E, L>(qkv, &value_rows, &mut of_values, first, tiling);
        fill_queries::<E, L>(
            qkv,
            d_out,
            lse,
            delta,
            &owner,
            &query_rows,
            &d_out_rows,
            heads,
            mask,
            first,
            first,
            &mut of_queries,
            &mut of_d_out,
            &mut of_lse,
            &mut of_delta,
            &mut of_draws,
            tiling,
        );

        let lane = UNIT_POS_PLANE as usize;
        let corner = UNIT_POS as usize / comptime!(LANES) * comptime!(M);
        let busy = corner < key_rows.count;
        let along_width = places(lane, first, MatrixIdent::B, true, tiling);
        let along_tokens = places(lane, first, MatrixIdent::B, false, tiling);
        let own_places = places(lane, corner, MatrixIdent::A, true, tiling);
        let scale_log2 = scale * std::f32::consts::LOG2_E;
        let one = 1.0f32.runtime();
        let key = (owner.start + corner + accumulator_row(lane)) as u32;
        let mut d_keys = no_sums(tiling);
        let mut d_values = no_sums(tiling);
        wait_copies(0usize);
        sync_cube();
        let kept = comptime!(tiling.keeps_both());
        let keys = load_rows::<E>(&of_keys, &own_places, kept, tiling);
        let values = load_rows::<E>(&of_values, &own_places, kept, tiling);

        let mut slot = 0usize.runtime();
        for start in range_stepped(0usize, owner.length, tile) {
            let next = start + tile;
            if next < owner.length {
                fill_queries::<E, L>(
                    qkv,
                    d_out,
                    lse,
                    delta,
                    &owner,
                    &query_rows,
                    &d_out_rows,
                    heads,
                    mask,
                    next,
                    1 - slot,
                    &mut of_queries,
                    &mut of_d_out,
                    &mut of_lse,
                    &mut of_delta,
                    &mut of_draws,
                    tiling,
                );
            }
            let count = owner.length - start;
            let base = slot * pairs;
            if busy {
                #[unroll]
                for group in 0..comptime!(tiling.groups()) {
                    if comptime!(M * group).runtime() < count {
                        let base = base + comptime!(group * group_stride(tiling));
                        let mut scores = Array::<Vector<f32, Pair>>::new(4usize);
                        let mut d_scores = Array::<Vector<f32, Pair>>::new(4usize);
                        multiply_rows::<E>(
                            &keys,
                            &of_keys,
                            &own_places,
                            &of_queries,
                            base,
                            &along_width,
                            &mut scores,
                            0usize,
                            kept,
                            tiling,
                        );
                        multiply_rows::<E>(
                            &values,
                            &of_values,
                            &own_places,
                            &of_d_out,
                            base,
                            &along_width,
                            &mut d_scores,
                            0usize,
                            kept,
                            tiling,
                        );
                        let query = slot * tile + comptime!(M * group) + accumulator_column(lane);
                        differentiate_scores(
                            &mut scores,
                            &mut d_scores,
                            &of_lse,
                            &of_delta,
                            &of_draws,
                            query,
                            key,
                            mask,
                            scale_log2,
                            tiling,
                        );
                        add_weighted::<E>(
                            &scores,
                            &of_d_out,
                            base,
                            &along_tokens,
                            &mut d_values,
                            0usize,
                            tiling,
                        );
                        add_weighted::<E>(
                            &d_scores,
                            &of_queries,
                            base,
                            &along_tokens,
                            &mut d_keys,
                            0usize,
                            tiling,
                        );
                    }
                }
            }
            wait_copies(0usize);
            sync_cube();
            slot = 1 - slot;
        }
        if busy {
            store_rows::<E, L>(
                &d_keys,
                scale,
                scale,
                &mut of_keys,
                d_qkv,
                &key_rows,
                lane,
                corner,
                tiling,
            );
            store_rows::<E, L>(
                &d_values,
                one,
                one,
                &mut of_values,
                d_qkv,
                &value_rows,
                lane,
                corner,
                tiling,
            );
        }
    }
}

/// Starts the copies of the tile of queries that begins at `start`, of the gradients of their results, and
/// of what is known of each; its rows of the mask are computed here, once for the cube.
///
/// What is missing is zero: such a query has zeros for a gradient, so nothing is added for it.
#[cube]
fn fill_queries<E: Float, L: Size>(
    qkv: &[Vector<E, L>],
    d_out: &[Vector<E, L>],
    lse: &[f32],
    delta: &[f32],
    owner: &Owner,
    query_rows: &Rows,
    d_out_rows: &Rows,
    heads: usize,
    mask: &DropMask,
    start: usize,
    slot: usize,
    of_queries: &mut Shared<[Vector<E, Pair>]>,
    of_d_out: &mut Shared<[Vector<E, Pair>]>,
    of_lse: &mut Shared<[f32]>,
    of_delta: &mut Shared<[f32]>,
    of_draws: &mut Shared<[ShortRow]>,
    #[comptime] tiling: TensorTiling,
) {
    let tile = comptime!(tiling.tile);
    let query_rows = query_rows.block(start, tile);
    fill::<E, L>(qkv, &query_rows, of_queries, slot, tiling);
    fill::<E, L>(d_out, &d_out_rows.block(start, tile), of_d_out, slot, tiling);
    let query = UNIT_POS as usize;
    if query < tile {
        let row = (owner.token + start + query) * heads + owner.head;
        let inside = query < query_rows.count;
        let at = select(inside, row, 0usize.runtime());
        let valid = select(inside, 4u32.runtime(), 0u32.runtime());
        let to = slot * tile + query;
        copy_async::<f32, f32>(&lse[at..at + 1], &mut of_lse[to..to + 1], valid, 4usize);
        copy_async::<f32, f32>(&delta[at..at + 1], &mut of_delta[to..to + 1], valid, 4usize);
        if comptime!(tiling.drops) {
            of_draws[to] = mask.short_row(row as u32);
        }
    }
    commit_copies();
}

/// Turns scores into dropped-out probabilities, and gradients of those into gradients of the scores before
/// their scale. Rows are keys, `key` and that eight further; columns are queries, the lane's first at `query`
/// of the stages.
#[cube]
fn differentiate_scores(
    scores: &mut Array<Vector<f32, Pair>>,
    d_scores: &mut Array<Vector<f32, Pair>>,
    of_lse: &Shared<[f32]>,
    of_delta: &Shared<[f32]>,
    of_draws: &Shared<[ShortRow]>,
    query: usize,
    key: u32,
    mask: &DropMask,
    scale_log2: f32,
    #[comptime] tiling: TensorTiling,
) {
    let lse = of_lse.as_vectorized().with_vector_size::<Pair>();
    let deltas = of_delta.as_vectorized().with_vector_size::<Pair>();
    #[unroll]
    for i in 0..4usize {
        let query = query + comptime!(i / 2 * 8);
        let shift = lse[query / 2] * Vector::new(-std::f32::consts::LOG2_E);
        let delta = deltas[query / 2];
        let mut weights = scores[i];
        let mut gradients = d_scores[i];
        #[unroll]
        for j in 0..2usize {
            let probability =
                exp2_approx(fma(weights.extract(j), scale_log2, shift.extract(j)), tiling.core);
            let mut weight = probability;
            let mut gradient = gradients.extract(j);
            if comptime!(tiling.drops) {
                let key = key + comptime!((i % 2 * 8) as u32);
                let factor = mask.factor(of_draws[query + j], key);
                weight = weight * factor;
                gradient = gradient * factor;
            }
            weights.insert(j, weight);
            gradients.insert(j, probability * (gradient - delta.extract(j)));
        }
        scores[i] = weights;
        d_scores[i] = gradients;
    }
}
