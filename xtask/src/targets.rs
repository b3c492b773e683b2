//! `bert-core` and the loader of its updates for machines without an operating system: they build only
//! if they need neither `std` nor `alloc`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{packages, shell};

/// Arguments of `cargo xtask targets`.
#[derive(clap::Args)]
pub struct Args {
    /// Target triples.
    #[arg(default_values = DEFAULT)]
    targets: Vec<String>,
}

/// A Cortex-M4F or M7: no operating system, no heap, an FPU of single precision.
pub const DEFAULT: [&str; 1] = ["thumbv7em-none-eabihf"];

/// Debian's compiler with the sources of `core`, and a linker.
const PACKAGES: [&str; 3] = ["rustc-web", "rust-web-src", "lld-22"];
/// `rustup target add` downloads some 20 MB.
const RUSTUP_LIMIT: Duration = Duration::from_secs(120);
/// A compiler that is only asked something.
const RUSTC_LIMIT: Duration = Duration::from_secs(30);

/// Builds for each target.
pub fn run(args: &Args) -> Result<()> {
    for target in &args.targets {
        build(target)?;
    }
    Ok(())
}

/// Builds `bert-core` without features, and what updates its models, for `target`.
pub fn build(target: &str) -> Result<()> {
    let way = Way::find(target)?;
    eprintln!("targets: {target} by {}", way.describe());
    let mut command = shell::cargo(["build", "--release", "--target", target]);
    command.args(["-p", "bert-core", "-p", "bert-edge-update"]);
    way.apply(&mut command, target);
    if !matches!(way, Way::Core(None)) {
        // Another compiler than the workspace's, so another folder.
        command.env("CARGO_TARGET_DIR", shell::target_dir().join("bare-metal"));
    }
    shell::run(&mut command)
}

/// Where the core library of a target comes from.
pub enum Way {
    /// It is installed beside the compiler; `None` is the workspace's.
    Core(Option<PathBuf>),
    /// It is built from the sources beside this compiler.
    Sources(PathBuf),
}

impl Way {
    /// The first way there is: installed already, by rustup, from sources, by Debian's packages.
    ///
    /// # Errors
    ///
    /// If there is none; the message says what to install.
    pub fn find(target: &str) -> Result<Self> {
        let active = active();
        let beside = sysroot(&active);
        if has_core(&beside, target) {
            return Ok(Self::Core(None));
        }
        let mut rustup = Command::new("rustup");
        rustup.args(["target", "add", target]).current_dir(shell::root());
        if shell::output_within(&mut rustup, RUSTUP_LIMIT).is_some() && has_core(&beside, target) {
            return Ok(Self::Core(None));
        }
        if has_sources(&beside) {
            return Ok(Self::Sources(active));
        }
        let debian = PathBuf::from("/usr/bin/rustc");
        if let Some(way) = Self::beside(&debian, target) {
            return Ok(way);
        }
        packages::install(&PACKAGES, &format!("the core library for {target}"))?;
        Self::beside(&debian, target).with_context(|| {
            format!(
                "no core library for {target}: run `rustup target add {target}`, or on Debian 12 \
                 `apt-get install {}`",
                PACKAGES.join(" ")
            )
        })
    }

    /// The way that another compiler than the workspace's offers.
    fn beside(rustc: &Path, target: &str) -> Option<Self> {
        let sysroot = sysroot(rustc);
        if has_core(&sysroot, target) {
            return Some(Self::Core(Some(rustc.into())));
        }
        has_sources(&sysroot).then(|| Self::Sources(rustc.into()))
    }

    /// Makes a `cargo build` for `target` go this way.
    pub fn apply(&self, command: &mut Command, target: &str) {
        if let Way::Sources(rustc) | Way::Core(Some(rustc)) = self {
            command.env("RUSTC", rustc);
            if let Some(linker) = linker() {
                command.env(variable(target, "LINKER"), linker);
            }
        }
        if let Way::Sources(_) = self {
            // Stable compilers refuse -Z otherwise; it only touches this build of the core library.
            command.env("RUSTC_BOOTSTRAP", "1");
            command.arg("-Zbuild-std=core,compiler_builtins");
        }
    }

    /// The compiler, as [`version`] gives it.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn compiler(&self) -> Result<String> {
        match self {
            Way::Core(None) => version(&active()),
            Way::Sources(rustc) | Way::Core(Some(rustc)) => version(rustc),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Core(None) => "the toolchain's own core library".into(),
            Self::Core(Some(rustc)) => format!("the core library of {}", rustc.display()),
            Self::Sources(rustc) => format!("building the core library with {}", rustc.display()),
        }
    }
}

/// Name and version of a compiler, `rustc 1.95.0`.
///
/// # Errors
///
/// If it does not run.
pub fn version(rustc: &Path) -> Result<String> {
    let mut command = Command::new(rustc);
    command.arg("--version").current_dir(shell::root());
    let text = shell::output_within(&mut command, RUSTC_LIMIT);
    let text = text.with_context(|| format!("`{} --version` fails", rustc.display()))?;
    Ok(text.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

/// The compiler that cargo takes.
pub fn active() -> PathBuf {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()).into()
}

/// Cargo's variable for a setting of a target.
pub fn variable(target: &str, setting: &str) -> String {
    let target = target.to_uppercase().replace(['-', '.'], "_");
    format!("CARGO_TARGET_{target}_{setting}")
}

/// A linker for bare metal: that of the workspace's toolchain, else Debian's.
fn linker() -> Option<PathBuf> {
    let folders = sysroot(Path::new("rustc"))?.join("lib/rustlib");
    let beside = std::fs::read_dir(folders).ok()?.filter_map(|folder| {
        let path = folder.ok()?.path().join("bin/rust-lld");
        path.exists().then_some(path)
    });
    beside.into_iter().next().or_else(|| shell::which("lld-22"))
}

fn has_core(sysroot: &Option<PathBuf>, target: &str) -> bool {
    let Some(sysroot) = sysroot else {
        return false;
    };
    let files = std::fs::read_dir(sysroot.join(format!("lib/rustlib/{target}/lib")));
    files.is_ok_and(|mut files| {
        files.any(|file| {
            file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
        })
    })
}

fn has_sources(sysroot: &Option<PathBuf>) -> bool {
    (sysroot.as_ref())
        .is_some_and(|path| path.join("lib/rustlib/src/rust/library/Cargo.lock").exists())
}

fn sysroot(rustc: &Path) -> Option<PathBuf> {
    let mut command = Command::new(rustc);
    command.args(["--print", "sysroot"]).current_dir(shell::root());
    let text = shell::output_within(&mut command, RUSTC_LIMIT)?;
    Some(PathBuf::from(text.trim()))
}
