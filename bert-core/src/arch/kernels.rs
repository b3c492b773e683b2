//! A table of the operations for one instruction set, and the macro that makes one.

use super::Isa;
#[cfg(any(target_arch = "riscv32", test))]
use super::riscv32::Sums;
use crate::format::{Activation, HalfMatrix, Int8Matrix, Norm};
use crate::ops::{Activations, Row, SoftmaxScales, Weights, WordRow};

/// The operations of the forward pass for one instruction set; see [`crate::ops`] for what each does.
pub struct Kernels {
    pub(super) isa: &'static Isa,
    pub(super) gemm: unsafe fn(&Activations<'_>, &Weights<'_>, &mut [i32]),
    pub(super) linear: unsafe fn(&Activations<'_>, &[f32], &Int8Matrix<'_>, &mut [f32]),
    pub(super) embedding_row: unsafe fn(WordRow<'_>, Row<'_>, Row<'_>, &mut [f32]),
    pub(super) layer_norm_row: unsafe fn(&mut [f32], &Norm<'_>, f32),
    pub(super) add_norm_row: unsafe fn(&mut [f32], &[f32], &Norm<'_>, f32),
    pub(super) quantize_row: unsafe fn(&[f32], &mut [i8]) -> f32,
    pub(super) store_row: unsafe fn(&[f32], &mut [i8], &mut [f32]),
    pub(super) load_row: unsafe fn(&[i8], &[f32], &mut [f32]),
    pub(super) softmax_rows: unsafe fn(&mut [f32], &SoftmaxScales<'_>, &mut [f32], &mut [i8]),
    pub(super) combine_row: unsafe fn(&[i32], &[i32], f32, &mut [f32]),
    pub(super) activate: unsafe fn(&mut [f32], Activation),
    pub(super) add_row: unsafe fn(&[f32], &mut [f32]),
    pub(super) linear_half: unsafe fn(&[f32], &HalfMatrix<'_>, &mut [f32]),
    /// For processors without floats.
    #[cfg(any(target_arch = "riscv32", test))]
    pub(super) sums: Option<SumKernels>,
}

/// Products that are quantized next, without floats between. Where they serve for a matrix, they give
/// the bits of `linear`, `activate` and `quantize_row` one after the other.
#[cfg(any(target_arch = "riscv32", test))]
#[derive(Clone, Copy)]
pub(crate) struct SumKernels {
    /// Writes the sums \[R, N\] of quantized rows and a matrix in panels.
    pub products: fn(&Activations<'_>, &Int8Matrix<'_>, &mut [i32]),
    /// Quantizes columns of rows, each into as many bytes; gives their scales.
    pub quantize: fn(Sums<'_>, &mut [i8], usize, &mut [f32]),
}

impl Kernels {
    /// Names of the operations.
    pub const OPERATIONS: [&'static str; 13] = [
        "gemm",
        "linear",
        "embedding_row",
        "layer_norm_row",
        "add_norm_row",
        "quantize_row",
        "store_row",
        "load_row",
        "softmax_rows",
        "combine_row",
        "activate",
        "add_row",
        "linear_half",
    ];

    /// The instruction set.
    #[must_use]
    pub fn isa(&self) -> &'static Isa {
        self.isa
    }

    /// Products that are quantized as sums, if it has them.
    #[cfg(any(target_arch = "riscv32", test))]
    pub(crate) fn sums(&self) -> Option<SumKernels> {
        self.sums
    }

    /// Its name, as `BERT_ARCH` takes it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.isa.name
    }
}

/// Methods that call the table.
macro_rules! methods {
    ($($name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        impl Kernels {
            $(
                #[doc = concat!("As [`crate::ops::", stringify!($name), "`].")]
                #[inline(always)]
                pub fn $name(&self, $($argument: $type),*) $(-> $result)? {
                    // SAFETY: a table is only handed out for a machine that has its instructions.
                    unsafe { (self.$name)($($argument),*) }
                }
            )*
        }
    };
}

methods! {
    gemm(a: &Activations<'_>, w: &Weights<'_>, out: &mut [i32]);
    linear(q: &Activations<'_>, scales: &[f32], matrix: &Int8Matrix<'_>, out: &mut [f32]);
    embedding_row(word: WordRow<'_>, position: Row<'_>, segment: Row<'_>, out: &mut [f32]);
    layer_norm_row(x: &mut [f32], norm: &Norm<'_>, epsilon: f32);
    add_norm_row(x: &mut [f32], r: &[f32], norm: &Norm<'_>, epsilon: f32);
    quantize_row(x: &[f32], q: &mut [i8]) -> f32;
    store_row(x: &[f32], q: &mut [i8], scales: &mut [f32]);
    load_row(q: &[i8], scales: &[f32], x: &mut [f32]);
    softmax_rows(scores: &mut [f32], scales: &SoftmaxScales<'_>, factors: &mut [f32], digits: &mut [i8]);
    combine_row(high: &[i32], low: &[i32], factor: f32, out: &mut [f32]);
    activate(x: &mut [f32], activation: Activation);
    add_row(x: &[f32], out: &mut [f32]);
    linear_half(x: &[f32], matrix: &HalfMatrix<'_>, out: &mut [f32]);
}

/// A static table of an instruction set of [`super::ISAS`]: two to ten operations by hand, the rest
/// the definitions compiled under `attributes`.
macro_rules! table {
    (
        $(#[$doc:meta])*
        $visibility:vis static $static:ident = $name:literal {
            attributes: [$($attribute:meta),*],
            gemm: $gemm:path,
            linear: $linear:path,
        }
    ) => {
        $crate::arch::kernels::table! {
            $(#[$doc])*
            $visibility static $static = $name {
                attributes: [$($attribute),*],
                gemm: $gemm,
                linear: $linear,
                quantize_row: $crate::ops::quantize_row,
                store_row: $crate::ops::store_row,
                softmax_rows: $crate::ops::softmax_rows,
                activate: $crate::ops::activate,
            }
        }
    };
    (
        $(#[$doc:meta])*
        $visibility:vis static $static:ident = $name:literal {
            attributes: [$($attribute:meta),*],
            gemm: $gemm:path,
            linear: $linear:path,
            quantize_row: $quantize:path,
            store_row: $store:path,
            softmax_rows: $softmax:path,
            activate: $activate:path,
        }
    ) => {
        $crate::arch::kernels::table! {
            $(#[$doc])*
            $visibility static $static = $name {
                attributes: [$($attribute),*],
                gemm: $gemm,
                linear: $linear,
                quantize_row: $quantize,
                store_row: $store,
                softmax_rows: $softmax,
                activate: $activate,
                embedding_row: $crate::ops::embedding_row,
                load_row: $crate::ops::load_row,
                combine_row: $crate::ops::combine_row,
                layer_norm_row: $crate::ops::layer_norm_row,
                add_norm_row: $crate::ops::add_norm_row,
                sums: None,
            }
        }
    };
    (
        $(#[$doc:meta])*
        $visibility:vis static $static:ident = $name:literal {
            attributes: [$($attribute:meta),*],
            gemm: $gemm:path,
            linear: $linear:path,
            quantize_row: $quantize:path,
            store_row: $store:path,
            softmax_rows: $softmax:path,
            activate: $activate:path,
            embedding_row: $embedding:path,
            load_row: $load:path,
            combine_row: $combine:path,
            layer_norm_row: $layer_norm:path,
            add_norm_row: $add_norm:path,
            sums: $sums:expr,
        }
    ) => {
        $(#[$doc])*
        $visibility static $static: $crate::arch::Kernels = {
            use $crate::format::{Activation, HalfMatrix, Int8Matrix, Norm};
            use $crate::ops::{Activations, Row, SoftmaxScales, Weights, WordRow};
            $crate::arch::kernels::compile! {
                [$($attribute),*]
                gemm_ = $gemm, (a: &Activations<'_>, w: &Weights<'_>, out: &mut [i32]);
                linear_ = $linear,
                    (q: &Activations<'_>, scales: &[f32], matrix: &Int8Matrix<'_>, out: &mut [f32]);
                embedding_row_ = $embedding,
                    (word: WordRow<'_>, position: Row<'_>, segment: Row<'_>, out: &mut [f32]);
                layer_norm_row_ = $layer_norm,
                    (x: &mut [f32], norm: &Norm<'_>, epsilon: f32);
                add_norm_row_ = $add_norm,
                    (x: &mut [f32], r: &[f32], norm: &Norm<'_>, epsilon: f32);
                quantize_row_ = $quantize, (x: &[f32], q: &mut [i8]) -> f32;
                store_row_ = $store,
                    (x: &[f32], q: &mut [i8], scales: &mut [f32]);
                load_row_ = $load, (q: &[i8], scales: &[f32], x: &mut [f32]);
                softmax_rows_ = $softmax,
                    (scores: &mut [f32], scales: &SoftmaxScales<'_>, factors: &mut [f32],
                     digits: &mut [i8]);
                combine_row_ = $combine,
                    (high: &[i32], low: &[i32], factor: f32, out: &mut [f32]);
                activate_ = $activate, (x: &mut [f32], activation: Activation);
                add_row = $crate::ops::add_row, (x: &[f32], out: &mut [f32]);
                linear_half = $crate::ops::linear_half,
                    (x: &[f32], matrix: &HalfMatrix<'_>, out: &mut [f32]);
            }
            $crate::arch::Kernels {
                isa: $crate::arch::Isa::named($name),
                gemm: gemm_,
                linear: linear_,
                embedding_row: embedding_row_,
                layer_norm_row: layer_norm_row_,
                add_norm_row: add_norm_row_,
                quantize_row: quantize_row_,
                store_row: store_row_,
                load_row: load_row_,
                softmax_rows: softmax_rows_,
                combine_row: combine_row_,
                activate: activate_,
                add_row,
                linear_half,
                #[cfg(any(target_arch = "riscv32", test))]
                sums: $sums,
            }
        };
    };
}

/// Functions of a table: a definition, which is always inlined, compiled under attributes.
macro_rules! compile {
    ([$($attribute:meta),*]) => {};
    (
        [$($attribute:meta),*]
        $name:ident = $definition:path,
        ($($argument:ident: $type:ty),*) $(-> $result:ty)?;
        $($rest:tt)*
    ) => {
        $(#[$attribute])*
        unsafe fn $name($($argument: $type),*) $(-> $result)? {
            #[allow(unused_unsafe, reason = "the definitions are safe, kernels by hand are not")]
            // SAFETY: the caller of the table has the instructions it names.
            unsafe { $definition($($argument),*) }
        }
        $crate::arch::kernels::compile! { [$($attribute),*] $($rest)* }
    };
}

pub(super) use {compile, table};

impl Kernels {
    /// The table of this target with other functions for some operations; for [`crate::quick_kernels!`].
    ///
    /// # Safety
    /// Each function does as that of [`crate::ops`], on every machine of the target.
    #[doc(hidden)]
    #[must_use]
    #[cfg(native_operations)]
    #[allow(clippy::type_complexity, reason = "these are the types of the fields")]
    #[cfg_attr(target_arch = "riscv32", allow(unused_variables, reason = "it has all of its own"))]
    pub const unsafe fn native_with<Place>(
        gemm: unsafe fn(&Activations<'_>, &Weights<'_>, &mut [i32]),
        linear: unsafe fn(&Activations<'_>, &[f32], &Int8Matrix<'_>, &mut [f32]),
        layer_norm_row: unsafe fn(&mut [f32], &Norm<'_>, f32),
        add_norm_row: unsafe fn(&mut [f32], &[f32], &Norm<'_>, f32),
        quantize_row: unsafe fn(&[f32], &mut [i8]) -> f32,
        store_row: unsafe fn(&[f32], &mut [i8], &mut [f32]),
        load_row: unsafe fn(&[i8], &[f32], &mut [f32]),
        softmax_rows: unsafe fn(&mut [f32], &SoftmaxScales<'_>, &mut [f32], &mut [i8]),
        activate: unsafe fn(&mut [f32], Activation),
    ) -> Self {
        /// Without the list of all, which nobody asks for on a device.
        static NAMED: Isa = Isa { machines: "", product: "", others: &[], ..*super::NATIVE.isa };
        // Its table has more operations of its own, which are integers.
        #[cfg(target_arch = "riscv32")]
        return super::riscv32::quick::<Place>(&NAMED);
        #[cfg(not(target_arch = "riscv32"))]
        Kernels {
            isa: &NAMED,
            gemm,
            linear,
            layer_norm_row,
            add_norm_row,
            quantize_row,
            store_row,
            load_row,
            softmax_rows,
            activate,
            ..super::NATIVE
        }
    }
}

/// A static table of this target whose operations that take the time of an inference are compiled in
/// the crate that this stands in, with its optimizations: all else can be compiled for size then. For
/// targets that have one table, which are those without an operating system; [`Session::with_kernels`]
/// takes it.
///
/// [`Session::with_kernels`]: crate::Session::with_kernels
#[cfg(native_operations)]
#[macro_export]
macro_rules! quick_kernels {
    ($(#[$doc:meta])* $visibility:vis static $static:ident) => {
        $(#[$doc])*
        $visibility static $static: $crate::arch::Kernels = {
            use $crate::arch::operations;
            use $crate::format::{Activation, Int8Matrix, Norm};
            use $crate::ops::{Activations, SoftmaxScales, Weights};
            /// Functions of this type are compiled here.
            enum Place {}
            unsafe fn gemm(a: &Activations<'_>, w: &Weights<'_>, out: &mut [i32]) {
                // SAFETY: the target has what its own operations need.
                unsafe { operations::gemm::<Place>(a, w, out) }
            }
            unsafe fn linear(
                q: &Activations<'_>,
                scales: &[f32],
                matrix: &Int8Matrix<'_>,
                out: &mut [f32],
            ) {
                // SAFETY: as above.
                unsafe { operations::linear::<Place>(q, scales, matrix, out) }
            }
            // Not inlined, as the other norm has it too.
            #[inline(never)]
            unsafe fn layer_norm_row(x: &mut [f32], norm: &Norm<'_>, epsilon: f32) {
                $crate::ops::layer_norm_row(x, norm, epsilon);
            }
            unsafe fn add_norm_row(x: &mut [f32], r: &[f32], norm: &Norm<'_>, epsilon: f32) {
                $crate::ops::add_row(r, x);
                // SAFETY: the definition asks for nothing.
                unsafe { layer_norm_row(x, norm, epsilon) }
            }
            unsafe fn quantize_row(x: &[f32], q: &mut [i8]) -> f32 {
                operations::quantize_row(x, q)
            }
            unsafe fn store_row(x: &[f32], q: &mut [i8], scales: &mut [f32]) {
                operations::store_row(x, q, scales);
            }
            unsafe fn load_row(q: &[i8], scales: &[f32], x: &mut [f32]) {
                $crate::ops::load_row(q, scales, x);
            }
            unsafe fn softmax_rows(
                scores: &mut [f32],
                scales: &SoftmaxScales<'_>,
                factors: &mut [f32],
                digits: &mut [i8],
            ) {
                $crate::ops::softmax_rows(scores, scales, factors, digits);
            }
            unsafe fn activate(x: &mut [f32], activation: Activation) {
                operations::activate(x, activation);
            }
            // SAFETY: they are the target's own, or the definitions.
            unsafe {
                $crate::arch::Kernels::native_with::<Place>(
                    gemm,
                    linear,
                    layer_norm_row,
                    add_norm_row,
                    quantize_row,
                    store_row,
                    load_row,
                    softmax_rows,
                    activate,
                )
            }
        };
    };
}
