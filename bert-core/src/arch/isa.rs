//! The instruction sets that there are kernels for, on whatever machine this is compiled.

use super::Kernels;

/// What is written by hand for an instruction set. Its table, where it is compiled, is made from this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa {
    /// As `BERT_ARCH` takes it.
    pub name: &'static str,
    /// The machines that have it.
    pub machines: &'static str,
    /// The instructions of the products, or [`COMPILED`].
    pub product: &'static str,
    /// Other operations that are written by hand, each with its instructions.
    pub others: &'static [(&'static str, &'static str)],
}

/// How the compiler makes an operation: from the definition, for the instruction set.
pub const COMPILED: &str = "compiled";

const AVX512: &[(&str, &str)] =
    &[("softmax_rows", "vmulps, vaddps zmm"), ("activate", "vmulps, vaddps zmm")];
const DSP: &[(&str, &str)] =
    &[("quantize_row", "vldmia, vmul, strb"), ("store_row", "vldmia, vmul, strb")];
const HELIUM: &[(&str, &str)] = &[
    ("quantize_row", "vmaxv, vmul, vcvtn"),
    ("store_row", "vmaxv, vmul, vcvtn"),
    ("activate", "vmul, vadd"),
];
const INTEGERS: &[(&str, &str)] = &[
    ("layer_norm_row", "mulhu"),
    ("add_norm_row", "mulhu"),
    ("quantize_row", "mulhu"),
    ("store_row", "mulhu"),
    ("load_row", "mulhu"),
    ("softmax_rows", "mulhu"),
    ("combine_row", "mulhu"),
];

/// All, the more capable of a machine after the less capable.
pub static ISAS: [Isa; 12] = [
    isa("scalar", "every one, among them Cortex-M0+", COMPILED),
    isa("avx2", "x86-64", "vpmaddubsw ymm"),
    isa("avx-vnni", "x86-64", "vpdpbusd ymm"),
    isa("avx512-vnni", "x86-64", "vpdpbusd zmm").with(AVX512),
    isa("amx", "x86-64", "tdpbssd").with(AVX512),
    isa("neon", "64-bit Arm", "smull, smlal, sadalp"),
    isa("dotprod", "64-bit Arm", "sdot"),
    isa("i8mm", "64-bit Arm", "smmla"),
    isa("cortex-m-dsp", "Cortex-M4, M7, M33, M35P", "smlad").with(DSP),
    isa("cortex-m-helium", "Cortex-M52, M55, M85", "vmladava").with(HELIUM),
    isa("rv32im", "RV32", "mul").with(INTEGERS),
    isa("simd128", "WebAssembly", "i32x4.dot_i16x8_s"),
];

const fn isa(name: &'static str, machines: &'static str, product: &'static str) -> Isa {
    Isa { name, machines, product, others: &[] }
}

impl Isa {
    const fn with(self, others: &'static [(&'static str, &'static str)]) -> Self {
        Isa { others, ..self }
    }

    /// The one of this name.
    ///
    /// # Panics
    /// If there is none; that of a table is then an error of compilation.
    pub(super) const fn named(name: &str) -> &'static Isa {
        let mut i = 0;
        while i < ISAS.len() {
            if same(ISAS[i].name.as_bytes(), name.as_bytes()) {
                return &ISAS[i];
            }
            i += 1;
        }
        panic!("a table of an instruction set that is not in the list")
    }

    /// Each operation with how it is made: by which instructions where it is written by hand, else
    /// [`COMPILED`]. The operations are [`Kernels::OPERATIONS`].
    pub fn ways(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let way = |operation| match operation {
            "gemm" | "linear" => self.product,
            _ => self.others.iter().find(|(name, _)| *name == operation).map_or(COMPILED, |o| o.1),
        };
        Kernels::OPERATIONS.into_iter().map(move |operation| (operation, way(operation)))
    }
}

/// `==` of slices is not for constants.
const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}
