//! What the backward pass needs of each row before anything else: how its gradient and its result meet.

use cubecl::prelude::*;

use super::Tiling;
use crate::lanes::{my_items, spread, sum_lanes, with_act};
use crate::teams::sum_plane;
use crate::{Buffer, Context};

/// `delta[t, a] = Σ_d out[t, a, d] · d_out[t, a, d]`.
pub(super) fn row_dots(
    ctx: &Context,
    out: &Buffer,
    d_out: &Buffer,
    delta: &Buffer,
    tiling: Tiling,
) {
    let shape = ctx.shape();
    let row_vectors = tiling.row_vectors();
    // Neighbours that share a row read memory in whole lines; alone each would read a line of its own.
    let share = shape.plane_ops
        && row_vectors.is_power_of_two()
        && row_vectors <= shape.plane_size as usize;
    let team = if share { row_vectors } else { 1 };
    let work = spread(ctx, delta.len() * team);
    with_act!(out.dtype(), E => dot_rows::launch::<E>(
        ctx.client(),
        work.count,
        work.dim,
        tiling.lanes,
        out.arg(),
        d_out.arg(),
        delta.arg(),
        delta.len() * team,
        row_vectors,
        team,
        shape.plane_sync,
        work.contiguous,
    ));
}

#[cube(launch)]
fn dot_rows<E: Float, N: Size>(
    out: &[Vector<E, N>],
    d_out: &[Vector<E, N>],
    delta: &mut [f32],
    count: usize,
    #[comptime] row_vectors: usize,
    #[comptime] team: usize,
    #[comptime] sync: bool,
    #[comptime] contiguous: bool,
) {
    let share = comptime!(row_vectors / team);
    let items = my_items(count, contiguous);
    let mut i = items.first;
    while i < items.end {
        let mut sum = Vector::<f32, N>::new(0.0f32);
        for part in 0..share {
            let at = i * share + part;
            sum = fma(Vector::cast_from(out[at]), Vector::cast_from(d_out[at]), sum);
        }
        let dot = sum_plane(sum_lanes::<N>(sum), team, sync);
        let place = i % team;
        if place == 0 {
            delta[i / team] = dot;
        }
        i += items.step;
    }
}
