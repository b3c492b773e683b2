//! Gives the linker the memory of the machine that `BERT_MACHINE` names, a file of `machines/`.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-env-changed=BERT_MACHINE");
    println!("cargo::rerun-if-changed=machines");
    // A program under an emulator's operating system has its memory from there.
    if !matches!(variable("CARGO_CFG_TARGET_ARCH").as_str(), "arm" | "riscv32") {
        return;
    }
    let out = PathBuf::from(variable("OUT_DIR"));
    println!("cargo::rustc-link-search={}", out.display());
    copy(&format!("machines/{}.x", variable("BERT_MACHINE")), out.join("memory.x"));
    copy("machines/model.x", out.join("model.x"));
    copy("machines/device.x", out.join("device.x"));
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| {
        panic!("{name} must be set; `cargo xtask firmware` and `cargo xtask identity` do it")
    })
}

fn copy(from: &str, to: PathBuf) {
    fs::copy(from, to).unwrap_or_else(|error| panic!("cannot copy {from}: {error}"));
}
