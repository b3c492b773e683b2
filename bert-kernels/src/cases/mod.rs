//! The one table of cases: ops × sizes × element types.
//!
//! Tests run every row on every runtime of the build, an offline compiler runs them to see every
//! kernel, and an op file without rows fails the list test. A row uploads seeded random inputs,
//! launches **all** its kernels, and only then reads and checks: a client that merely compiles
//! reads zeros, and must still have seen every launch.
//!
//! A row checks against a reference in f64 on the very values the device got (after rounding to
//! the element type), within a [`Bound`] that its op names and derives. Gradients of the reference
//! are themselves checked against central differences by [`check_gradient`].

mod activation;
mod attention;
mod bias;
mod binary_cross_entropy;
mod cross_entropy;
mod dropout;
mod elementwise;
mod embedding;
mod fake_quantize;
mod gemm;
mod layer_norm;
mod linear_cross_entropy;
mod mean_squared_error;
mod optimizer;
mod rows;
mod span_cross_entropy;

use crate::{Buffer, Context, DType, KernelError};

/// The tables of all ops, one line each, in the order of `ops/mod.rs`.
const TABLES: &[fn() -> Vec<Case>] = &[
    activation::rows,
    attention::rows,
    bias::rows,
    binary_cross_entropy::rows,
    cross_entropy::rows,
    dropout::rows,
    elementwise::rows,
    embedding::rows,
    fake_quantize::rows,
    gemm::rows,
    layer_norm::rows,
    linear_cross_entropy::rows,
    mean_squared_error::rows,
    optimizer::rows,
    rows::rows,
    span_cross_entropy::rows,
    // one line an op
];

/// One row: an op at one size with one element type.
pub struct Case {
    /// The op's file or folder under `src/ops/`, without `.rs`.
    pub op: &'static str,
    /// What distinguishes the row: pass, sizes, options.
    pub name: String,
    /// Element type of the activations; a device without it skips the row.
    pub dtype: DType,
    /// Uploads, launches everything, then reads and checks.
    #[allow(clippy::type_complexity)]
    pub run: Box<dyn Fn(&Context) -> Result<(), CaseFailure> + Send + Sync>,
}

impl Case {
    /// A row of `op`.
    pub fn new(
        op: &'static str,
        name: impl Into<String>,
        dtype: DType,
        run: impl Fn(&Context) -> Result<(), CaseFailure> + Send + Sync + 'static,
    ) -> Self {
        Self { op, name: name.into(), dtype, run: Box::new(run) }
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.op, self.dtype, self.name)
    }
}

/// Why a row failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaseFailure {
    /// The op or a read returned an error.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The op ran and its result is wrong.
    #[error("{0}")]
    Wrong(String),
}

/// All rows of all ops.
pub fn all() -> Vec<Case> {
    TABLES.iter().flat_map(|table| table()).collect()
}

/// Whether a device computes with `dtype`; rows of other types are skipped there.
pub fn supports(ctx: &Context, dtype: DType) -> bool {
    use cubecl::features::TypeUsage;
    use cubecl::prelude::*;
    let uses = match dtype {
        DType::F32 | DType::U32 => return true,
        DType::Bf16 => half::bf16::supported_uses(ctx.client()),
        DType::F16 => half::f16::supported_uses(ctx.client()),
    };
    // Kernels compute in f32, whatever values are stored in.
    uses.contains(TypeUsage::Conversion) && uses.contains(TypeUsage::Buffer)
}

/// Seeded draws for inputs: splitmix64, so a row's values never depend on another row.
pub struct Random(u64);

impl Random {
    /// Draws that are a pure function of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A draw from [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// `len` draws, uniform in [-amplitude, amplitude), rounded to `dtype`, so that uploading them
    /// as `dtype` loses nothing.
    pub fn values(&mut self, len: usize, amplitude: f64, dtype: DType) -> Vec<f32> {
        (0..len).map(|_| round_to(((self.unit() * 2.0 - 1.0) * amplitude) as f32, dtype)).collect()
    }

    /// `len` draws, uniform in 0..bound.
    pub fn indices(&mut self, len: usize, bound: usize) -> Vec<u32> {
        (0..len).map(|_| (self.bits() % bound as u64) as u32).collect()
    }
}

/// The nearest value of `dtype`.
pub fn round_to(value: f32, dtype: DType) -> f32 {
    match dtype {
        DType::Bf16 => half::bf16::from_f32(value).to_f32(),
        DType::F16 => half::f16::from_f32(value).to_f32(),
        DType::F32 | DType::U32 => value,
    }
}

/// Copies `values` to the device as `dtype` (f32, bf16 or f16).
pub fn upload(ctx: &Context, values: &[f32], dtype: DType) -> Buffer {
    match dtype {
        DType::Bf16 => ctx.upload_bf16(values),
        DType::F16 => ctx.upload_f16(values),
        DType::F32 | DType::U32 => ctx.upload_f32(values),
    }
}

/// Widens for a reference.
pub fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// Relative error of rounding to `dtype`: half a unit in the last place.
pub fn epsilon(dtype: DType) -> f64 {
    match dtype {
        DType::F32 | DType::U32 => 2f64.powi(-24),
        DType::Bf16 => 2f64.powi(-8),
        DType::F16 => 2f64.powi(-11),
    }
}

/// How far a result may lie from its reference. `name` is the constant that derives the figure.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// The constant's name, for the message.
    pub name: &'static str,
    /// Allowed error as a fraction of the element's own reference.
    pub relative: f64,
    /// Allowed error as a fraction of the largest reference of the buffer: for sums whose terms
    /// may cancel.
    pub of_max: f64,
    /// Allowed error in itself.
    pub absolute: f64,
}

impl Bound {
    /// Nothing is allowed: the op moves values, or its result is integral.
    pub const EXACT: Self = Self { name: "EXACT", relative: 0.0, of_max: 0.0, absolute: 0.0 };

    /// A fraction of each element's own reference.
    pub const fn relative(name: &'static str, relative: f64) -> Self {
        Self { name, relative, of_max: 0.0, absolute: 0.0 }
    }

    /// A fraction of the largest reference of the buffer.
    pub const fn of_max(name: &'static str, of_max: f64) -> Self {
        Self { name, relative: 0.0, of_max, absolute: 0.0 }
    }

    /// The same bound with `absolute` added.
    pub const fn or_absolute(mut self, absolute: f64) -> Self {
        self.absolute += absolute;
        self
    }

    /// The same bound for a result that is stored as `dtype`: one rounding to it more, which is
    /// [`epsilon`] of the element, and in f16 half the distance of its subnormals, 2⁻²⁵. The other
    /// types' subnormals are below what any bound here notices.
    pub fn stored_as(mut self, dtype: DType) -> Self {
        self.relative += epsilon(dtype);
        if dtype == DType::F16 {
            self.absolute += 2f64.powi(-25);
        }
        self
    }
}

/// Compares a result with its reference; the failure names the worst element.
///
/// # Errors
///
/// [`CaseFailure::Wrong`] if lengths differ, a value is not finite where the reference is, or an
/// element lies outside the bound.
pub fn compare(
    what: &str,
    found: &[f32],
    expected: &[f64],
    bound: Bound,
) -> Result<(), CaseFailure> {
    if found.len() != expected.len() {
        return Err(CaseFailure::Wrong(format!(
            "{what}: expected {} elements, found {}",
            expected.len(),
            found.len()
        )));
    }
    let max = expected.iter().fold(0f64, |max, value| max.max(value.abs()));
    let mut wrong = 0usize;
    let mut worst: Option<(f64, usize)> = None;
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        let allowed = bound.relative * expected.abs() + bound.of_max * max + bound.absolute;
        // A NaN is in no order with anything, so ask for what must hold.
        if error <= allowed {
            continue;
        }
        wrong += 1;
        let excess = if error.is_finite() { error - allowed } else { f64::INFINITY };
        if worst.is_none_or(|(most, _)| excess > most) {
            worst = Some((excess, index));
        }
    }
    let Some((_, index)) = worst else {
        return Ok(());
    };
    Err(CaseFailure::Wrong(format!(
        "{what}: {wrong} of {} elements outside {} (relative {:.1e}, of max {:.1e}, absolute \
         {:.1e}); worst at {index}: expected {:e}, found {:e}; max {max:e}",
        found.len(),
        bound.name,
        bound.relative,
        bound.of_max,
        bound.absolute,
        expected[index],
        found[index],
    )))
}

/// Compares integers, which must be equal.
///
/// # Errors
///
/// [`CaseFailure::Wrong`] naming the first difference.
pub fn compare_u32(what: &str, found: &[u32], expected: &[u32]) -> Result<(), CaseFailure> {
    if found == expected {
        return Ok(());
    }
    let at = found.iter().zip(expected).position(|(found, expected)| found != expected);
    Err(CaseFailure::Wrong(match at {
        Some(at) => format!("{what}: at {at} expected {}, found {}", expected[at], found[at]),
        None => format!("{what}: expected {} elements, found {}", expected.len(), found.len()),
    }))
}

/// States an invariant of an op.
///
/// # Errors
///
/// [`CaseFailure::Wrong`] with `message` unless `holds`.
pub fn expect(holds: bool, message: impl FnOnce() -> String) -> Result<(), CaseFailure> {
    if holds { Ok(()) } else { Err(CaseFailure::Wrong(message())) }
}

/// Relative error of a central difference in f64 at step [`DIFFERENCE_STEP`]: truncation is
/// step²/6 · f‴ ≈ 2e-9 for third derivatives near 10, rounding is 2⁻⁵³ · |f| / step ≈ 1e-12 · |f|;
/// a wrong gradient misses by far more than this.
pub const DIFFERENCE_BOUND: f64 = 1e-5;
/// Step of the central differences.
pub const DIFFERENCE_STEP: f64 = 1e-4;

/// Checks a gradient of a reference against central differences of its scalar loss at up to 24
/// elements of `x` spread over it.
///
/// # Errors
///
/// [`CaseFailure::Wrong`] naming the first element that differs by more than
/// [`DIFFERENCE_BOUND`] of the largest gradient.
pub fn check_gradient(
    what: &str,
    loss: impl Fn(&[f64]) -> f64,
    x: &[f64],
    gradient: &[f64],
) -> Result<(), CaseFailure> {
    if x.len() != gradient.len() {
        return Err(CaseFailure::Wrong(format!(
            "{what}: {} inputs but {} gradients",
            x.len(),
            gradient.len()
        )));
    }
    let max = gradient.iter().fold(0f64, |max, value| max.max(value.abs()));
    let stride = x.len().div_ceil(24).max(1);
    let mut moved = x.to_vec();
    for index in (0..x.len()).step_by(stride) {
        moved[index] = x[index] + DIFFERENCE_STEP;
        let above = loss(&moved);
        moved[index] = x[index] - DIFFERENCE_STEP;
        let below = loss(&moved);
        moved[index] = x[index];
        let difference = (above - below) / (2.0 * DIFFERENCE_STEP);
        let error = (difference - gradient[index]).abs();
        let allowed = DIFFERENCE_BOUND * max.max(1e-3);
        if error.is_nan() || error > allowed {
            return Err(CaseFailure::Wrong(format!(
                "{what}: gradient at {index} is {:e}, central difference {difference:e}",
                gradient[index]
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compare_refuses_nan_and_names_the_worst() {
        assert!(compare("x", &[1.0], &[1.0], Bound::EXACT).is_ok());
        assert!(compare("x", &[f32::NAN], &[1.0], Bound::relative("B", 1.0)).is_err());
        let failure = compare("x", &[1.0, 3.0, 2.0], &[1.0; 3], Bound::EXACT);
        assert!(failure.is_err_and(|failure| failure.to_string().contains("worst at 1")));
    }

    #[test]
    fn check_gradient_tells_right_from_wrong() {
        let loss = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
        assert!(check_gradient("square", loss, &[1.0, 2.0], &[2.0, 4.0]).is_ok());
        assert!(check_gradient("square", loss, &[1.0, 2.0], &[2.0, 3.9]).is_err());
    }
}
