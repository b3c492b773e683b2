//! The writer of int4 tables: which scales lose least.

use half::f16;

use super::groups::{NIBBLE_ZERO, UNIT};
use super::{ALIGNMENT, MAX_SCALE, WORD_GROUP};
use crate::math::{max_abs, round_to_int, sum};

/// Steps from the least to the largest multiplier that is tried for a group, of either sign.
const STEPS: u32 = 24;
/// The least that is tried, as a part of the multiplier with which nothing is cut off: it cuts off a
/// third of the largest value.
const LEAST: f32 = 0.55;

/// The bytes of an int4 table of rows of `columns` values, see [`super::GroupTable`]. `None` if a value
/// is not finite or beyond the range of the format.
pub(super) fn section(x: &[f32], columns: usize) -> Option<Vec<u8>> {
    let (mut scales, mut multipliers, mut nibbles) = (Vec::new(), Vec::new(), Vec::new());
    for row in x.chunks_exact(columns) {
        // With the largest multiplier, 127, seven steps reach the largest value of the row.
        let scale = half_not_below(max_abs(row) * (UNIT / (7.0 * 127.0)));
        if scale.to_f32() > MAX_SCALE || !row.iter().all(|v| v.is_finite()) {
            return None;
        }
        scales.extend(scale.to_le_bytes());
        for values in row.chunks(WORD_GROUP) {
            let group = Group::of(values, scale.to_f32() / UNIT);
            multipliers.push(group.multiplier as u8);
            let nibble = |v: &f32| (group.round(*v) as i8 + NIBBLE_ZERO) as u8;
            let (low, high) = values.split_at(values.len().div_ceil(2));
            let high = high.iter().map(nibble).chain([0]);
            nibbles.extend(low.iter().map(nibble).zip(high).map(|(low, high)| low | high << 4));
        }
    }
    let mut bytes = scales;
    bytes.extend(multipliers);
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    bytes.extend(nibbles);
    Some(bytes)
}

/// The smallest f16 that is not below `x` ≥ 0.
fn half_not_below(x: f32) -> f16 {
    let near = f16::from_f32(x);
    if near.to_f32() < x { f16::from_bits(near.to_bits() + 1) } else { near }
}

/// A multiplier and what it makes of its group.
#[derive(Clone, Copy)]
struct Group {
    multiplier: i8,
    scale: f32,
    inverse: f32,
}

impl Group {
    fn new(multiplier: i8, unit: f32) -> Self {
        let scale = multiplier as f32 * unit;
        let inverse = if multiplier == 0 { 0.0 } else { 1.0 / scale };
        Group { multiplier, scale, inverse }
    }

    /// The group of least squared error among the candidates; `unit` is the scale of multiplier 1.
    fn of(values: &[f32], unit: f32) -> Self {
        let mut best = (Group::new(0, unit), f32::INFINITY);
        if unit == 0.0 {
            return best.0;
        }
        let plain = max_abs(values) / (7.0 * unit);
        for step in 0..=STEPS {
            let part = LEAST + (1.0 - LEAST) * step as f32 / STEPS as f32;
            let multiplier = (plain * part).round().min(127.0) as i8;
            for multiplier in [multiplier, -multiplier] {
                let group = Group::new(multiplier, unit);
                let error = group.squared_error(values, 1.0 / unit);
                if error < best.1 {
                    best = (group, error);
                }
            }
        }
        best.0
    }

    /// The step of a value, −8 … 7.
    #[inline(always)]
    fn round(self, value: f32) -> i32 {
        // Cut off as a float, so that no quotient is too large to be rounded.
        round_to_int((value * self.inverse).clamp(-8.0, 7.0))
    }

    /// Σ (value − its step)², in units, so that it neither overflows nor vanishes.
    fn squared_error(self, values: &[f32], per_unit: f32) -> f32 {
        sum(values, |value| {
            let error = (value - self.round(value) as f32 * self.scale) * per_unit;
            error * error
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::GroupTable;
    use super::*;

    /// What is read back of rows that were written.
    fn stored(x: &[f32], columns: usize) -> Vec<f32> {
        let bytes = section(x, columns).unwrap();
        let rows = x.len() / columns;
        let table = GroupTable::parse(&bytes, rows, columns).unwrap();
        let mut back = vec![0.0; x.len()];
        for (i, out) in back.chunks_exact_mut(columns).enumerate() {
            for ((nibbles, scale), out) in table.row(i).groups().zip(out.chunks_mut(WORD_GROUP)) {
                let half = out.len().div_ceil(2);
                for (i, out) in out.iter_mut().enumerate() {
                    let (low, high) = (nibbles[i % half] & 15, nibbles[i % half] >> 4);
                    let nibble = if i < half { low } else { high };
                    *out = (nibble as i8 - NIBBLE_ZERO) as f32 * scale;
                }
            }
        }
        back
    }

    fn draws(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut uniform = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..n).map(|_| (0..6).map(|_| uniform()).sum::<f32>()).collect()
    }

    fn relative_error(x: &[f32], back: &[f32]) -> f64 {
        let squares = |f: &dyn Fn(usize) -> f64| (0..x.len()).map(|i| f(i) * f(i)).sum::<f64>();
        (squares(&|i| (x[i] - back[i]) as f64) / squares(&|i| x[i] as f64)).sqrt()
    }

    #[test]
    fn every_width_comes_back_within_a_step() {
        for columns in [1, 2, 3, 15, 16, 17, 30, 31, 32, 33, 47, 63, 64, 65, 128, 200] {
            let x = draws(5 * columns, columns as u32);
            let back = stored(&x, columns);
            for (x, back) in x.chunks(columns).zip(back.chunks(columns)) {
                for (x, back) in x.chunks(WORD_GROUP).zip(back.chunks(WORD_GROUP)) {
                    // The least multiplier that is tried cuts off 0.45 of the largest value.
                    let most = 0.45 * max_abs(x) + max_abs(x) / 14.0;
                    let within = x.iter().zip(back).all(|(x, back)| (x - back).abs() <= most);
                    assert!(within, "{columns}: {x:?} {back:?}");
                }
            }
        }
    }

    #[test]
    fn the_search_beats_the_plain_scale() {
        let x = draws(128 * 200, 7);
        let found = relative_error(&x, &stored(&x, 128));
        let plain: Vec<f32> = x
            .chunks(WORD_GROUP)
            .flat_map(|x| {
                let scale = max_abs(x) / 7.0;
                x.iter().map(move |v| (v / scale).round() * scale)
            })
            .collect();
        let plain = relative_error(&x, &plain);
        assert!(found < 0.87 * plain, "{found} {plain}");
        assert!(found < 0.082, "{found}");
    }

    #[test]
    fn every_size_of_number_is_stored() {
        for size in [1e-9f32, 1e-6, 1e-3, 1.0, 1000.0, 6000.0] {
            let x: Vec<f32> = draws(96, 3).iter().map(|v| v / 3.0 * size).collect();
            let error = relative_error(&x, &stored(&x, 48));
            // An f16 ends at 6e-8, and far below it only zeros are left.
            assert!(error < if size < 1e-7 { 1.01 } else { 0.1 }, "{size}: {error}");
        }
        assert_eq!(stored(&[0.0; 40], 40), [0.0; 40]);
        let tiny = stored(&[1e-38, -1e-40, 0.0, 1e-20], 4);
        assert!(tiny.iter().all(|v| v.abs() < 1e-7), "{tiny:?}");
        for wrong in [8000.0, f32::MAX, f32::INFINITY, f32::NAN] {
            assert_eq!(section(&[0.5, wrong, 1.0, 1.0], 2), None, "{wrong}");
        }
        // A group of small numbers beside one of large ones keeps some of them.
        let mut x = draws(64, 5);
        x[..32].iter_mut().for_each(|v| *v *= 50.0);
        let back = stored(&x, 64);
        assert!(relative_error(&x[32..], &back[32..]) < 0.25);
    }

    #[test]
    fn the_longer_side_is_where_it_is_needed() {
        let mut x = [0.0f32; 32];
        for sign in [1.0, -1.0] {
            for (i, v) in x.iter_mut().enumerate() {
                *v = sign * (i % 16) as f32 - sign * 7.0;
            }
            let back = stored(&x, 32);
            assert!(relative_error(&x, &back) < 0.01, "{back:?}");
        }
    }

    #[test]
    fn a_scale_is_the_next_half() {
        for x in [0.0, 1e-9, 5.9e-8, 6.1e-5, 0.1, 1.0, 3.000_1, 1023.9, 65504.0] {
            let half = half_not_below(x);
            assert!(half.to_f32() >= x, "{x}");
            let below = f16::from_bits(half.to_bits().saturating_sub(1)).to_f32();
            assert!(below < x || x == 0.0, "{x}: {half} {below}");
        }
    }
}
