//! As [`crate::ops::layer_norm_row`], with products in integers, and no difference twice.

use super::bits::{self, SIGN};
use super::{PIECE, floats};
use crate::format::Norm;
use crate::math::{LANES, reduce, sqrt};

/// As [`crate::ops::add_norm_row`].
#[inline]
pub(super) fn add_norm_row(x: &mut [f32], r: &[f32], norm: &Norm<'_>, epsilon: f32) {
    for (x, r) in x.iter_mut().zip(r) {
        *x += r;
    }
    layer_norm_row(x, norm, epsilon);
}

/// As [`crate::ops::layer_norm_row`].
#[inline]
pub(super) fn layer_norm_row(x: &mut [f32], norm: &Norm<'_>, epsilon: f32) {
    let count = x.len() as f32;
    let mean = sum(x) / count;
    let mut lanes = [0f32; LANES];
    for x in x.chunks_mut(LANES) {
        for (lane, x) in lanes.iter_mut().zip(x) {
            *x -= mean;
            let square = multiply(*x, *x);
            *lane = match bits::add(lane.to_bits(), square.to_bits()) {
                Some(sum) => f32::from_bits(sum),
                None => *lane + square,
            };
        }
    }
    let variance = reduce(&lanes) / count;
    let inverse = 1.0 / sqrt(variance + epsilon);
    let mut room = [[0.0; PIECE]; 2];
    let [of_gamma, of_beta] = &mut room;
    let parameters = norm.gamma.bytes().chunks(PIECE).zip(norm.beta.bytes().chunks(PIECE));
    for (x, (gamma, beta)) in x.chunks_mut(PIECE).zip(parameters) {
        let (gamma, beta) = (floats(gamma, of_gamma), floats(beta, of_beta));
        for ((x, gamma), beta) in x.iter_mut().zip(gamma).zip(beta) {
            *x = multiply(multiply(*x, inverse), *gamma) + beta;
        }
    }
}

/// As [`crate::math::sum`] of the values themselves.
#[inline]
pub(super) fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (first, rest) = x.split_at(LANES.min(x.len()));
    for (lane, x) in lanes.iter_mut().zip(first) {
        // What 0 and x are together: no zero with a sign.
        *lane = if x.to_bits() == SIGN { 0.0 } else { *x };
    }
    for chunk in rest.chunks(LANES) {
        lanes.iter_mut().zip(chunk).for_each(|(lane, x)| *lane += x);
    }
    reduce(&lanes)
}

/// a · b.
#[inline(always)]
pub(super) fn multiply(a: f32, b: f32) -> f32 {
    match bits::multiply(a.to_bits(), b.to_bits()) {
        Some(bits) => f32::from_bits(bits | (a.to_bits() ^ b.to_bits()) & SIGN),
        None => by_definition(a, b),
    }
}

#[cold]
#[inline(never)]
fn by_definition(a: f32, b: f32) -> f32 {
    a * b
}

#[cfg(test)]
mod tests {
    use super::super::common::Random;
    use super::*;
    use crate::format::Floats;
    use crate::ops;

    #[test]
    fn rows_have_the_bits_of_the_definition() {
        let mut random = Random(11);
        for round in 0..60_000 {
            let n = [1, 15, 16, 17, 32, 128][random.below(6)];
            let size = [1.0, 1.0, 1.0, 1e-3, 1e-22, 1e-42, 1e10, 1e19, 1e25][random.below(9)];
            let value = |random: &mut Random| match (round % 3, random.below(16)) {
                (_, 0) => 0.0,
                (_, 1) => -0.0,
                (_, 2) => random.normal(20.0 * size),
                // Whole numbers, which make ties and differences of nothing.
                (0, _) => random.below(9) as f32 * size,
                _ => random.normal(size),
            };
            let mut x: Vec<f32> = (0..n).map(|_| value(&mut random)).collect();
            let r: Vec<f32> = (0..n).map(|_| value(&mut random)).collect();
            let stored: Vec<u8> =
                random.normals(n, 1.0, 0.5).iter().flat_map(|v| v.to_le_bytes()).collect();
            let norm = Norm { gamma: Floats::new(&stored), beta: Floats::new(&stored) };
            if round % 5 == 0 {
                // Nothing but zeros, with signs.
                x.iter_mut().for_each(|x| *x *= 0.0);
            }
            let (mut a, mut b) = (x.clone(), x.clone());
            ops::layer_norm_row(&mut a, &norm, 1e-12);
            layer_norm_row(&mut b, &norm, 1e-12);
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&a), bits(&b), "{x:?}");
            let (mut a, mut b) = (x.clone(), x.clone());
            ops::add_norm_row(&mut a, &r, &norm, 1e-5);
            add_norm_row(&mut b, &r, &norm, 1e-5);
            assert_eq!(bits(&a), bits(&b), "{x:?} {r:?}");
        }
    }
}
