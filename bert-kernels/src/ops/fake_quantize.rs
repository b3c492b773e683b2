//! Values as the int8 arithmetic of a device sees them, for quantization-aware training (Jacob et al.
//! 2018).
//!
//! Per group of a row (the whole row, or 32 values of it), with `largest = max_w |x_w|`:
//! `q = round(x · (127 / largest))`, ties to even, and `out = (largest / 127) · q`. A group whose
//! largest magnitude is below [`SMALLEST`] becomes zeros. The rounding is that of `bert-core`, which
//! quantizes activations by row and the residual stream by groups: f32 throughout, one division for
//! the factor and one for the scale. bf16 is widened first and rounded last.
//!
//! The gradient is that of the identity (the straight-through estimator of Bengio et al. 2013), so
//! there is no backward pass.
//!
//! **Bits.** A multiplication and an addition that a compiler contracts round once instead of twice
//! and can take a value near a tie to the other neighbour, so the product goes through its bits on
//! the way to the addition, which no compiler may look through. The divisions are correctly rounded on
//! the CPU, on NVIDIA and on AMD; Vulkan allows 2.5 units in the last place, and a driver that uses
//! them may choose the other neighbour next to a tie. A group is the work of one unit on a CPU and of
//! one cube on a GPU.

use cubecl::prelude::*;

use super::dropout::expect_act;
use crate::lanes::{expect_u32, lanes, with_act};
use crate::teams::{Keep, Teams, my_place, my_team, reduce_lanes, reduce_team, team_count};
use crate::{Buffer, Context, KernelError, math};

/// Operands of [`fake_quantize_rows`].
pub struct FakeQuantizeRows<'a> {
    /// `[R, W]`, f32, bf16 or f16, finite.
    pub x: &'a Buffer,
    /// `[R, W]`, like `x`, out; may be `x` itself.
    pub out: &'a Buffer,
    /// R.
    pub rows: usize,
    /// W.
    pub width: usize,
    /// Values of a row that share a scale, W at most; the last group of a row has what is left.
    pub group: usize,
}

/// Magnitudes below this count as zero, so that 127 / largest is finite.
const SMALLEST: f32 = 1e-30;
/// The largest int8 in use; −128 is not.
const LARGEST_INT: f32 = 127.0;

/// `out = s · q` with s and q of each group.
///
/// # Errors
///
/// Lengths or types that do not fit together, W = 0 or groups of 0.
pub fn fake_quantize_rows(ctx: &Context, args: FakeQuantizeRows<'_>) -> Result<(), KernelError> {
    const OP: &str = "fake_quantize_rows";
    let FakeQuantizeRows { x, out, rows, width, group } = args;
    for (what, found) in [("width", width), ("group", group)] {
        if found == 0 {
            return Err(KernelError::Size { op: OP, what, expected: "positive", found });
        }
    }
    expect_act(OP, "x", x)?;
    x.expect_len(OP, "x", rows * width)?;
    out.expect_dtype(OP, "out", x.dtype())?;
    out.expect_len(OP, "out", rows * width)?;
    expect_u32(OP, "elements", x.len())?;
    if rows == 0 {
        return Ok(());
    }
    // A vector lies in one group: it divides the group and what is left for the last one.
    let group = group.min(width);
    let vector = lanes(ctx, x.dtype(), group).min(lanes(ctx, x.dtype(), width));
    let per_row = width.div_ceil(group);
    let teams = Teams::new(ctx, rows * per_row, group / vector);
    let out_arg = if x.is_same(out) { BufferArg::alias(0, out.len()) } else { out.arg() };
    with_act!(x.dtype(), E => fake_quantize::launch::<E>(
        ctx.client(),
        teams.count(),
        teams.dim(),
        vector,
        x.arg(),
        out_arg,
        0,
        rows * per_row,
        per_row,
        width / vector,
        group / vector,
        teams.team,
    ));
    Ok(())
}

/// `no_bits` is 0, which the compiler does not know.
#[cube(launch)]
fn fake_quantize<E: Float, N: Size>(
    x: &[Vector<E, N>],
    out: &mut [Vector<E, N>],
    no_bits: u32,
    groups: usize,
    per_row: usize,
    row_vectors: usize,
    group_vectors: usize,
    #[comptime] team: usize,
) {
    let place = my_place(team);
    let rounder = Vector::<f32, N>::new(math::ROUNDER);
    let mut group = my_team(team);
    while group < groups {
        let column = group % per_row * group_vectors;
        let base = group / per_row * row_vectors + column;
        let vectors = min(group_vectors, row_vectors - column);
        let mut largest = Vector::<f32, N>::new(0.0f32);
        for v in range_stepped(place, vectors, team) {
            let value = Vector::<f32, N>::cast_from(x[base + v]);
            largest = max(largest, max(value, -value));
        }
        let largest = reduce_lanes::<f32, N>(largest, Keep::Max);
        let largest = reduce_team::<f32>(largest, Keep::Max, team);
        let zero = largest < SMALLEST;
        // Of a group of zeros the quotient is not finite and the scale is 0.
        let inverse = LARGEST_INT / select(zero, 1.0f32, largest);
        let scale = select(zero, 0.0f32, largest / LARGEST_INT);
        for v in range_stepped(place, vectors, team) {
            let product = Vector::<f32, N>::cast_from(x[base + v]) * Vector::new(inverse);
            let bits = Vector::<u32, N>::reinterpret(product) ^ Vector::new(no_bits);
            let q = math::rounded::<N>(Vector::<f32, N>::reinterpret(bits) + rounder);
            let q = Vector::<f32, N>::cast_from(q);
            out[base + v] = Vector::cast_from(q * Vector::new(scale));
        }
        group += team_count(team);
    }
}

/// The definition on the host.
#[cfg(feature = "cases")]
pub(crate) mod reference {
    use super::{LARGEST_INT, SMALLEST};

    /// s · q of a group in f32, operation by operation, and s.
    pub(crate) fn group(x: &[f32]) -> (Vec<f32>, f32) {
        let largest = x.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        if largest < SMALLEST {
            return (vec![0.0; x.len()], 0.0);
        }
        let (inverse, scale) = (LARGEST_INT / largest, largest / LARGEST_INT);
        (x.iter().map(|x| scale * (x * inverse).round_ties_even()).collect(), scale)
    }
}
