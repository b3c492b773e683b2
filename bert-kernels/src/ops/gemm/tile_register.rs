//! The inner tile of the register path: an outer product a step of k, accumulated in registers.
//!
//! `acc[i][j] += a[i] · b[j]`, with rows i as scalars and columns j as vectors. Both blockings use
//! it: on a CPU the operands come from panels in memory, on a GPU from shared memory.

use cubecl::prelude::*;

/// Rows × columns (in vectors of `N` lanes) of the accumulators of one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tile {
    pub(crate) rows: usize,
    pub(crate) vectors: usize,
}

/// Accumulators, all zero.
#[cube]
pub(crate) fn zeroed<N: Size>(#[comptime] tile: Tile) -> Array<Vector<f32, N>> {
    let mut acc = Array::<Vector<f32, N>>::new(comptime!(tile.rows * tile.vectors));
    #[unroll]
    for i in 0..comptime!(tile.rows * tile.vectors) {
        acc[i] = Vector::new(0.0);
    }
    acc
}

/// One step of k.
#[cube]
pub(crate) fn outer_product<N: Size>(
    acc: &mut Array<Vector<f32, N>>,
    a: &Array<f32>,
    b: &Array<Vector<f32, N>>,
    #[comptime] tile: Tile,
) {
    #[unroll]
    for i in 0..comptime!(tile.rows) {
        let broadcast = Vector::<f32, N>::new(a[i]);
        #[unroll]
        for j in 0..comptime!(tile.vectors) {
            let at = comptime!(i * tile.vectors + j);
            acc[at] = fma(broadcast, b[j], acc[at]);
        }
    }
}
