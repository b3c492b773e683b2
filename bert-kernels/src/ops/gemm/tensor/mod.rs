//! The blocking for matrix instructions: a cube brings tiles of A and B to shared memory while it
//! computes, and each plane multiplies its part of the tile of C out of them.
//!
//! How tiles arrive and what multiplies them depends on the instructions: NVIDIA's copies run several steps
//! ahead on their own (`nvidia`), AMD's loads run one step ahead in registers (`amd`). What they share is
//! here. Elements past an edge arrive as zeros. Finished rows go through shared memory once more, so that
//! they leave in 16-byte stores instead of what the instruction leaves in a lane.

// The macro's hidden names make `n` and `N` neighbours; both are the formula's letters.
#![allow(clippy::duplicate_underscore_argument)]

mod amd;
mod nvidia;

use cubecl::prelude::*;

use super::epilogue::{Finish, finish_value};
use super::tensor_block::TensorBlock;
use crate::MatrixCore;
use crate::tensor_tile::{M, Stage};

/// Rows of tiles that neighbouring cubes share, so that what they read of A and B is still in the
/// second-level cache.
const GROUP: usize = 8;

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
    let part = part_of_cube(m, n, k, k_part, a_stride, b_stride, c_stride, block);
    if comptime!(block.core == MatrixCore::Mma) {
        nvidia::multiply::<E, EC, NA, NB, NC>(
            a, b, c, bias, pre, &part, block, a_stage, b_stage, finish,
        );
    } else {
        amd::multiply::<E, EC, NA, NB, NC>(
            a, b, c, bias, pre, &part, block, a_stage, b_stage, finish,
        );
    }
}

/// What a plane computes, and where that lies.
#[derive(CubeType)]
struct Part {
    m: usize,
    n: usize,
    /// First row and column of the cube's tile.
    first_row: usize,
    first_column: usize,
    /// Row and column of the plane's part within it.
    plane_row: usize,
    plane_column: usize,
    /// Its steps of k.
    k_first: usize,
    k_end: usize,
    a_stride: usize,
    b_stride: usize,
    c_stride: usize,
    /// Rows of C before those of this part of k.
    c_first: usize,
}

#[cube]
fn part_of_cube(
    m: usize,
    n: usize,
    k: usize,
    k_part: usize,
    a_stride: usize,
    b_stride: usize,
    c_stride: usize,
    #[comptime] block: TensorBlock,
) -> Part {
    let row_tiles = m.div_ceil(block.rows);
    let column_tiles = n.div_ceil(block.columns);
    let index = CUBE_POS_X as usize;
    let group_tiles = column_tiles * comptime!(GROUP);
    let group = index / group_tiles;
    let within = index % group_tiles;
    let height = min(row_tiles - group * comptime!(GROUP), comptime!(GROUP).runtime());
    let part = CUBE_POS_Y as usize;
    let k_first = part * k_part;
    let plane = this_plane(block);
    Part {
        m,
        n,
        first_row: (group * comptime!(GROUP) + within % height) * block.rows,
        first_column: within / height * block.columns,
        plane_row: plane / comptime!(block.planes.1) * comptime!(block.plane_rows()),
        plane_column: plane % comptime!(block.planes.1) * comptime!(block.plane_columns()),
        k_first,
        k_end: min(k, k_first + k_part),
        a_stride,
        b_stride,
        c_stride,
        c_first: part * m,
    }
}

/// This plane's number in its cube.
#[cube]
fn this_plane(#[comptime] block: TensorBlock) -> usize {
    UNIT_POS as usize / comptime!(block.core.lanes())
}

/// Where a tile of an operand lies that a stage takes.
#[derive(CubeType)]
struct TileAt {
    /// First row of A (or column of B), and how many there are.
    outer: usize,
    outer_end: usize,
    /// First step of k, and the first that is not summed up.
    k: usize,
    k_end: usize,
    /// Elements from a row of the matrix to the next.
    stride: usize,
}

#[cube]
fn tile_of(outer: usize, outer_end: usize, k: usize, k_end: usize, stride: usize) -> TileAt {
    TileAt { outer, outer_end, k, k_end, stride }
}

/// Neighbours of a tile as they lie in the matrix.
#[derive(CubeType)]
struct Piece {
    /// The first element.
    at: usize,
    /// Whether it lies within the matrix, and how many elements do from it on.
    inside: bool,
    left: usize,
}

/// What element `inner` of row `row` of a stage begins.
#[cube]
fn piece_at(row: usize, inner: usize, tile: &TileAt, #[comptime] stage: Stage) -> Piece {
    if comptime!(stage.k_contiguous) {
        let (outer, k) = (tile.outer + row, tile.k + inner);
        Piece {
            at: outer * tile.stride + k,
            inside: outer < tile.outer_end && k < tile.k_end,
            left: tile.k_end - k,
        }
    } else {
        let (outer, k) = (tile.outer + inner, tile.k + row);
        Piece {
            at: k * tile.stride + outer,
            inside: outer < tile.outer_end && k < tile.k_end,
            left: tile.outer_end - outer,
        }
    }
}

/// Finishes 16 rows of this plane, of type f32, whatever shared memory says. They lie `pitch` elements
/// apart from element `base` on; in C they are `row_step` apart from row `first` of the plane's on.
#[cube]
fn store_rows<T: Scalar, EC: Float, NC: Size>(
    rows: &[Vector<T, NC>],
    base: usize,
    c: &mut [Vector<EC, NC>],
    bias: &ComptimeOption<Box<[Vector<f32, NC>]>>,
    pre: &mut ComptimeOption<Box<[Vector<EC, NC>]>>,
    part: &Part,
    #[comptime] first: usize,
    #[comptime] row_step: usize,
    #[comptime] pitch: usize,
    #[comptime] block: TensorBlock,
    #[comptime] finish: Finish,
) {
    let c_lanes = NC::value();
    let lanes = comptime!(block.core.lanes());
    let stores = comptime!(block.plane_columns() / c_lanes);
    for item in 0..comptime!(M * block.plane_columns() / c_lanes / lanes) {
        let item = item * lanes + UNIT_POS_PLANE as usize;
        let row = part.first_row + part.plane_row + item / stores * row_step + first;
        let inner = item % stores * NC::value();
        let column = part.first_column + part.plane_column + inner;
        if row < part.m && column < part.n {
            let value = rows[(base + item / stores * pitch + inner) / NC::value()];
            let value = Vector::<f32, NC>::reinterpret(value);
            let row = part.c_first + row;
            finish_value::<EC, NC>(value, c, bias, pre, row, column, part.c_stride, finish);
        }
    }
}
