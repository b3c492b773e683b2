//! Rows of `ops/rows.rs`.

use super::{Bound, Case, CaseFailure, Random, check_gradient, compare, epsilon, upload, widen};
use crate::ops::rows::reference;
use crate::ops::{self, GatherRows, ScatterAddRows};
use crate::{Context, DType};

pub(super) fn rows() -> Vec<Case> {
    let mut rows = Vec::new();
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        for (tokens, masked, hidden) in [(1, 1, 1), (7, 3, 24), (300, 45, 128), (20, 20, 130)] {
            rows.push(Case::new(
                "rows",
                format!("T={tokens} M={masked} H={hidden}"),
                dtype,
                move |ctx| both(ctx, tokens, masked, hidden, dtype),
            ));
        }
    }
    rows
}

fn both(
    ctx: &Context,
    tokens: usize,
    masked: usize,
    hidden: usize,
    dtype: DType,
) -> Result<(), CaseFailure> {
    let mut random = Random::new((tokens + masked + hidden) as u64);
    let x = random.values(tokens * hidden, 1.0, dtype);
    let d_out = random.values(masked * hidden, 1.0, dtype);
    let before = random.values(tokens * hidden, 1.0, dtype);
    // Distinct rows, not in order.
    let mut index: Vec<u32> = (0..tokens as u32).collect();
    for at in (1..tokens).rev() {
        index.swap(at, (random.bits() % (at as u64 + 1)) as usize);
    }
    index.truncate(masked);
    // Some stand for no row, as where a list is filled up.
    index.iter_mut().skip(1).step_by(5).for_each(|row| *row = ops::IGNORE);

    let index_buffer = ctx.upload_u32(&index);
    let out = ctx.empty(dtype, masked * hidden);
    ops::gather_rows(
        ctx,
        GatherRows { x: &upload(ctx, &x, dtype), index: &index_buffer, out: &out, hidden },
    )?;
    let d_x = upload(ctx, &before, dtype);
    ops::scatter_add_rows(
        ctx,
        ScatterAddRows {
            d_out: &upload(ctx, &d_out, dtype),
            index: &index_buffer,
            d_x: &d_x,
            hidden,
        },
    )?;

    let expected = reference::gather(&widen(&x), &index, hidden);
    compare("out", &ctx.read_f32(&out)?, &expected, Bound::EXACT)?;
    let gradient = reference::scatter(&widen(&d_out), &index, tokens, hidden);
    let expected: Vec<f64> =
        gradient.iter().zip(widen(&before)).map(|(gradient, before)| gradient + before).collect();
    let bound = Bound::relative("one rounding", epsilon(DType::F32)).stored_as(dtype);
    compare("d_x", &ctx.read_f32(&d_x)?, &expected, bound)?;
    let d_out = widen(&d_out);
    let loss = |x: &[f64]| {
        let out = reference::gather(x, &index, hidden);
        out.iter().zip(&d_out).map(|(out, d)| out * d).sum()
    };
    check_gradient("d_x", loss, &widen(&x), &gradient)
}
