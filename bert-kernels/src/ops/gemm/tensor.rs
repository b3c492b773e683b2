//! The tensor-core blocking: a cube copies tiles of A and B to shared memory, several steps ahead
//! and while it computes, and each plane multiplies its part of the tile out of them.
//!
//! Elements past an edge arrive as zeros. Finished rows go through shared memory once more, so that
//! they leave in 16-byte stores instead of the pairs that the instruction leaves in a lane.

// The macro's hidden names make `n` and `N` neighbours; both are the formula's letters.
#![allow(clippy::duplicate_underscore_argument)]

use cubecl::cmma::MatrixIdent;
use cubecl::prelude::*;

use super::epilogue::{Finish, finish_value};
use super::tensor_block::TensorBlock;
use crate::async_copy::{commit_copies, copy_async, wait_copies};
use crate::tensor_tile::{
    self as tile, CHUNK, LANES, Pair, Stage, accumulator_column, accumulator_row, across, chunk_at,
    fragment_at, fragment_stride, load_fragment, multiply_add,
};

/// Rows of tiles that neighbouring cubes share, so that what they read of A and B is still in the
/// second-level cache.
const GROUP: usize = 8;

/// Elements that a unit copies one by one before it waits for them; a divisor of all that it copies.
const SINGLES_AT_ONCE: usize = 8;

/// Tiles of C, one a cube; of those along y each takes a part of k, `k_part` long, and writes its product
/// behind that of the part before.
///
/// `NA` and `NB` are the elements that one copy moves, `NC` those of a store.
#[cube(launch_unchecked)]
pub(crate) fn gemm_tensor<E: Float, EC: Float, NA: Size, NB: Size, NC: Size>(
    a: &[Vector<E, NA>],
    b: &[Vector<E, NB>],
    c: &mut [Vector<EC, NC>],
    bias: &ComptimeOption<Box<[Vector<f32, NC>]>>,
    pre: &mut ComptimeOption<Box<[Vector<EC, NC>]>>,
    m: usize,
    n: usize,
    k: usize,
    k_part: usize,
    a_stride: usize,
    b_stride: usize,
    c_stride: usize,
    #[comptime] block: TensorBlock,
    #[comptime] a_stage: Stage,
    #[comptime] b_stage: Stage,
    #[comptime] finish: Finish,
) {
    let stages = block.stages;
    let a_elements = comptime!(a_stage.elements());
    let b_elements = comptime!(b_stage.elements());
    let mut a_shared = Shared::<[E]>::new_aligned_slice(comptime!(stages * a_elements), 128usize);
    let mut b_shared = Shared::<[E]>::new_aligned_slice(comptime!(stages * b_elements), 128usize);

    let row_tiles = m.div_ceil(block.rows);
    let column_tiles = n.div_ceil(block.columns);
    let index = CUBE_POS_X as usize;
    let group_tiles = column_tiles * comptime!(GROUP);
    let group = index / group_tiles;
    let within = index % group_tiles;
    let height = min(row_tiles - group * comptime!(GROUP), comptime!(GROUP).runtime());
    let first_row = (group * comptime!(GROUP) + within % height) * block.rows;
    let first_column = within / height * block.columns;

    let part = CUBE_POS_Y as usize;
    let k_first = part * k_part;
    let k_end = min(k, k_first + k_part);
    let c_first = part * m;

    let lane = UNIT_POS_PLANE as usize;
    let plane = UNIT_POS as usize / comptime!(LANES);
    let plane_row = plane / comptime!(block.planes.1) * comptime!(block.plane_rows());
    let plane_column = plane % comptime!(block.planes.1) * comptime!(block.plane_columns());

    // Where this lane's chunks begin in a stage: all else about them is a constant.
    let a_across = comptime!(across(MatrixIdent::A, a_stage));
    let b_across = comptime!(across(MatrixIdent::B, b_stage));
    let a_in_row = comptime!(a_stage.steps_in_row(block.plane_rows()));
    let b_in_row = comptime!(b_stage.steps_in_row(block.plane_columns()));
    let mut a_at = Array::<usize>::new(a_in_row);
    #[unroll]
    for step in 0..a_in_row {
        a_at[step] = fragment_at(lane, plane_row, step, a_stage, a_across);
    }
    let mut b_at = Array::<usize>::new(b_in_row);
    #[unroll]
    for step in 0..b_in_row {
        b_at[step] = fragment_at(lane, plane_column, step, b_stage, b_across);
    }

    let row_fragments = comptime!(block.plane_rows() / tile::M);
    // One load of B is 16 columns, two products.
    let column_fragments = comptime!(block.plane_columns() / tile::M);
    let accumulators = comptime!(row_fragments * column_fragments * 4);
    let mut acc = Array::<Vector<f32, Pair>>::new(accumulators);
    #[unroll]
    for i in 0..accumulators {
        acc[i] = Vector::new(0.0);
    }

    let ahead = comptime!(stages - 1);
    #[unroll]
    for step in 0..ahead {
        let k_at = k_first + comptime!(step * block.depth);
        let slot = step.runtime();
        fill::<E, NA>(a, &mut a_shared, slot, first_row, m, k_at, k_end, a_stride, a_stage, block);
        fill::<E, NB>(
            b,
            &mut b_shared,
            slot,
            first_column,
            n,
            k_at,
            k_end,
            b_stride,
            b_stage,
            block,
        );
        commit_copies();
    }
    let mut read = 0usize.runtime();
    let mut write = ahead.runtime();
    for step in 0..(k_end - k_first).div_ceil(block.depth) {
        // All but the last groups are there, for everybody, and everybody is done with the stage that
        // is filled next.
        wait_copies(comptime!(stages - 2));
        sync_cube();
        let k_at = k_first + (step + ahead) * block.depth;
        if k_at < k_end {
            fill::<E, NA>(
                a,
                &mut a_shared,
                write,
                first_row,
                m,
                k_at,
                k_end,
                a_stride,
                a_stage,
                block,
            );
            fill::<E, NB>(
                b,
                &mut b_shared,
                write,
                first_column,
                n,
                k_at,
                k_end,
                b_stride,
                b_stage,
                block,
            );
        }
        commit_copies();

        let a_base = read * a_elements;
        let b_base = read * b_elements;
        #[unroll]
        for depth in 0..comptime!(block.depth / tile::K) {
            let mut of_b = Sequence::<Array<Vector<E, Pair>>>::new();
            #[unroll]
            for j in 0..column_fragments {
                let (step, below) =
                    comptime!(if b_stage.k_contiguous { (depth, j) } else { (j, depth) });
                let at = b_base + b_at[step] + comptime!(below * fragment_stride(b_stage));
                of_b.push(load_fragment::<E>(
                    &b_shared,
                    at,
                    MatrixIdent::B,
                    comptime!(!b_stage.k_contiguous),
                ));
            }
            #[unroll]
            for i in 0..row_fragments {
                let (step, below) =
                    comptime!(if a_stage.k_contiguous { (depth, i) } else { (i, depth) });
                let at = a_base + a_at[step] + comptime!(below * fragment_stride(a_stage));
                let of_a = load_fragment::<E>(
                    &a_shared,
                    at,
                    MatrixIdent::A,
                    comptime!(!a_stage.k_contiguous),
                );
                #[unroll]
                for j in 0..column_fragments {
                    let at = comptime!((i * column_fragments + j) * 4);
                    multiply_add::<E>(&of_a, &of_b[j], 0usize, &mut acc, at);
                    multiply_add::<E>(&of_a, &of_b[j], 1usize, &mut acc, comptime!(at + 2));
                }
            }
        }
        read = select(read == ahead, 0usize.runtime(), read + 1);
        write = select(write == ahead, 0usize.runtime(), write + 1);
    }
    // Nothing may still arrive where finished rows go.
    wait_copies(0usize);
    sync_cube();

    let width = comptime!(block.plane_columns());
    let pitch = comptime!(block.finished_pitch());
    let mut rows = Shared::<[Vector<f32, Pair>]>::new_aligned_slice(
        comptime!(block.finished_pairs()),
        128usize,
    );
    let base = plane * comptime!(tile::M * pitch);
    let lane_at = base + accumulator_row(lane) * pitch + accumulator_column(lane);
    let c_lanes = NC::value();
    let stores = comptime!(width / c_lanes);
    #[unroll]
    for i in 0..row_fragments {
        #[unroll]
        for j in 0..comptime!(2 * column_fragments) {
            let at = comptime!((i * 2 * column_fragments + j) * 2);
            let column = comptime!(j * tile::N);
            rows[(lane_at + column) / 2] = acc[at];
            rows[(lane_at + column + comptime!(8 * pitch)) / 2] = acc[comptime!(at + 1)];
        }
        sync_plane();
        let finished = rows.with_vector_size::<NC>();
        for item in 0..comptime!(tile::M * width / c_lanes / LANES) {
            let item = item * comptime!(LANES) + lane;
            let row = first_row + plane_row + comptime!(i * tile::M) + item / stores;
            let inner = item % stores * NC::value();
            let column = first_column + plane_column + inner;
            if row < m && column < n {
                let value = finished[(base + item / stores * pitch + inner) / NC::value()];
                let row = c_first + row;
                finish_value::<EC, NC>(value, c, bias, pre, row, column, c_stride, finish);
            }
        }
        sync_plane();
    }
}

/// This unit's share of the copies that fill one stage of an operand from (`first_outer`, `first_k`).
#[cube]
fn fill<E: Float, L: Size>(
    source: &[Vector<E, L>],
    shared: &mut Shared<[E]>,
    slot: usize,
    first_outer: usize,
    outer_end: usize,
    first_k: usize,
    k_end: usize,
    stride: usize,
    #[comptime] stage: Stage,
    #[comptime] block: TensorBlock,
) {
    let lanes = L::value();
    let pieces = comptime!(stage.chunks() * CHUNK / lanes);
    let copies = comptime!(stage.rows() * pieces / block.units());
    // Single elements go through registers, so that all copies at once would take too many.
    let at_once = comptime!(if lanes == 1 { SINGLES_AT_ONCE } else { copies });
    #[unroll(comptime!(at_once == copies))]
    for turn in 0..comptime!(copies / at_once) {
        #[unroll]
        for copy in 0..at_once {
            let copy = turn * at_once + copy;
            let item = UNIT_POS as usize + copy * comptime!(block.units());
            let row = item / pieces;
            let inner = item % pieces * lanes;
            let (outer, depth) = if comptime!(stage.k_contiguous) {
                (first_outer + row, first_k + inner)
            } else {
                (first_outer + inner, first_k + row)
            };
            // How much of the piece lies within the matrix.
            let (line, column, inside, left) = if comptime!(stage.k_contiguous) {
                (outer, depth, outer < outer_end && depth < k_end, k_end - depth)
            } else {
                (depth, outer, outer < outer_end && depth < k_end, outer_end - outer)
            };
            let at = select(inside, (line * stride + column) / lanes, 0usize.runtime());
            let to = slot * comptime!(stage.elements())
                + chunk_at(row, inner / comptime!(CHUNK), stage)
                + inner % comptime!(CHUNK);
            if comptime!(lanes == 1) {
                let value = source[at].extract(0usize);
                shared[to] = select(inside, value, E::from_int(0));
            } else {
                let valid = select(inside, min(left, lanes.runtime()) * 2, 0usize.runtime()) as u32;
                copy_async::<Vector<E, L>, E>(
                    &source[at..at + 1],
                    &mut shared[to..to + lanes],
                    valid,
                    comptime!(2 * lanes),
                );
            }
        }
    }
}
