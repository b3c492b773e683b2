//! `cargo xtask web`: bert-core for browsers, as a package for npm and as a page.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::targets::{Way, variable};
use crate::{packages, shell};

/// Arguments of `cargo xtask web`.
#[derive(clap::Args)]
pub struct Args {}

const MANIFEST: &str = "bert-edge/web/Cargo.toml";
const TARGET: &str = "wasm32-unknown-unknown";
/// The two modules: their flags and their names in the package.
const MODULES: [(&str, &str); 2] =
    [("", "bert-edge.wasm"), ("-Ctarget-feature=+simd128", "bert-edge.simd.wasm")];
/// A module larger than this keeps people waiting.
const MOST_BYTES: u64 = 200 * 1024;
/// The demo's model, which has intents and slots.
const MODEL: &str = "demo/model.bert";

/// Builds the package and the page, and says what to do with them.
///
/// # Errors
///
/// If the modules do not build or are too large, or files cannot be written.
pub fn run(_: &Args) -> Result<()> {
    let built = build()?;
    for (_, name) in MODULES {
        let bytes = fs::metadata(built.package.join(name))?.len();
        println!("{name}: {bytes} bytes");
    }
    println!("package: {} (npm pack, or npm install of the folder)", built.package.display());
    println!("page:    python3 -m http.server -d {} 8000", built.site.display());
    Ok(())
}

/// The folders that were written.
struct Built {
    package: PathBuf,
    site: PathBuf,
}

fn build() -> Result<Built> {
    let folder = shell::target_dir().join("web");
    let built = Built { package: folder.join("package"), site: folder.join("site") };
    let source = shell::root().join("bert-edge/web");
    for into in [&built.package, &built.site] {
        fs::create_dir_all(into)?;
        copy(&source.join("js"), into)?;
    }
    copy(&source.join("page"), &built.site)?;
    for name in ["package.json", "README.md"] {
        fs::copy(source.join(name), built.package.join(name))
            .with_context(|| format!("cannot copy {name}"))?;
    }
    for (flags, name) in MODULES {
        let module = module(&folder, flags, name)?;
        let bytes = fs::metadata(&module)?.len();
        ensure!(bytes <= MOST_BYTES, "{name} has {bytes} bytes; at most {MOST_BYTES} are allowed");
        for into in [&built.package, &built.site] {
            fs::copy(&module, into.join(name)).with_context(|| format!("cannot copy {name}"))?;
        }
    }
    Ok(built)
}

/// Builds a module in a place of its own, since flags are those of a whole build.
fn module(folder: &Path, flags: &str, name: &str) -> Result<PathBuf> {
    let place = folder.join(name.replace('.', "-"));
    let mut command = shell::cargo(["build", "--release", "--quiet", "--manifest-path", MANIFEST]);
    command.args(["--target", TARGET]).env("CARGO_TARGET_DIR", &place);
    command.env(variable(TARGET, "RUSTFLAGS"), flags);
    Way::find(TARGET)?.apply(&mut command, TARGET);
    shell::run(&mut command)?;
    Ok(place.join(TARGET).join("release/bert_edge_web.wasm"))
}

/// Every file of a folder.
fn copy(from: &Path, into: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let file = entry?;
        fs::copy(file.path(), into.join(file.file_name()))?;
    }
    Ok(())
}

/// Lints, and the package in Node beside `bert-edge`. A machine without Node leaves it out.
///
/// # Errors
///
/// If a test fails.
pub fn test() -> Result<Option<String>> {
    let mut lint = shell::cargo(["clippy", "--release", "--quiet", "--manifest-path", MANIFEST]);
    lint.args(["--target", TARGET]).env("CARGO_TARGET_DIR", shell::target_dir().join("web/lint"));
    Way::find(TARGET)?.apply(&mut lint, TARGET);
    shell::run(lint.args(["--", "-D", "warnings"]))?;
    let built = build()?;
    if let Err(error) = packages::program("node", "nodejs", "the test of the package") {
        return Ok(Some(format!("{error:#}")));
    }
    let mut node = Command::new("node");
    node.arg("--test").arg(shell::root().join("bert-edge/web/test/node.test.mjs"));
    node.env("BERT_PACKAGE", &built.package);
    node.env("BERT_EDGE", shell::target_dir().join("release/bert-edge"));
    shell::run(node.env("BERT_MODEL", model()?))?;
    Ok(None)
}

/// The page in Chromium. A machine without it leaves it out.
///
/// # Errors
///
/// If a test fails.
pub fn browser() -> Result<Option<String>> {
    let built = build()?;
    if let Err(error) = packages::browser("the test of the page") {
        return Ok(Some(format!("{error:#}")));
    }
    let mut node = Command::new("node");
    node.arg(shell::root().join("tests/browser/web.mjs")).arg(&built.site).arg(model()?);
    shell::run(node.arg(shell::target_dir().join("web/page.png")))?;
    Ok(None)
}

fn model() -> Result<PathBuf> {
    let model = shell::target_dir().join(MODEL);
    ensure!(model.is_file(), "{} is missing; run `cargo xtask demo`", model.display());
    Ok(model)
}
