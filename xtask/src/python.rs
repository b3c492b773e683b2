//! The Python package: a wheel, installed and tested in a virtual environment under target/.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{packages, shell};

/// Arguments of `cargo xtask python`.
#[derive(clap::Args)]
pub struct Args {
    /// Where the wheel goes.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

const PROJECT: &str = "bert-edge/python";
/// What builds a wheel, and what checks its types.
const TOOLS: [&str; 2] = ["maturin==1.16.0", "mypy==2.4.1"];

/// Builds the wheel and says where it is.
pub fn run(args: &Args) -> Result<()> {
    let out = match &args.out {
        // As the shell sees it that called us.
        Some(out) => std::path::absolute(out)?,
        None => folder().join("wheels"),
    };
    let wheel = build(&environment()?, &out)?;
    println!("{}", wheel.display());
    println!("install it with: pip install {}", wheel.display());
    Ok(())
}

/// Lints, a wheel, its installation, its tests and the types of both.
///
/// # Errors
///
/// If a test fails. A Python that cannot be had is `Ok` with the reason.
pub fn test() -> Result<Option<String>> {
    let environment = match environment() {
        Ok(environment) => environment,
        Err(error) => return Ok(Some(format!("{error:#}"))),
    };
    let python = environment.join("bin/python");
    shell::run(cargo("clippy", &python).args(["--all-targets", "--", "-D", "warnings"]))?;
    let wheel = build(&environment, &folder().join("wheels"))?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    shell::run(install.args(["--force-reinstall", "--no-deps"]).arg(wheel))?;

    let models = folder().join("models");
    let mut write = cargo("run", &python);
    write.args(["--quiet", "-p", "bert-edge-python-models", "--"]).arg(&models);
    shell::run(&mut write)?;
    // From a folder without the sources, so that what is tested is what was installed.
    let tests = shell::root().join(PROJECT).join("tests");
    let script = tests.join("test_bert_edge.py");
    shell::run(Command::new(&python).arg(&script).env("MODELS", &models).current_dir(folder()))?;
    // The types of the package, of a program that uses it, and of the native part as it is at run time.
    let script = script.display().to_string();
    let mypy = ["mypy", "--strict", "-p", "bert_edge"];
    for check in [&mypy[..], &[mypy[0], mypy[1], &script], &["mypy.stubtest", "bert_edge._native"]]
    {
        let mut types = Command::new(&python);
        shell::run(types.arg("-m").args(check).current_dir(folder()))?;
    }
    Ok(None)
}

fn folder() -> PathBuf {
    shell::target_dir().join("python")
}

/// Cargo in the package's own workspace, for the Python of the environment.
fn cargo(command: &str, python: &Path) -> Command {
    let manifest = format!("{PROJECT}/Cargo.toml");
    let mut cargo = shell::cargo([command, "--release", "--locked", "--manifest-path", &manifest]);
    cargo.env("CARGO_TARGET_DIR", folder().join("build")).env("PYO3_PYTHON", python);
    cargo
}

fn build(environment: &Path, out: &Path) -> Result<PathBuf> {
    // Only this one, whatever was there before.
    let _ = fs::remove_dir_all(folder().join("wheels"));
    let mut maturin = Command::new(environment.join("bin/maturin"));
    maturin.args(["build", "--release", "--locked", "--quiet", "--out"]).arg(out);
    maturin.args(["--interpreter"]).arg(environment.join("bin/python"));
    maturin.current_dir(shell::root().join(PROJECT));
    maturin.env("CARGO_TARGET_DIR", folder().join("build"));
    shell::run(&mut maturin)?;
    // Both workspaces have one version.
    let start = concat!("bert_edge-", env!("CARGO_PKG_VERSION"), "-");
    let files = fs::read_dir(out).with_context(|| format!("cannot list {}", out.display()))?;
    let wheel = files.flatten().map(|file| file.path()).find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(start) && name.ends_with(".whl")
    });
    wheel.with_context(|| format!("no wheel {start}… in {}", out.display()))
}

/// A virtual environment with the tools.
fn environment() -> Result<PathBuf> {
    let folder = folder().join("venv");
    let python = folder.join("bin/python");
    // A copy of what was installed says that it is there.
    let (installed, wanted) = (folder.join("installed.txt"), TOOLS.join("\n"));
    if fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return Ok(folder);
    }
    let make = || shell::run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
    if shell::which("python3").is_none() || make().is_err() {
        packages::install(&["python3", "python3-venv"], "the Python package")?;
        make()?;
    }
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    shell::run(install.args(TOOLS)).context("the tools of the Python package")?;
    if !folder.join("bin/maturin").exists() {
        bail!("the package maturin has no program");
    }
    fs::write(&installed, wanted)?;
    Ok(folder)
}
