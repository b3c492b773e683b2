//! Gives the linker the memory of the machine that `BERT_MACHINE` names, a file of `machines/`.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-env-changed=BERT_MACHINE");
    println!("cargo::rerun-if-changed=machines");
    let scripts: &[&str] = match variable("CARGO_CFG_TARGET_ARCH").as_str() {
        "arm" => &["--nmagic", "-Tlink.x"],
        "riscv32" => &["-Tmemory.x", "-Tlink.x"],
        // A function that the host calls, not a program.
        "wasm32" => &["--no-entry", "--export=identity"],
        _ => &[],
    };
    for script in scripts {
        println!("cargo::rustc-link-arg={script}");
    }
    if scripts.iter().any(|script| script.starts_with("-T")) {
        let out = PathBuf::from(variable("OUT_DIR"));
        println!("cargo::rustc-link-search={}", out.display());
        let memory = format!("machines/{}.x", variable("BERT_MACHINE"));
        copy(&memory, out.join("memory.x"));
        copy("machines/model.x", out.join("model.x"));
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} must be set; `cargo xtask identity` does it"))
}

fn copy(from: &str, to: PathBuf) {
    fs::copy(from, to).unwrap_or_else(|error| panic!("cannot copy {from}: {error}"));
}
