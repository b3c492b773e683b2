//! The rows of the last layer, and what heads read from them.

use super::forward::{MatrixRows, row};
use crate::arch::Kernels;
use crate::format::Matrix;
use crate::ops::{Activations, ROW_ALIGN};

/// The residual stream after the last layer, with room for one row as f32 and one as int8.
pub(super) struct LastRows<'a> {
    pub kernels: &'static Kernels,
    /// H.
    pub hidden: usize,
    pub x: &'a [i8],
    pub scales: &'a [f32],
    pub row: &'a mut [f32],
    pub q: &'a mut [i8],
}

impl LastRows<'_> {
    /// The row \[H\] of a token.
    pub fn row(&mut self, token: usize) -> &[f32] {
        row(self.kernels, self.x, self.scales, token, self.row, self.hidden)
    }

    /// What a head gives for one token: logits of its tag, or of a span's start and end.
    pub fn logits(&mut self, token: usize, head: &Matrix<'_>, out: &mut [f32]) {
        let kernels = self.kernels;
        let stride = self.hidden.next_multiple_of(ROW_ALIGN);
        let x = row(kernels, self.x, self.scales, token, self.row, self.hidden);
        let q = &mut self.q[..stride];
        let scale = kernels.quantize_row(x, q);
        let q = Activations { values: q, stride };
        MatrixRows { x, q, scales: &[scale] }.times(kernels, head, out);
    }
}
