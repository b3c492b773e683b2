//! Elementwise companions: fill, add, cast, copy, scale. Any length below 2³², f32, bf16 or f16.

use cubecl::prelude::*;

use super::dropout::expect_act;
use crate::lanes::{Spread, expect_u32, lanes, my_items, spread, with_act};
use crate::{Buffer, Context, DType, KernelError};

/// Lanes, vectors and spread of a launch over whole buffers.
fn plan(ctx: &Context, dtype: DType, len: usize) -> (usize, usize, Spread) {
    let width = lanes(ctx, dtype, len);
    (width, len / width, spread(ctx, len / width))
}

/// `x[i] = value`.
///
/// # Errors
///
/// An integer buffer.
pub fn fill(ctx: &Context, x: &Buffer, value: f32) -> Result<(), KernelError> {
    expect_act("fill", "x", x)?;
    expect_u32("fill", "elements", x.len())?;
    if x.is_empty() {
        return Ok(());
    }
    let (width, vectors, spread) = plan(ctx, x.dtype(), x.len());
    with_act!(x.dtype(), E => fill_elements::launch::<E>(
        ctx.client(),
        spread.count,
        spread.dim,
        width,
        x.arg(),
        value,
        vectors,
        spread.contiguous,
    ));
    Ok(())
}

/// `into[i] += from[i]`; each f32, bf16 or f16, added in f32.
///
/// # Errors
///
/// Unequal lengths or an integer buffer.
pub fn add_assign(ctx: &Context, into: &Buffer, from: &Buffer) -> Result<(), KernelError> {
    const OP: &str = "add_assign";
    expect_act(OP, "into", into)?;
    expect_act(OP, "from", from)?;
    from.expect_len(OP, "from", into.len())?;
    expect_u32(OP, "elements", into.len())?;
    if into.is_empty() {
        return Ok(());
    }
    let (width, vectors, spread) = plan(ctx, into.dtype(), into.len());
    with_act!(into.dtype(), E => with_act!(from.dtype(), F => add_elements::launch::<E, F>(
        ctx.client(),
        spread.count,
        spread.dim,
        width,
        into.arg(),
        from.arg(),
        vectors,
        spread.contiguous,
    )));
    Ok(())
}

/// `into[i] = from[i]`, rounded to the type of `into` (to nearest, ties to even).
///
/// # Errors
///
/// Unequal lengths or an integer buffer.
pub fn cast(ctx: &Context, from: &Buffer, into: &Buffer) -> Result<(), KernelError> {
    const OP: &str = "cast";
    expect_act(OP, "from", from)?;
    expect_act(OP, "into", into)?;
    into.expect_len(OP, "into", from.len())?;
    expect_u32(OP, "elements", from.len())?;
    if from.is_empty() {
        return Ok(());
    }
    let (width, vectors, spread) = plan(ctx, into.dtype(), into.len());
    with_act!(from.dtype(), E => with_act!(into.dtype(), F => cast_elements::launch::<E, F>(
        ctx.client(),
        spread.count,
        spread.dim,
        width,
        from.arg(),
        into.arg(),
        vectors,
        spread.contiguous,
    )));
    Ok(())
}

/// `into[i] = from[i]`, f32 or u32.
///
/// # Errors
///
/// Unequal lengths or types, or a 16-bit type.
pub fn copy(ctx: &Context, from: &Buffer, into: &Buffer) -> Result<(), KernelError> {
    const OP: &str = "copy";
    if from.dtype() != DType::U32 {
        from.expect_dtype(OP, "from", DType::F32)?;
    }
    into.expect_dtype(OP, "into", from.dtype())?;
    into.expect_len(OP, "into", from.len())?;
    expect_u32(OP, "elements", from.len())?;
    if from.is_empty() {
        return Ok(());
    }
    let (width, vectors, spread) = plan(ctx, from.dtype(), from.len());
    // The bits of a word, whatever they stand for.
    copy_words::launch(
        ctx.client(),
        spread.count,
        spread.dim,
        width,
        from.arg(),
        into.arg(),
        vectors,
        spread.contiguous,
    );
    Ok(())
}

/// `x[i] *= factor`.
///
/// # Errors
///
/// An integer buffer.
pub fn scale(ctx: &Context, x: &Buffer, factor: f32) -> Result<(), KernelError> {
    expect_act("scale", "x", x)?;
    expect_u32("scale", "elements", x.len())?;
    if x.is_empty() {
        return Ok(());
    }
    let (width, vectors, spread) = plan(ctx, x.dtype(), x.len());
    with_act!(x.dtype(), E => scale_elements::launch::<E>(
        ctx.client(),
        spread.count,
        spread.dim,
        width,
        x.arg(),
        factor,
        vectors,
        spread.contiguous,
    ));
    Ok(())
}

#[cube(launch)]
fn fill_elements<E: Float, N: Size>(
    x: &mut [Vector<E, N>],
    value: f32,
    vectors: usize,
    #[comptime] contiguous: bool,
) {
    let items = my_items(vectors, contiguous);
    let mut i = items.first;
    while i < items.end {
        x[i] = Vector::cast_from(Vector::<f32, N>::new(value));
        i += items.step;
    }
}

#[cube(launch)]
fn add_elements<E: Float, F: Float, N: Size>(
    into: &mut [Vector<E, N>],
    from: &[Vector<F, N>],
    vectors: usize,
    #[comptime] contiguous: bool,
) {
    let items = my_items(vectors, contiguous);
    let mut i = items.first;
    while i < items.end {
        let sum = Vector::<f32, N>::cast_from(into[i]) + Vector::<f32, N>::cast_from(from[i]);
        into[i] = Vector::cast_from(sum);
        i += items.step;
    }
}

#[cube(launch)]
fn copy_words<N: Size>(
    from: &[Vector<u32, N>],
    into: &mut [Vector<u32, N>],
    vectors: usize,
    #[comptime] contiguous: bool,
) {
    let items = my_items(vectors, contiguous);
    let mut i = items.first;
    while i < items.end {
        into[i] = from[i];
        i += items.step;
    }
}

#[cube(launch)]
fn cast_elements<E: Float, F: Float, N: Size>(
    from: &[Vector<E, N>],
    into: &mut [Vector<F, N>],
    vectors: usize,
    #[comptime] contiguous: bool,
) {
    let items = my_items(vectors, contiguous);
    let mut i = items.first;
    while i < items.end {
        into[i] = Vector::cast_from(from[i]);
        i += items.step;
    }
}

#[cube(launch)]
fn scale_elements<E: Float, N: Size>(
    x: &mut [Vector<E, N>],
    factor: f32,
    vectors: usize,
    #[comptime] contiguous: bool,
) {
    let items = my_items(vectors, contiguous);
    let mut i = items.first;
    while i < items.end {
        let value = Vector::<f32, N>::cast_from(x[i]) * Vector::new(factor);
        x[i] = Vector::cast_from(value);
        i += items.step;
    }
}
