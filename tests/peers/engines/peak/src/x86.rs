//! x86-64: VPDPBUSD at the widest width there is, else VPMADDUBSW with VPMADDWD; TDPBSSD of AMX.
//!
//! Source: Intel, *64 and IA-32 Architectures Software Developer's Manual*, volume 2.
//! Assembly, so that the loop is what is written here and builds without any CPU flag.
#![cfg_attr(target_arch = "x86_64", allow(unsafe_code))]

use anyhow::{Result, bail};

use crate::Peak;

/// The widest dot product of vectors.
///
/// # Errors
/// If this CPU has none that is known here.
#[cfg(not(target_arch = "x86_64"))]
pub fn vector() -> Result<Peak> {
    bail!("no dot product instruction of {} is measured yet", std::env::consts::ARCH)
}

/// The dot product of tiles.
///
/// # Errors
/// If this CPU has none that is known here.
#[cfg(not(target_arch = "x86_64"))]
pub fn matrix() -> Result<Peak> {
    bail!("no matrix instruction of {} is measured yet", std::env::consts::ARCH)
}

#[cfg(target_arch = "x86_64")]
pub use x86_64::{matrix, vector};

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::asm;
    use std::arch::x86_64::__cpuid_count;

    use super::*;

    /// The widest dot product of vectors.
    ///
    /// # Errors
    /// If this CPU has none that is known here.
    pub fn vector() -> Result<Peak> {
        // The loops hold 12 or 16 sums: more than two instructions a cycle of latency 5 need.
        if is_x86_feature_detected!("avx512vnni") {
            Ok(Peak { name: "vpdpbusd-512", products: 16 * 64, run: vpdpbusd_512 })
        } else if is_x86_feature_detected!("avxvnni") {
            Ok(Peak { name: "vpdpbusd-256", products: 12 * 32, run: vpdpbusd_256 })
        } else if is_x86_feature_detected!("avx2") {
            Ok(Peak { name: "vpmaddubsw-256", products: 12 * 32, run: vpmaddubsw_256 })
        } else {
            bail!("this CPU has neither VNNI nor AVX2")
        }
    }

    /// The dot product of tiles, 16 rows of 64 bytes each.
    ///
    /// # Errors
    /// If this CPU or its kernel has none.
    pub fn matrix() -> Result<Peak> {
        const AMX_TILE_AND_INT8: u32 = 1 << 24 | 1 << 25;
        if __cpuid_count(7, 0).edx & AMX_TILE_AND_INT8 != AMX_TILE_AND_INT8 {
            bail!("this CPU has no AMX");
        }
        allow_tiles()?;
        Ok(Peak { name: "tdpbssd", products: 4 * 16 * 16 * 64, run: tdpbssd })
    }

    /// Tiles are memory of the thread that Linux gives to who asks.
    #[cfg(target_os = "linux")]
    fn allow_tiles() -> Result<()> {
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_long = 18;
        // SAFETY: this call of `arch_prctl` takes two numbers and touches no memory of ours.
        let answer =
            unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) };
        if answer != 0 {
            bail!("the kernel does not allow AMX: {}", std::io::Error::last_os_error());
        }
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn allow_tiles() -> Result<()> {
        bail!("AMX is measured on Linux only")
    }

    fn vpdpbusd_512(rounds: u64) {
        // SAFETY: `vector` found AVX-512 VNNI; the block changes the named registers only.
        unsafe {
            asm!(
                "vpternlogd zmm30, zmm30, zmm30, 255",
                "vpternlogd zmm31, zmm31, zmm31, 255",
                "2:",
                ".irp sum, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
                "vpdpbusd zmm\\sum, zmm30, zmm31",
                ".endr",
                "dec {rounds}",
                "jnz 2b",
                "vzeroupper",
                rounds = inout(reg) rounds => _,
                out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _,
                out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _,
                out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
                out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _,
                out("zmm30") _, out("zmm31") _,
                options(nomem, nostack),
            );
        }
    }

    fn vpdpbusd_256(rounds: u64) {
        // SAFETY: `vector` found AVX-VNNI; the block changes the named registers only.
        unsafe {
            asm!(
                "vpcmpeqd ymm14, ymm14, ymm14",
                "vpcmpeqd ymm15, ymm15, ymm15",
                "2:",
                ".irp sum, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
                "{{vex}} vpdpbusd ymm\\sum, ymm14, ymm15",
                ".endr",
                "dec {rounds}",
                "jnz 2b",
                "vzeroupper",
                rounds = inout(reg) rounds => _,
                out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _,
                out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
                out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
                out("ymm14") _, out("ymm15") _,
                options(nomem, nostack),
            );
        }
    }

    /// Products of bytes in pairs, sums of pairs, sums: three instructions for 32 products.
    fn vpmaddubsw_256(rounds: u64) {
        // SAFETY: `vector` found AVX2; the block changes the named registers only.
        unsafe {
            asm!(
                "vpcmpeqd ymm14, ymm14, ymm14",
                "vpcmpeqd ymm15, ymm15, ymm15",
                "2:",
                ".irp sum, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
                "vpmaddubsw ymm12, ymm14, ymm15",
                "vpmaddwd ymm12, ymm12, ymm15",
                "vpaddd ymm\\sum, ymm\\sum, ymm12",
                ".endr",
                "dec {rounds}",
                "jnz 2b",
                "vzeroupper",
                rounds = inout(reg) rounds => _,
                out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _,
                out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
                out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
                out("ymm12") _, out("ymm14") _, out("ymm15") _,
                options(nomem, nostack),
            );
        }
    }

    /// Two tiles of rows by two of columns into four of sums, as a matrix product goes.
    fn tdpbssd(rounds: u64) {
        /// Palette 1; the eight tiles have 16 rows of 64 bytes.
        #[repr(C, align(64))]
        struct Tiles([u8; 64]);
        let mut tiles = Tiles([0; 64]);
        tiles.0[0] = 1;
        for tile in 0..8 {
            tiles.0[16 + 2 * tile] = 64;
            tiles.0[48 + tile] = 16;
        }
        // SAFETY: `matrix` found AMX and asked for its tiles; the block reads the configuration,
        // changes tiles only, and gives them back.
        unsafe {
            asm!(
                "ldtilecfg [{tiles}]",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "tilezero tmm4",
                "tilezero tmm5",
                "tilezero tmm6",
                "tilezero tmm7",
                "2:",
                "tdpbssd tmm0, tmm4, tmm6",
                "tdpbssd tmm1, tmm4, tmm7",
                "tdpbssd tmm2, tmm5, tmm6",
                "tdpbssd tmm3, tmm5, tmm7",
                "dec {rounds}",
                "jnz 2b",
                "tilerelease",
                tiles = in(reg) &raw const tiles,
                rounds = inout(reg) rounds => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, readonly),
            );
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn every_loop_that_this_cpu_has_ends() {
            let here: [(bool, fn(u64)); 3] = [
                (is_x86_feature_detected!("avx512vnni"), vpdpbusd_512),
                (is_x86_feature_detected!("avxvnni"), vpdpbusd_256),
                (is_x86_feature_detected!("avx2"), vpmaddubsw_256),
            ];
            for (_, run) in here.iter().filter(|(has, _)| *has) {
                run(10);
            }
            match matrix() {
                Ok(peak) => (peak.run)(10),
                Err(reason) => println!("skips the matrix loop: {reason}"),
            }
        }
    }
}
