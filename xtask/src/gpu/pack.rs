//! `cargo xtask gpu-pack`: one archive that measures everything on a machine with nothing but a driver.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{setup, shell};

/// Arguments of `cargo xtask gpu-pack`.
#[derive(clap::Args)]
pub struct Args {
    /// Prepared data of `bert-trainer prepare` to take along, for `./run.sh --recipe data`.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Unpacks the archive and runs it on this machine's CPU with tiny sizes.
    #[arg(long)]
    rehearse: bool,
}

/// The CPU runtime is in for the rehearsal, which so runs the very programs that go out.
const FEATURES: &str =
    "bert-kernels/cpu,bert-kernels/cases,bert-kernels/cuda,bert-trainer/cpu,bert-trainer/cuda";
/// Bindings newer than the machine's driver would ask it for functions that it lacks.
const CUDA_VERSION: &str = "13000";
/// What a machine's owner may be expected to take.
const MOST_BYTES: u64 = 60_000_000;
/// Beyond the programs, so that what all link of LLVM is packed once.
const DICTIONARY: &str = "--lzma2=preset=9,dict=256MiB";

/// Files of the repository that go in as they are.
const FILES: [&str; 6] = [
    "tests/peers/gpu/run.sh",
    "tests/peers/gpu/run.py",
    "tests/peers/lengths.py",
    "tests/peers/torch_kernels.py",
    "tests/peers/torch_train.py",
    "recipes/bert-small-10min.toml",
];
const README: &str = "tests/peers/gpu/README.md";

/// Builds, packs, and rehearses if that is asked for.
///
/// # Errors
///
/// A build or program that fails, an archive that is too large, or a rehearsal with a step that failed.
pub fn run(args: &Args) -> Result<()> {
    setup::ensure()?;
    let started = Instant::now();
    let programs = build()?;
    let built = started.elapsed();
    let folder = shell::target_dir().join("gpu-pack");
    let libc = stage(&folder, &programs, args.data.as_deref())?;
    let archive = folder.with_extension("tar.xz");
    pack(&folder, &archive)?;
    let bytes = std::fs::metadata(&archive)?.len();
    println!(
        "{}: {:.1} MB, built in {:.0} s; needs glibc {libc}",
        archive.display(),
        bytes as f64 / 1e6,
        built.as_secs_f64()
    );
    if bytes > MOST_BYTES {
        bail!("the archive has {bytes} bytes, expected at most {MOST_BYTES}: leave out --data");
    }
    if args.rehearse { rehearse(&archive) } else { Ok(()) }
}

/// The programs that go in, by the name they have there.
fn build() -> Result<Vec<(&'static str, PathBuf)>> {
    let mut command =
        shell::cargo(["build", "--release", "-p", "bert-trainer", "-p", "bert-kernels"]);
    let tests = ["--test", "ops", "--test", "recorded"];
    command.args(["--bin", "bert-trainer"]).args(tests).args(["--features", FEATURES]);
    command.arg("--message-format=json-render-diagnostics");
    command.env("CUDARC_CUDA_VERSION", CUDA_VERSION);
    eprintln!("$ {}", shell::shown(&command));
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("the programs with CUDA do not build");
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let artefacts: Vec<Value> =
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    ["bert-trainer", "ops", "recorded"]
        .into_iter()
        .map(|name| {
            let program = artefacts
                .iter()
                .filter(|artefact| artefact["target"]["name"] == name)
                .find_map(|artefact| artefact["executable"].as_str())
                .with_context(|| format!("cargo built no program {name}"))?;
            Ok((name, PathBuf::from(program)))
        })
        .collect()
}

/// Lays out the archive's folder, and tells the oldest glibc that its programs run with.
fn stage(folder: &Path, programs: &[(&str, PathBuf)], data: Option<&Path>) -> Result<String> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder.join("bin"))?;
    let mut versions = BTreeSet::new();
    let mut linked = BTreeSet::new();
    for (name, program) in programs {
        let into = folder.join("bin").join(name);
        shell::run(Command::new("strip").arg("-o").arg(&into).arg(program))?;
        versions.insert(glibc(&into)?);
        linked.extend(libraries(&into)?);
    }
    // Whatever talks to the driver is found when it is asked for: the programs start without it.
    if let Some(library) = linked.iter().find(|name| name.contains("cuda") || name.contains("nv")) {
        bail!("the programs link {library}, so they would not start without it");
    }
    for file in FILES {
        let from = shell::root().join(file);
        let name = from.file_name().context("a file has a name")?;
        std::fs::copy(&from, folder.join(name)).with_context(|| format!("cannot copy {file}"))?;
    }
    let (major, minor) = versions.last().copied().unwrap_or_default();
    let libc = format!("{major}.{minor}");
    let readme = std::fs::read_to_string(shell::root().join(README))?;
    std::fs::write(folder.join("README.md"), readme.replace("GLIBC_NEEDED", &libc))?;
    std::fs::write(folder.join("ops.txt"), ops()?.join("\n") + "\n")?;
    let facts = json!({ "commit": commit(), "glibc": libc, "libraries": linked });
    std::fs::write(folder.join("pack.json"), format!("{facts:#}\n"))?;
    if let Some(data) = data {
        shell::run(Command::new("cp").arg("-r").arg(data).arg(folder.join("data")))?;
    }
    Ok(libc)
}

/// The newest version of glibc that a program asks for, as (2, 36).
fn glibc(program: &Path) -> Result<(u32, u32)> {
    let symbols = asked(Command::new("objdump").arg("-T").arg(program))?;
    let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let mut parts = rest[..end].split('.').map(|part| part.parse().ok());
        Some((parts.next()??, parts.next()??))
    });
    versions.max().with_context(|| format!("{} asks for no glibc", program.display()))
}

/// Libraries that a program is linked with.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let headers = asked(Command::new("objdump").arg("-p").arg(program))?;
    let needed = headers.lines().filter_map(|line| line.trim().strip_prefix("NEEDED"));
    Ok(needed.map(|name| name.trim().to_owned()).collect())
}

fn asked(command: &mut Command) -> Result<String> {
    let line = shell::shown(command);
    shell::output_within(command, Duration::from_secs(60))
        .with_context(|| format!("`{line}` fails; it is in the package binutils"))
}

/// Names of the operations, whose rows are tested an op a process.
fn ops() -> Result<Vec<String>> {
    let folder = shell::root().join("bert-kernels/src/ops");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if name != "mod" {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn commit() -> Option<String> {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"]).current_dir(shell::root());
    Some(shell::output_within(&mut git, Duration::from_secs(10))?.trim().to_owned())
}

fn pack(folder: &Path, archive: &Path) -> Result<()> {
    let parent = folder.parent().context("the folder is in target/")?;
    let name = folder.file_name().context("the folder has a name")?;
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(parent).arg("-cf").arg(archive).arg("-I").arg(format!("xz {DICTIONARY}"));
    shell::run(tar.arg(name))
}

/// Unpacks and runs the archive as on the machine it is for, on the CPU.
fn rehearse(archive: &Path) -> Result<()> {
    let folder = shell::target_dir().join("gpu-rehearsal");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    shell::run(Command::new("tar").arg("-C").arg(&folder).arg("-xf").arg(archive))?;
    let unpacked = folder.join("gpu-pack");
    shell::run(Command::new("./run.sh").arg("--rehearse").current_dir(&unpacked))?;
    println!("rehearsed; results in {}", unpacked.join("results").display());
    Ok(())
}
