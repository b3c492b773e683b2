//! The page of `bert-edge serve`, in Chromium.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::{packages, shell};

/// Types a sentence into the page and reads label and slots. A machine without Chromium leaves it out.
///
/// # Errors
///
/// If the test fails, or the demo's model is not there.
pub fn page() -> Result<Option<String>> {
    let model = shell::target_dir().join("demo/model.bert");
    ensure!(model.is_file(), "{} is missing; run `cargo xtask demo`", model.display());
    if let Err(error) = packages::browser("the test of the page") {
        return Ok(Some(format!("{error:#}")));
    }
    let mut node = Command::new("node");
    node.arg(shell::root().join("tests/browser/service.mjs"));
    node.arg(shell::target_dir().join("release/bert-edge")).arg(model);
    shell::run(node.arg(shell::target_dir().join("service-page.png")))?;
    Ok(None)
}
