//! Cortex-M with the DSP extension, and with Helium. What the processor has is known when the crate
//! is compiled; `build.rs` finds it out.

mod dsp;
#[cfg(all(cortex_m_fpu, not(cortex_m_helium)))]
mod dsp_rows;
#[cfg(cortex_m_helium)]
mod helium;
#[cfg(cortex_m_helium)]
mod helium_rows;

use super::kernels::table;
use super::{Kernels, panels};

// On a processor with Helium this one serves to compare with.
#[cfg(any(not(cortex_m_fpu), cortex_m_helium))]
use crate::ops as dsp_rows;

table! {
    /// Two products in one instruction.
    pub(super) static DSP = "cortex-m-dsp" {
        attributes: [],
        gemm: panels::gemm::<dsp::Dsp>,
        linear: panels::linear::<dsp::Dsp>,
        quantize_row: dsp_rows::quantize_row,
        store_row: dsp_rows::store_row,
        softmax_rows: crate::ops::softmax_rows,
        activate: crate::ops::activate,
    }
}

#[cfg(cortex_m_helium)]
table! {
    /// Sixteen products in one instruction.
    pub(super) static HELIUM = "cortex-m-helium" {
        attributes: [],
        gemm: panels::gemm::<helium::Helium>,
        linear: panels::linear::<helium::Helium>,
        quantize_row: helium_rows::quantize_row,
        store_row: helium_rows::store_row,
        softmax_rows: crate::ops::softmax_rows,
        activate: helium_rows::activate,
    }
}

/// All tables of this file, the most capable last.
#[cfg(not(cortex_m_helium))]
const TABLES: [&Kernels; 1] = [&DSP];
/// All tables of this file, the most capable last.
#[cfg(cortex_m_helium)]
const TABLES: [&Kernels; 2] = [&DSP, &HELIUM];

/// The tables that this machine runs: it has what it was compiled for.
pub(super) fn available() -> impl Iterator<Item = &'static Kernels> {
    TABLES.into_iter()
}

#[cfg(not(cortex_m_helium))]
pub(super) use DSP as NATIVE;
#[cfg(cortex_m_helium)]
pub(super) use HELIUM as NATIVE;

/// The operations that tables of other crates are made of.
#[doc(hidden)]
pub mod operations {
    #[cfg(not(cortex_m_helium))]
    use super::dsp::Dsp as Native;
    #[cfg(cortex_m_helium)]
    use super::helium::Helium as Native;
    use super::panels;
    use crate::format::Int8Matrix;
    use crate::ops::{Activations, Weights};

    #[cfg(not(cortex_m_helium))]
    pub use super::dsp_rows::{quantize_row, store_row};
    #[cfg(cortex_m_helium)]
    pub use super::helium_rows::{activate, quantize_row, store_row};
    #[cfg(not(cortex_m_helium))]
    pub use crate::ops::activate;

    /// As [`crate::ops::gemm`].
    ///
    /// # Safety
    /// The machine has the instructions of the target.
    #[inline(always)]
    pub unsafe fn gemm<Place>(a: &Activations<'_>, w: &Weights<'_>, out: &mut [i32]) {
        // SAFETY: as the caller says.
        unsafe { panels::gemm::<Native<Place>>(a, w, out) }
    }

    /// As [`crate::ops::linear`].
    ///
    /// # Safety
    /// The machine has the instructions of the target.
    #[inline(always)]
    pub unsafe fn linear<Place>(
        q: &Activations<'_>,
        scales: &[f32],
        matrix: &Int8Matrix<'_>,
        out: &mut [f32],
    ) {
        // SAFETY: as the caller says.
        unsafe { panels::linear::<Native<Place>>(q, scales, matrix, out) }
    }
}
