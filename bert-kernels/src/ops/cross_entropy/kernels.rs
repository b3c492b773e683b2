//! The kernels: statistics of the rows of a chunk, and gradients of its logits.

use cubecl::prelude::*;

use super::IGNORE;
use crate::lanes::iota;
use crate::math;
use crate::teams::{Keep, my_place, my_team, reduce_lanes, reduce_team, team_count};

/// Below any logit, and its exponential is 0; finite, so that differences are.
pub(crate) const NOTHING: f32 = -1e30;

/// Logits of the chunk from class `class` on.
#[cube]
fn load<E: Float, N: Size>(
    logits: &[Vector<E, N>],
    at: usize,
    class: Vector<u32, N>,
    classes: u32,
    #[comptime] masked: bool,
) -> Vector<f32, N> {
    let value = Vector::<f32, N>::cast_from(logits[at]);
    if masked {
        let inside = class.less_than(&Vector::new(classes));
        select_many(inside, value, Vector::new(NOTHING))
    } else {
        value
    }
}

/// Weights of the classes of vector `v`.
#[cube]
fn weights_of<N: Size>(weights: &ComptimeOption<Box<[f32]>>, v: usize) -> Vector<f32, N> {
    let mut found = Vector::<f32, N>::new(1.0f32);
    #[comptime]
    if let ComptimeOption::Some(weights) = weights {
        #[unroll]
        for lane in 0..N::value() {
            found.insert(lane, weights[v * N::value() + lane]);
        }
    }
    found
}

/// Weight of a row's target; of a row that is ignored, that of any class.
#[cube]
fn weight_of(weights: &ComptimeOption<Box<[f32]>>, target: u32, classes: u32) -> f32 {
    let mut found = 1.0f32;
    #[comptime]
    if let ComptimeOption::Some(weights) = weights {
        found = weights[min(target, classes - 1u32) as usize];
    }
    found
}

#[cube(launch)]
pub(super) fn statistics<E: Float, N: Size>(
    logits: &[Vector<E, N>],
    targets: &[u32],
    loss: &mut [f32],
    correct: &mut [u32],
    lse: &mut [f32],
    mut best: ComptimeOption<Box<[f32]>>,
    weights: ComptimeOption<Box<[f32]>>,
    kept: f32,
    share: f32,
    rows: usize,
    stride: usize,
    classes: u32,
    offset: u32,
    #[comptime] masked: bool,
    #[comptime] first: bool,
    #[comptime] last: bool,
    #[comptime] smoothed: bool,
    #[comptime] team: usize,
) {
    let place = my_place(team);
    let vectors = (classes as usize).div_ceil(N::value());
    let lane = iota::<N>();
    let mut row = my_team(team);
    while row < rows {
        let base = row * stride;
        let target = targets[row];
        let mut top = Vector::<f32, N>::new(NOTHING);
        for v in range_stepped(place, vectors, team) {
            let class = Vector::<u32, N>::new((v * N::value()) as u32) + lane;
            top = max(top, load::<E, N>(logits, base + v, class, classes, masked));
        }
        let top = reduce_team::<f32>(reduce_lanes::<f32, N>(top, Keep::Max), Keep::Max, team);
        let mut total = Vector::<f32, N>::new(0.0f32);
        let mut picked = Vector::<f32, N>::new(0.0f32);
        let mut index = Vector::<u32, N>::new(IGNORE);
        // Σ w and Σ w (top − x).
        let mut mass = Vector::<f32, N>::new(0.0f32);
        let mut below = Vector::<f32, N>::new(0.0f32);
        for v in range_stepped(place, vectors, team) {
            let class = Vector::<u32, N>::new((v * N::value()) as u32) + lane;
            let x = load::<E, N>(logits, base + v, class, classes, masked);
            total += math::exp::<N>(x - Vector::new(top));
            let at_top = x.equal(&Vector::new(top));
            index = min(index, select_many(at_top, class, Vector::new(IGNORE)));
            let is_target = (class + Vector::new(offset)).equal(&Vector::new(target));
            picked += select_many(is_target, x, Vector::new(0.0f32));
            if smoothed {
                let weight = weights_of::<N>(&weights, v);
                mass += weight;
                below += weight * (Vector::new(top) - x);
            }
        }
        let total = reduce_team::<f32>(reduce_lanes::<f32, N>(total, Keep::Sum), Keep::Sum, team);
        let picked = reduce_team::<f32>(reduce_lanes::<f32, N>(picked, Keep::Sum), Keep::Sum, team);
        let index = reduce_team::<u32>(reduce_lanes::<u32, N>(index, Keep::Min), Keep::Min, team);
        let mut spread = 0.0f32;
        if smoothed {
            let mass = reduce_team::<f32>(reduce_lanes::<f32, N>(mass, Keep::Sum), Keep::Sum, team);
            let below =
                reduce_team::<f32>(reduce_lanes::<f32, N>(below, Keep::Sum), Keep::Sum, team);
            spread = share * (below + mass * math::ln(total));
        }
        if place == 0 {
            let mut row_lse = top + math::ln(total);
            let mut row_index = index + offset;
            let mut row_picked = picked;
            let mut row_top = top;
            if !first {
                let before = lse[row];
                let high = max(before, row_lse);
                let sum = math::exp_scalar(before - high) + math::exp_scalar(row_lse - high);
                row_lse = high + math::ln(sum);
                row_picked += loss[row];
                #[comptime]
                if let ComptimeOption::Some(best) = &best {
                    // Of equal logits the first class counts.
                    if best[row] >= top {
                        row_top = best[row];
                        row_index = correct[row];
                    }
                }
            }
            lse[row] = row_lse;
            if last {
                let mut row_loss = (row_lse - row_picked) * weight_of(&weights, target, classes);
                if smoothed {
                    row_loss = kept * row_loss + spread;
                }
                loss[row] = select(target == IGNORE, 0.0f32, row_loss);
                correct[row] = select(row_index == target, 1u32, 0u32);
            } else {
                loss[row] = row_picked;
                correct[row] = row_index;
                #[comptime]
                if let ComptimeOption::Some(best) = &mut best {
                    best[row] = row_top;
                }
            }
        }
        row += team_count(team);
    }
}

#[cube(launch)]
pub(super) fn gradients<E: Float, D: Float, N: Size>(
    logits: &[Vector<E, N>],
    targets: &[u32],
    lse: &[f32],
    d_logits: &mut [Vector<D, N>],
    weights: ComptimeOption<Box<[f32]>>,
    factor: ComptimeOption<Box<[f32]>>,
    scale: f32,
    kept: f32,
    share: f32,
    rows: usize,
    stride: usize,
    classes: u32,
    offset: u32,
    #[comptime] masked: bool,
    #[comptime] smoothed: bool,
    #[comptime] team: usize,
) {
    let place = my_place(team);
    let vectors = (classes as usize).div_ceil(N::value());
    let lane = iota::<N>();
    // ε / C · Σ w.
    let mut mass = 0.0f32;
    if smoothed {
        let mut total = Vector::<f32, N>::new(0.0f32);
        for v in range_stepped(place, vectors, team) {
            total += weights_of::<N>(&weights, v);
        }
        let total = reduce_team::<f32>(reduce_lanes::<f32, N>(total, Keep::Sum), Keep::Sum, team);
        mass = share * total;
    }
    let mut scale = scale;
    #[comptime]
    if let ComptimeOption::Some(factor) = &factor {
        scale *= factor[0];
    }
    let mut row = my_team(team);
    while row < rows {
        let base = row * stride;
        let target = targets[row];
        let row_lse = lse[row];
        let row_scale = select(target == IGNORE, 0.0f32, scale);
        let own_scale = row_scale * kept * weight_of(&weights, target, classes);
        for v in range_stepped(place, vectors, team) {
            let class = Vector::<u32, N>::new((v * N::value()) as u32) + lane;
            let x = load::<E, N>(logits, base + v, class, classes, masked);
            let softmax = math::exp::<N>(x - Vector::new(row_lse));
            let is_target = (class + Vector::new(offset)).equal(&Vector::new(target));
            let onehot = select_many(is_target, Vector::new(1.0f32), Vector::new(0.0f32));
            let mut d = (softmax - onehot) * Vector::new(own_scale);
            if smoothed {
                let shares = weights_of::<N>(&weights, v) * Vector::new(share);
                d = d + (softmax * Vector::new(mass) - shares) * Vector::new(row_scale);
            }
            d_logits[base + v] = Vector::cast_from(d);
        }
        row += team_count(team);
    }
}
