//! Sums down the columns of a matrix, which gradients of biases and of layer norm end with.
//!
//! On a GPU a cube takes a tile of neighbouring columns over a run of rows: its units load several rows at
//! once, far more than one row a unit keeps on its way from memory, and shared memory joins what they
//! found. Sums of runs go through a workspace and are added by the same tiles. On a CPU a unit adds a few
//! neighbouring vectors of columns over all rows.
//!
//! The order of every sum follows from the sizes and the device.

use cubecl::prelude::*;

use crate::lanes::{lanes, my_items, spread, with_act};
use crate::{Buffer, Context, DType};

/// Rows of one run on a GPU.
const RUN: usize = 128;
/// Most runs.
const MAX_RUNS: usize = 512;
/// Neighbouring vectors of a tile: so few that many rows are on their way at once, and whole lines of memory.
const WIDE: usize = 8;
/// Units of a tile.
const UNITS: usize = 256;
/// Rows that a unit loads before it adds the first.
const AT_ONCE: usize = 4;
/// Up to so many rows, a unit a column adds as fast as a tile.
const FEW: usize = 8;

/// Units of a cube: `wide` neighbouring vectors of columns, `tall` rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tile {
    pub(crate) wide: usize,
    pub(crate) tall: usize,
}

impl Tile {
    /// A CPU's has one row, so that nothing has to be joined.
    pub(crate) fn new(ctx: &Context) -> Self {
        let units = (ctx.shape().max_units_per_cube as usize).clamp(1, UNITS);
        if ctx.shape().is_cpu() {
            return Self { wide: units, tall: 1 };
        }
        // A power of two, as joining them by halves wants.
        let wide = WIDE.min(units);
        Self { wide, tall: 1 << (units / wide).ilog2() }
    }

    /// Cubes for so many vectors of columns.
    pub(crate) fn cubes(&self, columns: usize) -> u32 {
        columns.div_ceil(self.wide) as u32
    }

    pub(crate) fn units(&self) -> usize {
        self.wide * self.tall
    }

    pub(crate) fn dim(&self) -> CubeDim {
        CubeDim::new_1d(self.units() as u32)
    }
}

/// Runs of `rows` rows, whose sums need memory if there are several.
pub(crate) fn runs(ctx: &Context, rows: usize) -> usize {
    if ctx.shape().is_cpu() { 1 } else { rows.div_ceil(RUN).clamp(1, MAX_RUNS) }
}

/// `into[j] += Σ_t x[t, j]` for j < n, with rows of `x` `stride` elements apart. `workspace` has n f32 for
/// each of several [`runs`].
pub(crate) fn column_sums(
    ctx: &Context,
    x: &Buffer,
    rows: usize,
    n: usize,
    stride: usize,
    into: &Buffer,
    workspace: &Buffer,
) {
    let width = lanes(ctx, x.dtype(), n).min(lanes(ctx, x.dtype(), stride));
    let columns = n / width;
    if ctx.shape().is_cpu() {
        return whole_columns(ctx, x, rows, columns, stride, width, into);
    }
    let runs = runs(ctx, rows);
    let tile = Tile::new(ctx);
    with_act!(x.dtype(), E => sum_tiles::launch::<E>(
        ctx.client(),
        CubeCount::Static(tile.cubes(columns), runs as u32, 1),
        tile.dim(),
        width,
        x.arg(),
        if runs == 1 { into } else { workspace }.arg(),
        rows,
        rows.div_ceil(runs),
        columns,
        stride / width,
        runs == 1,
        tile,
    ));
    if runs > 1 {
        add_rows(ctx, workspace, into, runs, n);
    }
}

/// `into[j] += Σ_r sums[r, j]` for j < n; both f32.
pub(crate) fn add_rows(ctx: &Context, sums: &Buffer, into: &Buffer, rows: usize, n: usize) {
    let width = lanes(ctx, DType::F32, n);
    let columns = n / width;
    if ctx.shape().is_cpu() || rows <= FEW {
        return whole_columns(ctx, sums, rows, columns, n, width, into);
    }
    let tile = Tile::new(ctx);
    sum_tiles::launch::<f32>(
        ctx.client(),
        CubeCount::Static(tile.cubes(columns), 1, 1),
        tile.dim(),
        width,
        sums.arg(),
        into.arg(),
        rows,
        rows,
        columns,
        columns,
        true,
        tile,
    );
}

/// Adds all rows of a column in one unit.
fn whole_columns(
    ctx: &Context,
    x: &Buffer,
    rows: usize,
    columns: usize,
    stride: usize,
    width: usize,
    into: &Buffer,
) {
    // Neighbouring vectors whose sums a CPU unit keeps in registers, so that it reads longer runs.
    let block = if ctx.shape().is_cpu() {
        [4, 2, 1].into_iter().find(|&block| columns.is_multiple_of(block)).unwrap_or(1)
    } else {
        1
    };
    let work = spread(ctx, columns / block);
    with_act!(x.dtype(), E => sum_columns::launch::<E>(
        ctx.client(),
        work.count,
        work.dim,
        width,
        x.arg(),
        into.arg(),
        rows,
        stride / width,
        columns / block,
        block,
        work.contiguous,
    ));
}

/// Sum of the rows `from..end` of a vector of columns, over the units of this cube's tile; the units of its
/// first row have it. `stride` is a row's length in vectors. All units of the cube have to come here.
#[cube]
pub(crate) fn sum_of_tile<E: Float, N: Size>(
    x: &[Vector<E, N>],
    column: usize,
    columns: usize,
    from: usize,
    end: usize,
    stride: usize,
    #[comptime] tile: Tile,
) -> Vector<f32, N> {
    let mut total = Vector::<f32, N>::new(0.0f32);
    let step = comptime!(tile.tall);
    if column < columns {
        let mut row = from + UNIT_POS as usize / comptime!(tile.wide);
        while row + comptime!((AT_ONCE - 1) * tile.tall) < end {
            let mut held = Array::<Vector<f32, N>>::new(AT_ONCE);
            #[unroll]
            for i in 0..AT_ONCE {
                held[i] = Vector::cast_from(x[(row + comptime!(i * tile.tall)) * stride + column]);
            }
            #[unroll]
            for i in 0..AT_ONCE {
                total += held[i];
            }
            row += comptime!(AT_ONCE * tile.tall);
        }
        while row < end {
            total += Vector::cast_from(x[row * stride + column]);
            row += step;
        }
    }
    if comptime!(tile.tall > 1) {
        let mut shared = Shared::<[Vector<f32, N>]>::new_slice(comptime!(tile.units()));
        join_rows::<N>(&mut shared, total, tile)
    } else {
        total
    }
}

/// Sum over the rows of a tile, as a tree through memory for a vector of each unit; the units of the first
/// row have it.
#[cube]
pub(crate) fn join_rows<N: Size>(
    shared: &mut Shared<[Vector<f32, N>]>,
    value: Vector<f32, N>,
    #[comptime] tile: Tile,
) -> Vector<f32, N> {
    let unit = UNIT_POS as usize;
    shared[unit] = value;
    sync_cube();
    let levels = comptime!(tile.tall.trailing_zeros() as usize);
    #[unroll]
    for level in 0..levels {
        let half = comptime!((tile.tall >> (level + 1)) * tile.wide);
        if unit < half {
            let other = shared[unit + half];
            shared[unit] += other;
        }
        sync_cube();
    }
    let sum = shared[unit];
    // Nobody may overwrite before everybody has read.
    sync_cube();
    sum
}

#[cube(launch)]
fn sum_tiles<E: Float, N: Size>(
    x: &[Vector<E, N>],
    sums: &mut [Vector<f32, N>],
    rows: usize,
    run: usize,
    columns: usize,
    stride: usize,
    #[comptime] accumulate: bool,
    #[comptime] tile: Tile,
) {
    let unit = UNIT_POS as usize;
    let column = CUBE_POS_X as usize * comptime!(tile.wide) + unit % comptime!(tile.wide);
    let number = CUBE_POS_Y as usize;
    let from = number * run;
    let end = min(from + run, rows);
    let total = sum_of_tile::<E, N>(x, column, columns, from, end, stride, tile);
    if unit < comptime!(tile.wide) && column < columns {
        let at = number * columns + column;
        if accumulate {
            sums[at] += total;
        } else {
            sums[at] = total;
        }
    }
}

#[cube(launch)]
fn sum_columns<E: Float, N: Size>(
    x: &[Vector<E, N>],
    sums: &mut [Vector<f32, N>],
    rows: usize,
    stride: usize,
    blocks: usize,
    #[comptime] block: usize,
    #[comptime] contiguous: bool,
) {
    let items = my_items(blocks, contiguous);
    let mut i = items.first;
    while i < items.end {
        let first = i * block;
        let mut total = Array::<Vector<f32, N>>::new(block);
        #[unroll]
        for j in 0..block {
            total[j] = Vector::new(0.0f32);
        }
        for row in 0..rows {
            #[unroll]
            for j in 0..block {
                total[j] += Vector::cast_from(x[row * stride + first + j]);
            }
        }
        #[unroll]
        for j in 0..block {
            sums[first + j] += total[j];
        }
        i += items.step;
    }
}
