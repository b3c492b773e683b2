//! 64-bit Arm: NEON, and its dot-product and matrix-product instructions.

mod dotprod;
mod i8mm;
mod neon;

use super::kernels::table;
use super::{Kernels, panels};

table! {
    /// Products in i16, two of which fit, then pair-wise into i32.
    pub(super) static NEON = "neon" {
        attributes: [target_feature(enable = "neon")],
        gemm: panels::gemm::<neon::Neon>,
        linear: panels::linear::<neon::Neon>,
    }
}

table! {
    /// Four channels times four inputs in one instruction.
    pub(super) static DOTPROD = "dotprod" {
        attributes: [target_feature(enable = "neon,dotprod")],
        gemm: panels::gemm::<dotprod::Dotprod>,
        linear: panels::linear::<dotprod::Dotprod>,
    }
}

table! {
    /// Two rows times two channels times eight inputs in one instruction.
    pub(super) static I8MM = "i8mm" {
        attributes: [target_feature(enable = "neon,dotprod,i8mm")],
        gemm: panels::gemm::<i8mm::I8mm>,
        linear: panels::linear::<i8mm::I8mm>,
    }
}

/// All tables of this file, the most capable last.
const TABLES: [&Kernels; 3] = [&NEON, &DOTPROD, &I8MM];

/// Whether the machine has a feature: asked of the operating system with `std`, else what the
/// compiler was told, since Arm's registers that say so cannot be read by programs everywhere.
macro_rules! has {
    ($feature:tt) => {{
        #[cfg(feature = "std")]
        let has = std::arch::is_aarch64_feature_detected!($feature);
        #[cfg(not(feature = "std"))]
        let has = cfg!(target_feature = $feature);
        has
    }};
}

/// The tables that this machine runs.
pub(super) fn available() -> impl Iterator<Item = &'static Kernels> {
    let dotprod = has!("dotprod");
    let runs = [true, dotprod, dotprod && has!("i8mm")];
    TABLES.into_iter().zip(runs).filter_map(|(table, runs)| runs.then_some(table))
}
