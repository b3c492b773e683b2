//! Cortex-M with the DSP extension, and with Helium. What the processor has is known when the crate
//! is compiled; `build.rs` finds it out.

mod dsp;
#[cfg(cortex_m_helium)]
mod helium;

use super::Kernels;
use super::kernels::table;

table! {
    /// Two products in one instruction.
    pub(super) static DSP = "cortex-m-dsp" {
        attributes: [],
        gemm: dsp::gemm,
        linear: dsp::linear,
    }
}

#[cfg(cortex_m_helium)]
table! {
    /// Sixteen products in one instruction.
    pub(super) static HELIUM = "cortex-m-helium" {
        attributes: [],
        gemm: helium::gemm,
        linear: helium::linear,
    }
}

/// All tables of this file, the most capable last.
#[cfg(not(cortex_m_helium))]
pub(super) const TABLES: [&Kernels; 1] = [&DSP];
/// All tables of this file, the most capable last.
#[cfg(cortex_m_helium)]
pub(super) const TABLES: [&Kernels; 2] = [&DSP, &HELIUM];

/// The tables that this machine runs: it has what it was compiled for.
pub(super) fn available() -> impl Iterator<Item = &'static Kernels> {
    TABLES.into_iter()
}

/// The loads here take words at multiples of four; a file may lie anywhere.
#[inline(always)]
fn aligned(weights: &[i8]) -> bool {
    weights.as_ptr().cast::<u32>().is_aligned()
}
