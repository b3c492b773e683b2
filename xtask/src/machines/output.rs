//! Runs a program that prints more than a pipe holds, and may hang.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Longer than any machine takes for what it is asked.
const LIMIT: Duration = Duration::from_secs(1800);

/// Standard output of a command, by way of `file`, where it stays.
///
/// # Errors
///
/// If it fails, which it says on standard error, or does not end.
pub fn output(command: &mut Command, file: &Path) -> Result<String> {
    let printed = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
    let line = crate::shell::shown(command);
    let child = command.stdin(Stdio::null()).stdout(printed).spawn();
    let mut child = child.with_context(|| format!("cannot start `{line}`"))?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > LIMIT {
            // Nothing depends on how it ends.
            let _ = child.kill();
            let _ = child.wait();
            bail!("`{line}` takes longer than {} minutes", LIMIT.as_secs() / 60);
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    if !status.success() {
        bail!("`{line}` fails ({status})");
    }
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}
