//! Exponential, logarithm, hyperbolic tangent and error function in f32, out of additions,
//! multiplications and bits.
//!
//! CubeCL's own functions end in the vendor's math library on a GPU (`libdevice.10.bc` of the CUDA
//! toolkit, `ocml.bc` of ROCm), so a kernel that calls them does not even compile on a machine that
//! has a driver and nothing else; and on the CPU runtime a scalar one is a call of libm. These
//! compile everywhere and give nearly the same bits everywhere. The coefficients are least-maximum
//! fits of the functions named beside them.
//!
//! u = 2⁻²⁴ is half a unit in the last place of 1, the relative error of one rounding.

// `#[cube]` puts undocumented companions beside each function.
#![allow(missing_docs)]

use cubecl::prelude::*;

/// Relative error of [`exp()`] from −87 to 88: the fit 0.1 u; ln 2 in two parts leaves the reduced
/// argument |r| ≤ 0.35 off by 0.6 u; the last step of the series rounds by 0.7 u (its result is at
/// least 0.7), the steps before by 0.35 · 1.4 u and ever less, 0.8 u in all. 4 u bounds the sum of
/// 2.2 u, also where a device rounds a multiplication before the addition.
pub const EXP_ERROR: f64 = 4.0 / 16_777_216.0;

/// Relative error of [`tanh()`]: near zero the fit 0.1 u and the last two steps 1.5 u; elsewhere
/// (1 − e) / (1 + e) with e ≤ 0.29 in error by [`EXP_ERROR`], which moves the quotient by at most
/// 4 u · 2 e / (1 − e²) = 2.6 u, and three roundings, of which a GPU's division is up to 5 u.
pub const TANH_ERROR: f64 = 10.0 / 16_777_216.0;

/// Relative error of [`erf()`]: below 1 the fit 0.1 u and the last two steps 1.5 u; above, erfc ≤ 0.16
/// is in error by [`EXP_ERROR`] and by the exponent's rounding, 16 u where erfc is 2e-8 and 4 u
/// where it is 0.16, which is at most 0.16 · 8 u / 0.84 = 1.6 u of erf, and one rounding.
pub const ERF_ERROR: f64 = 4.0 / 16_777_216.0;

/// Error of [`ln()`], absolute or relative, whichever allows more: the fit 0.5 u relative, the
/// reduced argument exact, and four roundings of sums that are at most the result or 0.35.
pub const LN_ERROR: f64 = 4.0 / 16_777_216.0;

/// Beyond these [`exp()`] is 0, or stays where it is: e⁻⁸⁷ is just above the subnormal numbers and e⁸⁸
/// just below the largest one.
const EXP_LEAST: f32 = -87.0;
const EXP_MOST: f32 = 88.0;

/// 1.5 · 2²³: added to a number below 2²², it leaves the nearest integer, ties to even, in the low bits.
/// They are read as bits: a compiler that takes sums for exact, as those of shaders do, may turn
/// `(x + ROUNDER) − ROUNDER` into `x`.
pub(crate) const ROUNDER: f32 = 12_582_912.0;

/// The integer nearest to x, from x + [`ROUNDER`].
#[cube]
pub(crate) fn rounded<N: Size>(shifted: Vector<f32, N>) -> Vector<i32, N> {
    Vector::<i32, N>::reinterpret(shifted) - Vector::new(ROUNDER_BITS)
}

const ROUNDER_BITS: i32 = ROUNDER.to_bits() as i32;

/// ln 2 in two parts, the first of 9 bits so that an exponent times it is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// eˣ; 0 below −87, e⁸⁸ above 88, NaN of NaN.
#[cube]
pub fn exp<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    // Comparisons with NaN are false, so NaN goes through to the end.
    let most = Vector::new(EXP_MOST);
    let least = Vector::new(EXP_LEAST);
    let vanishes = x.less_than(&least);
    let x = select_many(x.greater_than(&most), most, x);
    let x = select_many(vanishes, least, x);

    // x = n ln 2 + r.
    let shifted = fma(x, Vector::new(std::f32::consts::LOG2_E), Vector::new(ROUNDER));
    let integer = rounded::<N>(shifted);
    let n = Vector::<f32, N>::cast_from(integer);
    let r = fma(n, Vector::new(-LN_2_HIGH), x);
    let r = fma(n, Vector::new(-LN_2_LOW), r);

    // e^r for |r| ≤ ln 2 / 2, relative error 3.1e-9.
    let series = Vector::new(1.381_461_3e-3f32);
    let series = fma(series, r, Vector::new(8.368_71e-3f32));
    let series = fma(series, r, Vector::new(4.166_838_7e-2f32));
    let series = fma(series, r, Vector::new(1.666_652_1e-1f32));
    let series = fma(series, r, Vector::new(4.999_999_3e-1f32));
    let series = fma(series, r, Vector::new(1.0f32));
    let series = fma(series, r, Vector::new(1.0f32));

    // NaN has any integer here, which wraps.
    let bits = Vector::<u32, N>::reinterpret(integer) + Vector::new(127u32);
    let power = Vector::<f32, N>::reinterpret(bits << Vector::new(23u32));
    select_many(vanishes, Vector::new(0.0f32), series * power)
}

/// [`exp()`] of one number.
#[cube]
pub fn exp_scalar(x: f32) -> f32 {
    exp::<Const<1>>(Vector::new(x)).extract(0usize)
}

/// tanh x; NaN of NaN.
#[cube]
pub fn tanh<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let one = Vector::<f32, N>::new(1.0f32);
    let negative = x.less_than(&Vector::new(0.0f32));
    let size = select_many(negative, -x, x);

    // tanh x / x in x² for |x| ≤ 0.625, relative error 4.4e-9.
    let square = x * x;
    let series = Vector::new(-5.704_987e-3f32);
    let series = fma(series, square, Vector::new(2.063_908_7e-2f32));
    let series = fma(series, square, Vector::new(-5.373_971_5e-2f32));
    let series = fma(series, square, Vector::new(1.333_144_2e-1f32));
    let series = fma(series, square, Vector::new(-3.333_328e-1f32));
    let near = fma(series * square, size, size);

    let e = exp::<N>(size * Vector::new(-2.0f32));
    let far = (one - e) / (one + e);

    let size = select_many(size.less_than(&Vector::new(0.625f32)), near, far);
    select_many(negative, -size, size)
}

/// erf x = 2/√π ∫₀ˣ e^(−t²) dt; NaN of NaN.
#[cube]
pub fn erf<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let one = Vector::<f32, N>::new(1.0f32);
    let negative = x.less_than(&Vector::new(0.0f32));
    let size = select_many(negative, -x, x);

    // erf x / x in x² for |x| ≤ 1, relative error 1.2e-9.
    let square = x * x;
    let series = Vector::new(7.853_861e-5f32);
    let series = fma(series, square, Vector::new(-8.010_193_6e-4f32));
    let series = fma(series, square, Vector::new(5.188_327_7e-3f32));
    let series = fma(series, square, Vector::new(-2.685_381_2e-2f32));
    let series = fma(series, square, Vector::new(1.128_358_5e-1f32));
    let series = fma(series, square, Vector::new(-3.761_262_6e-1f32));
    let series = fma(series, square, Vector::new(std::f32::consts::FRAC_2_SQRT_PI));
    let near = series * size;

    // −ln erfc x for 1 ≤ x ≤ 4, error of erfc 2.1e-11; from 4 on erf is 1 in f32.
    let four = Vector::new(4.0f32);
    let bounded = select_many(size.greater_than(&four), four, size);
    let series = Vector::new(2.168_675_7e-5f32);
    let series = fma(series, bounded, Vector::new(-4.413_352_2e-4f32));
    let series = fma(series, bounded, Vector::new(4.204_556e-3f32));
    let series = fma(series, bounded, Vector::new(-2.520_824e-2f32));
    let series = fma(series, bounded, Vector::new(1.084_185_5e-1f32));
    let series = fma(series, bounded, Vector::new(6.332_199e-1f32));
    let series = fma(series, bounded, Vector::new(1.129_578_4f32));
    let series = fma(series, bounded, Vector::new(-1.880_368e-4f32));
    let far = one - exp::<N>(-series);

    let size = select_many(size.less_than(&one), near, far);
    select_many(negative, -size, size)
}

/// ln x for x ≥ 2⁻¹²⁶; infinity of infinity, NaN of NaN. A smaller x is a mistake of the caller's.
#[cube]
pub fn ln(x: f32) -> f32 {
    // x = 2ⁿ (1 + f) with √½ ≤ 1 + f < √2: the sum carries into the exponent from √2 on.
    let bits = u32::reinterpret(x);
    let biased = (bits + 0x004A_FB0Du32) >> 23u32;
    let f = f32::reinterpret(bits - ((biased - 127u32) << 23u32)) - 1.0f32;
    let n = f32::cast_from(i32::cast_from(biased) - 127i32);

    // (ln(1 + f) − f + f²/2) / f³, error of ln 3.1e-8 relative.
    let series = fma(8.700_435e-2f32, f, -1.426_748_7e-1f32);
    let series = fma(series, f, 1.491_476_8e-1f32);
    let series = fma(series, f, -1.657_758_5e-1f32);
    let series = fma(series, f, 1.996_306_4e-1f32);
    let series = fma(series, f, -2.500_133_7e-1f32);
    let series = fma(series, f, 3.333_391e-1f32);
    let square = f * f;
    let small = fma(square * f, series, n * LN_2_LOW);
    let small = fma(square, -0.5f32, small);
    let result = fma(n, LN_2_HIGH, small + f);
    // Infinity itself has no literal in WGSL.
    select(x <= f32::MAX, result, x)
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{Context, DType};

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    enum Function {
        Exp,
        Tanh,
        Erf,
        Ln,
    }

    #[cube(launch)]
    fn evaluate<N: Size>(
        x: &[Vector<f32, N>],
        out: &mut [Vector<f32, N>],
        #[comptime] function: Function,
    ) {
        for i in 0..x.len() {
            out[i] = match comptime!(function) {
                Function::Exp => exp::<N>(x[i]),
                Function::Tanh => tanh::<N>(x[i]),
                Function::Erf => erf::<N>(x[i]),
                Function::Ln => {
                    let mut results = Vector::<f32, N>::empty();
                    #[unroll]
                    for lane in 0..N::value() {
                        results.insert(lane, ln(x[i].extract(lane)));
                    }
                    results
                }
            };
        }
    }

    const LANES: usize = 8;

    fn on_cpu(function: Function, x: &[f32]) -> Vec<f32> {
        let ctx = Context::open("cpu").unwrap();
        let mut padded = x.to_vec();
        padded.resize(x.len().next_multiple_of(LANES), 1.0);
        let input = ctx.upload_f32(&padded);
        let out = ctx.empty(DType::F32, padded.len());
        evaluate::launch(
            ctx.client(),
            CubeCount::Static(1, 1, 1),
            CubeDim::new_1d(1),
            LANES,
            input.arg(),
            out.arg(),
            function,
        );
        let mut found = ctx.read_f32(&out).unwrap();
        found.truncate(x.len());
        found
    }

    /// Evenly from `low` to `high`.
    fn sweep(low: f32, high: f32) -> Vec<f32> {
        let count = 200_000u32;
        (0..=count).map(|i| low + (high - low) * (i as f32 / count as f32)).collect()
    }

    /// The worst error, divided by the larger of `floor` and the reference.
    fn worst(function: Function, x: &[f32], floor: f64, exact: impl Fn(f64) -> f64) -> f64 {
        let found = on_cpu(function, x);
        let errors = x.iter().zip(found).map(|(&x, found)| {
            let exact = exact(f64::from(x));
            let scale = exact.abs().max(floor).max(f64::from(f32::MIN_POSITIVE));
            (f64::from(found) - exact).abs() / scale
        });
        errors.fold(0.0, f64::max)
    }

    /// Maclaurin below 2, continued fraction above: the reference of [`erf`].
    fn exact_erf(x: f64) -> f64 {
        if x < 0.0 {
            return -exact_erf(-x);
        }
        if x < 2.0 {
            let (mut term, mut sum) = (x, x);
            for n in 1..60 {
                let n = f64::from(n);
                term *= -x * x / n;
                sum += term / (2.0 * n + 1.0);
            }
            return sum * std::f64::consts::FRAC_2_SQRT_PI;
        }
        let mut fraction = x;
        for n in (1..80).rev() {
            fraction = x + f64::from(n) / 2.0 / fraction;
        }
        1.0 - (-x * x).exp() / std::f64::consts::PI.sqrt() / fraction
    }

    #[test]
    fn exp_is_within_its_bound() {
        let error = worst(Function::Exp, &sweep(-87.0, 88.0), 0.0, f64::exp);
        assert!(error <= EXP_ERROR, "{error:e}");
    }

    #[test]
    fn tanh_is_within_its_bound() {
        for (low, high) in [(-1.0, 1.0), (-12.0, 12.0)] {
            let error = worst(Function::Tanh, &sweep(low, high), 0.0, f64::tanh);
            assert!(error <= TANH_ERROR, "{error:e}");
        }
    }

    #[test]
    fn erf_is_within_its_bound() {
        for (low, high) in [(-1.1, 1.1), (-6.0, 6.0)] {
            let error = worst(Function::Erf, &sweep(low, high), 0.0, exact_erf);
            assert!(error <= ERF_ERROR, "{error:e}");
        }
    }

    #[test]
    fn ln_is_within_its_bound() {
        for (low, high) in [(1e-30, 4.0), (0.5, 1.5), (1.0, 1e6), (1.0, 1e38)] {
            let error = worst(Function::Ln, &sweep(low, high), 1.0, f64::ln);
            assert!(error <= LN_ERROR, "{error:e}");
        }
    }

    #[test]
    fn ends_of_the_range_are_kept() {
        let ends = [f32::NEG_INFINITY, -100.0, 0.0, f32::INFINITY, f32::NAN];
        let exp = on_cpu(Function::Exp, &ends);
        assert_eq!(exp[..3], [0.0, 0.0, 1.0]);
        assert!(exp[3] > 1e38 && exp[4].is_nan());
        for function in [Function::Tanh, Function::Erf] {
            let found = on_cpu(function, &ends);
            assert_eq!(found[..4], [-1.0, -1.0, 0.0, 1.0], "{function:?}");
            assert!(found[4].is_nan(), "{function:?}");
        }
        let ln = on_cpu(Function::Ln, &[1.0, f32::INFINITY, f32::NAN]);
        assert_eq!(ln[..2], [0.0, f32::INFINITY]);
        assert!(ln[2].is_nan());
    }
}
