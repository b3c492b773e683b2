//! AMD's matrix cores: loads run one step ahead in registers, from where they go to the stage that is not
//! being multiplied.
//!
//! Two stages of 32 KiB in all for the large block leave room for two cubes in the shared memory of a
//! compute unit, so that one multiplies while the other waits. Finished rows take the place of the stages.

// The macro's hidden names make `n` and `N` neighbours; both are the formula's letters.
#![allow(clippy::duplicate_underscore_argument)]

use cubecl::prelude::*;

use super::super::epilogue::Finish;
use super::super::tensor_block::TensorBlock;
use super::{Part, TileAt, piece_at, store_rows, this_plane, tile_of};
use crate::amd_tile::{
    Operand, PRODUCTS, Words, chunk_place, lane_places, load_fragments, outer_of, sum_row,
};
use crate::matrix_core::{keep_order, multiply_fragments};
use crate::tensor_tile::{CHUNK, M, Stage};

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
    let size!(NF) = comptime!(block.core.words());
    let size!(NS) = comptime!(block.core.sums());
    let of_a = comptime!(block.operand(a_stage, block.plane_rows()));
    let of_b = comptime!(block.operand(b_stage, block.plane_columns()));
    let a_chunks = comptime!(a_stage.elements() / CHUNK);
    let b_chunks = comptime!(b_stage.elements() / CHUNK);
    let stage_chunks = comptime!(a_chunks + b_chunks);
    let pitch = comptime!(pitch(block));
    let of_rows = comptime!(block.planes.0 * block.planes.1 * M * pitch / 4);
    let mut shared = Shared::<[Vector<u32, Words>]>::new_aligned_slice(
        comptime!(of_rows.max(block.stages * stage_chunks)),
        128usize,
    );

    let lane = UNIT_POS_PLANE as usize;
    let a_places = lane_places(lane, part.plane_row, of_a);
    let b_places = lane_places(lane, part.plane_column, of_b);
    let sums = comptime!(of_a.fragments * of_b.fragments);
    let mut acc = Array::<Vector<f32, NS>>::new(sums);
    #[unroll]
    for i in 0..sums {
        acc[i] = Vector::new(0.0);
    }

    let a_lanes = NA::value();
    let b_lanes = NB::value();
    let mut a_held =
        Array::<Vector<E, NA>>::new(comptime!(block.copies(a_stage) * CHUNK / a_lanes));
    let mut b_held =
        Array::<Vector<E, NB>>::new(comptime!(block.copies(b_stage) * CHUNK / b_lanes));
    let mut read = 0usize.runtime();
    let mut write = stage_chunks.runtime();
    let a_tile = tile_of(part.first_row, part.m, part.k_first, part.k_end, part.a_stride);
    let b_tile = tile_of(part.first_column, part.n, part.k_first, part.k_end, part.b_stride);
    fetch::<E, NA>(a, &mut a_held, &a_tile, a_stage, block);
    fetch::<E, NB>(b, &mut b_held, &b_tile, b_stage, block);
    put::<E, NA>(&mut shared, read, &a_held, &a_tile, a_stage, block);
    put::<E, NB>(&mut shared, read + a_chunks, &b_held, &b_tile, b_stage, block);
    sync_cube();
    for step in 1..(part.k_end - part.k_first).div_ceil(block.depth) {
        let k_at = part.k_first + step * block.depth;
        let a_tile = tile_of(part.first_row, part.m, k_at, part.k_end, part.a_stride);
        let b_tile = tile_of(part.first_column, part.n, k_at, part.k_end, part.b_stride);
        fetch::<E, NA>(a, &mut a_held, &a_tile, a_stage, block);
        fetch::<E, NB>(b, &mut b_held, &b_tile, b_stage, block);
        keep_order();
        multiply_stage::<E, NF, NS>(&shared, read, &a_places, &b_places, &mut acc, of_a, of_b);
        keep_order();
        put::<E, NA>(&mut shared, write, &a_held, &a_tile, a_stage, block);
        put::<E, NB>(&mut shared, write + a_chunks, &b_held, &b_tile, b_stage, block);
        // What was written is there for everybody, and everybody is done with what was read.
        sync_cube();
        read = stage_chunks - read;
        write = stage_chunks - write;
    }
    multiply_stage::<E, NF, NS>(&shared, read, &a_places, &b_places, &mut acc, of_a, of_b);
    sync_cube();

    let plane_first = this_plane(block) * comptime!(M * pitch);
    let (fragment_step, row_step) = comptime!(of_a.strides());
    #[unroll]
    for i in 0..of_a.fragments {
        #[unroll]
        for sum in 0..comptime!(block.core.sums()) {
            let at = plane_first + sum_row(lane, sum, block.core) * pitch;
            let first = comptime!(i * of_b.fragments);
            put_sums::<NS>(&mut shared, at, lane % comptime!(M), &acc, first, sum, of_b);
        }
        sync_plane();
        store_rows::<u32, EC, NC>(
            shared.with_vector_size::<NC>(),
            plane_first,
            c,
            bias,
            pre,
            part,
            comptime!(i * fragment_step),
            row_step,
            pitch,
            block,
            finish,
        );
        sync_plane();
    }
}

/// Distance of finished rows, in words. Lanes of a plane whose rows differ begin at different banks where
/// those are neighbours.
fn pitch(block: TensorBlock) -> usize {
    block.plane_columns() + 16
}

/// Loads this unit's share of a tile, whatever lies past an edge.
#[cube]
fn fetch<E: Float, L: Size>(
    source: &[Vector<E, L>],
    held: &mut Array<Vector<E, L>>,
    tile: &TileAt,
    #[comptime] stage: Stage,
    #[comptime] block: TensorBlock,
) {
    let lanes = L::value();
    let pieces = comptime!(CHUNK / lanes);
    #[unroll]
    for copy in 0..comptime!(block.copies(stage)) {
        let (row, chunk) = chunk_of_unit(copy, stage, block);
        #[unroll]
        for piece in 0..pieces {
            let inner = chunk * comptime!(CHUNK) + comptime!(piece * lanes);
            let found = piece_at(row, inner, tile, stage);
            held[comptime!(copy * pieces + piece)] =
                source[select(found.inside, found.at / lanes, 0usize.runtime())];
        }
    }
}

/// Puts what [`fetch`] brought to the stage that begins at chunk `first`; what lies past an edge becomes
/// zeros.
#[cube]
fn put<E: Float, L: Size>(
    shared: &mut Shared<[Vector<u32, Words>]>,
    first: usize,
    held: &Array<Vector<E, L>>,
    tile: &TileAt,
    #[comptime] stage: Stage,
    #[comptime] block: TensorBlock,
) {
    let lanes = L::value();
    let pieces = comptime!(CHUNK / lanes);
    #[unroll]
    for copy in 0..comptime!(block.copies(stage)) {
        let (row, chunk) = chunk_of_unit(copy, stage, block);
        let mut words = Vector::<u32, Words>::empty();
        #[unroll]
        for piece in 0..pieces {
            let inner = chunk * comptime!(CHUNK) + comptime!(piece * lanes);
            let found = piece_at(row, inner, tile, stage);
            let value = held[comptime!(copy * pieces + piece)];
            if comptime!(lanes == 1) {
                let half = u32::cast_from(u16::reinterpret(value.extract(0usize)));
                let half = select(found.inside, half, 0u32.runtime());
                let word = comptime!(piece / 2);
                if comptime!(piece % 2 == 0) {
                    words.insert(word, half);
                } else {
                    words.insert(word, words.extract(word) | (half << 16u32));
                }
            } else {
                let size!(NW) = comptime!(lanes / 2);
                let value = Vector::<u32, NW>::reinterpret(value);
                #[unroll]
                for word in 0..comptime!(lanes / 2) {
                    let inside = select(found.inside, value.extract(word), 0u32.runtime());
                    words.insert(comptime!(piece * lanes / 2 + word), inside);
                }
            }
        }
        shared[first + chunk_place(row, chunk, stage)] = words;
    }
}

/// Row and chunk of a stage that this unit brings as its `copy`th.
#[cube]
fn chunk_of_unit(
    #[comptime] copy: usize,
    #[comptime] stage: Stage,
    #[comptime] block: TensorBlock,
) -> (usize, usize) {
    let item = UNIT_POS as usize + comptime!(copy * block.units());
    let chunks = comptime!(stage.chunks());
    (item / chunks, item % chunks)
}

/// Adds the products of the stage that begins at chunk `first` to the plane's sums.
#[cube]
fn multiply_stage<E: Float, NF: Size, NS: Size>(
    shared: &Shared<[Vector<u32, Words>]>,
    first: usize,
    a_places: &Array<usize>,
    b_places: &Array<usize>,
    acc: &mut Array<Vector<f32, NS>>,
    #[comptime] of_a: Operand,
    #[comptime] of_b: Operand,
) {
    let b_first = first + comptime!(of_a.stage.elements() / CHUNK);
    #[unroll]
    for product in 0..PRODUCTS {
        let a = load_fragments::<NF>(shared, first, a_places, product, of_a);
        let b = load_fragments::<NF>(shared, b_first, b_places, product, of_b);
        #[unroll]
        for i in 0..of_a.fragments {
            #[unroll]
            for j in 0..of_b.fragments {
                let at = comptime!(i * of_b.fragments + j);
                acc[at] = multiply_fragments::<E, NF, NS>(a[i], b[j], acc[at], of_a.core);
            }
        }
    }
}

/// Puts accumulator `sum` of this lane's fragments, from the `first`th on, to the row of finished values
/// that begins at word `at`.
#[cube]
fn put_sums<NS: Size>(
    shared: &mut Shared<[Vector<u32, Words>]>,
    at: usize,
    lane: usize,
    acc: &Array<Vector<f32, NS>>,
    #[comptime] first: usize,
    #[comptime] sum: usize,
    #[comptime] of: Operand,
) {
    if comptime!(of.stage.k_contiguous) {
        let rows = shared.with_vector_size_mut::<Const<1>>();
        #[unroll]
        for j in 0..of.fragments {
            let value = acc[comptime!(first + j)].extract(sum);
            rows[at + outer_of(lane, j, of)] = Vector::new(u32::reinterpret(value));
        }
    } else {
        // The lane's columns are neighbours.
        let size!(NJ) = of.fragments;
        let mut values = Vector::<u32, NJ>::empty();
        #[unroll]
        for j in 0..of.fragments {
            let value = acc[comptime!(first + j)].extract(sum);
            values.insert(j, u32::reinterpret(value));
        }
        let rows = shared.with_vector_size_mut::<NJ>();
        rows[(at + outer_of(lane, 0usize, of)) / of.fragments] = values;
    }
}
