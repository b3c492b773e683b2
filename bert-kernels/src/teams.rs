//! Teams: the units that share one row. One unit on a CPU, the units of one cube on a GPU.

use cubecl::prelude::*;

use crate::Context;

/// How rows are spread over teams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Teams {
    /// Units of a team.
    pub(crate) team: usize,
    /// Teams; each takes every so manieth row.
    pub(crate) workers: usize,
    cube_units: usize,
}

/// Most units of a GPU team.
const MAX_TEAM: usize = 256;
/// Most teams of a GPU: enough to fill any device, few enough that a partial result of each is soon
/// added up.
const MAX_WORKERS: usize = 1024;

impl Teams {
    /// Teams for `rows` rows of `vectors` vectors each.
    pub(crate) fn new(ctx: &Context, rows: usize, vectors: usize) -> Self {
        let shape = ctx.shape();
        let units = (shape.max_units_per_cube as usize).max(1);
        if shape.is_cpu() {
            return Self { team: 1, workers: units, cube_units: units };
        }
        let most = 1 << units.min(MAX_TEAM).ilog2();
        let team = vectors.next_power_of_two().min(most);
        Self { team, workers: rows.clamp(1, MAX_WORKERS), cube_units: team }
    }

    /// A single team for `items` items.
    pub(crate) fn one(ctx: &Context, items: usize) -> Self {
        let team = Self::new(ctx, 1, items).team;
        Self { team, workers: 1, cube_units: team }
    }

    pub(crate) fn count(&self) -> CubeCount {
        CubeCount::Static((self.workers * self.team / self.cube_units) as u32, 1, 1)
    }

    pub(crate) fn dim(&self) -> CubeDim {
        CubeDim::new_1d(self.cube_units as u32)
    }
}

/// This unit's team.
#[cube]
pub(crate) fn my_team(#[comptime] team: usize) -> usize {
    ABSOLUTE_POS / team
}

/// This unit's place in its team.
#[cube]
pub(crate) fn my_place(#[comptime] team: usize) -> usize {
    ABSOLUTE_POS % team
}

/// Number of teams.
#[cube]
pub(crate) fn team_count(#[comptime] team: usize) -> usize {
    CUBE_COUNT * CUBE_DIM as usize / team
}

/// What a reduction keeps of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Keep {
    Sum,
    Max,
    Min,
}

#[cube]
fn keep<T: Numeric>(a: T, b: T, #[comptime] how: Keep) -> T {
    match comptime!(how) {
        Keep::Sum => a + b,
        Keep::Max => max(a, b),
        Keep::Min => min(a, b),
    }
}

/// Reduction over the lanes, as a tree.
#[cube]
pub(crate) fn reduce_lanes<T: Numeric, N: Size>(x: Vector<T, N>, #[comptime] how: Keep) -> T {
    let mut parts = Sequence::<T>::new();
    #[unroll]
    for lane in 0..N::value() {
        parts.push(x.extract(lane));
    }
    // Node i joins nodes 2i and 2i + 1; the leaves are the lanes.
    let lanes = N::value();
    let joins = comptime!(lanes - 1);
    #[unroll]
    for node in 0..joins {
        parts.push(keep::<T>(parts[2 * node], parts[2 * node + 1], how));
    }
    parts[2 * joins]
}

/// Reduction over a team, as a tree; every unit gets it.
#[cube]
pub(crate) fn reduce_team<T: Numeric>(
    value: T,
    #[comptime] how: Keep,
    #[comptime] team: usize,
) -> T {
    if team == 1 {
        value
    } else {
        let mut shared = Shared::<[T]>::new_slice(team);
        let unit = UNIT_POS as usize;
        shared[unit] = value;
        sync_cube();
        let levels = comptime!(team.trailing_zeros() as usize);
        #[unroll]
        for level in 0..levels {
            let half = comptime!(team >> (level + 1));
            if unit < half {
                shared[unit] = keep::<T>(shared[unit], shared[unit + half], how);
            }
            sync_cube();
        }
        let result = shared[0];
        // Nobody may overwrite before everybody has read.
        sync_cube();
        result
    }
}

/// Sum over `units` neighbours of a plane, a power of two, as a tree; each of them gets it. With `sync`
/// the units of a plane wait for each other first, as they have to where they may have parted.
#[cube]
pub(crate) fn sum_plane(value: f32, #[comptime] units: usize, #[comptime] sync: bool) -> f32 {
    let mut sum = value;
    if comptime!(sync && units > 1) {
        sync_plane();
    }
    let levels = comptime!(units.trailing_zeros() as usize);
    #[unroll]
    for level in 0..levels {
        // Both of a pair add the same two numbers, so all end with the same bits.
        sum += plane_shuffle_xor(sum, comptime!(1u32 << level));
    }
    sum
}
