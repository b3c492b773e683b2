//! What a build needs: a C and C++ compiler, and the LLVM that CubeCL's CPU, CUDA and HIP runtimes
//! link. What tests need beside: an MPI.
//!
//! CubeCL takes LLVM from `tracel-llvm-bundler`, whose build script downloads a prebuilt one unless
//! a sentinel file says that it is there. Where the download is impossible, Debian's LLVM 22 serves:
//! we put the sentinel and a wrapper of its `llvm-config` where the bundler looks.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{packages, shell};

/// Arguments of `cargo xtask setup`.
#[derive(clap::Args)]
pub struct Args {
    /// Where LLVM comes from if it is not there yet.
    #[arg(long, value_enum, default_value_t = Source::Auto)]
    llvm: Source,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Source {
    /// The download if it can be reached, the system's packages otherwise.
    Auto,
    /// CubeCL's prebuilt LLVM, which the first build downloads.
    Download,
    /// Debian's packages of LLVM 22.
    System,
}

/// Major versions of LLVM that CubeCL 0.11 is known to build and run with.
const LLVM_MAJORS: [u32; 2] = [22, 23];
/// The version that Debian's packages below have.
const SYSTEM_LLVM: &str = "/usr/lib/llvm-22";
const LLVM_PACKAGES: [&str; 6] =
    ["llvm-22-dev", "libpolly-22-dev", "liblld-22-dev", "zlib1g-dev", "libzstd-dev", "libxml2-dev"];
/// The bundler skips its download if this file is in LLVM's folder.
const SENTINEL: &str = ".tracel-llvm-installed";
/// A reachable server answers sooner; without network the name fails at once.
const PROBE_SECONDS: u64 = 8;

/// Prints what is there, gets what is not.
pub fn run(args: &Args) -> Result<()> {
    let compiler = c_toolchain()?;
    println!("setup: C and C++ compilers: {compiler}");
    println!("setup: {}", llvm(args.llvm)?);
    Ok(())
}

/// Gets what is missing, and says only that.
pub fn ensure() -> Result<()> {
    c_toolchain()?;
    let bundle = Bundle::locate()?;
    if bundle.is_installed() {
        bundle.check()?;
    } else {
        eprintln!("setup: {}", llvm(Source::Auto)?);
    }
    Ok(())
}

/// The same for a build of all that is tested, which starts processes by MPI.
pub fn ensure_for_tests() -> Result<()> {
    ensure()?;
    let why = "training on several processes";
    if ["mpicc", "mpirun"].iter().any(|program| shell::which(program).is_none()) {
        packages::install(&["libopenmpi-dev", "openmpi-bin"], why)?;
    }
    // The binding is made from the headers of this MPI by libclang. Where packages have other names,
    // the build says what it looked for.
    if shell::which("apt-get").is_some() && std::env::var_os("LIBCLANG_PATH").is_none() {
        packages::install(&["libclang-dev"], why)?;
    }
    Ok(())
}

fn c_toolchain() -> Result<String> {
    let here = |variable: &str, names: [&str; 3]| {
        std::env::var(variable).ok().or_else(|| {
            Some(
                shell::which(names.iter().find(|name| shell::which(name).is_some())?)?
                    .display()
                    .to_string(),
            )
        })
    };
    let find =
        || Some((here("CC", ["cc", "gcc", "clang"])?, here("CXX", ["c++", "g++", "clang++"])?));
    if find().is_none() {
        packages::install(&["build-essential"], "a C and C++ compiler")?;
    }
    let (c, cxx) = find().context("no C or C++ compiler on the PATH: install gcc and g++")?;
    Ok(format!("{c}, {cxx}"))
}

fn llvm(source: Source) -> Result<String> {
    let bundle = Bundle::locate()?;
    let shown = bundle.folder.display();
    if bundle.is_installed() {
        let version = bundle.check()?;
        return Ok(format!("LLVM {version} is in {shown}"));
    }
    let downloads = |reason: &str| {
        format!(
            "LLVM for CubeCL is not here yet; {reason}, so the first build downloads it to {shown}"
        )
    };
    if !cfg!(target_os = "linux") || source == Source::Download {
        return Ok(downloads("that is how it is meant to come"));
    }
    if source == Source::Auto && bundle.download_answers() {
        return Ok(downloads("its server answers"));
    }
    if source == Source::Auto {
        eprintln!(
            "setup: {} cannot be reached, so LLVM comes from the system's packages",
            bundle.checksum_url()
        );
    }
    packages::install(&LLVM_PACKAGES, "CubeCL's LLVM")?;
    bundle.point_at_system()?;
    let version = bundle.check()?;
    Ok(format!("LLVM {version} of the system's packages, through {shown}"))
}

/// The place where the bundler looks for LLVM.
struct Bundle {
    version: String,
    folder: PathBuf,
}

impl Bundle {
    fn locate() -> Result<Self> {
        let lock = shell::root().join("Cargo.lock");
        let text = std::fs::read_to_string(&lock)
            .with_context(|| format!("cannot read {}", lock.display()))?;
        let version = locked_version(&text, "tracel-llvm-bundler")
            .with_context(|| format!("{} names no tracel-llvm-bundler", lock.display()))?;
        // The bundler asks the crate `dirs`: these are its rules.
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let data = if cfg!(target_os = "macos") {
            home.map(|home| home.join("Library/Application Support"))
        } else if cfg!(target_os = "windows") {
            std::env::var_os("LOCALAPPDATA").map(PathBuf::from)
        } else {
            std::env::var_os("XDG_DATA_HOME")
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
                .or_else(|| home.map(|home| home.join(".local/share")))
        };
        let data = data.context("no home directory: set HOME")?;
        let folder = data.join(format!("tracel/tracel-llvm-{version}"));
        Ok(Self { version: version.into(), folder })
    }

    fn is_installed(&self) -> bool {
        self.folder.join(SENTINEL).exists()
    }

    /// The version of the LLVM that is there, after a look at whether a build can use it.
    fn check(&self) -> Result<String> {
        let remedy = format!("remove {} and run `cargo xtask setup`", self.folder.display());
        let ask = |argument: &str| {
            let mut config = Command::new(self.folder.join("bin/llvm-config"));
            let answer = shell::output_within(
                config.args(["--link-static", argument]),
                Duration::from_secs(10),
            );
            answer.map(|text| text.trim().to_string())
        };
        if cfg!(windows) {
            return Ok(self.version.clone());
        }
        let version = ask("--version")
            .with_context(|| format!("LLVM's llvm-config does not run: {remedy}"))?;
        let major = version.split('.').next().and_then(|major| major.parse().ok());
        if !major.is_some_and(|major: u32| LLVM_MAJORS.contains(&major)) {
            bail!("LLVM {version} cannot build CubeCL, which needs 22 or 23: {remedy}");
        }
        let libraries =
            ask("--libdir").with_context(|| format!("LLVM is not complete: {remedy}"))?;
        for library in ["libLLVMCore.a", "liblldELF.a"] {
            if !Path::new(&libraries).join(library).exists() {
                bail!("LLVM {version} in {libraries} lacks {library}: {remedy}");
            }
        }
        Ok(version)
    }

    fn checksum_url(&self) -> String {
        // As in the bundler's `config.rs`.
        let machine = if cfg!(target_arch = "aarch64") { "AArch64" } else { "x64" };
        format!(
            "https://github.com/tracel-ai/tracel-llvm/releases/download/v{}/linux-{machine}.checksums.json",
            self.version
        )
    }

    fn download_answers(&self) -> bool {
        let url = self.checksum_url();
        let seconds = PROBE_SECONDS.to_string();
        let limit = Duration::from_secs(PROBE_SECONDS + 2);
        let mut curl = Command::new("curl");
        curl.args(["-fsSL", "-o", "/dev/null", "-m", &seconds, &url]);
        let mut wget = Command::new("wget");
        wget.args(["-q", "-O", "/dev/null", "-t", "1", "-T", &seconds, &url]);
        shell::output_within(&mut curl, limit).is_some()
            || shell::output_within(&mut wget, limit).is_some()
    }

    /// Makes the bundler take the system's LLVM 22.
    fn point_at_system(&self) -> Result<()> {
        let folder = self.folder.join("bin");
        let failed = || format!("cannot write {}", folder.display());
        std::fs::create_dir_all(&folder).with_context(failed)?;
        // The bundler would turn the path of libz3.so, which Debian's llvm-config prints among the
        // system libraries, into `-llibz3`.
        let script = format!(
            "#!/bin/sh\n{SYSTEM_LLVM}/bin/llvm-config \"$@\" | sed 's#/[^ ]*/libz3\\.so[^ ]*#-lz3#g'\n"
        );
        let wrapper = folder.join("llvm-config");
        std::fs::write(&wrapper, script).with_context(failed)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let executable = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&wrapper, executable).with_context(failed)?;
        }
        // Last, because it says that everything else is there.
        std::fs::write(self.folder.join(SENTINEL), "").with_context(failed)
    }
}

/// The version of `package` in a `Cargo.lock`.
fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let entry = lock
        .split("[[package]]")
        .find(|entry| entry.lines().any(|line| line == format!("name = \"{package}\"")))?;
    let line = entry.lines().find_map(|line| line.strip_prefix("version = "))?;
    Some(line.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_read_from_the_lock_file() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\n\
                    [[package]]\nname = \"tracel-llvm-bundler\"\nversion = \"23.1.0-4\"\n";
        assert_eq!(locked_version(lock, "tracel-llvm-bundler"), Some("23.1.0-4"));
        assert_eq!(locked_version(lock, "b"), None);
    }

    #[test]
    fn the_repository_locks_the_bundler() {
        assert!(Bundle::locate().is_ok());
    }
}
