//! Cortex-M with the DSP extension, and with Helium. What the processor has is known when the crate
//! is compiled; `build.rs` finds it out.

mod dsp;

use super::Kernels;
use super::kernels::table;

table! {
    /// Two products in one instruction.
    pub(super) static DSP = "cortex-m-dsp" {
        attributes: [],
        gemm: dsp::gemm, "smlad",
        linear: dsp::linear, "smlad",
    }
}

/// All tables of this file, the most capable last.
pub(super) const TABLES: [&Kernels; 1] = [&DSP];

/// The tables that this machine runs: it has what it was compiled for.
pub(super) fn available() -> impl Iterator<Item = &'static Kernels> {
    TABLES.into_iter()
}
