//! Operands.

use bert_kernels::{Buffer, Context, DType, ops};

use crate::data::rng;

/// Values of which larger buffers are made by repetition: drawing them takes longer than a case.
const DRAWN: usize = 1 << 16;

/// `len` values, uniform in [-1, 1): products of zeros take less power, and so less time.
pub(in crate::cli) fn values(ctx: &Context, dtype: DType, len: usize) -> Buffer {
    let mut draws = rng::Draws::new(1, rng::Stream::Bench, 0, len as u64);
    let drawn: Vec<f32> = (0..DRAWN.min(len)).map(|_| (draws.unit() * 2.0 - 1.0) as f32).collect();
    let mut all = drawn.repeat(len.div_ceil(DRAWN));
    all.truncate(len);
    match dtype {
        DType::Bf16 => ctx.upload_bf16(&all),
        DType::F16 => ctx.upload_f16(&all),
        _ => ctx.upload_f32(&all),
    }
}

/// `len` times the same value.
pub(super) fn constant(ctx: &Context, dtype: DType, len: usize, value: f32) -> Buffer {
    let buffer = ctx.empty(dtype, len);
    // Only a length past 2³² is refused, and then the operation under test refuses it too.
    let _ = ops::fill(ctx, &buffer, value);
    buffer
}

/// `len` draws below `below`.
pub(super) fn indices(len: usize, below: usize) -> Vec<u32> {
    let mut draws = rng::Draws::new(2, rng::Stream::Bench, 0, len as u64);
    (0..len).map(|_| draws.below(below as u64) as u32).collect()
}
