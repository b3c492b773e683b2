//! The engines: which program runs which file.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::folders::Folders;
use super::models::Form;
use crate::shell;

/// An engine, or one of the ways to run it.
pub struct Engine {
    /// As in `edge.json`.
    pub name: &'static str,
    /// What it is a way of, as in `--engines`; in the table, the fastest way of a peer counts.
    pub peer: &'static str,
    program: Program,
    /// The file it reads.
    pub form: Form,
}

enum Program {
    /// A package of the engines' workspace.
    Rust(&'static str),
    /// A kind of `worker.py`.
    Python(&'static str),
}

use Program::{Python, Rust};

/// The name of ours.
pub const OURS: &str = "bert-core";

/// The peers in the order of tables and legends, with their names there.
pub const PEERS: [(&str, &str); 7] = [
    (OURS, "bert-core int8"),
    ("ort", "ONNX Runtime int8"),
    ("rten", "rten int8"),
    ("openvino", "OpenVINO int8"),
    ("ctranslate2", "CTranslate2 int8"),
    ("tract", "tract f32"),
    ("candle", "candle f32"),
];

/// All engines. Of ONNX Runtime and rten it depends on the size which way is fastest. OpenVINO left to
/// itself takes bf16 for what is not int8 where the CPU has AMX: mostly faster, at some lengths wrong.
pub const ENGINES: [Engine; 12] = [
    engine(OURS, OURS, Rust("worker-ours"), Form::Ours),
    engine("ort-channel", "ort", Rust("worker-ort"), Form::OnnxInt8),
    engine("ort-tensor", "ort", Rust("worker-ort"), Form::OnnxInt8Tensor),
    engine("ort-fused-channel", "ort", Rust("worker-ort"), Form::FusedInt8),
    engine("ort-fused-tensor", "ort", Rust("worker-ort"), Form::FusedInt8Tensor),
    engine("rten-channel", "rten", Rust("worker-rten"), Form::OnnxInt8),
    engine("rten-tensor", "rten", Rust("worker-rten"), Form::OnnxInt8Tensor),
    engine("openvino-auto", "openvino", Python("openvino"), Form::OpenVino),
    engine("openvino-f32", "openvino", Python("openvino-f32"), Form::OpenVino),
    engine("ctranslate2", "ctranslate2", Python("ctranslate2"), Form::CTranslate2),
    engine("tract", "tract", Rust("worker-tract"), Form::Onnx),
    engine("candle", "candle", Rust("worker-candle"), Form::Checkpoint),
];

const fn engine(name: &'static str, peer: &'static str, program: Program, form: Form) -> Engine {
    Engine { name, peer, program, form }
}

impl Engine {
    /// Builds what is missing of its program.
    ///
    /// # Errors
    /// It cannot be built, or was left out with Python.
    pub fn build(&self, folders: &Folders) -> Result<()> {
        if self.form.needs_python() {
            folders.python()?;
        }
        if let Rust(package) = self.program {
            build(folders, package)?;
        }
        if self.peer == "ort" {
            onnx_runtime(folders)?;
        }
        Ok(())
    }

    /// The worker with a model.
    ///
    /// # Errors
    /// As [`Engine::build`].
    pub fn command(&self, folders: &Folders, model: &Path) -> Result<Command> {
        let mut command = match self.program {
            Rust(package) => Command::new(folders.program(package)),
            Python(kind) => {
                let mut command = Command::new(folders.python()?);
                command.arg(folders.scripts().join("worker.py")).arg(kind);
                command
            }
        };
        command.arg(model);
        if self.peer == "ort" {
            command.env("ORT_DYLIB_PATH", onnx_runtime(folders)?);
        }
        Ok(command)
    }
}

/// Builds a package of the engines' workspace, once.
///
/// # Errors
/// It does not build.
pub fn build(folders: &Folders, package: &'static str) -> Result<()> {
    folders.once(package, || compile(folders, package))
}

// Not --locked: a new dependency of bert-core must not stop its own benchmark.
fn compile(folders: &Folders, package: &str) -> Result<()> {
    let mut command = shell::cargo(["build", "--release", "--quiet", "--manifest-path"]);
    command.arg("tests/peers/engines/Cargo.toml").args(["-p", package]);
    shell::run(command.arg("--target-dir").arg(folders.builds()))
}

/// The library that `ort` loads: it is in the Python package.
///
/// # Errors
/// The package is not there or has none.
pub fn onnx_runtime(folders: &Folders) -> Result<PathBuf> {
    let mut command = Command::new(folders.python()?);
    let script = "import importlib.util, pathlib; \
                  print(pathlib.Path(importlib.util.find_spec('onnxruntime').origin).parent / 'capi')";
    let limit = std::time::Duration::from_secs(60);
    let folder = shell::output_within(command.args(["-c", script]), limit)
        .context("the Python package onnxruntime is not there")?;
    for entry in std::fs::read_dir(folder.trim())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("libonnxruntime.") {
            return Ok(path);
        }
    }
    bail!("the Python package onnxruntime has no library")
}
