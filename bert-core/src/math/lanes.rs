//! Reductions over a row: lane i of [`LANES`] takes the elements i, i + LANES, i + 2·LANES, …,
//! then the lanes are added as a binary tree whose halves lie LANES/2, LANES/4, … apart.
//! A vector register of any width up to LANES floats computes exactly this.

/// Partial sums of a row reduction.
pub const LANES: usize = 16;

/// Adds the lanes: first i and i + 8, then i and i + 4, i + 2, i + 1.
#[inline(always)]
pub fn reduce(lanes: &[f32; LANES]) -> f32 {
    let mut acc = *lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            acc[i] += acc[i + width];
        }
        width /= 2;
    }
    acc[0]
}

/// Σ f(xᵢ) in lanes.
#[inline(always)]
pub fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, tail) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += f(chunk[i]);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(tail) {
        *lane += f(value);
    }
    reduce(&lanes)
}

/// Largest |xᵢ|, 0 for an empty row; independent of order.
#[inline(always)]
pub fn max_abs(x: &[f32]) -> f32 {
    fold_max(x, 0.0, |v| if v < 0.0 { -v } else { v })
}

/// Largest xᵢ of a row that is not empty; independent of order up to the sign of zero.
#[inline(always)]
pub fn max(x: &[f32]) -> f32 {
    fold_max(x, f32::MIN, |v| v)
}

#[inline(always)]
fn fold_max(x: &[f32], start: f32, f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let (chunks, tail) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            let value = f(chunk[i]);
            lanes[i] = if value > lanes[i] { value } else { lanes[i] };
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(tail) {
        let value = f(value);
        *lane = if value > *lane { value } else { *lane };
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = if lanes[i + width] > lanes[i] { lanes[i + width] } else { lanes[i] };
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_in_the_order_of_the_definition() {
        for n in [0, 1, 15, 16, 17, 31, 32, 33, 128, 131] {
            let x: Vec<f32> = (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.37).collect();
            let mut lanes = [0.0f32; LANES];
            for (i, v) in x.iter().enumerate() {
                lanes[i % LANES] += v * v;
            }
            assert_eq!(sum(&x, |v| v * v), reduce(&lanes), "{n}");
            let exact = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            assert_eq!(max_abs(&x), exact, "{n}");
        }
    }
}
