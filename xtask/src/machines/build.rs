//! Builds what runs on a machine, and the counter of its instructions.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Emulator, Machine};
use crate::shell;
use crate::targets::{Way, variable};

/// A package that is built for machines, with what its build is told.
pub struct Firmware<'a> {
    /// Its manifest, from the repository's root.
    pub manifest: &'a str,
    /// Its name.
    pub program: &'a str,
    /// Variable with the file that becomes part of the image, and the file.
    pub image: (&'a str, &'a Path),
    /// Where the programs are put, under names of the machines.
    pub folder: &'a Path,
}

impl Firmware<'_> {
    /// Builds it for `machine`.
    ///
    /// # Errors
    ///
    /// If that fails.
    pub fn build(&self, machine: &Machine, way: &Way) -> Result<PathBuf> {
        let place = shell::target_dir().join("firmware");
        let mut command = shell::cargo(["build", "--release", "--quiet", "--locked"]);
        command.args(["--manifest-path", self.manifest]);
        command.args(["--target", machine.target]).env("CARGO_TARGET_DIR", &place);
        command.env(self.image.0, self.image.1).env("BERT_MACHINE", machine.board);
        let flags = format!("{} {}", machine.flags, short_paths());
        command.env(variable(machine.target, "RUSTFLAGS"), flags.trim());
        let bare = matches!(machine.emulator, Emulator::Arm | Emulator::RiscV);
        if bare && matches!(way, Way::Core(_)) {
            // It says why. A core library that is built here has the same features as all else.
            let wrapper = shell::root().join("bert-edge/firmware/machine/rustc.sh");
            command.env("RUSTC_WRAPPER", wrapper);
        }
        way.apply(&mut command, machine.target);
        shell::run(&mut command)?;

        // Machines of one target are built in one place.
        let file = self.folder.join(machine.file());
        let release = place.join(machine.target).join("release");
        let built = release.join(machine.artifact(self.program));
        fs::create_dir_all(self.folder)?;
        fs::copy(&built, &file).with_context(|| format!("cannot copy {}", built.display()))?;
        Ok(file)
    }
}

/// Panics name files. Their paths are part of the image, which is to be as large on every machine.
fn short_paths() -> String {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let registry = home.map(|home| home.join("registry/src"));
    let folders = [Some(shell::root().to_path_buf()), registry].into_iter().flatten();
    let options = folders.map(|folder| format!("--remap-path-prefix={}/=", folder.display()));
    // Blanks part options here.
    options.filter(|option| !option.contains(char::is_whitespace)).collect::<Vec<_>>().join(" ")
}

/// QEMU's plugin that counts instructions.
pub fn plugin() -> Result<PathBuf> {
    let source = shell::root().join("tests/identity/insncount.c");
    let library = shell::target_dir().join("firmware/insncount.so");
    let Some(compiler) = ["cc", "gcc", "clang"].into_iter().find_map(shell::which) else {
        bail!("no C compiler for {}; run `cargo xtask setup`", source.display());
    };
    if is_newer(&library, &source) {
        return Ok(library);
    }
    fs::create_dir_all(shell::target_dir().join("firmware"))?;
    let mut command = std::process::Command::new(compiler);
    shell::run(command.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source))?;
    Ok(library)
}

fn is_newer(file: &Path, source: &Path) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    time(file).zip(time(source)).is_some_and(|(file, source)| file > source)
}
