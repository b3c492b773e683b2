//! Gather of the masked rows, and its backward pass.
//!
//! `out[i] = x[index[i]]`; backward `d_x[index[i]] += d_out[i]`, where no row occurs twice, so that
//! no two units write the same element. An index of [`IGNORE`] gives zeros and adds nothing: lists of
//! different lengths can be filled up to one.

use cubecl::prelude::*;

use super::IGNORE;
use super::dropout::expect_act;
use crate::lanes::{expect_u32, lanes, my_items, spread, with_act};
use crate::{Buffer, Context, DType, KernelError};

/// Operands of [`gather_rows`].
pub struct GatherRows<'a> {
    /// `[T, H]`, f32, bf16 or f16.
    pub x: &'a Buffer,
    /// `[M]` u32, each below T or [`IGNORE`](super::IGNORE).
    pub index: &'a Buffer,
    /// `[M, H]`, like `x`.
    pub out: &'a Buffer,
    /// H.
    pub hidden: usize,
}

/// Operands of [`scatter_add_rows`].
pub struct ScatterAddRows<'a> {
    /// `[M, H]`, f32, bf16 or f16.
    pub d_out: &'a Buffer,
    /// `[M]` u32, each below T and none twice, or [`IGNORE`](super::IGNORE).
    pub index: &'a Buffer,
    /// `[T, H]`, like `d_out`, added to.
    pub d_x: &'a Buffer,
    /// H.
    pub hidden: usize,
}

/// `out[i] = x[index[i]]`, row by row.
///
/// # Errors
///
/// Lengths or types that do not fit together. Indices are not checked.
pub fn gather_rows(ctx: &Context, args: GatherRows<'_>) -> Result<(), KernelError> {
    let GatherRows { x, index, out, hidden } = args;
    check("gather_rows", ("x", x), ("out", out), index, hidden)?;
    if out.is_empty() {
        return Ok(());
    }
    let width = lanes(ctx, x.dtype(), hidden);
    let spread = spread(ctx, out.len() / width);
    with_act!(x.dtype(), E => gather::launch::<E>(
        ctx.client(),
        spread.count,
        spread.dim,
        width,
        x.arg(),
        index.arg(),
        out.arg(),
        out.len() / width,
        hidden / width,
        spread.contiguous,
    ));
    Ok(())
}

/// `d_x[index[i]] += d_out[i]`, row by row.
///
/// # Errors
///
/// Lengths or types that do not fit together. Indices are not checked.
pub fn scatter_add_rows(ctx: &Context, args: ScatterAddRows<'_>) -> Result<(), KernelError> {
    let ScatterAddRows { d_out, index, d_x, hidden } = args;
    check("scatter_add_rows", ("d_x", d_x), ("d_out", d_out), index, hidden)?;
    if d_out.is_empty() {
        return Ok(());
    }
    let width = lanes(ctx, d_out.dtype(), hidden);
    let spread = spread(ctx, d_out.len() / width);
    with_act!(d_out.dtype(), E => scatter_add::launch::<E>(
        ctx.client(),
        spread.count,
        spread.dim,
        width,
        d_out.arg(),
        index.arg(),
        d_x.arg(),
        d_out.len() / width,
        hidden / width,
        spread.contiguous,
    ));
    Ok(())
}

fn check(
    op: &'static str,
    (all_name, all): (&'static str, &Buffer),
    (some_name, some): (&'static str, &Buffer),
    index: &Buffer,
    hidden: usize,
) -> Result<(), KernelError> {
    expect_act(op, all_name, all)?;
    some.expect_dtype(op, some_name, all.dtype())?;
    index.expect_dtype(op, "index", DType::U32)?;
    some.expect_len(op, some_name, index.len() * hidden)?;
    if hidden == 0 || !all.len().is_multiple_of(hidden) {
        return Err(KernelError::Size {
            op,
            what: "hidden",
            expected: "a divisor of the elements",
            found: hidden,
        });
    }
    expect_u32(op, "elements", all.len())?;
    expect_u32(op, "elements", some.len())
}

#[cube(launch)]
fn gather<E: Float, N: Size>(
    x: &[Vector<E, N>],
    index: &[u32],
    out: &mut [Vector<E, N>],
    vectors: usize,
    columns: usize,
    #[comptime] contiguous: bool,
) {
    let items = my_items(vectors, contiguous);
    let mut i = items.first;
    while i < items.end {
        let row = index[i / columns];
        let mut value = Vector::<E, N>::new(E::new(0.0));
        if row != IGNORE {
            value = x[row as usize * columns + i % columns];
        }
        out[i] = value;
        i += items.step;
    }
}

#[cube(launch)]
fn scatter_add<E: Float, N: Size>(
    d_out: &[Vector<E, N>],
    index: &[u32],
    d_x: &mut [Vector<E, N>],
    vectors: usize,
    columns: usize,
    #[comptime] contiguous: bool,
) {
    let items = my_items(vectors, contiguous);
    let mut i = items.first;
    while i < items.end {
        let row = index[i / columns];
        if row != IGNORE {
            let at = row as usize * columns + i % columns;
            let sum = Vector::<f32, N>::cast_from(d_x[at]) + Vector::<f32, N>::cast_from(d_out[i]);
            d_x[at] = Vector::cast_from(sum);
        }
        i += items.step;
    }
}

/// Both passes in f64.
#[cfg(feature = "cases")]
pub(crate) mod reference {
    use super::IGNORE;

    /// `x[index[i]]`, or zeros.
    pub(crate) fn gather(x: &[f64], index: &[u32], hidden: usize) -> Vec<f64> {
        let row = |&row: &u32| match row {
            IGNORE => vec![0.0; hidden],
            row => x[row as usize * hidden..(row as usize + 1) * hidden].to_vec(),
        };
        index.iter().flat_map(row).collect()
    }

    /// The gradient of x, [rows, hidden].
    pub(crate) fn scatter(d_out: &[f64], index: &[u32], rows: usize, hidden: usize) -> Vec<f64> {
        let mut d_x = vec![0.0; rows * hidden];
        let rows = d_out.chunks(hidden).zip(index);
        for (d_row, &row) in rows.filter(|(_, row)| **row != IGNORE) {
            for (into, d) in d_x[row as usize * hidden..].iter_mut().zip(d_row) {
                *into += d;
            }
        }
        d_x
    }
}
