//! The C library: built, put where a compiler finds it, and tested by programs in C.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::targets::Way;
use crate::test::FEATURES;
use crate::{packages, shell};

/// Arguments of `cargo xtask capi`.
#[derive(clap::Args)]
pub struct Args {
    /// Where it goes: DIR/include, DIR/lib, DIR/lib/pkgconfig. Without it target/capi/, and another
    /// target's into a folder of its own there.
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
    /// For another machine, such as aarch64-unknown-linux-musl or thumbv7em-none-eabihf. Linking for
    /// another operating system takes its linker, as cargo wants it.
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
}

/// A Cortex-M4F or M7, as `targets` has it.
const BARE_METAL: &str = "thumbv7em-none-eabihf";

/// Builds and installs, and says what it wrote.
pub fn run(args: &Args) -> Result<()> {
    let built = build(args.target.as_deref())?;
    let place = shell::target_dir().join("capi");
    let prefix = match (&args.prefix, &args.target) {
        // As the shell sees it that called us.
        (Some(prefix), _) => std::path::absolute(prefix)?,
        (None, Some(target)) => place.join(target),
        (None, None) => place,
    };
    for file in install(&built, &prefix)? {
        println!("{}", file.display());
    }
    Ok(())
}

/// The folder with the libraries for a target.
fn build(target: Option<&str>) -> Result<PathBuf> {
    // Whole-program optimization, which also leaves the smallest archive.
    let mut command = shell::cargo(["rustc", "--profile", "edge", "-p", "bert-edge-capi", "--lib"]);
    let mut place = shell::target_dir();
    if let Some(target) = target {
        command.args(["--target", target]);
        if target.contains("-none") {
            command.args(["--no-default-features", "--crate-type", "staticlib"]);
            let way = Way::find(target)?;
            way.apply(&mut command, target);
            if !matches!(way, Way::Core(None)) {
                // Another compiler than the workspace's, so another folder.
                place = place.join("bare-metal");
                command.env("CARGO_TARGET_DIR", &place);
            }
        }
        place = place.join(target);
    }
    shell::run(&mut command)?;
    Ok(place.join("edge"))
}

fn install(built: &Path, prefix: &Path) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    let mut put = |from: &Path, to: &str| -> Result<()> {
        let to = prefix.join(to);
        fs::create_dir_all(to.parent().unwrap_or(prefix))
            .and_then(|()| fs::copy(from, &to))
            .with_context(|| format!("cannot write {}", to.display()))?;
        written.push(to);
        Ok(())
    };
    put(&shell::root().join("bert-edge/capi/include/bert_edge.h"), "include/bert_edge.h")?;
    put(&built.join("libbert_edge.a"), "lib/libbert_edge.a")?;
    let dynamic = built.join("libbert_edge.dylib");
    if dynamic.exists() {
        put(&dynamic, "lib/libbert_edge.dylib")?;
    }
    let shared = built.join("libbert_edge.so");
    if shared.exists() {
        let version = env!("CARGO_PKG_VERSION");
        let interface = version.rsplit_once('.').map_or(version, |(interface, _)| interface);
        let full = format!("libbert_edge.so.{version}");
        put(&shared, &format!("lib/{full}"))?;
        for name in [format!("libbert_edge.so.{interface}"), "libbert_edge.so".into()] {
            written.push(link(&full, &prefix.join("lib").join(name))?);
        }
    }
    let description = prefix.join("lib/pkgconfig/bert_edge.pc");
    fs::create_dir_all(prefix.join("lib/pkgconfig"))
        .and_then(|()| fs::write(&description, PKG_CONFIG))
        .with_context(|| format!("cannot write {}", description.display()))?;
    written.push(description);
    Ok(written)
}

/// The prefix counts from where the file is, so that the folder can be moved.
const PKG_CONFIG: &str = concat!(
    "prefix=${pcfiledir}/../..
includedir=${prefix}/include
libdir=${prefix}/lib

Name: bert_edge
Description: BERT models on any machine, without allocation
Version: ",
    env!("CARGO_PKG_VERSION"),
    "
Cflags: -I${includedir}
Libs: -L${libdir} -lbert_edge
Libs.private: -lpthread -ldl -lm
"
);

#[cfg(unix)]
fn link(to: &str, at: &Path) -> Result<PathBuf> {
    // One from before, whatever it points to.
    let _ = fs::remove_file(at);
    std::os::unix::fs::symlink(to, at).with_context(|| format!("cannot write {}", at.display()))?;
    Ok(at.into())
}

#[cfg(not(unix))]
fn link(to: &str, at: &Path) -> Result<PathBuf> {
    let from = at.with_file_name(to);
    fs::copy(&from, at).with_context(|| format!("cannot write {}", at.display()))?;
    Ok(at.into())
}

/// The programs in C: against what is installed, under valgrind, and on an emulated Cortex-M4.
///
/// # Errors
///
/// If a test fails. What is left out for want of a program is `Ok` with the reason.
pub fn test() -> Result<Option<String>> {
    let prefix = shell::target_dir().join("capi");
    install(&build(None)?, &prefix)?;
    // With the features of all tests, so that nothing is compiled twice; those without C ran there.
    let mut command = shell::cargo(["test", "--release", "--workspace", "--features", FEATURES]);
    command.args(["--test", "c", "--test", "c_firmware"]);
    let mut missing = Vec::new();
    match packages::program("pkg-config", "pkg-config", "the installed C library") {
        Ok(()) => drop(command.env("BERT_CAPI_PREFIX", &prefix)),
        Err(error) => missing.push(format!("pkg-config: {error:#}")),
    }
    match packages::program("valgrind", "valgrind", "the memory of programs in C") {
        Ok(()) => drop(command.env("BERT_VALGRIND", "valgrind")),
        Err(error) => missing.push(format!("valgrind: {error:#}")),
    }
    match firmware() {
        Ok(library) => drop(command.env("BERT_FIRMWARE_LIB", library)),
        Err(error) => missing.push(format!("Cortex-M4: {error:#}")),
    }
    shell::run(&mut command)?;
    Ok((!missing.is_empty()).then(|| missing.join("; ")))
}

/// The library for bare metal, once there is what links and runs it.
fn firmware() -> Result<PathBuf> {
    packages::program("arm-none-eabi-gcc", "gcc-arm-none-eabi", "firmware in C")?;
    packages::program("qemu-system-arm", "qemu-system-arm", "firmware in C")?;
    Ok(build(Some(BARE_METAL))?.join("libbert_edge.a"))
}
