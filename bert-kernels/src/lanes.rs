//! What kernels share: how work is spread over units, and sums and exponentials over the lanes of a
//! vector.

use cubecl::prelude::*;

use crate::{Context, DType, KernelError};

/// Runs `$body` with the type alias `$act` standing for the activation type of a [`DType`].
macro_rules! with_act {
    ($dtype:expr, $act:ident => $body:expr) => {
        match $dtype {
            $crate::DType::Bf16 => {
                type $act = half::bf16;
                $body
            }
            $crate::DType::F16 => {
                type $act = half::f16;
                $body
            }
            _ => {
                type $act = f32;
                $body
            }
        }
    };
}
pub(crate) use with_act;

/// Lanes of a vector whose index counts from multiples of `multiple` elements: the widest power of
/// two that divides it and is one efficient load.
///
/// On a CPU a vector fills one register with f32, which is what the arithmetic is done in.
pub(crate) fn lanes(ctx: &Context, dtype: DType, multiple: usize) -> usize {
    let shape = ctx.shape();
    let element_bits = if shape.is_cpu() { 32 } else { 8 * dtype.size_bytes() };
    let widest = (shape.load_width_bits as usize / element_bits).clamp(1, 16);
    1 << multiple.trailing_zeros().min(widest.next_power_of_two().trailing_zeros())
}

/// A launch over independent items.
pub(crate) struct Spread {
    pub(crate) count: CubeCount,
    pub(crate) dim: CubeDim,
    /// Whether a unit takes neighbouring items (a CPU core) or every so manieth (a GPU unit, so
    /// that a plane's loads are neighbours).
    pub(crate) contiguous: bool,
}

/// Units of a GPU cube for elementwise work.
const ELEMENTWISE_UNITS: u32 = 256;
/// Most cubes along one dimension that every runtime takes.
pub(crate) const MAX_CUBES: usize = 65_535;

/// Spreads `items` independent items over the device; [`my_items`] is its other half.
pub(crate) fn spread(ctx: &Context, items: usize) -> Spread {
    let shape = ctx.shape();
    if shape.is_cpu() {
        // The runtime gives each unit of a cube a core and walks the cubes on it.
        return Spread {
            count: CubeCount::Static(1, 1, 1),
            dim: CubeDim::new_1d((shape.max_units_per_cube as usize).min(items).max(1) as u32),
            contiguous: true,
        };
    }
    let units = ELEMENTWISE_UNITS.min(shape.max_units_per_cube);
    let cubes = items.div_ceil(units as usize).clamp(1, MAX_CUBES);
    Spread {
        count: CubeCount::Static(cubes as u32, 1, 1),
        dim: CubeDim::new_1d(units),
        contiguous: false,
    }
}

/// The items of one unit: `first`, `first + step`, … below `end`.
#[derive(CubeType)]
pub(crate) struct Items {
    pub(crate) first: usize,
    pub(crate) end: usize,
    pub(crate) step: usize,
}

/// This unit's share of `items`, which were spread by [`spread`].
#[cube]
pub(crate) fn my_items(items: usize, #[comptime] contiguous: bool) -> Items {
    let units = CUBE_COUNT * CUBE_DIM as usize;
    if contiguous {
        let share = items.div_ceil(units);
        let first = ABSOLUTE_POS * share;
        Items { first, end: min(first + share, items), step: 1usize.runtime() }
    } else {
        Items { first: ABSOLUTE_POS, end: items, step: units }
    }
}

/// 0, 1, 2, … in the lanes.
#[cube]
pub(crate) fn iota<N: Size>() -> Vector<u32, N> {
    let mut lanes = Vector::<u32, N>::empty();
    #[unroll]
    for lane in 0..N::value() {
        lanes.insert(lane, lane as u32);
    }
    lanes
}

/// Sum of all lanes, as a tree: the order is fixed by the number of lanes.
#[cube]
pub(crate) fn sum_lanes<N: Size>(x: Vector<f32, N>) -> f32 {
    let mut parts = Sequence::<f32>::new();
    #[unroll]
    for lane in 0..N::value() {
        parts.push(x.extract(lane));
    }
    // Node i adds nodes 2i and 2i + 1; the leaves are the lanes.
    let lanes = N::value();
    let additions = comptime!(lanes - 1);
    #[unroll]
    for node in 0..additions {
        parts.push(parts[2 * node] + parts[2 * node + 1]);
    }
    parts[2 * additions]
}

/// Largest of all lanes.
#[cube]
pub(crate) fn max_lanes<N: Size>(x: Vector<f32, N>) -> f32 {
    let mut parts = Sequence::<f32>::new();
    #[unroll]
    for lane in 0..N::value() {
        parts.push(x.extract(lane));
    }
    let lanes = N::value();
    let comparisons = comptime!(lanes - 1);
    #[unroll]
    for node in 0..comparisons {
        parts.push(max(parts[2 * node], parts[2 * node + 1]));
    }
    parts[2 * comparisons]
}

/// Relative error of [`exp_nonpositive`] where its result is at least e⁻⁸⁷, with u = 2⁻²⁴ the half
/// ulp of f32. The reduced argument |r| ≤ ln 2 / 2 has an error below 0.4 u, which is relative in the
/// result; cutting the series after r⁷/7! leaves r⁸/8! · e^|r| ≤ 5.2e-9 · 1.42 = 0.13 u; Horner's
/// last two steps round by at most u · (1 + 0.35 · 1.21) / 0.7 = 2.1 u, the earlier ones by half
/// as much again in all. 4 u bounds the sum. Device exponentials are specified to 2 ulp = 4 u.
#[cfg(any(test, feature = "cases"))]
pub(crate) const EXP_ERROR: f64 = 4.0 / 16_777_216.0;

/// Below this an exponential counts as zero: e⁻⁸⁷ is the last power of e above f32's subnormals.
const EXP_UNDERFLOW: f32 = -87.0;

/// `eˣ` for x ≤ 0, zero below −87; NaN stays NaN.
///
/// The CPU runtime calls the scalar libm once per lane, so there (`native` false) it is
/// `2ⁿ · e^r` with n = round(x / ln 2) found by the addition of 1.5 · 2²³, whose sum holds n in its
/// low bits, and the Taylor series of e^r.
#[cube]
pub(crate) fn exp_nonpositive<N: Size>(
    x: Vector<f32, N>,
    #[comptime] native: bool,
) -> Vector<f32, N> {
    if native {
        crate::math::exp::<N>(x)
    } else {
        let magic = Vector::new(12_582_912.0f32);
        let shifted = fma(x, Vector::new(std::f32::consts::LOG2_E), magic);
        let n = shifted - magic;
        // ln 2 in two parts; the first has 9 bits, so that its product with n is exact.
        let r = fma(n, Vector::new(-0.693_359_4f32), x);
        let r = fma(n, Vector::new(2.121_944_4e-4f32), r);
        let mut series = Vector::new(1.0f32 / 5040.0);
        series = fma(series, r, Vector::new(1.0f32 / 720.0));
        series = fma(series, r, Vector::new(1.0f32 / 120.0));
        series = fma(series, r, Vector::new(1.0f32 / 24.0));
        series = fma(series, r, Vector::new(1.0f32 / 6.0));
        series = fma(series, r, Vector::new(0.5f32));
        series = fma(series, r, Vector::new(1.0f32));
        series = fma(series, r, Vector::new(1.0f32));
        let exponent =
            (Vector::<u32, N>::reinterpret(shifted) + Vector::new(127u32)) << Vector::new(23u32);
        let power = Vector::<f32, N>::reinterpret(exponent);
        select_many(x.less_than(&Vector::new(EXP_UNDERFLOW)), Vector::new(0.0f32), series * power)
    }
}

/// An element count that kernels index with 32 bits.
pub(crate) fn expect_u32(
    op: &'static str,
    what: &'static str,
    found: usize,
) -> Result<(), KernelError> {
    if u32::try_from(found).is_ok() {
        return Ok(());
    }
    Err(KernelError::Size { op, what, expected: "below 2^32", found })
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[cube(launch)]
    fn exponentials<N: Size>(x: &[Vector<f32, N>], out: &mut [Vector<f32, N>], count: usize) {
        for i in 0..count {
            out[i] = exp_nonpositive::<N>(x[i], false);
        }
    }

    #[test]
    fn the_exponential_keeps_its_bound() {
        let ctx = Context::open("cpu").unwrap();
        // Dense near zero, then every binade down to the underflow, its ends and beyond.
        let mut x: Vec<f32> = (0..100_000).map(|i| -87.0 * i as f32 / 99_999.0).collect();
        x.extend((0..20_000).map(|i| -1e-6 * i as f32));
        x.extend([0.0, -0.0, -86.999_99, -87.0, -87.001, -1e4, -1e30, f32::NAN]);
        x.resize(x.len().next_multiple_of(16), 0.0);
        let out = ctx.empty(DType::F32, x.len());
        exponentials::launch(
            ctx.client(),
            CubeCount::Static(1, 1, 1),
            CubeDim::new_1d(1),
            16,
            ctx.upload_f32(&x).arg(),
            out.arg(),
            x.len() / 16,
        );
        for (x, found) in x.iter().zip(ctx.read_f32(&out).unwrap()) {
            let expected = f64::from(*x).exp();
            let right = if x.is_nan() {
                found.is_nan()
            } else if *x < EXP_UNDERFLOW {
                found == 0.0
            } else {
                (f64::from(found) - expected).abs() <= EXP_ERROR * expected
            };
            assert!(right, "exp({x}) = {found:e}, expected {expected:e}");
        }
    }
}
