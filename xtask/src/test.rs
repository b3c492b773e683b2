//! Every test of the workspace, by one command.

use anyhow::Result;

use crate::{packages, setup, shell};

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Args {
    /// More features; `wgpu` runs the kernel tests on Vulkan too.
    #[arg(long, value_delimiter = ',')]
    features: Vec<String>,
    /// Passed on to `cargo test`, as in `cargo xtask test -- -p bert-core tokenizer`.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Features that every build of the workspace for tests and lints has. One set, so that nothing is
/// compiled twice. It takes what [`setup::ensure_for_tests`] gets.
pub const FEATURES: &str =
    "bert-kernels/cpu,bert-kernels/offline,bert-trainer/cpu,bert-trainer/mpi";

/// Sets up, then runs `cargo test`.
pub fn run(args: &Args) -> Result<()> {
    setup::ensure_for_tests()?;
    // Features of a package can only be named while that package is among those selected.
    if args.rest.iter().any(|arg| arg == "-p" || arg == "--package") {
        let mut command = shell::cargo(["test", "--release"]);
        if !args.features.is_empty() {
            command.args(["--features", &args.features.join(",")]);
        }
        shell::run(command.args(&args.rest))
    } else {
        let extra = args.features.iter().map(|feature| {
            if feature.contains('/') { feature.clone() } else { format!("bert-kernels/{feature}") }
        });
        let features: Vec<String> = [FEATURES.to_string()].into_iter().chain(extra).collect();
        workspace(&features.join(","), &args.rest)
    }
}

/// Every test of the workspace with these features.
pub fn workspace(features: &str, rest: &[String]) -> Result<()> {
    // Tests from outside run the binaries.
    binaries(features)?;
    let mut command = shell::cargo(["test", "--release", "--workspace", "--features", features]);
    command.env("BERT_BINARIES", shell::target_dir().join("release"));
    shell::run(command.args(rest))
}

/// The binaries of the workspace. Built with all targets, they share everything with the tests; built
/// alone, they would be another selection of features, and CubeCL would be compiled once more.
pub fn binaries(features: &str) -> Result<()> {
    let mut command = shell::cargo(["build", "--release", "--workspace", "--all-targets"]);
    shell::run(command.args(["--features", features]))
}

/// The tests of kernels and of recorded passes on Vulkan in software, if the driver is here or can be installed.
///
/// # Errors
///
/// If a test fails. A missing driver is `Ok` with the reason.
pub fn vulkan() -> Result<Option<String>> {
    if let Err(error) = packages::install(&VULKAN_PACKAGES, "software Vulkan") {
        return Ok(Some(format!("no driver: {error:#}")));
    }
    // The operations, and passes that a device keeps, which the CPU does not.
    let mut command =
        shell::cargo(["test", "--release", "-p", "bert-kernels", "-p", "bert-trainer"]);
    command.args(["--features", "bert-kernels/wgpu,bert-kernels/cases"]);
    command.args(["--test", "ops", "--test", "recorded"]);
    // By its name, so that a missing device is a failure.
    shell::run(command.env("BERT_RUNTIME", "wgpu"))?;
    Ok(None)
}

const VULKAN_PACKAGES: [&str; 2] = ["mesa-vulkan-drivers", "libvulkan1"];
