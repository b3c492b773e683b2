//! x86-64: AVX2, AVX-VNNI, AVX-512 VNNI and AMX.

mod amx;
mod avx2;
mod avx512;
mod blocks;
mod cpu;
mod vnni;
mod ymm;

use self::ymm::Ymm;
use super::Kernels;
use super::kernels::table;

table! {
    /// Eight sums a register; products by `vpmaddubsw`, which cannot saturate on these operands.
    pub(super) static AVX2 = "avx2" {
        attributes: [target_feature(enable = "avx2")],
        gemm: blocks::gemm::<Ymm<avx2::Maddubs>>,
        linear: blocks::linear::<Ymm<avx2::Maddubs>>,
    }
}

table! {
    /// Eight sums a register; four products a lane in one instruction.
    pub(super) static AVX_VNNI = "avx-vnni" {
        attributes: [target_feature(enable = "avx2,avxvnni")],
        gemm: blocks::gemm::<Ymm<vnni::Dpbusd>>,
        linear: blocks::linear::<Ymm<vnni::Dpbusd>>,
    }
}

table! {
    /// Sixteen sums a register; four products a lane in one instruction.
    pub(super) static AVX512 = "avx512-vnni" {
        attributes: [target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")],
        gemm: blocks::gemm::<avx512::Zmm>,
        linear: blocks::linear::<avx512::Zmm>,
        quantize_row: crate::ops::quantize_row,
        store_row: crate::ops::store_row,
        softmax_rows: avx512::softmax_rows,
        activate: avx512::activate,
    }
}

table! {
    /// Tiles of sixteen rows and channels; the rest as with AVX-512.
    pub(super) static AMX = "amx" {
        attributes: [target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")],
        gemm: amx::gemm,
        linear: amx::linear,
        quantize_row: crate::ops::quantize_row,
        store_row: crate::ops::store_row,
        softmax_rows: avx512::softmax_rows,
        activate: avx512::activate,
    }
}

/// All tables of this file, the most capable last.
const TABLES: [&Kernels; 4] = [&AVX2, &AVX_VNNI, &AVX512, &AMX];

/// The tables that this CPU and its operating system run.
pub(super) fn available() -> impl Iterator<Item = &'static Kernels> {
    let cpu = cpu::Cpu::ask();
    let amx = cpu.avx512_vnni && cpu.amx_int8 && amx::permitted();
    let runs = [cpu.avx2, cpu.avx_vnni, cpu.avx512_vnni, amx];
    TABLES.into_iter().zip(runs).filter_map(|(table, runs)| runs.then_some(table))
}
