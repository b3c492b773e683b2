//! NVIDIA's tensor cores: asynchronous copies fill several stages ahead, `ldmatrix` reads fragments out of
//! them, and `mma.sync` multiplies.

// The macro's hidden names make `n` and `N` neighbours; both are the formula's letters.
#![allow(clippy::duplicate_underscore_argument)]

use cubecl::cmma::MatrixIdent;
use cubecl::prelude::*;

use super::super::epilogue::Finish;
use super::super::tensor_block::TensorBlock;
use super::{Part, TileAt, piece_at, store_rows, this_plane, tile_of};
use crate::async_copy::{commit_copies, copy_async, wait_copies};
use crate::tensor_tile::{
    self as tile, CHUNK, Pair, Stage, accumulator_column, accumulator_row, across, chunk_at,
    fragment_at, fragment_stride, load_fragment, multiply_add,
};

/// Elements that a unit copies one by one before it waits for them; a divisor of all that it copies.
const SINGLES_AT_ONCE: usize = 8;

/// This cube's tile of C, or its part of the sum.
#[cube]
pub(super) fn multiply<E: Float, EC: Float, NA: Size, NB: Size, NC: Size>(
    a: &[Vector<E, NA>],
    b: &[Vector<E, NB>],
    c: &mut [Vector<EC, NC>],
    bias: &ComptimeOption<Box<[Vector<f32, NC>]>>,
    pre: &mut ComptimeOption<Box<[Vector<EC, NC>]>>,
    part: &Part,
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

    let lane = UNIT_POS_PLANE as usize;
    let plane = this_plane(block);
    let (k_first, k_end) = (part.k_first, part.k_end);

    // Where this lane's chunks begin in a stage: all else about them is a constant.
    let a_across = comptime!(across(MatrixIdent::A, a_stage));
    let b_across = comptime!(across(MatrixIdent::B, b_stage));
    let a_in_row = comptime!(a_stage.steps_in_row(block.plane_rows()));
    let b_in_row = comptime!(b_stage.steps_in_row(block.plane_columns()));
    let mut a_at = Array::<usize>::new(a_in_row);
    #[unroll]
    for step in 0..a_in_row {
        a_at[step] = fragment_at(lane, part.plane_row, step, a_stage, a_across);
    }
    let mut b_at = Array::<usize>::new(b_in_row);
    #[unroll]
    for step in 0..b_in_row {
        b_at[step] = fragment_at(lane, part.plane_column, step, b_stage, b_across);
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
        fill_both::<E, NA, NB>(
            a,
            b,
            &mut a_shared,
            &mut b_shared,
            slot,
            k_at,
            part,
            a_stage,
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
            fill_both::<E, NA, NB>(
                a,
                b,
                &mut a_shared,
                &mut b_shared,
                write,
                k_at,
                part,
                a_stage,
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

    let pitch = comptime!(block.finished_pitch());
    let mut rows = Shared::<[Vector<f32, Pair>]>::new_aligned_slice(
        comptime!(block.finished_pairs()),
        128usize,
    );
    let base = plane * comptime!(tile::M * pitch);
    let lane_at = base + accumulator_row(lane) * pitch + accumulator_column(lane);
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
        store_rows::<f32, EC, NC>(
            rows.with_vector_size::<NC>(),
            base,
            c,
            bias,
            pre,
            part,
            comptime!(i * tile::M),
            1usize,
            pitch,
            block,
            finish,
        );
        sync_plane();
    }
}

/// [`fill`] of both operands, from step `k_at` of k on.
#[cube]
fn fill_both<E: Float, NA: Size, NB: Size>(
    a: &[Vector<E, NA>],
    b: &[Vector<E, NB>],
    a_shared: &mut Shared<[E]>,
    b_shared: &mut Shared<[E]>,
    slot: usize,
    k_at: usize,
    part: &Part,
    #[comptime] a_stage: Stage,
    #[comptime] b_stage: Stage,
    #[comptime] block: TensorBlock,
) {
    let a_tile = tile_of(part.first_row, part.m, k_at, part.k_end, part.a_stride);
    fill::<E, NA>(a, a_shared, slot, &a_tile, a_stage, block);
    let b_tile = tile_of(part.first_column, part.n, k_at, part.k_end, part.b_stride);
    fill::<E, NB>(b, b_shared, slot, &b_tile, b_stage, block);
}

/// This unit's share of the copies that fill one stage of an operand.
#[cube]
fn fill<E: Float, L: Size>(
    source: &[Vector<E, L>],
    shared: &mut Shared<[E]>,
    slot: usize,
    tile: &TileAt,
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
            let piece = piece_at(row, inner, tile, stage);
            let at = select(piece.inside, piece.at / lanes, 0usize.runtime());
            let to = slot * comptime!(stage.elements())
                + chunk_at(row, inner / comptime!(CHUNK), stage)
                + inner % comptime!(CHUNK);
            if comptime!(lanes == 1) {
                let value = source[at].extract(0usize);
                shared[to] = select(piece.inside, value, E::from_int(0));
            } else {
                let bytes = min(piece.left, lanes.runtime()) * 2;
                let valid = select(piece.inside, bytes, 0usize.runtime()) as u32;
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
