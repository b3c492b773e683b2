//! Cortex-M with the DSP extension, and with Helium. What the processor has is known when the crate
//! is compiled; `build.rs` finds it out.

mod dsp;
#[cfg(cortex_m_helium)]
mod helium;
#[cfg(cortex_m_helium)]
mod helium_rows;

use super::kernels::table;
use super::{Kernels, panels};

table! {
    /// Two products in one instruction.
    pub(super) static DSP = "cortex-m-dsp" {
        attributes: [],
        gemm: panels::gemm::<dsp::Dsp>,
        linear: panels::linear::<dsp::Dsp>,
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
