//! Running the binaries as a user does.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

/// A binary of the workspace: from the folder `BERT_BINARIES` if that is set (`cargo xtask test` has
/// built them there), else built by cargo when the first test asks for it.
///
/// # Panics
///
/// If they do not build.
pub fn binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(build).join(name).with_extension(std::env::consts::EXE_EXTENSION)
}

/// The folder of the binaries.
fn build() -> PathBuf {
    if let Some(folder) = std::env::var_os("BERT_BINARIES") {
        return folder.into();
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "-p", "bert-trainer", "-p", "bert-edge"])
        .current_dir(crate::repository())
        .status()
        .expect("cargo starts");
    assert!(status.success(), "bert-trainer and bert-edge do not build");
    // This test lies in <target>/release/deps/.
    let test = std::env::current_exe().expect("the test's own path");
    test.ancestors().nth(2).expect("a folder above deps").to_owned()
}

/// What a command left behind.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a binary to its end.
///
/// # Panics
///
/// If it does not start.
pub fn run<S: AsRef<std::ffi::OsStr>>(
    package: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Outcome {
    let output = Command::new(binary(package)).args(arguments).output().expect("it starts");
    output.into()
}

/// Runs a binary that must succeed, and gives the JSON object it printed.
///
/// # Panics
///
/// If it fails or prints something else.
pub fn json<S: AsRef<std::ffi::OsStr>>(
    package: &str,
    arguments: impl IntoIterator<Item = S>,
) -> serde_json::Value {
    let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
    let outcome = run(package, arguments.chain(["--json".into()]));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|e| panic!("{e}: {}", outcome.stdout))
}
