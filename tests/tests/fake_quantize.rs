//! Training that sees int8 (`bert-kernels`) and the device's quantization (`bert-core`) give the same
//! bits, as invariant 1 asks.

#![allow(clippy::unwrap_used)]

use bert_core::ops::quantize_row;
use bert_kernels::ops::{FakeQuantizeRows, fake_quantize_rows};
use bert_kernels::{Context, DType};
use bert_trainer::data::rng::{Draws, Stream};

/// The rows as the device sees them.
fn on_device(x: &[f32], width: usize) -> Vec<f32> {
    let mut q = vec![0i8; width];
    x.chunks(width)
        .flat_map(|row| {
            let scale = quantize_row(row, &mut q);
            q.iter().map(move |&q| scale * f32::from(q)).collect::<Vec<f32>>()
        })
        .collect()
}

fn check(ctx: &Context, what: &str, x: &[f32], width: usize) {
    let expected = on_device(x, width);
    let out = ctx.empty(DType::F32, x.len());
    let buffer = ctx.upload_f32(x);
    let rows = x.len() / width;
    fake_quantize_rows(ctx, FakeQuantizeRows { x: &buffer, out: &out, rows, width, group: width })
        .unwrap();
    for (at, (found, expected)) in ctx.read_f32(&out).unwrap().iter().zip(expected).enumerate() {
        assert!(
            found.to_bits() == expected.to_bits(),
            "{what}, W = {width}: the value {at} is {:e}, on the device {expected:e}, in training \
             {found:e}",
            x[at]
        );
    }
}

#[test]
fn training_rounds_as_the_device_does() {
    let ctx = Context::open("cpu").unwrap();
    let mut draws = Draws::new(6, Stream::Bench, 0, 0);
    for width in [1, 2, 3, 16, 130, 768, 1001] {
        let rows = 20_000 / width;
        let mut values = |amplitude: f64| -> Vec<f32> {
            (0..rows * width).map(|_| ((draws.unit() * 2.0 - 1.0) * amplitude) as f32).collect()
        };
        check(&ctx, "draws", &values(4.0), width);
        check(&ctx, "large draws", &values(3e38), width);
        check(&ctx, "small draws", &values(1e-28), width);
        check(&ctx, "draws that count as zero", &values(9e-31), width);

        // Halves of a step and their neighbours, under scales that are no power of two.
        let mut near_ties = values(127.0);
        for row in near_ties.chunks_mut(width) {
            let largest = 1.0 + row[0].abs();
            for (at, x) in row.iter_mut().enumerate() {
                let tie = (x.round() + 0.5) * (largest / 127.0);
                *x = f32::from_bits(tie.to_bits().wrapping_add(at as u32 % 3).wrapping_sub(1));
                *x = x.clamp(-largest, largest);
            }
            row[0] = largest;
        }
        check(&ctx, "near ties", &near_ties, width);
    }
}

#[test]
fn a_row_of_zeros_stays_zero() {
    let ctx = Context::open("cpu").unwrap();
    check(&ctx, "zeros", &[0.0, -0.0, 0.0, -0.0, 1e-31, -1e-31, 0.0, 0.0], 4);
}
