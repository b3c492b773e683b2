//! Euclidean norm of a flat buffer: `√Σ xᵢ²`, for clipping.

use cubecl::prelude::*;

use crate::lanes::{expect_u32, lanes};
use crate::teams::{Keep, Teams, my_place, my_team, reduce_lanes, reduce_team, team_count};
use crate::{Buffer, Context, DType, KernelError};

/// Operands of [`global_norm`].
pub struct GlobalNorm<'a> {
    /// `[n]` f32.
    pub x: &'a Buffer,
    /// `[1]` f32, out.
    pub norm: &'a Buffer,
    /// Scratch of [`global_norm_workspace_len`] f32.
    pub workspace: &'a Buffer,
}

/// Vectors that one unit adds up before it adds their sum to its total: two short chains of
/// roundings instead of a long one.
const CHAIN: usize = 64;
/// Vectors of a chain that are loaded before the first is added.
const AT_ONCE: usize = 4;

fn teams(ctx: &Context, len: usize) -> (usize, Teams) {
    let width = lanes(ctx, DType::F32, len);
    let chains = (len / width).div_ceil(CHAIN);
    // A row of a team is as many chains as it has units, at most 256.
    let rows = if ctx.shape().is_cpu() { chains } else { chains.div_ceil(256) };
    (width, Teams::new(ctx, rows, chains))
}

/// Elements of [`GlobalNorm::workspace`] for `n` elements.
pub fn global_norm_workspace_len(ctx: &Context, n: usize) -> usize {
    teams(ctx, n).1.workers
}

/// `norm = √Σ xᵢ²`.
///
/// # Errors
///
/// Lengths or types that do not fit together.
pub fn global_norm(ctx: &Context, args: GlobalNorm<'_>) -> Result<(), KernelError> {
    const OP: &str = "global_norm";
    let GlobalNorm { x, norm, workspace } = args;
    x.expect_dtype(OP, "x", DType::F32)?;
    norm.expect_dtype(OP, "norm", DType::F32)?;
    norm.expect_len(OP, "norm", 1)?;
    workspace.expect_dtype(OP, "workspace", DType::F32)?;
    workspace.expect_len(OP, "workspace", global_norm_workspace_len(ctx, x.len()))?;
    expect_u32(OP, "elements", x.len())?;
    let (width, teams) = teams(ctx, x.len());
    sum_squares::launch(
        ctx.client(),
        teams.count(),
        teams.dim(),
        width,
        x.arg(),
        workspace.arg(),
        x.len() / width,
        teams.team,
    );
    let last = Teams::one(ctx, teams.workers);
    root_of_sum::launch(
        ctx.client(),
        last.count(),
        last.dim(),
        workspace.arg(),
        norm.arg(),
        teams.workers,
        last.team,
    );
    Ok(())
}

#[cube(launch)]
fn sum_squares<N: Size>(
    x: &[Vector<f32, N>],
    sums: &mut [f32],
    vectors: usize,
    #[comptime] team: usize,
) {
    let units = team_count(team) * team;
    // A core of a CPU reads a run of neighbours; units of a GPU read neighbours together.
    let mut first = ABSOLUTE_POS;
    let mut step = units;
    if comptime!(team == 1) {
        first = ABSOLUTE_POS * CHAIN;
        step = 1usize.runtime();
    }
    let mut total = Vector::<f32, N>::new(0.0f32);
    while first < vectors {
        let mut chain = Vector::<f32, N>::new(0.0f32);
        let end = min(first + CHAIN * step, vectors);
        let mut i = first;
        while i + comptime!(AT_ONCE - 1) * step < end {
            let mut held = Array::<Vector<f32, N>>::new(AT_ONCE);
            #[unroll]
            for j in 0..AT_ONCE {
                held[j] = x[i + j * step];
            }
            #[unroll]
            for j in 0..AT_ONCE {
                chain += held[j] * held[j];
            }
            i += comptime!(AT_ONCE) * step;
        }
        while i < end {
            chain += x[i] * x[i];
            i += step;
        }
        total += chain;
        first += units * CHAIN;
    }
    let sum = reduce_team::<f32>(reduce_lanes::<f32, N>(total, Keep::Sum), Keep::Sum, team);
    if my_place(team) == 0 {
        sums[my_team(team)] = sum;
    }
}

#[cube(launch)]
fn root_of_sum(sums: &[f32], norm: &mut [f32], count: usize, #[comptime] team: usize) {
    let mut total = 0.0f32;
    if my_team(team) == 0 {
        for i in range_stepped(my_place(team), count, team) {
            total += sums[i];
        }
    }
    let total = reduce_team::<f32>(total, Keep::Sum, team);
    if ABSOLUTE_POS == 0 {
        norm[0] = total.sqrt();
    }
}
