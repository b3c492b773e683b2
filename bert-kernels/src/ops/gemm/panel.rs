//! The CPU blocking: each unit walks tiles of C, streaming k through rows of A and a panel of B.
//!
//! A panel holds the columns of one tile, step by step of k, so its loads are aligned vectors one
//! after another whatever the layout and width of B were. Tiles of one panel follow each other, so
//! the panel stays in the cache of the core. An A that is stored transposed is packed likewise, the
//! rows of a tile side by side: as it lies, every step of k would be a cache line, and a page for
//! long rows. Nothing is shared between units, so no barrier is needed.

// The macro's hidden names make `n` and `N` neighbours; both are the formula's letters.
#![allow(clippy::duplicate_underscore_argument)]

use cubecl::prelude::*;

use super::epilogue::{Finish, finish_tile};
use super::tile_register::{Tile, outer_product, zeroed};

/// Copies B into panels `[⌈n / width⌉, k, width]`, columns past n repeat some before.
///
/// `b` is `[n, k]` if `transposed`, else `[k, n]`; an item is a step of k of a panel. `NB` is `N` where
/// rows of B are read in vectors, else 1.
#[cube(launch_unchecked)]
pub(crate) fn pack_panels<E: Float, N: Size, NB: Size>(
    b: &[Vector<E, NB>],
    panels: &mut [Vector<f32, N>],
    n: usize,
    k: usize,
    #[comptime] vectors: usize,
    #[comptime] transposed: bool,
) {
    let lanes = N::value();
    let b_lanes = NB::value();
    let whole = comptime!(lanes == b_lanes);
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
            // What comes of columns past n is never stored.
            if whole {
                let column = min(column, n - N::value());
                panels[item * vectors + j] = Vector::cast_from(b[(p * n + column) / N::value()]);
            } else {
                let mut value = Vector::<f32, N>::new(0.0);
                #[unroll]
                for lane in 0..N::value() {
                    let column = min(column + lane, n - 1);
                    let at = if transposed { column * k + p } else { p * n + column };
                    value.insert(lane, f32::cast_from(b[at].extract(0usize)));
                }
                panels[item * vectors + j] = value;
            }
        }
    }
}

/// Steps of k that [`pack_tiles`] takes together.
const PACKED_STEPS: usize = 16;

/// Copies A `[k, m]`, whose rows are `a_stride` apart, into tiles `[⌈m / N⌉, k, N]`; rows of C past m
/// repeat some before. `NA` is `N` where A is read in vectors, else 1.
#[cube(launch_unchecked)]
pub(crate) fn pack_tiles<E: Float, N: Size, NA: Size>(
    a: &[Vector<E, NA>],
    tiles: &mut [Vector<f32, N>],
    m: usize,
    k: usize,
    a_stride: usize,
) {
    let rows = N::value();
    let a_lanes = NA::value();
    let whole = comptime!(rows == a_lanes);
    let count = m.div_ceil(rows);
    let share = count.div_ceil(CUBE_DIM as usize);
    let first = UNIT_POS as usize * share;
    let end = min(first + share, count);
    // A few steps of k at a time: their cache lines of A stay until all tiles have taken their part, and
    // a tile gets whole lines. Rows of a power of two would meet in few places of the cache otherwise.
    let mut from = 0usize.runtime();
    while from < k {
        let to = min(from + PACKED_STEPS, k);
        for tile in first..end {
            for p in from..to {
                if whole {
                    let at = p * a_stride / N::value() + tile;
                    tiles[tile * k + p] = Vector::cast_from(a[at]);
                } else {
                    let mut value = Vector::<f32, N>::new(0.0);
                    #[unroll]
                    for i in 0..N::value() {
                        let row = min(tile * N::value() + i, m - 1);
                        value.insert(i, f32::cast_from(a[p * a_stride + row].extract(0usize)));
                    }
                    tiles[tile * k + p] = value;
                }
            }
        }
        from = to;
    }
}

/// C tiles of this unit from A, as it lies or in tiles, and panels of B.
#[cube(launch_unchecked)]
pub(crate) fn gemm_panels<EA: Float, EC: Float, N: Size, NC: Size>(
    a: &[EA],
    b: &[Vector<f32, N>],
    c: &mut [Vector<EC, NC>],
    bias: &ComptimeOption<Box<[Vector<f32, NC>]>>,
    pre: &mut ComptimeOption<Box<[Vector<EC, NC>]>>,
    m: usize,
    n: usize,
    k: usize,
    a_stride: usize,
    c_stride: usize,
    #[comptime] tile: Tile,
    #[comptime] a_packed: bool,
    #[comptime] finish: Finish,
) {
    let lanes = N::value();
    let width = comptime!(tile.vectors * lanes);
    let m_tiles = m.div_ceil(tile.rows);
    let tiles = n.div_ceil(width) * m_tiles;
    let share = tiles.div_ceil(CUBE_DIM as usize);
    let first = UNIT_POS as usize * share;
    let end = min(first + share, tiles);
    // Elements between steps of k.
    let a_step = if a_packed { tile.rows.runtime() } else { 1usize.runtime() };
    for index in first..end {
        let panel = index / m_tiles;
        let row = index % m_tiles * tile.rows;
        let column = panel * width;
        // Rows and columns past the edge repeat the last one and are never stored.
        let mut a_at = Array::<usize>::new(tile.rows);
        #[unroll]
        for i in 0..tile.rows {
            a_at[i] = if a_packed { row * k + i } else { min(row + i, m - 1) * a_stride };
        }
        let mut b_at = Array::<usize>::new(tile.vectors);
        #[unroll]
        for j in 0..tile.vectors {
            b_at[j] = panel * k * tile.vectors + j;
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
                b_values[j] = b[b_at[j] + p * tile.vectors];
            }
            outer_product::<N>(&mut acc, &a_values, &b_values, tile);
        }
        finish_tile::<EC, N, NC>(
            &acc, c, bias, pre, row, column, m, n, c_stride, lanes, tile, finish,
        );
    }
}
