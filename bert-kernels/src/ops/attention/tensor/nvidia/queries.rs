//! Gradients of queries: a cube owns a tile of them and walks the keys and values.

use cubecl::cmma::MatrixIdent;
use cubecl::prelude::*;

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
struct QueryRows {
    /// −lse · log₂ e.
    shift: Array<f32>,
    delta: Array<f32>,
    draws: Array<ShortRow>,
}

/// A cube's tile of queries.
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
    let mut of_queries = Shared::<[Vector<E, Pair>]>::new_aligned_slice(pairs, 128usize);
    let mut of_d_out = Shared::<[Vector<E, Pair>]>::new_aligned_slice(pairs, 128usize);
    let mut of_keys =
        Shared::<[Vector<E, Pair>]>::new_aligned_slice(comptime!(2 * pairs), 128usize);
    let mut of_values =
        Shared::<[Vector<E, Pair>]>::new_aligned_slice(comptime!(2 * pairs), 128usize);
    let owner = this_owner(cu_seqlens, blocks, tiling);
    if owner.start < owner.length {
        let tile = comptime!(tiling.tile);
        let query_rows = rows_of(&owner, heads, 3usize, 0usize, tiling).block(owner.start, tile);
        let d_out_rows = rows_of(&owner, heads, 1usize, 0usize, tiling).block(owner.start, tile);
        let key_rows = rows_of(&owner, heads, 3usize, 1usize, tiling);
        let value_rows = rows_of(&owner, heads, 3usize, 2usize, tiling);
        let first = 0usize.runtime();
        fill::<E, L>(qkv, &query_rows, &mut of_queries, first, tiling);
        fill::<E, L>(d_out, &d_out_rows, &mut of_d_out, first, tiling);
        fill::<E, L>(qkv, &key_rows.block(first, tile), &mut of_keys, first, tiling);
        fill::<E, L>(qkv, &value_rows.block(first, tile), &mut of_values, first, tiling);
        commit_copies();

        let lane = UNIT_POS_PLANE as usize;
        let corner = UNIT_POS as usize / comptime!(LANES) * comptime!(M);
        let busy = corner < query_rows.count;
        let along_width = places(lane, first, MatrixIdent::B, true, tiling);
        let along_tokens = places(lane, first, MatrixIdent::B, false, tiling);
        let own_places = places(lane, corner, MatrixIdent::A, true, tiling);
        let upper = corner + accumulator_row(lane);
        let row = (owner.token + owner.start + upper) * heads + owner.head;
        let mut rows = QueryRows {
            shift: Array::new(2usize),
            delta: Array::new(2usize),
            draws: Array::new(2usize),
        };
        rows.draws[0] = mask.short_row(row as u32);
        rows.draws[1] = mask.short_row((row + 8 * heads) as u32);
        #[unroll]
        for i in 0..2usize {
            rows.shift[i] = 0.0f32;
            rows.delta[i] = 0.0f32;
            if upper + comptime!(8 * i) < query_rows.count {
                let row = row + heads * comptime!(8 * i);
                rows.shift[i] = -lse[row] * std::f32::consts::LOG2_E;
                rows.delta[i] = delta[row];
            }
        }
        let scale_log2 = scale * std::f32::consts::LOG2_E;
        let mut sums = no_sums(tiling);
        wait_copies(0usize);
        sync_cube();
        let queries = load_rows::<E>(&of_queries, &own_places, true, tiling);
        let d_outs = load_rows::<E>(&of_d_out, &own_places, true, tiling);

        let mut slot = 0usize.runtime();
        for start in range_stepped(0usize, owner.length, tile) {
            let next = start + tile;
            if next < owner.length {
                fill::<E, L>(qkv, &key_rows.block(next, tile), &mut of_keys, 1 - slot, tiling);
                fill::<E, L>(qkv, &value_rows.block(next, tile), &mut of_values, 1 - slot, tiling);
                commit_copies();
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
                            &queries,
                            &of_queries,
                            &own_places,
                            &of_keys,
                            base,
                            &along_width,
                            &mut scores,
                            0usize,
                            true,
                            tiling,
                        );
                        multiply_rows::<E>(
                            &d_outs,
                            &of_d_out,
                            &own_places,
                            &of_values,
                            base,
                            &along_width,
                            &mut d_scores,
                            0usize,
                            true,
                            tiling,
                        );
                        let key = start + comptime!(M * group) + accumulator_column(lane);
                        differentiate_scores(
                            &scores,
                            &mut d_scores,
                            &rows,
                            key as u32,
                            owner.length as u32,
                            scale_log2,
                            mask,
                            tiling,
                        );
                        add_weighted::<E>(
                            &d_scores,
                            &of_keys,
                            base,
                            &along_tokens,
                            &mut sums,
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
                &sums,
                scale,
                scale,
                &mut of_queries,
                d_qkv,
                &query_rows,
                lane,
                corner,
                tiling,
            );
        }
    }
}

/// Turns gradients of dropped-out probabilities into those of scores before their scale, for 16 keys of
/// which the lane's first is `key`; keys from `end` on have none.
#[cube]
fn differentiate_scores(
    scores: &Array<Vector<f32, Pair>>,
    d_scores: &mut Array<Vector<f32, Pair>>,
    rows: &QueryRows,
    key: u32,
    end: u32,
    scale_log2: f32,
    mask: &DropMask,
    #[comptime] tiling: TensorTiling,
) {
    #[unroll]
    for i in 0..4usize {
        let row = comptime!(i % 2);
        let mut pair = Vector::<f32, Pair>::empty();
        #[unroll]
        for j in 0..2usize {
            // The first key is a multiple of 16 and an even number below 8.
            let key = key ^ comptime!((i / 2 * 8 + j) as u32);
            let score = scores[i].extract(j);
            let probability = exp2_approx(fma(score, scale_log2, rows.shift[row]), tiling.core);
            // The score of no key is zero, whose exponential may be infinite.
            let probability = select(key < end, probability, 0.0f32);
            let mut d_probability = d_scores[i].extract(j);
            if comptime!(tiling.drops) {
                d_probability = d_probability * mask.factor(rows.draws[row], key);
            }
            pair.insert(j, probability * (d_probability - rows.delta[row]));
        }
        d_scores[i] = pair;
    }
}
