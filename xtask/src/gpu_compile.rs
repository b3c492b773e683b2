//! Every kernel for NVIDIA and AMD, without a GPU.

use std::process::Command;

use anyhow::Result;

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
    shell::run(command.args(&args.rest))
}
