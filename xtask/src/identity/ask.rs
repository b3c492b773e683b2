//! Runs a runner and reads what it prints.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::build::folder;
use super::record::Counts;
use crate::machines;

/// The function whose instructions callgrind counts.
const MEASURED: &str = "bert_identity::measure::measured_inference";

/// What a machine answered.
pub struct Report {
    /// SHA-256 of all outputs.
    pub hash: String,
    /// A line for each text: checksums of the outputs of each model.
    pub texts: Vec<String>,
    /// Most bytes of stack in use, where the machine tells.
    pub stack_bytes: Option<u64>,
}

impl Report {
    /// Runs an `identity`; what it prints stays in `target/identity/NAME.txt`.
    ///
    /// # Errors
    ///
    /// If it fails, takes too long or prints something else.
    pub fn ask(command: &mut Command, name: &str) -> Result<Self> {
        let printed = output(command, name)?;
        let line = |start| printed.lines().find_map(|line: &str| line.strip_prefix(start));
        let hash = line("sha256 ").and_then(|rest: &str| rest.split(' ').next());
        let texts = printed.lines().filter_map(|line| line.strip_prefix("text "));
        Ok(Report {
            hash: hash.with_context(|| format!("{name} printed no hash"))?.into(),
            texts: texts.map(String::from).collect(),
            stack_bytes: line("stack ").and_then(|rest| rest.parse().ok()),
        })
    }

    /// Where this report leaves `other`: number of the text, numbers of the models.
    pub fn first_difference(&self, other: &Report) -> Option<String> {
        let (ours, theirs) =
            self.texts.iter().zip(&other.texts).find(|(ours, theirs)| ours != theirs)?;
        let mut words = ours.split(' ').zip(theirs.split(' '));
        let text = words.next()?.0;
        let models = words.enumerate().filter(|(_, (ours, theirs))| ours != theirs);
        let models: Vec<String> = models.map(|(model, _)| model.to_string()).collect();
        Some(format!("text {text}, model {}", models.join(" and ")))
    }
}

/// Counts with QEMU: `command` has the plugin write to `counts`.
///
/// # Errors
///
/// If it fails or the counts are not those of the cases.
pub fn count_by_plugin(command: &mut Command, name: &str, counts: &Path) -> Result<Counts> {
    let printed = output(command, name)?;
    join(&printed, machines::regions(counts))
}

/// Counts with valgrind's callgrind, which writes a file for each call of the function.
///
/// # Errors
///
/// If it fails or the counts are not those of the cases.
pub fn count_by_callgrind(runner: &Path, path: &str, name: &str) -> Result<Counts> {
    let out = folder().join(format!("{name}.callgrind"));
    let part = |number: usize| folder().join(format!("{name}.callgrind.{number}"));
    (1..).map(part).take_while(|file| fs::remove_file(file).is_ok()).for_each(drop);
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--tool=callgrind"]).env("BERT_ARCH", path);
    command.arg(format!("--toggle-collect={MEASURED}"));
    command.arg(format!("--dump-after={MEASURED}"));
    command.arg(format!("--callgrind-out-file={}", out.display())).arg(runner).arg("count");
    let printed = output(&mut command, name)?;
    let texts = (1..).map_while(|number| fs::read_to_string(part(number)).ok());
    let total =
        |text: String| text.lines().find_map(|line| line.strip_prefix("totals: ")?.parse().ok());
    join(&printed, texts.map_while(total).collect())
}

/// The names of the cases that a `count` printed, and their counts.
fn join(printed: &str, counts: Vec<u64>) -> Result<Counts> {
    let cases = printed.lines().filter_map(|line| line.strip_prefix("case ")?.split_once(' '));
    let cases: Vec<String> = cases.map(|(_, name)| name.to_string()).collect();
    if cases.is_empty() || cases.len() != counts.len() {
        bail!("{} cases were run, {} counted", cases.len(), counts.len());
    }
    Ok(cases.into_iter().zip(counts).collect())
}

/// Standard output of a command, which stays in `target/identity/`.
fn output(command: &mut Command, name: &str) -> Result<String> {
    machines::output(command, &folder().join(format!("{}.txt", name.replace(' ', "-"))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn report(texts: &[&str]) -> Report {
        let texts = texts.iter().map(|text| text.to_string()).collect();
        Report { hash: String::new(), texts, stack_bytes: None }
    }

    #[test]
    fn the_first_difference_is_found() {
        let host = report(&["0 aa bb cc", "1 aa bb cc", "2 aa bb cc"]);
        assert_eq!(host.first_difference(&report(&["0 aa bb cc"])), None);
        let other = report(&["0 aa bb cc", "1 ab bb cd", "2 00 00 00"]);
        assert_eq!(host.first_difference(&other).unwrap(), "text 1, model 0 and 2");
    }

    #[test]
    fn counts_belong_to_cases() {
        let printed = "case 0 joint 16\ncase 1 span 48\nstack 5\n";
        let counts = join(printed, vec![7, 8]).unwrap();
        assert_eq!(counts, [("joint 16".to_string(), 7), ("span 48".to_string(), 8)]);
        assert!(join(printed, vec![7]).is_err());
        assert!(join("", vec![]).is_err());
    }
}
