//! Rows of `ops/elementwise.rs`.

use super::{Bound, Case, CaseFailure, Random, compare, epsilon, expect, round_to, upload, widen};
use crate::ops;
use crate::{Context, DType};

pub(super) fn rows() -> Vec<Case> {
    let mut rows = Vec::new();
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        for len in [1, 2, 15, 16, 130, 4096, 100_003] {
            rows.push(Case::new("elementwise", format!("n={len}"), dtype, move |ctx| {
                all(ctx, len, dtype)
            }));
        }
    }
    rows
}

fn all(ctx: &Context, len: usize, dtype: DType) -> Result<(), CaseFailure> {
    let mut random = Random::new(len as u64);
    let x = random.values(len, 3.0, dtype);
    let y = random.values(len, 3.0, DType::F32);

    let filled = upload(ctx, &x, dtype);
    ops::fill(ctx, &filled, 1.5)?;
    let sum = upload(ctx, &x, dtype);
    ops::add_assign(ctx, &sum, &ctx.upload_f32(&y))?;
    let cast = ctx.empty(dtype, len);
    ops::cast(ctx, &ctx.upload_f32(&y), &cast)?;
    let widened = ctx.empty(DType::F32, len);
    ops::cast(ctx, &upload(ctx, &x, dtype), &widened)?;
    let scaled = upload(ctx, &x, dtype);
    ops::scale(ctx, &scaled, -0.25)?;

    let (words, bits) = (random.indices(len, usize::MAX >> 32), ctx.empty(DType::U32, len));
    ops::copy(ctx, &ctx.upload_u32(&words), &bits)?;
    let copied = ctx.empty(DType::F32, len);
    ops::copy(ctx, &ctx.upload_f32(&y), &copied)?;

    expect(ctx.read_u32(&bits)? == words, || "copied words differ".into())?;
    compare("copy", &ctx.read_f32(&copied)?, &widen(&y), Bound::EXACT)?;
    compare("fill", &ctx.read_f32(&filled)?, &vec![1.5; len], Bound::EXACT)?;
    // One rounding to f32, one to the type.
    let expected: Vec<f64> = widen(&x).iter().zip(widen(&y)).map(|(x, y)| x + y).collect();
    let bound = Bound::relative("one rounding", epsilon(DType::F32)).stored_as(dtype);
    compare("add_assign", &ctx.read_f32(&sum)?, &expected, bound)?;
    let expected: Vec<f64> = y.iter().map(|&y| f64::from(round_to(y, dtype))).collect();
    compare("cast", &ctx.read_f32(&cast)?, &expected, Bound::EXACT)?;
    compare("widening cast", &ctx.read_f32(&widened)?, &widen(&x), Bound::EXACT)?;
    // Exact but for the subnormals of f16, which lose bits.
    let expected: Vec<f64> = x.iter().map(|x| f64::from(round_to(x * -0.25, dtype))).collect();
    compare("scale", &ctx.read_f32(&scaled)?, &expected, Bound::EXACT)
}
