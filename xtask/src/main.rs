//! Every chore of the repository, one command each. `cargo xtask --help` lists them.

mod bench;
mod capi;
mod ci;
mod demo;
mod firmware;
mod fuzz;
mod golden;
mod gpu;
mod gpu_compile;
mod identity;
mod machines;
mod packages;
mod python;
mod service;
mod setup;
mod shell;
mod targets;
mod test;
mod web;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Every chore of the repository. Each command says what it runs, and fails with one line that
/// says what to do.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Gets what a build needs and this machine lacks: a C/C++ compiler and CubeCL's LLVM.
    ///
    /// Every command that builds does this first; it takes no time once all is there.
    Setup(setup::Args),
    /// From generated text to a quantized model that answers sentences, in a few minutes.
    ///
    /// Writes under target/demo/ only.
    Demo(demo::Args),
    /// Runs every test of the workspace, kernels on the CPU runtime.
    Test(test::Args),
    /// What must pass before a merge: format, lints, docs, tests, bare-metal core, C and Python, the
    /// same bits on every machine, GPU compilation, the kernels on software Vulkan, demo, firmware,
    /// and the service and the package for browsers.
    Ci(ci::Args),
    /// Compiles every kernel of the case table for NVIDIA and AMD, without a GPU.
    GpuCompile(gpu_compile::Args),
    /// Packs what measures kernels and training steps on a machine with an NVIDIA GPU and no compiler.
    ///
    /// Writes target/gpu-pack.tar.xz: programs with the CUDA runtime, PyTorch scripts that measure the
    /// same, and run.sh, which does all of it in 8 minutes and writes results/.
    GpuPack(gpu::pack::Args),
    /// What each operation of a training step should take on a GPU, by its bytes and its arithmetic.
    GpuPredict(gpu::predict::Args),
    /// Makes a page and plots of what `run.sh` of the pack measured, beside what we aim at.
    GpuReport(gpu::report::Args),
    /// Builds bert-core and its updates for targets without an operating system.
    Targets(targets::Args),
    /// Builds the C library, static and shared, and installs it with header and pkg-config file.
    Capi(capi::Args),
    /// Builds the wheel of the Python package.
    Python(python::Args),
    /// Builds bert-core for browsers: a package for npm under target/web/package, a page under
    /// target/web/site.
    Web(web::Args),
    /// Puts a model into the flash of emulated chips: Cortex-M4, M7, M33, M55, RV32.
    ///
    /// With texts it answers them; without, it measures instructions, flash and RAM, and writes
    /// target/firmware/report.json. The answers have to be those of this machine, to the bit.
    Firmware(firmware::Args),
    /// Asks bert-core on every machine about one corpus: the same output bytes as on this one's scalar
    /// path, and as recorded, with no more instructions than recorded.
    ///
    /// Emulators and core libraries that are missing are installed where that is possible; a machine
    /// is left out otherwise, in one line. Writes target/identity.json.
    Identity(identity::Args),
    /// Makes the golden files of tests/golden/ anew, with PyTorch and Transformers in a venv.
    Golden(golden::Args),
    /// Throws hostile model files and texts at bert-core.
    Fuzz(fuzz::Args),
    /// Measures us beside others: `bench edge` is bert-core and its peers on one core.
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Setup(args) => setup::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Ci(args) => ci::run(&args),
        Command::GpuCompile(args) => gpu_compile::run(&args),
        Command::GpuPack(args) => gpu::pack::run(&args),
        Command::GpuPredict(args) => gpu::predict::run(&args),
        Command::GpuReport(args) => gpu::report::run(&args),
        Command::Targets(args) => targets::run(&args),
        Command::Capi(args) => capi::run(&args),
        Command::Python(args) => python::run(&args),
        Command::Web(args) => web::run(&args),
        Command::Firmware(args) => firmware::run(&args),
        Command::Identity(args) => identity::run(&args),
        Command::Golden(args) => golden::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Bench(args) => bench::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
