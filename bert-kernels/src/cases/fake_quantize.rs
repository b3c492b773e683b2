//! Rows of `ops/fake_quantize.rs`.

use super::{Bound, Case, CaseFailure, Random, compare, epsilon, expect, round_to, upload, widen};
use crate::ops::fake_quantize::reference;
use crate::ops::{self, FakeQuantizeRows};
use crate::{Context, DType};

/// Of half a step: the product that is rounded to an integer, up to 127, and the scale have an error
/// of half an ulp each, and so has their product, up to 127 steps.
const HALF_STEP_ERROR: f64 = 127.0 * 4.0 / 16_777_216.0;

pub(super) fn rows() -> Vec<Case> {
    let mut rows = Vec::new();
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        for (count, width, group) in [
            (1, 1, 1),
            (5, 7, 7),
            (4, 16, 16),
            (33, 130, 130),
            (9, 768, 768),
            (2, 3072, 3072),
            (700, 3, 3),
            (9, 768, 32),
            (33, 36, 32),
            (5, 30, 32),
            (7, 131, 32),
        ] {
            for in_place in [false, true] {
                let how = if in_place { " in place" } else { "" };
                rows.push(Case::new(
                    "fake_quantize",
                    format!("R={count} W={width} G={group}{how}"),
                    dtype,
                    move |ctx| check(ctx, count, width, group, in_place, dtype),
                ));
            }
        }
    }
    rows
}

fn check(
    ctx: &Context,
    rows: usize,
    width: usize,
    group: usize,
    in_place: bool,
    dtype: DType,
) -> Result<(), CaseFailure> {
    let mut random = Random::new((rows * width) as u64);
    let mut x = random.values(rows * width, 3.0, dtype);
    // Near the largest value of the type.
    let huge = if dtype == DType::F16 { 1e4 } else { 1e30 };
    for (number, row) in x.chunks_mut(width).enumerate() {
        match number % 5 {
            // Ties: the largest is 127, so that halves stay halves.
            1 => {
                row.iter_mut().for_each(|x| *x = (*x * 30.0).round() + 0.5);
                row[0] = -127.0;
            }
            2 => row.iter_mut().for_each(|x| *x *= 1e-32),
            3 => row.iter_mut().for_each(|x| *x *= huge),
            4 => row.fill(0.0),
            _ => {}
        }
        row.iter_mut().for_each(|x| *x = round_to(*x, dtype));
    }
    let buffer = upload(ctx, &x, dtype);
    let out = if in_place { buffer.clone() } else { ctx.empty(dtype, rows * width) };
    let args = FakeQuantizeRows { x: &buffer, out: &out, rows, width, group };
    ops::fake_quantize_rows(ctx, args)?;

    let found = ctx.read_f32(&out)?;
    let cut = |row| <[f32]>::chunks(row, group);
    let groups = x.chunks(width).flat_map(cut).zip(found.chunks(width).flat_map(cut));
    for (number, (x, found)) in groups.enumerate() {
        let (expected, scale) = reference::group(x);
        let expected: Vec<f64> =
            expected.iter().map(|&value| f64::from(round_to(value, dtype))).collect();
        compare(&format!("group {number}"), found, &expected, Bound::EXACT)?;
        // No value moves by more than half a step.
        let step = f64::from(scale);
        for (x, found) in widen(x).iter().zip(widen(found)) {
            let allowed = step * (0.5 + HALF_STEP_ERROR) + epsilon(dtype) * found.abs() + 1e-30;
            expect((x - found).abs() <= allowed, || {
                format!("group {number}: {x:e} became {found:e} with steps of {step:e}")
            })?;
        }
    }
    Ok(())
}
