//! Models for C, and C compiled against this library.
#![allow(dead_code)]

#[path = "../../../../bert-core/tests/common/mod.rs"]
pub mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use common::{FloatModel, HeadKind, Sizes};

/// What C code of ours is compiled with.
pub const STRICT: [&str; 6] = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"];

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A small model with random weights.
pub fn small(head: HeadKind) -> Vec<u8> {
    FloatModel::random(Sizes { head, ..Sizes::SMALL }, 4).build()
}

pub fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// Where cargo put the libraries: beside the tests.
pub fn libraries() -> PathBuf {
    let folder = env::current_exe().unwrap().parent().unwrap().to_path_buf();
    for name in ["libbert_edge.a", "libbert_edge.so"] {
        assert!(folder.join(name).exists(), "no {name} in {}", folder.display());
    }
    folder
}

/// Runs a command to its end, which must be a good one, and gives its standard output.
pub fn stdout(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

pub fn compiler(variable: &str, usual: &str) -> String {
    env::var(variable).unwrap_or_else(|_| usual.into())
}
