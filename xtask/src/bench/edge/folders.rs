//! Where the benchmark keeps its things, and Python's packages.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use crate::shell;

/// `target/bench/` and what is in it.
pub struct Folders {
    /// `target/bench/` itself.
    pub root: PathBuf,
    with_python: bool,
    python: OnceCell<Result<PathBuf, String>>,
    done: RefCell<BTreeMap<&'static str, Result<(), String>>>,
}

impl Folders {
    /// Makes the folders.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn new(with_python: bool) -> Result<Self> {
        let root = shell::target_dir().join("bench");
        for folder in ["ids", "log", "models"] {
            let path = root.join(folder);
            std::fs::create_dir_all(&path)
                .with_context(|| format!("cannot make {}", path.display()))?;
        }
        Ok(Self { root, with_python, python: OnceCell::new(), done: RefCell::default() })
    }

    /// The scripts of the benchmark.
    pub fn scripts(&self) -> PathBuf {
        shell::root().join("tests/peers/edge")
    }

    /// Cargo's folder for the engines.
    pub fn builds(&self) -> PathBuf {
        self.root.join("engines")
    }

    /// A program of the engines' workspace.
    pub fn program(&self, name: &str) -> PathBuf {
        self.builds().join("release").join(name)
    }

    /// What a worker said on stderr.
    pub fn log(&self, name: &str) -> PathBuf {
        self.root.join("log").join(format!("{name}.txt"))
    }

    /// Does what has that name the first time, and comes to the same result later.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn once(&self, name: &'static str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let before = self.done.borrow().get(name).cloned();
        let result = before.unwrap_or_else(|| work().map_err(|error| format!("{error:#}")));
        self.done.borrow_mut().insert(name, result.clone());
        result.map_err(|reason| anyhow!(reason))
    }

    /// Python with the peers' packages, installed when it is first asked for.
    ///
    /// # Errors
    /// It was left out, or the packages cannot be installed; the second time the same.
    pub fn python(&self) -> Result<PathBuf> {
        let found =
            self.python.get_or_init(|| self.install().map_err(|error| format!("{error:#}")));
        found.clone().map_err(|reason| anyhow!(reason))
    }

    fn install(&self) -> Result<PathBuf> {
        if !self.with_python {
            bail!("needs Python, which --without-python leaves out");
        }
        let folder = self.root.join("venv");
        let python = folder.join("bin/python");
        let wanted = self.scripts().join("requirements.txt");
        let text = std::fs::read_to_string(&wanted)
            .with_context(|| format!("cannot read {}", wanted.display()))?;
        // A copy of what was installed says that it is there.
        let installed = folder.join("installed.txt");
        if std::fs::read_to_string(&installed).is_ok_and(|installed| installed == text) {
            return Ok(python);
        }
        shell::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
            .context("the peers of Python need python3 and its venv module")?;
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--quiet", "-r"]).arg(&wanted);
        shell::run(&mut install).context("the packages of tests/peers/edge/requirements.txt")?;
        std::fs::write(&installed, text)?;
        Ok(python)
    }
}
