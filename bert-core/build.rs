//! Tells the code which instructions a Cortex-M has. The compiler knows them, but tells code only of
//! those whose names are stable, and `dsp` and `mve` are not.

use std::env::var;

/// Processors with the DSP extension.
const DSP: [&str; 8] = [
    "cortex-m4",
    "cortex-m7",
    "cortex-m33",
    "cortex-m35p",
    "cortex-m55",
    "cortex-m85",
    "cortex-m52",
    "star-mc1",
];
/// Processors with Helium.
const HELIUM: [&str; 3] = ["cortex-m52", "cortex-m55", "cortex-m85"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(cortex_m_dsp)");
    println!("cargo::rustc-check-cfg=cfg(cortex_m_fpu)");
    println!("cargo::rustc-check-cfg=cfg(cortex_m_helium)");
    println!("cargo::rustc-check-cfg=cfg(native_operations)");
    let target = var("TARGET").unwrap_or_default();
    // Targets without an operating system are of one instruction set, but for 64-bit Arm.
    let bare = var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none");
    if bare && ["thumb", "riscv32"].iter().any(|family| target.starts_with(family)) {
        println!("cargo::rustc-cfg=native_operations");
    }
    if !target.starts_with("thumb") {
        return;
    }
    let flags = var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let cpu = values(&flags, "target-cpu=").last().unwrap_or_default();
    let features: Vec<&str> =
        values(&flags, "target-feature=").flat_map(|list| list.split(',')).collect();
    // The last word on a feature holds.
    let has = |name: &str, default: bool| {
        let said = features.iter().rev().find(|feature| feature.get(1..) == Some(name));
        said.map_or(default, |feature| feature.starts_with('+'))
    };
    // Every Armv7E-M has DSP instructions, that is what the E says.
    let armv7em = target.starts_with("thumbv7em");
    let helium_cpu = HELIUM.contains(&cpu);
    let helium = has("mve", helium_cpu);
    if has("dsp", armv7em || helium || DSP.contains(&cpu)) {
        println!("cargo::rustc-cfg=cortex_m_dsp");
    }
    if target.ends_with("hf") {
        println!("cargo::rustc-cfg=cortex_m_fpu");
    }
    if helium {
        println!("cargo::rustc-cfg=cortex_m_helium");
    }
    if helium && has("mve.fp", helium_cpu) {
        // The compiler would make loops over floats of them: other results than everywhere else.
        println!(
            "cargo::error=the float instructions of Helium take subnormal numbers for zero; \
             build with -Ctarget-feature=-mve.fp"
        );
    }
}

/// What follows `name` in the flags of the compiler, `-Cname…` or `-C` and `name…`.
fn values<'a>(flags: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let flags = flags.split('\x1f').map(|flag| flag.strip_prefix("-C").unwrap_or(flag));
    flags.filter_map(move |flag| flag.strip_prefix(name))
}
