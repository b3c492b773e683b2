//! Products of rows and a matrix that are quantized next, and needed as nothing else.

use core::ops::Range;

use super::forward::MatrixRows;
use crate::arch::Kernels;
#[cfg(any(target_arch = "riscv32", test))]
use crate::arch::{SumKernels, Sums};
use crate::format::{Activation, Matrix};
#[cfg(any(target_arch = "riscv32", test))]
use crate::format::{Int8Matrix, Layout};
use crate::ops::Activations;

/// Rows \[R, N\]: floats, or the sums that floats would be made of, where the kernels make do with those.
pub(super) struct Products<'a> {
    kernels: &'static Kernels,
    rows: &'a mut [f32],
    /// N.
    width: usize,
    /// Of sums: the kernels, the matrix and the scales of its inputs.
    #[cfg(any(target_arch = "riscv32", test))]
    sums: Option<(SumKernels, Int8Matrix<'a>, &'a [f32])>,
}

impl<'a> Products<'a> {
    /// Multiplies the rows x, which are q quantized with `scales`; `rows` is the memory of the products.
    #[inline(never)]
    pub fn new(
        kernels: &'static Kernels,
        matrix: &Matrix<'a>,
        (x, q): (&[f32], Activations<'_>),
        scales: &'a [f32],
        rows: &'a mut [f32],
    ) -> Self {
        let width = rows.len() / scales.len();
        #[cfg(any(target_arch = "riscv32", test))]
        if let (Some(sums), Matrix::Int8(int8)) = (kernels.sums(), matrix)
            && int8.layout == Layout::Panels
        {
            (sums.products)(&q, int8, bytemuck::cast_slice_mut(rows));
            return Products { kernels, rows, width, sums: Some((sums, *int8, scales)) };
        }
        MatrixRows { x, q, scales }.times(kernels, matrix, rows);
        Products {
            kernels,
            rows,
            width,
            #[cfg(any(target_arch = "riscv32", test))]
            sums: None,
        }
    }

    /// Quantizes the columns of each row, behind an activation or as they are: `q` has rows of `stride`
    /// bytes, `scales` gets theirs. The columns have no meaning afterwards, if they are sums.
    #[inline(never)]
    pub fn quantize(
        &mut self,
        columns: Range<usize>,
        activation: Option<Activation>,
        q: &mut [i8],
        stride: usize,
        scales: &mut [f32],
    ) {
        #[cfg(any(target_arch = "riscv32", test))]
        if let Some((kernels, matrix, inputs)) = &self.sums {
            let sums = bytemuck::cast_slice_mut(self.rows);
            let all = Sums { sums, scales: inputs, matrix, columns, activation };
            return (kernels.quantize)(all, q, stride, scales);
        }
        // A row is rounded while it is near: those of a tile together are larger than the nearest cache.
        let rows = self.rows.chunks_exact_mut(self.width).zip(q.chunks_exact_mut(stride));
        for ((row, q), scale) in rows.zip(scales) {
            let row = &mut row[columns.clone()];
            if let Some(activation) = activation {
                self.kernels.activate(row, activation);
            }
            *scale = self.kernels.quantize_row(row, q);
        }
    }

    /// The rows as they are after all of their columns were quantized, for a matrix that multiplies
    /// floats.
    pub fn rows(self) -> &'a [f32] {
        self.rows
    }
}
