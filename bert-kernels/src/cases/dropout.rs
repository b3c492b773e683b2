//! Rows of `ops/dropout.rs`.

use super::{Bound, Case, Random, compare, expect, upload, widen};
use crate::DType;
use crate::ops::dropout::reference;
use crate::ops::{self, Dropout, DropoutArgs};

/// One rounding of 1/(1 − p), one of the product.
const DROPOUT_ERROR: f64 = 2.0 * 5.97e-8;

pub(super) fn rows() -> Vec<Case> {
    let mut rows = Vec::new();
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        for len in [1usize, 7, 16, 129, 4096, 5000] {
            for probability in [0.0f32, 0.1, 0.5] {
                for in_place in [false, true] {
                    rows.push(row(dtype, len, probability, in_place));
                }
            }
        }
    }
    rows
}

fn row(dtype: DType, len: usize, probability: f32, in_place: bool) -> Case {
    let place = if in_place { " in place" } else { "" };
    let name = format!("n={len} p={probability}{place}");
    Case::new("dropout", name, dtype, move |ctx| {
        let first = (3 << 32) + 999;
        let dropout = Dropout { probability, seed: 0x1234_5678_9ABC_DEF0, stream: 42, first };
        let x = Random::new(len as u64).values(len, 2.0, dtype);
        let input = upload(ctx, &x, dtype);
        let out = if in_place { input.clone() } else { ctx.empty(dtype, len) };
        ops::dropout(ctx, DropoutArgs { x: &input, out: &out, dropout: &dropout.on(ctx) })?;
        let found = ctx.read_f32(&out)?;
        let expected = reference::dropout(&widen(&x), dropout);
        let bound = Bound::relative("DROPOUT_ERROR", DROPOUT_ERROR).stored_as(dtype);
        compare("out", &found, &expected, bound)?;
        // Kept and dropped are exact, whatever the bound.
        expect(
            found
                .iter()
                .zip(&expected)
                .all(|(found, expected)| (*found == 0.0) == (*expected == 0.0)),
            || "an element is dropped on one side only".into(),
        )
    })
}
