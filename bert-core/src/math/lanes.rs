//! Reductions over a row: lane i of [`LANES`] takes the elements i, i + LANES, i + 2·LANES, …,
//! then the lanes are added as a binary tree whose halves lie LANES/2, LANES/4, … apart.
//! A vector register of any width up to LANES floats computes exactly this.

/// Partial sums of a row reduction.
pub const LANES: usize = 16;

/// Adds the lanes: first i and i + 8, then i and i + 4, i + 2, i + 1. On RV32 each sum is a call, so all of
/// them are one function.
#[cfg_attr(not(target_arch = "riscv32"), inline(always))]
#[cfg_attr(target_arch = "riscv32", inline(never))]
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

/// Largest |xᵢ|, 0 for an empty row; independent of order. NaNs do not count.
#[inline(always)]
pub fn max_abs(x: &[f32]) -> f32 {
    if ONE_LANE {
        return largest_key(x, 0, magnitude);
    }
    fold_max(x, 0.0, |v| if v < 0.0 { -v } else { v })
}

/// Largest xᵢ of a row that is not empty; independent of order up to the sign of zero. NaNs do not
/// count.
#[inline(always)]
pub fn max(x: &[f32]) -> f32 {
    if ONE_LANE {
        return largest_key(x, key(f32::MIN), key);
    }
    fold_max(x, f32::MIN, |v| v)
}

/// Processors of 32 bits compare one pair of floats at a time, or call a function for it: integers are
/// quicker, and lanes are of no use to them.
const ONE_LANE: bool = cfg!(any(target_arch = "arm", target_arch = "riscv32"));

/// |x| as an integer with the same order.
#[inline(always)]
fn magnitude(x: f32) -> i32 {
    (x.to_bits() & i32::MAX as u32) as i32
}

/// x as an integer with the same order. It is its own inverse, as bits.
#[inline(always)]
fn key(x: f32) -> i32 {
    let bits = x.to_bits() as i32;
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

/// The float of the largest key.
#[inline(always)]
fn largest_key(x: &[f32], start: i32, key_of: impl Fn(f32) -> i32) -> f32 {
    let mut largest = x.iter().fold(start, |most, &x| larger(most, key_of(x)));
    if largest > INFINITY {
        largest = largest_number(x, start, key_of);
    }
    f32::from_bits(key(f32::from_bits(largest as u32)) as u32)
}

/// The largest key of what is no NaN.
#[cold]
#[inline(never)]
fn largest_number(x: &[f32], start: i32, key_of: impl Fn(f32) -> i32) -> i32 {
    let numbers = x.iter().filter(|x| !x.is_nan());
    numbers.fold(start, |most, &x| larger(most, key_of(x)))
}

#[inline(always)]
fn larger(a: i32, b: i32) -> i32 {
    if b > a { b } else { a }
}

/// The key of infinity; those of NaNs are larger, or smaller than all.
const INFINITY: i32 = f32::INFINITY.to_bits() as i32;

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

    /// What processors of 32 bits do, on this one.
    #[test]
    fn keys_find_the_largest() {
        let rows: [&[f32]; 6] = [
            &[],
            &[-0.0, 1e-40, -3e-40],
            &[-5.0, -2.0, -7.0],
            &[f32::NAN, -2.0, -f32::NAN, 1.0],
            &[f32::NAN],
            &[f32::NEG_INFINITY, 3.0, f32::MAX, -f32::MAX],
        ];
        for row in rows {
            assert_eq!(largest_key(row, 0, magnitude), max_abs(row), "{row:?}");
            assert_eq!(largest_key(row, key(f32::MIN), key), max(row), "{row:?}");
        }
        for x in [0.0, -0.0, 1.5, -1.5, f32::MAX, f32::INFINITY] {
            assert_eq!(key(f32::from_bits(key(x) as u32)) as u32, x.to_bits());
        }
    }

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
