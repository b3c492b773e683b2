//! Every kernel for NVIDIA and AMD, without a GPU.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::test::{self, FEATURES};
use crate::{setup, shell};

/// Arguments of `cargo xtask gpu-compile`.
#[derive(clap::Args, Default)]
pub struct Args {
    /// Passed on to the tool, as in `cargo xtask gpu-compile -- --target sm_90`.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Builds the offline compiler and runs it over the case table.
pub fn run(args: &Args) -> Result<()> {
    setup::ensure_for_tests()?;
    test::binaries(FEATURES)?;
    let folder = shell::target_dir();
    let mut command = Command::new(folder.join("release/gpu-compile"));
    command.arg("--report").arg(folder.join("gpu-compile.json"));
    match assembler() {
        Ok(ptxas) => {
            command.arg("--ptxas").arg(ptxas);
        }
        Err(error) => {
            eprintln!("gpu-compile: no registers and spills, for want of ptxas: {error:#}")
        }
    }
    shell::run(command.args(&args.rest))
}

/// NVIDIA's assembler as PyPI has it, in a virtual environment under target/.
const ASSEMBLER: &str = "nvidia-cuda-nvcc==13.2.78";

/// Path of ptxas, which is installed first if need be.
fn assembler() -> Result<PathBuf> {
    let folder = shell::target_dir().join("ptxas");
    let found = || {
        let pattern = |library: PathBuf| library.join("site-packages/nvidia/cu13/bin/ptxas");
        let libraries = std::fs::read_dir(folder.join("lib")).ok()?;
        libraries.flatten().map(|library| pattern(library.path())).find(|path| path.is_file())
    };
    if let Some(path) = found() {
        return Ok(path);
    }
    shell::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        .context("a virtual environment needs python3 and its venv module")?;
    let mut pip = Command::new(folder.join("bin/pip"));
    shell::run(pip.args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        ASSEMBLER,
    ]))?;
    found().context("the package of the assembler has another layout than expected")
}
