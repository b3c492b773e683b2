//! What happens to a finished tile on its way to memory: add the old value, add the bias, keep the
//! value before the activation, activate, round.

use cubecl::prelude::*;

use super::tile_register::Tile;
use crate::ops::activation::{Activation, activate};

/// The steps of an epilogue, chosen when the kernel is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Finish {
    pub(crate) accumulate: bool,
    pub(crate) activation: Option<Activation>,
}

/// Finishes the accumulators of one unit, whose first element is at (`row`, `column`).
///
/// `NC` is `N` where the rows of C begin at multiples of `N`, else 1.
#[cube]
pub(crate) fn finish_tile<EC: Float, N: Size, NC: Size>(
    acc: &Array<Vector<f32, N>>,
    c: &mut [Vector<EC, NC>],
    bias: &ComptimeOption<Box<[Vector<f32, NC>]>>,
    pre: &mut ComptimeOption<Box<[Vector<EC, NC>]>>,
    row: usize,
    column: usize,
    m: usize,
    n: usize,
    c_stride: usize,
    #[comptime] column_step: usize,
    #[comptime] tile: Tile,
    #[comptime] finish: Finish,
) {
    let lanes = N::value();
    let c_lanes = NC::value();
    let whole = comptime!(lanes == c_lanes);
    #[unroll]
    for i in 0..comptime!(tile.rows) {
        if row + i < m {
            #[unroll]
            for j in 0..comptime!(tile.vectors) {
                let value = acc[comptime!(i * tile.vectors + j)];
                let first = column + comptime!(j * column_step);
                if whole {
                    if first < n {
                        let value = Vector::<f32, NC>::cast_from(value);
                        finish_value::<EC, NC>(
                            value,
                            c,
                            bias,
                            pre,
                            row + i,
                            first,
                            c_stride,
                            finish,
                        );
                    }
                } else {
                    #[unroll]
                    for lane in 0..N::value() {
                        if first + lane < n {
                            let value = Vector::<f32, NC>::new(value.extract(lane));
                            finish_value::<EC, NC>(
                                value,
                                c,
                                bias,
                                pre,
                                row + i,
                                first + lane,
                                c_stride,
                                finish,
                            );
                        }
                    }
                }
            }
        }
    }
}

/// Finishes `NC` neighbours, whose first is at (`row`, `column`).
#[cube]
pub(crate) fn finish_value<EC: Float, NC: Size>(
    value: Vector<f32, NC>,
    c: &mut [Vector<EC, NC>],
    bias: &ComptimeOption<Box<[Vector<f32, NC>]>>,
    pre: &mut ComptimeOption<Box<[Vector<EC, NC>]>>,
    row: usize,
    column: usize,
    c_stride: usize,
    #[comptime] finish: Finish,
) {
    let at = (row * c_stride + column) / NC::value();
    let mut value = value;
    if comptime!(finish.accumulate) {
        value += Vector::<f32, NC>::cast_from(c[at]);
    }
    #[comptime]
    match bias {
        ComptimeOption::Some(bias) => value += bias[column / NC::value()],
        ComptimeOption::None => {}
    }
    #[comptime]
    match pre {
        ComptimeOption::Some(pre) => pre[at] = Vector::cast_from(value),
        ComptimeOption::None => {}
    }
    if comptime!(finish.activation.is_some()) {
        value = activate::<NC>(value, comptime!(finish.activation.unwrap_or(Activation::Relu)));
    }
    c[at] = Vector::cast_from(value);
}
