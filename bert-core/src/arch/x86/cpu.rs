//! What this CPU has and its operating system saves, by CPUID and XGETBV alone, so that it works
//! without `std` too. Source: Intel SDM, volume 1, 13.2, 14.3 and 15.2.

use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

/// The instruction sets that there are kernels for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    pub avx2: bool,
    pub avx_vnni: bool,
    pub avx512_vnni: bool,
    pub amx_int8: bool,
}

impl Cpu {
    pub(super) fn ask() -> Self {
        let bit = |register: u32, bit: u32| register >> bit & 1 == 1;
        if __cpuid(0).eax < 7 {
            return Self::default();
        }
        let features = __cpuid(1).ecx;
        let (osxsave, avx) = (bit(features, 27), bit(features, 28));
        if !(osxsave && avx) {
            return Self::default();
        }
        let saved = saved_registers();
        let ymm = saved & 0b110 == 0b110;
        let zmm = ymm && saved & 0b1110_0000 == 0b1110_0000;
        let tiles = saved >> 17 & 0b11 == 0b11;
        let (seven, more) = (__cpuid_count(7, 0), __cpuid_count(7, 1));
        let avx2 = ymm && bit(seven.ebx, 5);
        // F, DQ, BW, VL.
        let avx512 = [16, 17, 30, 31].into_iter().all(|at| bit(seven.ebx, at));
        Cpu {
            avx2,
            avx_vnni: avx2 && seven.eax >= 1 && bit(more.eax, 4),
            avx512_vnni: avx2 && zmm && avx512 && bit(seven.ecx, 11),
            // AMX-TILE and AMX-INT8.
            amx_int8: tiles && bit(seven.edx, 24) && bit(seven.edx, 25),
        }
    }
}

/// Register sets that the operating system saves when it switches tasks.
fn saved_registers() -> u64 {
    #[target_feature(enable = "xsave")]
    fn ask() -> u64 {
        // SAFETY: register 0 exists wherever XGETBV does.
        unsafe { _xgetbv(0) }
    }
    // SAFETY: called only where CPUID says that the system has enabled XSAVE.
    unsafe { ask() }
}
