//! The GPU blocking: the units of a cube fill k-major tiles of A and B in shared memory between
//! barriers, and each unit multiplies its register tile out of them.
//!
//! The rows of a unit are neighbours, so units side by side read the same scalars of A. Its vectors
//! of columns are a tile's width of units apart, so units side by side read neighbouring vectors of
//! B. Elements past an edge are staged as zeros, which add nothing.

// The macro's hidden names make `n` and `N` neighbours; both are the formula's letters.
#![allow(clippy::duplicate_underscore_argument)]

use cubecl::prelude::*;

use super::epilogue::{Finish, finish_tile};
use super::staged_block::Block;
use super::tile_register::{outer_product, zeroed};

/// C blocks, one a cube: cube x is the column of blocks, cube y strides over the rows of blocks.
///
/// `NB` is `N` where rows of B begin at multiples of `N` and are read along n, else 1.
#[cube(launch_unchecked)]
pub(crate) fn gemm_staged<EA: Float, EB: Float, EC: Float, N: Size, NB: Size, NC: Size>(
    a: &[EA],
    b: &[Vector<EB, NB>],
    c: &mut [Vector<EC, NC>],
    bias: &ComptimeOption<Box<[Vector<f32, NC>]>>,
    pre: &mut ComptimeOption<Box<[Vector<EC, NC>]>>,
    m: usize,
    n: usize,
    k: usize,
    a_stride: usize,
    c_stride: usize,
    #[comptime] block: Block,
    #[comptime] a_transposed: bool,
    #[comptime] b_transposed: bool,
    #[comptime] finish: Finish,
) {
    let lanes = N::value();
    let b_lanes = NB::value();
    let vector_loads = comptime!(!b_transposed && lanes == b_lanes);
    let rows = comptime!(block.rows());
    let vectors = comptime!(block.vectors());
    let depth = block.depth;
    let tile = block.tile;
    let threads = comptime!(block.threads());
    let a_pitch = comptime!(block.a_pitch());
    let b_pitch = comptime!(block.b_pitch(b_transposed));
    let mut a_stage = Shared::<[f32]>::new_slice(comptime!(depth * a_pitch));
    let mut b_stage = Shared::<[Vector<f32, N>]>::new_slice(comptime!(depth * b_pitch));

    let unit = UNIT_POS as usize;
    let unit_row = unit / comptime!(block.units.1);
    let unit_column = unit % comptime!(block.units.1);
    let first_vector = CUBE_POS_X as usize * vectors;
    let row_blocks = m.div_ceil(rows);
    let mut row_block = CUBE_POS_Y as usize;
    while row_block < row_blocks {
        let first_row = row_block * rows;
        let mut acc = zeroed::<N>(tile);
        let mut from = 0usize.runtime();
        while from < k {
            let a_loads = comptime!((rows * depth).div_ceil(threads));
            #[unroll]
            for load in 0..a_loads {
                let item = unit + comptime!(load * threads);
                let r = if a_transposed { item % rows } else { item / depth };
                let p = if a_transposed { item / rows } else { item % depth };
                if p < depth && r < rows {
                    let inside = first_row + r < m && from + p < k;
                    let at = if a_transposed {
                        (from + p) * a_stride + first_row + r
                    } else {
                        (first_row + r) * a_stride + from + p
                    };
                    let value = f32::cast_from(a[select(inside, at, 0usize.runtime())]);
                    a_stage[p * a_pitch + r] = select(inside, value, 0.0f32);
                }
            }
            let b_loads = comptime!((vectors * depth).div_ceil(threads));
            #[unroll]
            for load in 0..b_loads {
                let item = unit + comptime!(load * threads);
                let v = if b_transposed { item / depth } else { item % vectors };
                let p = if b_transposed { item % depth } else { item / vectors };
                if p < depth && v < vectors {
                    let column = (first_vector + v) * N::value();
                    let mut value = Vector::<f32, N>::new(0.0f32);
                    if vector_loads {
                        if from + p < k && column < n {
                            value = Vector::cast_from(b[((from + p) * n + column) / N::value()]);
                        }
                    } else {
                        #[unroll]
                        for lane in 0..N::value() {
                            let inside = column + lane < n && from + p < k;
                            let at = if b_transposed {
                                (column + lane) * k + from + p
                            } else {
                                (from + p) * n + column + lane
                            };
                            let one = b[select(inside, at, 0usize.runtime())];
                            value.insert(
                                lane,
                                select(inside, f32::cast_from(one.extract(0usize)), 0.0f32),
                            );
                        }
                    }
                    b_stage[p * b_pitch + v] = value;
                }
            }
            sync_cube();
            for p in 0..depth {
                let mut a_values = Array::<f32>::new(tile.rows);
                #[unroll]
                for i in 0..tile.rows {
                    a_values[i] = a_stage[p * a_pitch + unit_row * tile.rows + i];
                }
                let mut b_values = Array::<Vector<f32, N>>::new(tile.vectors);
                #[unroll]
                for j in 0..tile.vectors {
                    b_values[j] = b_stage[p * b_pitch + comptime!(j * block.units.1) + unit_column];
                }
                outer_product::<N>(&mut acc, &a_values, &b_values, tile);
            }
            sync_cube();
            from += depth;
        }
        finish_tile::<EC, N, NC>(
            &acc,
            c,
            bias,
            pre,
            first_row + unit_row * tile.rows,
            (first_vector + unit_column) * N::value(),
            m,
            n,
            c_stride,
            comptime!(block.units.1 * lanes),
            tile,
            finish,
        );
        row_block += CUBE_COUNT_Y as usize;
    }
}
