//! Instructions, counted by QEMU's plugin.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Emulator, Machine};
use crate::shell;

/// QEMU's first major version whose plugins have version 2 of the interface, without what ours calls.
const PLUGIN_API_2: u32 = 9;
/// A program that is only asked its version.
const ASKED: Duration = Duration::from_secs(10);

/// Why the emulator of `machine` counts no instructions, if it does not.
pub fn cannot_count(machine: &Machine) -> Option<String> {
    if machine.emulator == Emulator::Node {
        return Some("the engine has no counter".into());
    }
    let program = machine.emulator.program().0;
    let printed = shell::output_within(Command::new(program).arg("--version"), ASKED);
    // `QEMU emulator version 7.2.22 (Debian …)`
    let major = printed
        .as_deref()
        .and_then(|text| text.split("version ").nth(1)?.split('.').next()?.parse::<u32>().ok());
    match major {
        Some(major) if major < PLUGIN_API_2 => None,
        Some(major) => Some(format!("plugins of QEMU {major} have another interface")),
        None => Some(format!("`{program} --version` says no version")),
    }
}

/// QEMU's options to count with `plugin` into the file `counts`, which is emptied: those of an earlier
/// run must not be taken for this one's.
pub fn counting(plugin: &Path, counts: &Path) -> [String; 6] {
    let _ = fs::remove_file(counts);
    let path = |file: &Path| file.display().to_string();
    ["-plugin".into(), path(plugin), "-d".into(), "plugin".into(), "-D".into(), path(counts)]
}

/// The counts of a file, in the order of the marks.
pub fn regions(counts: &Path) -> Vec<u64> {
    let text = fs::read_to_string(counts).unwrap_or_default();
    let regions = text.lines().filter_map(|line| line.strip_prefix("region "));
    regions.filter_map(|line| line.split_once(' ')?.1.parse().ok()).collect()
}
