//! The operations of the forward pass for each instruction set, one file an instruction set.
//!
//! [`crate::ops`] defines the arithmetic. A table of [`Kernels`] has the same operations for one
//! instruction set: integer products (and with AVX-512 GELU) by hand, everything else as the
//! definition compiled with its vector registers. Both give the bits of the definition: integer sums
//! are exact in any order, and Rust neither reorders floats nor contracts them to fused multiply-add.
//! RV32 has no floats: there operations work in integers, round as floats would or bound their error, and
//! ask the definition where that leaves a doubt.
//!
//! [`detect`] takes the most capable table of this machine: asked of the CPU on x86-64 and, with `std`,
//! of the system on 64-bit Arm; fixed by the target elsewhere. With `std` the variable `BERT_ARCH` names
//! another one, to compare and to test. [`ISAS`] is what there is on all machines.

#![allow(unsafe_code, reason = "instructions beyond the target's baseline, only here")]
#![allow(
    clippy::needless_range_loop,
    reason = "registers of a tile have numbers of rows and channels, as in the formulas"
)]

#[cfg(all(target_arch = "aarch64", target_feature = "neon", target_endian = "little"))]
mod aarch64;
#[cfg(cortex_m_dsp)]
mod cortex_m;
mod isa;
mod kernels;
#[cfg(any(
    cortex_m_dsp,
    all(target_arch = "aarch64", target_feature = "neon", target_endian = "little"),
    all(target_arch = "wasm32", target_feature = "simd128"),
))]
mod panels;
#[cfg(any(target_arch = "riscv32", test))]
mod riscv32;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use isa::{COMPILED, ISAS, Isa};
pub use kernels::Kernels;
#[cfg(any(target_arch = "riscv32", test))]
pub(crate) use {kernels::SumKernels, riscv32::Sums};

use crate::Error;
use kernels::table;

/// Square root, correctly rounded.
#[cfg(cortex_m_fpu)]
#[inline(always)]
pub(crate) fn sqrt(x: f32) -> f32 {
    let root: u32;
    // SAFETY: the target has an FPU; d0 is s0 and s1.
    unsafe {
        core::arch::asm!(
            "vmov s0, {x}",
            "vsqrt.f32 s0, s0",
            "vmov {root}, s0",
            x = in(reg) x.to_bits(),
            root = lateout(reg) root,
            out("d0") _,
            options(pure, nomem, nostack),
        );
    }
    f32::from_bits(root)
}

cfg_select! {
    target_arch = "x86_64" => {
        use x86 as native;
    }
    all(target_arch = "aarch64", target_feature = "neon", target_endian = "little") => {
        use aarch64 as native;
    }
    cortex_m_dsp => {
        use cortex_m as native;
    }
    all(target_arch = "wasm32", target_feature = "simd128") => {
        use wasm as native;
    }
    target_arch = "riscv32" => {
        use riscv32 as native;
    }
    _ => {
        /// Nothing beside the definition.
        mod native {
            use super::Kernels;

            pub(super) fn available() -> impl Iterator<Item = &'static Kernels> {
                core::iter::empty()
            }
        }
    }
}

// The one table of this target, and its operations by themselves.
#[cfg(native_operations)]
cfg_select! {
    cortex_m_dsp => {
        pub use cortex_m::operations;
        use cortex_m::NATIVE;
    }
    _ => {
        #[doc(hidden)]
        pub mod operations {
            use crate::format::Int8Matrix;
            use crate::ops::{Activations, Weights};

            pub use crate::ops::{activate, quantize_row, store_row};

            /// As [`crate::ops::gemm`].
            ///
            /// # Safety
            /// None is needed.
            #[inline(always)]
            pub unsafe fn gemm<Place>(a: &Activations<'_>, w: &Weights<'_>, out: &mut [i32]) {
                crate::ops::gemm_at::<Place>(a, w, out);
            }

            /// As [`crate::ops::linear`].
            ///
            /// # Safety
            /// None is needed.
            #[inline(always)]
            pub unsafe fn linear<Place>(
                q: &Activations<'_>,
                scales: &[f32],
                matrix: &Int8Matrix<'_>,
                out: &mut [f32],
            ) {
                crate::ops::linear_at::<Place>(q, scales, matrix, out);
            }
        }
        #[cfg(not(target_arch = "riscv32"))]
        use SCALAR as NATIVE;
        #[cfg(target_arch = "riscv32")]
        use riscv32::INTEGERS as NATIVE;
    }
}

table! {
    /// The definition, compiled for the target's baseline.
    pub(crate) static SCALAR = "scalar" {
        attributes: [],
        gemm: crate::ops::gemm,
        linear: crate::ops::linear,
    }
}

/// The tables this machine runs, the most capable last. The first is always `scalar`.
pub fn available() -> impl Iterator<Item = &'static Kernels> {
    core::iter::once(&SCALAR).chain(native::available())
}

/// The table of this name, if this machine runs it.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Kernels> {
    available().find(|kernels| kernels.name() == name)
}

/// The most capable table this machine runs, or with `std` that of the variable `BERT_ARCH`.
///
/// # Errors
/// [`Error::UnknownArch`] if `BERT_ARCH` names a table that this machine does not run: another one in
/// its place would make every comparison worthless.
pub fn detect() -> Result<&'static Kernels, Error> {
    let best = || available().last().unwrap_or(&SCALAR);
    #[cfg(feature = "std")]
    {
        // The CPU and the environment are asked once.
        static CHOSEN: std::sync::OnceLock<Option<&Kernels>> = std::sync::OnceLock::new();
        let chosen = CHOSEN.get_or_init(|| match std::env::var("BERT_ARCH") {
            Ok(name) if !name.is_empty() => by_name(&name),
            _ => Some(best()),
        });
        chosen.ok_or(Error::UnknownArch)
    }
    #[cfg(not(feature = "std"))]
    Ok(best())
}
