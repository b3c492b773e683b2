//! RV32IM, which has no floats: integers wherever the result is proven to be that of the definition.
//!
//! Compiled for that target, and on every other one for tests.

mod bits;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "../../../tests/common/mod.rs"]
mod common;
mod exp;
mod gelu;
mod norm;
mod products;
mod rows;
mod softmax;
mod sums;

#[cfg(native_operations)]
use super::Isa;
#[cfg(target_arch = "riscv32")]
use super::Kernels;
use super::kernels::{SumKernels, table};
use crate::format::{Activation, Int8Matrix};
use crate::ops::{self, Activations};

pub(crate) use sums::Sums;

table! {
    /// Two products in one multiplication, and integers in place of most floats.
    pub(crate) static INTEGERS = "rv32im" {
        attributes: [],
        gemm: products::gemm::<()>,
        linear: linear::<()>,
        quantize_row: rows::quantize_row,
        store_row: rows::store_row,
        softmax_rows: softmax::softmax_rows,
        activate: activate,
        embedding_row: rows::embedding_row,
        load_row: rows::load_row,
        combine_row: rows::combine_row,
        layer_norm_row: norm::layer_norm_row,
        add_norm_row: norm::add_norm_row,
        sums: Some(SumKernels { products: sums::products::<()>, quantize: sums::quantize }),
    }
}

/// The same with all that takes time compiled in the crate that `Place` is a type of; what these functions
/// are made of is, too, since it may be inlined. What rarely happens is not.
#[cfg(native_operations)]
pub(super) const fn quick<Place>(isa: &'static Isa) -> Kernels {
    Kernels {
        isa,
        gemm: place::gemm::<Place>,
        linear: place::linear::<Place>,
        load_row: place::load_row::<Place>,
        softmax_rows: place::softmax_rows::<Place>,
        combine_row: place::combine_row::<Place>,
        sums: Some(SumKernels { products: place::products::<Place>, quantize: sums::quantize }),
        ..INTEGERS
    }
}

/// Functions that are compiled where they are used.
#[cfg(native_operations)]
mod place {
    use super::*;
    use crate::ops::{SoftmaxScales, Weights};

    macro_rules! functions {
        ([$place:ident] $($name:ident = $function:path, ($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
            $(
                pub(super) fn $name<$place>($($argument: $type),*) $(-> $result)? {
                    $function($($argument),*)
                }
            )*
        };
    }

    functions! {
        [Place]
        gemm = products::gemm::<Place>, (a: &Activations<'_>, w: &Weights<'_>, out: &mut [i32]);
        linear = super::linear::<Place>,
            (q: &Activations<'_>, scales: &[f32], matrix: &Int8Matrix<'_>, out: &mut [f32]);
        load_row = rows::load_row, (q: &[i8], scales: &[f32], x: &mut [f32]);
        softmax_rows = softmax::softmax_rows,
            (scores: &mut [f32], scales: &SoftmaxScales<'_>, factors: &mut [f32],
             digits: &mut [i8]);
        combine_row = rows::combine_row,
            (high: &[i32], low: &[i32], factor: f32, out: &mut [f32]);
        products = sums::products::<Place>,
            (q: &Activations<'_>, matrix: &Int8Matrix<'_>, out: &mut [i32]);
    }
}

/// The tables that this machine runs: it has what it was compiled for.
#[cfg(target_arch = "riscv32")]
#[inline]
pub(super) fn available() -> impl Iterator<Item = &'static Kernels> {
    core::iter::once(&INTEGERS)
}

/// As [`ops::linear`].
#[inline]
fn linear<Place>(q: &Activations<'_>, scales: &[f32], matrix: &Int8Matrix<'_>, out: &mut [f32]) {
    let q = Activations { values: &q.values[..scales.len() * q.stride], stride: q.stride };
    sums::products::<Place>(&q, matrix, bytemuck::cast_slice_mut(out));
    for (row, s) in out.chunks_exact_mut(matrix.rows).zip(scales) {
        rows::scale_row(row, *s, matrix.scales, matrix.biases);
    }
}

/// As [`ops::activate`]; not inlined, since it is called for rows and for single values.
#[inline(never)]
fn activate(x: &mut [f32], activation: Activation) {
    ops::activate(x, activation);
}

/// Floats of a file that are read at once.
const PIECE: usize = 32;

/// At most [`PIECE`] floats of a file: where they lie, if that is at words, else copied.
#[inline(never)]
fn floats<'a>(bytes: &'a [[u8; 4]], room: &'a mut [f32; PIECE]) -> &'a [f32] {
    match bytemuck::try_cast_slice(bytes) {
        Ok(floats) if cfg!(target_endian = "little") => floats,
        _ => {
            for (room, bytes) in room.iter_mut().zip(bytes) {
                *room = f32::from_le_bytes(*bytes);
            }
            &room[..bytes.len()]
        }
    }
}

/// The upper half of a product.
#[inline(always)]
fn high(a: i32, b: i32) -> i32 {
    ((a as i64 * b as i64) >> 32) as i32
}

/// The exponent of a float; that of subnormal numbers and zeros is 1.
#[inline(always)]
fn exponent(bits: u32) -> i32 {
    ((bits << 1 >> 24) as i32).max(1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::arch::SCALAR;
    use crate::{Model, Rows, ScratchVec, Session};

    use super::common::{FloatModel, HeadKind, Random, Sizes};

    /// Whole models, in both layouts, at any address, with every size of scratch.
    #[test]
    fn models_have_the_bits_of_the_definition() {
        let s = Sizes::SMALL;
        let tiny = Sizes { vocabulary: 500, ..Sizes::BERT_TINY };
        let variants = [
            s,
            Sizes { hidden: 30, heads: 3, feed_forward: 47, labels: 2, tags: 3, ..s },
            Sizes { hidden: 96, heads: 2, feed_forward: 530, max_length: 70, ..s },
            Sizes { layers: 1, hidden: 128, heads: 1, feed_forward: 17, ..s },
            tiny,
            Sizes { head: HeadKind::Span, activation: bert_core::Activation::GeluTanh, ..s },
            Sizes { head: HeadKind::Span, activation: bert_core::Activation::Relu, ..s },
        ];
        for (seed, sizes) in variants.into_iter().enumerate() {
            for layout in [bert_core::format::Layout::Panels, bert_core::format::Layout::Rows] {
                let built = FloatModel::random(sizes, seed as u64).build_with(layout);
                let mut file = ScratchVec::new(built.len() + 1);
                for at in [0, 1] {
                    file[at..at + built.len()].copy_from_slice(&built);
                    let model = Model::parse(&file[at..at + built.len()]).unwrap();
                    for room in
                        [model.scratch_bytes(sizes.max_length), ScratchVec::of(&model).len()]
                    {
                        let mut memory = ScratchVec::new(room);
                        let mut session = Session::new(&model, &mut memory).unwrap();
                        for count in [1, 2, 5, 16, 17, sizes.max_length] {
                            let mut random = Random(count as u64);
                            let ids: Vec<u32> =
                                (0..count).map(|_| random.below(sizes.vocabulary) as u32).collect();
                            let mut outputs = [&SCALAR, &INTEGERS].map(|kernels| {
                                session.use_kernels(kernels);
                                let output = session.run(&ids, &[], Rows::All).unwrap().hidden();
                                output.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
                            });
                            let [expected, found] = &mut outputs;
                            assert!(expected == found, "{sizes:?} {layout:?} {at} {room} {count}");
                        }
                    }
                }
            }
        }
    }
}
