//! Packages of the system, where it is a Debian.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::shell;

/// Those of `packages` that are not installed; all of them where there is no dpkg.
pub fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    packages
        .iter()
        .copied()
        .filter(|package| {
            let mut query = Command::new("dpkg-query");
            query.args(["-W", "-f=${db:Status-Status}", package]);
            shell::output_within(&mut query, Duration::from_secs(10)).as_deref()
                != Some("installed")
        })
        .collect()
}

/// Installs what is missing of `packages`, as root or through sudo.
///
/// # Errors
///
/// If that is not possible here: the message is the command to run.
pub fn install(packages: &[&str], why: &str) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("apt-get install -y {}", missing.join(" "));
    if shell::which("apt-get").is_none() {
        bail!(
            "{why} needs these packages of Debian, by whatever names your system has them: {}",
            missing.join(" ")
        );
    }
    eprintln!("setup: {why} needs {}", missing.join(" "));
    let install = || {
        let mut command = apt_get()?;
        command.args(["install", "-y", "--no-install-recommends"]);
        shell::run(command.args(&missing))
    };
    // A fresh machine has no package lists, an old one stale ones: either way the second try counts.
    let done = install().or_else(|_| {
        shell::run(apt_get()?.arg("update"))?;
        install()
    });
    done.map_err(|error| error.context(format!("{why}: run `sudo {by_hand}`, then this again")))
}

/// Sees that a program is there, with the package that has it if need be.
///
/// # Errors
///
/// As [`install`]; also if the package has no such program.
pub fn program(program: &str, package: &str, why: &str) -> Result<()> {
    if shell::which(program).is_none() {
        install(&[package], why)?;
    }
    if shell::which(program).is_none() {
        bail!("{why} needs the program {program}");
    }
    Ok(())
}

/// Sees that there are Node and a Chromium that it can drive.
///
/// # Errors
///
/// As [`program`].
pub fn browser(why: &str) -> Result<()> {
    program("node", "nodejs", why)?;
    program("chromium", "chromium", why)?;
    program("chromedriver", "chromium-driver", why)
}

fn apt_get() -> Result<Command> {
    let mut id = Command::new("id");
    let is_root = shell::output_within(id.arg("-u"), Duration::from_secs(10))
        .is_some_and(|uid| uid.trim() == "0");
    if is_root {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        return Ok(command);
    }
    if shell::which("sudo").is_none() {
        bail!("not root, and no sudo");
    }
    let mut command = Command::new("sudo");
    // Without a terminal sudo cannot ask for a password, and must not wait for one. It asks on the
    // terminal itself, not on standard input.
    if !std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        command.arg("-n");
    }
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    Ok(command)
}
