//! The CPU blocking: each unit walks tiles of C, streaming k through rows of A and a panel of B.
//!
//! A panel holds the columns of one tile, step by step of k, so its loads are aligned vectors one
//! after another whatever the layout and width of B were. Tiles of one panel follow each other, so
//! the panel stays in the cache of the core. Nothing is shared between units, so no barrier is
//! needed.

// The macro's hidden names make `n` and `N` neighbours; both are the formula's letters.
#![allow(clippy::duplicate_underscore_argument)]

use cubecl::prelude::*;

use super::epilogue::{Finish, finish_tile};
use super::tile_register::{Tile, outer_product, zeroed};

/// Copies B into panels `[⌈n / width⌉, k, width]`, columns past n repeat the last.
///
/// `b` is `[n, k]` if `transposed`, else `[k, n]`; an item is a step of k of a panel.
#[cube(launch_unchecked)]
pub(crate) fn pack_panels<E: Float, N: Size>(
    b: &[E],
    panels: &mut [Vector<f32, N>],
    n: usize,
    k: usize,
    #[comptime] vectors: usize,
    #[comptime] transposed: bool,
) {
    let lanes = N::value();
    let items = n.div_ceil(comptime!(vectors * lanes)) * k;
    let share = items.div_ceil(CUBE_DIM as usize);
    let first = UNIT_POS as usize * share;
    let end = min(first + share, items);
    for item in first..end {
        let panel = item / k;
        let p = item % k;
        #[unroll]
        for j in 0..vectors {
            let column = (panel * vectors + j) * N::value();
            let mut value = Vector::<f32, N>::new(0.0);
            #[unroll]
            for lane in 0..N::value() {
                // What comes of columns past n is never stored.
                let column = min(column + lane, n - 1);
                let at = if transposed { column * k + p } else { p * n + column };
                value.insert(lane, f32::cast_from(b[at]));
            }
            panels[item * vectors + j] = value;
        }
    }
}

/// C tiles of this unit from A and panels of B.
#[cube(launch_unchecked)]
pub(crate) fn gemm_panels<EA: Float, EB: Float, EC: Float, N: Size, NC: Size>(
    a: &[EA],
    b: &[Vector<EB, N>],
    c: &mut [Vector<EC, NC>],
    bias: &ComptimeOption<Box<[Vector<f32, NC>]>>,
    pre: &mut ComptimeOption<Box<[Vector<EC, NC>]>>,
    m: usize,
    n: usize,
    k: usize,
    a_stride: usize,
    c_stride: usize,
    #[comptime] tile: Tile,
    #[comptime] a_transposed: bool,
    #[comptime] packed: bool,
    #[comptime] finish: Finish,
) {
    let lanes = N::value();
    let width = comptime!(tile.vectors * lanes);
    let m_tiles = m.div_ceil(tile.rows);
    let tiles = n.div_ceil(width) * m_tiles;
    let share = tiles.div_ceil(CUBE_DIM as usize);
    let first = UNIT_POS as usize * share;
    let end = min(first + share, tiles);
    // Steps of k and of rows of A.
    let a_step = if a_transposed { a_stride } else { 1usize.runtime() };
    let a_row = if a_transposed { 1usize.runtime() } else { a_stride };
    let b_step = if packed { tile.vectors.runtime() } else { n / N::value() };
    for index in first..end {
        let panel = index / m_tiles;
        let row = index % m_tiles * tile.rows;
        let column = panel * width;
        // Rows and columns past the edge repeat the last one and are never stored.
        let mut a_at = Array::<usize>::new(tile.rows);
        #[unroll]
        for i in 0..tile.rows {
            a_at[i] = min(row + i, m - 1) * a_row;
        }
        let mut b_at = Array::<usize>::new(tile.vectors);
        #[unroll]
        for j in 0..tile.vectors {
            b_at[j] = if packed {
                panel * k * tile.vectors + j
            } else {
                min(panel * tile.vectors + j, n / N::value() - 1)
            };
        }
        let mut acc = zeroed::<N>(tile);
        for p in 0..k {
            let mut a_values = Array::<f32>::new(tile.rows);
            #[unroll]
            for i in 0..tile.rows {
                a_values[i] = f32::cast_from(a[a_at[i] + p * a_step]);
            }
            let mut b_values = Array::<Vector<f32, N>>::new(tile.vectors);
            #[unroll]
            for j in 0..tile.vectors {
                b_values[j] = Vector::cast_from(b[b_at[j] + p * b_step]);
            }
            outer_product::<N>(&mut acc, &a_values, &b_values, tile);
        }
        finish_tile::<EC, N, NC>(
            &acc, c, bias, pre, row, column, m, n, c_stride, lanes, tile, finish,
        );
    }
}
