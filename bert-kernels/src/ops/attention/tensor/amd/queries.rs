//! Gradients of queries: a cube owns a tile of them and walks the keys and values.

use cubecl::prelude::*;

use super::super::{TensorTiling, rows_of, this_owner};
use super::place::places;
use super::tile::{
    add_weighted, factors, fetch, load_own, multiply_rows, no_sums, put, put_own, store_rows,
};
use crate::amd_tile::{Words, sum_row};
use crate::exp2::exp2_approx;
use crate::matrix_core::keep_order;
use crate::ops::dropout::{DropMask, ShortRow};
use crate::tensor_tile::M;

/// What a lane knows of its queries, one for each of the plane's columns.
#[derive(CubeType)]
struct Queries {
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
    let size!(NF) = comptime!(tiling.core.words());
    let size!(NS) = comptime!(tiling.core.sums());
    let tile = comptime!(tiling.tile);
    let walk = comptime!(tiling.walk());
    let kept = comptime!(tiling.keeps(2, 1));
    let ahead = comptime!(tiling.loads_ahead());
    let chunks = comptime!(tiling.walk_chunks());
    let own_chunks = comptime!(tiling.tile_chunks(tile));
    let mut shared = Shared::<[Vector<u32, Words>]>::new_aligned_slice(
        comptime!(tiling.shared_chunks(2, 1)),
        128usize,
    );
    let owner = this_owner(cu_seqlens, blocks, tiling);
    if owner.start < owner.length {
        let query_rows = rows_of(&owner, heads, 3usize, 0usize, tiling).block(owner.start, tile);
        let d_out_rows = rows_of(&owner, heads, 1usize, 0usize, tiling).block(owner.start, tile);
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
        let d_outs = load_own::<E, L>(d_out, &d_out_rows, corner, lane, kept, tiling);
        let places = places(lane, tiling);
        let columns = comptime!(tiling.columns());
        let mut known = Queries {
            shift: Array::new(columns),
            delta: Array::new(columns),
            draws: Array::new(columns),
        };
        #[unroll]
        for column in 0..columns {
            // Past the end it is the last query, whose gradient nobody stores.
            let query = corner + comptime!(M * column) + lane % comptime!(M);
            let query = min(query, query_rows.count - 1);
            let row = (owner.token + owner.start + query) * heads + owner.head;
            known.shift[column] = -lse[row] * std::f32::consts::LOG2_E;
            known.delta[column] = delta[row];
            known.draws[column] = mask.short_row(row as u32);
        }
        let scale_log2 = scale * std::f32::consts::LOG2_E;
        let mut sums = no_sums::<NS>(tiling);
        put::<E, L>(&keys, &first_keys, &mut shared, 0usize, walk, tiling);
        put::<E, L>(&values, &first_values, &mut shared, chunks, walk, tiling);
        if comptime!(!kept) {
            put_own::<E, L>(qkv, &query_rows, &mut shared, comptime!(2 * chunks), tiling);
            put_own::<E, L>(
                d_out,
                &d_out_rows,
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
                    fetch::<E, L>(qkv, &key_rows.block(next, walk), &mut keys, walk, tiling);
                    fetch::<E, L>(qkv, &value_rows.block(next, walk), &mut values, walk, tiling);
                }
            }
            keep_order();
            let count = owner.length - start;
            if busy {
                #[unroll]
                for group in 0..comptime!(tiling.groups()) {
                    if comptime!(M * group).runtime() < count {
                        let first = comptime!(group * tiling.group_chunks());
                        let of_keys = first.runtime();
                        let of_values = comptime!(first + chunks).runtime();
                        let of_queries =
                            comptime!(2 * chunks) + corner * comptime!(tiling.tile_chunks(1));
                        let of_d_out = of_queries + own_chunks;
                        let mut scores = Array::<Vector<f32, NS>>::new(columns);
                        let mut d_scores = Array::<Vector<f32, NS>>::new(columns);
                        multiply_rows::<E, NF, NS>(
                            &shared,
                            of_keys,
                            &queries,
                            of_queries,
                            &places,
                            &mut scores,
                            0usize,
                            kept,
                            tiling,
                        );
                        multiply_rows::<E, NF, NS>(
                            &shared,
                            of_values,
                            &d_outs,
                            of_d_out,
                            &places,
                            &mut d_scores,
                            0usize,
                            kept,
                            tiling,
                        );
                        let key = start + comptime!(M * group);
                        differentiate_scores::<NS>(
                            &scores,
                            &mut d_scores,
                            &known,
                            (key + sum_row(lane, 0usize, tiling.core)) as u32,
                            owner.length as u32,
                            scale_log2,
                            mask,
                            tiling,
                        );
                        add_weighted::<E, NF, NS>(
                            &d_scores, &shared, of_keys, &places, &mut sums, lane, 0usize, tiling,
                        );
                    }
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
            let scales = factors(scale, tiling);
            store_rows::<E, L, NS>(&sums, &scales, d_qkv, &query_rows, lane, corner, tiling);
        }
    }
}

/// Turns gradients of dropped-out probabilities into those of scores before their scale, for 16 keys of
/// which the lane's first is `key`; keys from `end` on have none.
#[cube]
fn differentiate_scores<NS: Size>(
    scores: &Array<Vector<f32, NS>>,
    d_scores: &mut Array<Vector<f32, NS>>,
    known: &Queries,
    key: u32,
    end: u32,
    scale_log2: f32,
    mask: &DropMask,
    #[comptime] tiling: TensorTiling,
) {
    #[unroll]
    for column in 0..comptime!(tiling.columns()) {
        let mut gradients = d_scores[column];
        #[unroll]
        for i in 0..comptime!(tiling.core.sums()) {
            // The first key has zeros where this has bits.
            let key = key ^ comptime!((tiling.sum_step() * i) as u32);
            let score = fma(scores[column].extract(i), scale_log2, known.shift[column]);
            // The score of no key is zero, whose exponential may be infinite.
            let probability = select(key < end, exp2_approx(score, tiling.core), 0.0f32);
            let mut gradient = gradients.extract(i);
            if comptime!(tiling.drops) {
                gradient = gradient * mask.factor(known.draws[column], key);
            }
            gradients.insert(i, probability * (gradient - known.delta[column]));
        }
        d_scores[column] = gradients;
    }
}
