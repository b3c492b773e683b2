//! A worker process: one engine with one model, pinned to one core, asked line by line.
//!
//! The lines are those of `tests/peers/engines/protocol`.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::shell;

/// A worker that is silent for so long has failed.
const PATIENCE: Duration = Duration::from_secs(180);

/// One thread, whoever asks for threads by which variable.
const ONE_THREAD: [&str; 4] =
    ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "RTEN_NUM_THREADS"];

/// A running worker.
pub struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<String>,
    log: std::path::PathBuf,
    /// What it said about itself.
    pub detail: String,
}

impl Worker {
    /// Starts `command` on `core` and waits until it is ready; its stderr goes to `log`.
    ///
    /// # Errors
    /// It cannot be started, or ends or is silent before it is ready: with the end of what it said.
    pub fn start(command: &Command, core: usize, log: &Path) -> Result<Self> {
        let mut pinned = pinned(command, core);
        let stderr =
            File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        pinned.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        let mut child =
            pinned.spawn().with_context(|| format!("cannot start `{}`", shell::shown(&pinned)))?;
        let output = child.stdout.take().context("no standard output")?;
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let input = child.stdin.take();
        let mut worker = Self { child, input, answers, log: log.to_owned(), detail: String::new() };
        let line = worker.answer()?;
        let Some(detail) = line.strip_prefix("ready") else {
            bail!("expected `ready`, found `{line}`")
        };
        worker.detail = detail.trim().into();
        Ok(worker)
    }

    /// Milliseconds of each of `count` inferences of the ids in a file.
    ///
    /// # Errors
    /// As [`Worker::start`].
    pub fn run(&mut self, ids: &Path, count: usize) -> Result<Vec<f64>> {
        let line = self.ask(&format!("run {} {count}", ids.display()))?;
        line.split_whitespace()
            .map(|word| {
                let nanoseconds: f64 =
                    word.parse().with_context(|| format!("expected times, found `{line}`"))?;
                Ok(nanoseconds / 1e6)
            })
            .collect()
    }

    /// The last layer's rows \[T, H\] for the ids in a file, by way of a file `through`.
    ///
    /// # Errors
    /// As [`Worker::start`].
    pub fn rows(&mut self, ids: &Path, through: &Path) -> Result<Vec<f32>> {
        let line = self.ask(&format!("rows {} {}", ids.display(), through.display()))?;
        let bytes =
            std::fs::read(through).with_context(|| format!("no rows after the answer `{line}`"))?;
        std::fs::remove_file(through)?;
        let values = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        Ok(values.collect())
    }

    fn ask(&mut self, request: &str) -> Result<String> {
        let input = self.input.as_mut().context("the worker has ended")?;
        // A worker that has ended says why below.
        let _ = writeln!(input, "{request}").and_then(|()| input.flush());
        self.answer()
    }

    fn answer(&mut self) -> Result<String> {
        match self.answers.recv_timeout(PATIENCE) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                // It is given up either way.
                let _ = self.child.kill();
                bail!("no answer within {} s", PATIENCE.as_secs())
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait()?;
                Err(anyhow!("{}", last_words(&self.log).unwrap_or_else(|| status.to_string())))
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The end of its input ends it; one that does not listen is ended.
        self.input = None;
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(5) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `command` on one core with one thread. Without `taskset` it runs where the system puts it.
pub fn pinned(command: &Command, core: usize) -> Command {
    let mut pinned = match shell::which("taskset") {
        Some(taskset) => {
            let mut pinned = Command::new(taskset);
            pinned.args(["-c", &core.to_string()]).arg(command.get_program());
            pinned
        }
        None => Command::new(command.get_program()),
    };
    pinned.args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            pinned.env(name, value);
        }
    }
    for name in ONE_THREAD {
        pinned.env(name, "1");
    }
    pinned
}

/// What a log says about a failure, in one line: an `anyhow` report with its last cause, else the last
/// line, which is the error in Python and the message in a panic.
pub fn last_words(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    let lines = || {
        let lines = text.lines().map(str::trim);
        lines.filter(|line| !line.is_empty() && !line.starts_with("note: "))
    };
    let last = lines().next_back()?;
    let line = match lines().find_map(|line| line.strip_prefix("Error: ")) {
        Some(report) if !last.ends_with(report) => {
            let cause = last.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':');
            format!("{report}: {}", cause.trim_start())
        }
        Some(report) => report.into(),
        None => last.into(),
    };
    Some(line.chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(log: &str, words: Option<&str>) {
        let name = format!("xtask-log-{}-{}.txt", std::process::id(), log.len());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, log).expect("the temporary folder can be written to");
        let found = last_words(&path);
        _ = std::fs::remove_file(path);
        assert_eq!(found.as_deref(), words);
    }

    #[test]
    fn a_failure_is_one_line() {
        check("", None);
        check("loading\nError: cannot map m\n", Some("cannot map m"));
        let report = "Error: m.bert\n\nCaused by:\n    0: section 3\n    1: checksum differs\n";
        check(report, Some("m.bert: checksum differs"));
        let traceback = "Traceback (most recent call last):\n  File …\nImportError: no onnx\n";
        check(traceback, Some("ImportError: no onnx"));
        check("panicked at a.rs:1:\nno such op\nnote: run with `RUST…\n", Some("no such op"));
    }
}
