//! This machine: each of its SIMD paths, and the scalar one, which defines the outputs.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::ask::{Report, count_by_callgrind};
use super::record::{Counts, Record};
use super::{ALL, Answer, Args, BRIEF, BRIEFEST, Counted, Row, Verdict, build};
use crate::{packages, shell, targets};

/// The path that defines the outputs.
const SCALAR: &str = "scalar";
/// The paths whose instructions valgrind knows.
const COUNTED: [&str; 2] = [SCALAR, "avx2"];

/// The runner, and the answers of its scalar path by number of sentences.
pub struct Host {
    runner: PathBuf,
    answers: Vec<(usize, Arc<Report>)>,
}

impl Host {
    /// Builds the runner, which writes the corpus for the others.
    pub fn build() -> Result<Self> {
        Ok(Host { runner: build::host()?, answers: Vec::new() })
    }

    /// What the scalar path answers for so many sentences.
    pub fn reference(&mut self, sentences: usize) -> Result<Arc<Report>> {
        if let Some((_, report)) = self.answers.iter().find(|(known, _)| *known == sentences) {
            return Ok(report.clone());
        }
        let report = Arc::new(self.ask(SCALAR, sentences)?);
        self.answers.push((sentences, report.clone()));
        Ok(report)
    }

    /// A row for each path, if the host is asked.
    pub fn rows(&mut self, args: &Args) -> Result<Vec<Row>> {
        if !args.wants("host") {
            return Ok(Vec::new());
        }
        let sentences = args.sentences(ALL);
        let mut paths = Command::new(&self.runner);
        let paths = shell::output_within(paths.arg("paths"), Duration::from_secs(30))
            .context("the runner does not say what paths there are")?;
        let counter = packages::program("valgrind", "valgrind", "counting instructions");
        let mut rows = Vec::new();
        for path in paths.lines() {
            let began = Instant::now();
            let report = self.ask(path, sentences)?;
            let seconds = began.elapsed().as_secs_f64();
            let verdict = Verdict::of(&report, &*self.reference(sentences)?);
            let counted = match &counter {
                _ if !COUNTED.contains(&path) => Counted::Not("valgrind does not know it".into()),
                Err(error) => Counted::Not(format!("{error:#}")),
                Ok(()) => Counted::of(self.count(path)),
            };
            rows.push(Row {
                machine: format!("host {path}"),
                verdict,
                answer: Some(Answer { sentences, hash: report.hash, stack_bytes: None, seconds }),
                counted,
            });
        }
        Ok(rows)
    }

    fn ask(&self, path: &str, sentences: usize) -> Result<Report> {
        let mut command = Command::new(&self.runner);
        command.args(["identity", &sentences.to_string()]).env("BERT_ARCH", path);
        Report::ask(&mut command, &format!("host-{path}-{sentences}"))
    }

    fn count(&self, path: &str) -> Result<(String, Counts)> {
        let counts = count_by_callgrind(&self.runner, path, &format!("host-{path}-count"))?;
        Ok((targets::version(&targets::active())?, counts))
    }

    /// Records the hashes of all numbers of sentences that are usually asked.
    pub fn record(&mut self, record: &mut Record) -> Result<()> {
        for sentences in [BRIEFEST, BRIEF, ALL] {
            let hash = self.reference(sentences)?.hash.clone();
            record.set_hash(sentences, &hash);
        }
        Ok(())
    }

    /// How the outputs of the scalar path differ from what is recorded.
    pub fn changes(&self, record: &Record) -> Vec<String> {
        let changed = self.answers.iter().filter_map(|(sentences, report)| {
            let recorded = record.hash(*sentences)?;
            (recorded != report.hash).then(|| {
                format!(
                    "host {SCALAR}: the outputs for {sentences} sentences hash to {:.12}, recorded is \
                     {recorded:.12}: the arithmetic changed; if that is meant, its revision goes up, \
                     then `cargo xtask identity --record`",
                    report.hash
                )
            })
        });
        changed.collect()
    }
}
