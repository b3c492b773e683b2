//! How tokens are shared out: a token is the work of a team.

use cubecl::prelude::*;

use crate::lanes::{MAX_CUBES, lanes};
use crate::teams::{Keep, reduce_team, sum_plane};
use crate::{Context, DType};

/// Who works on a token together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Team {
    /// A core of a CPU.
    Alone,
    /// The units of a plane, which need no shared memory to add up. They wait for each other where they
    /// may have parted.
    Plane { units: usize, sync: bool },
    /// All units of a cube.
    Cube(usize),
}

/// Most floats of a token that a unit of a plane keeps in registers, which is 32 lanes of a width of 1,024.
const MOST_OWN: usize = 32;
/// Units of a cube of planes: so few that several fit side by side, each with many registers a unit.
const UNITS_OF_PLANES: usize = 128;
/// Most units of a cube that is a team.
const MOST_UNITS: usize = 256;

impl Team {
    pub(super) fn units(self) -> usize {
        match self {
            Self::Alone => 1,
            Self::Plane { units, .. } | Self::Cube(units) => units,
        }
    }

    /// Vectors of a token that one unit has, of `columns` in all.
    pub(super) fn share(self, columns: usize) -> usize {
        columns.div_ceil(self.units())
    }

    /// Whether a share is few vectors, that registers are to hold.
    pub(super) fn holds_few(self) -> bool {
        self != Self::Alone
    }
}

/// A launch over tokens.
pub(super) struct Rows {
    /// Lanes of a vector.
    pub(super) width: usize,
    pub(super) team: Team,
    pub(super) cubes: usize,
    cube_units: usize,
}

impl Rows {
    /// For `rows` tokens, on a GPU in at most `most_cubes` cubes.
    pub(super) fn new(
        ctx: &Context,
        dtype: DType,
        rows: usize,
        hidden: usize,
        most_cubes: usize,
    ) -> Self {
        let shape = ctx.shape();
        let width = lanes(ctx, dtype, hidden);
        let columns = hidden / width;
        let (plane, most) = (shape.plane_size as usize, shape.max_units_per_cube.max(1) as usize);
        if shape.is_cpu() {
            return Self { width, team: Team::Alone, cubes: 1, cube_units: most };
        }
        let (team, cube_units) = if shape.plane_ops && columns * width <= plane * MOST_OWN {
            let team = Team::Plane { units: plane, sync: shape.plane_sync };
            // Teams are joined by halves, so their number is a power of two.
            (team, plane << (UNITS_OF_PLANES.min(most) / plane).max(1).ilog2())
        } else {
            let units = columns.next_power_of_two().min(MOST_UNITS).min(1 << most.ilog2());
            (Team::Cube(units), units)
        };
        let cubes = rows.div_ceil(cube_units / team.units());
        Self { width, team, cubes: cubes.clamp(1, most_cubes.min(MAX_CUBES)), cube_units }
    }

    pub(super) fn count(&self) -> CubeCount {
        CubeCount::Static(self.cubes as u32, 1, 1)
    }

    pub(super) fn dim(&self) -> CubeDim {
        CubeDim::new_1d(self.cube_units as u32)
    }

    /// Teams of a cube whose sums are to be joined.
    pub(super) fn teams_of_cube(&self) -> usize {
        match self.team {
            Team::Alone => 1,
            team => self.cube_units / team.units(),
        }
    }
}

/// Sum over the units of a team, as a tree; every unit gets it.
#[cube]
pub(super) fn sum_team(value: f32, #[comptime] team: Team) -> f32 {
    match comptime!(team) {
        Team::Alone => value,
        Team::Plane { units, sync } => sum_plane(value, units, sync),
        Team::Cube(units) => reduce_team::<f32>(value, Keep::Sum, units),
    }
}
