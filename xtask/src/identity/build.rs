//! Builds the runners.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::machines::{Firmware, Machine};
use crate::shell;
use crate::targets::Way;

/// Where everything lies that is made here.
pub fn folder() -> PathBuf {
    shell::target_dir().join("identity")
}

/// The runner for this machine; with it the corpus is written.
pub fn host() -> Result<PathBuf> {
    shell::run(&mut shell::cargo(["build", "--release", "--quiet", "-p", "bert-identity"]))?;
    let runner = shell::target_dir().join("release/bert-identity");
    fs::create_dir_all(folder())?;
    let mut write = std::process::Command::new(&runner);
    shell::run(write.arg("corpus").arg(corpus()))?;
    Ok(runner)
}

fn corpus() -> PathBuf {
    folder().join("corpus.bin")
}

/// The runner of another machine.
pub fn firmware(machine: &Machine, way: &Way) -> Result<PathBuf> {
    let firmware = Firmware {
        manifest: "tests/identity/firmware/Cargo.toml",
        program: "identity-firmware",
        image: ("BERT_CORPUS", &corpus()),
        folder: &folder(),
    };
    firmware.build(machine, way)
}
