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
    println!("cargo::rustc-check-cfg=cfg(cortex_m_helium)");
    let target = var("TARGET").unwrap_or_default();
    if !target.starts_with("thumb") {
        return;
    }
    // `-Ctarget-cpu=cortex-m55` and `-Ctarget-feature=+dsp`, in one argument or in two.
    let flags = var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let value = |name: &str| {
        flags
            .split(name)
            .skip(1)
            .filter_map(|rest| rest.strip_prefix('=')?.split('\x1f').next())
            .last()
    };
    let cpu = value("target-cpu").unwrap_or_default();
    let features = value("target-feature").unwrap_or_default();
    let has = |feature: &str, default: bool| {
        let last = features.split(',').filter(|f| f.get(1..) == Some(feature)).last();
        last.map_or(default, |feature| feature.starts_with('+'))
    };
    // Every Armv7E-M has DSP instructions, that is what the E says.
    let armv7em = target.starts_with("thumbv7em");
    let helium = has("mve", HELIUM.contains(&cpu));
    if has("dsp", armv7em || helium || DSP.contains(&cpu)) {
        println!("cargo::rustc-cfg=cortex_m_dsp");
    }
    if helium {
        println!("cargo::rustc-cfg=cortex_m_helium");
    }
}
