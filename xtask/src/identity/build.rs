//! Builds the runners.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::machines::Machine;
use crate::shell;
use crate::targets::{Way, variable};

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
    let place = shell::target_dir().join("firmware");
    let mut command = shell::cargo(["build", "--release", "--quiet"]);
    command.args(["--manifest-path", "tests/identity/firmware/Cargo.toml"]);
    command.args(["--target", machine.target]).env("CARGO_TARGET_DIR", &place);
    command.env("BERT_CORPUS", corpus()).env("BERT_MACHINE", machine.board);
    command.env(variable(machine.target, "RUSTFLAGS"), machine.flags);
    way.apply(&mut command, machine.target);
    shell::run(&mut command)?;

    // Machines of one target are built in one place.
    let file = folder().join(machine.file());
    let built = place.join(machine.target).join("release").join(machine.artifact());
    fs::copy(&built, &file).with_context(|| format!("cannot copy {}", built.display()))?;
    Ok(file)
}

/// QEMU's plugin that counts instructions.
pub fn plugin() -> Result<PathBuf> {
    let source = shell::root().join("tests/identity/insncount.c");
    let library = folder().join("insncount.so");
    let Some(compiler) = ["cc", "gcc", "clang"].into_iter().find_map(shell::which) else {
        bail!("no C compiler for {}; run `cargo xtask setup`", source.display());
    };
    if is_newer(&library, &source) {
        return Ok(library);
    }
    let mut command = std::process::Command::new(compiler);
    shell::run(command.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source))?;
    Ok(library)
}

fn is_newer(file: &Path, source: &Path) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    time(file).zip(time(source)).is_some_and(|(file, source)| file > source)
}
