//! The golden files: what PyTorch, Transformers, scikit-learn and others say, made once and
//! committed.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;

/// Arguments of `cargo xtask golden`.
#[derive(clap::Args)]
pub struct Args {
    /// A Python that has the packages of tests/golden/requirements.txt already; without it they are
    /// installed in .venv/.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Only the makers whose file name contains this.
    filter: Option<String>,
}

/// Runs every `tests/golden/*.py`, each of which writes its files beside itself.
pub fn run(args: &Args) -> Result<()> {
    let folder = shell::root().join("tests/golden");
    let python = match &args.python {
        Some(python) => python.clone(),
        None => environment()?,
    };
    let listed =
        std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut makers = listed.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    makers.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let wanted = args.filter.as_ref().is_none_or(|part| name.contains(part));
        name.ends_with(".py") && wanted
    });
    makers.sort();
    if makers.is_empty() {
        bail!("no maker to run in {}", folder.display());
    }
    for maker in makers {
        shell::run(Command::new(&python).arg(&maker).current_dir(&folder))?;
    }
    Ok(())
}

/// The interpreter of .venv/, with the pinned packages.
fn environment() -> Result<PathBuf> {
    let folder = shell::root().join(".venv");
    let python = folder.join("bin/python");
    if !python.exists() {
        shell::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
            .context("a virtual environment needs python3 and its venv module")?;
    }
    let pinned = shell::root().join("tests/golden/requirements.txt");
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "-r"]).arg(pinned);
    shell::run(&mut install)?;
    Ok(python)
}
