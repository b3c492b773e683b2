//! Runs the command line on small models.
#![allow(dead_code)]

#[path = "../../../bert-core/tests/common/mod.rs"]
pub mod common;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use common::{FloatModel, HeadKind, Sizes};
use serde_json::Value;

pub struct Fixture {
    pub directory: tempfile::TempDir,
}

impl Fixture {
    pub fn new() -> Self {
        Fixture { directory: tempfile::tempdir().unwrap() }
    }

    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    pub fn model(&self, head: HeadKind) -> PathBuf {
        self.file("model.bert", &small(head).build())
    }
}

/// The model of [`Fixture::model`].
pub fn small(head: HeadKind) -> FloatModel {
    FloatModel::random(Sizes { head, ..Sizes::SMALL }, 4)
}

pub fn run(args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bert-edge"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

pub fn stdout(args: &[&str], input: &[u8]) -> String {
    let output = run(args, input);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub fn json(args: &[&str]) -> Value {
    serde_json::from_str(&stdout(args, b"")).unwrap()
}

/// Exit code 1, nothing on standard output, one line on standard error that holds every part.
pub fn refused(args: &[&str], input: &[u8], parts: &[&str]) {
    let output = run(args, input);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error.lines().count(), 1, "{error}");
    for part in parts {
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    }
}
