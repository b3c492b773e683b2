//! The same output bytes on every machine, and no more instructions than before.
//!
//! The host's scalar path answers first; every other path and machine is compared with it, and it
//! with what `tests/golden/identity.json` records. The crate `bert-identity` is what is asked.

mod ask;
mod build;
mod emulated;
mod host;
mod record;
mod table;

use anyhow::{Result, bail};

use ask::Report;
use host::Host;
use record::{Change, Counts, Record};

use crate::machines::{MACHINES, Machine};

/// All sentences of the corpus.
const ALL: usize = 2048;
/// Sentences that an emulated board is asked, unless told otherwise.
const BRIEF: usize = 96;
/// Sentences that CI asks of each machine.
const BRIEFEST: usize = 32;

/// Arguments of `cargo xtask identity`.
#[derive(clap::Args, Default)]
pub struct Args {
    /// Who is asked; without it all. What a machine needs and is missing here is an error only if
    /// the machine is named.
    #[arg(value_parser = names())]
    machines: Vec<String>,
    /// Sentences of the corpus; without it all of them, or as many as a board answers in a minute.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sentences: Option<u32>,
    /// Takes what comes out as what must come out.
    #[arg(long)]
    record: bool,
}

fn names() -> Vec<&'static str> {
    let mut names = vec!["all", "host"];
    names.extend(MACHINES.iter().map(Machine::group));
    names.dedup();
    names
}

impl Args {
    /// What CI asks.
    pub fn brief() -> Self {
        Args { sentences: Some(BRIEFEST as u32), ..Self::default() }
    }

    fn names(&self, machine: &str) -> bool {
        self.machines.iter().any(|name| name == machine)
    }

    fn wants(&self, machine: &str) -> bool {
        self.machines.is_empty() || self.names("all") || self.names(machine)
    }

    /// How many sentences a machine is asked that answers `usual` in good time.
    fn sentences(&self, usual: usize) -> usize {
        self.sentences.map_or(usual, |sentences| (sentences as usize).min(ALL))
    }
}

/// What is known about one machine after it was asked.
struct Row {
    machine: String,
    verdict: Verdict,
    /// Hash, stack and time, if it answered.
    answer: Option<Answer>,
    counted: Counted,
}

struct Answer {
    sentences: usize,
    hash: String,
    stack_bytes: Option<u64>,
    seconds: f64,
}

/// The instructions of a machine.
enum Counted {
    /// As this compiler makes it.
    By(String, Counts),
    /// There is no counter for it here.
    Not(String),
    /// The counter failed.
    Failed(String),
}

impl Counted {
    fn of(counts: Result<(String, Counts)>) -> Self {
        match counts {
            Ok((compiler, counts)) => Counted::By(compiler, counts),
            Err(error) => Counted::Failed(format!("{error:#}")),
        }
    }
}

/// How a machine's outputs compare.
#[derive(Clone)]
enum Verdict {
    /// They are those of the host's scalar path.
    Same,
    /// They differ, first there.
    Differs(String),
    /// The machine could not be asked.
    LeftOut(String),
    /// It gave no answer.
    Failed(String),
}

impl Verdict {
    fn of(report: &Report, reference: &Report) -> Self {
        if report.hash == reference.hash {
            return Verdict::Same;
        }
        let place = report.first_difference(reference);
        Verdict::Differs(place.unwrap_or_else(|| "what no text shows".into()))
    }
}

/// Asks, prints the table, writes `target/identity.json`, and fails if anything is not as it must be.
pub fn run(args: &Args) -> Result<()> {
    let mut record = Record::read()?;
    let mut host = Host::build()?;
    let mut rows = host.rows(args)?;
    rows.extend(emulated::rows(args, &mut host));
    if args.record {
        host.record(&mut record)?;
        rows.iter().for_each(|row| {
            if let Counted::By(compiler, counts) = &row.counted {
                record.set_counts(compiler, &row.machine, counts);
            }
        });
        record.write()?;
    }
    table::print(&rows, &record);
    table::write(&rows)?;
    let failures =
        [host.changes(&record), rows.iter().flat_map(|row| row.failures(&record)).collect()];
    let failures = failures.concat();
    if failures.is_empty() {
        return Ok(());
    }
    bail!("{}", failures.join("\n       "))
}

impl Row {
    /// What must not be.
    fn failures(&self, record: &Record) -> Vec<String> {
        let machine = &self.machine;
        let mut failures = match &self.verdict {
            Verdict::Same | Verdict::LeftOut(_) => Vec::new(),
            verdict => vec![format!("{machine}: {verdict}")],
        };
        match &self.counted {
            Counted::By(compiler, counts) => {
                failures.extend(counts.iter().filter_map(|(case, count)| {
                    let recorded = record.count(compiler, machine, case);
                    let Change::Risen(change) = Change::of(*count, recorded) else {
                        return None;
                    };
                    Some(format!(
                        "{machine}: {:.1} % more instructions for {case} than recorded; if that is \
                         meant, `cargo xtask identity --record`",
                        100.0 * change
                    ))
                }));
            }
            Counted::Failed(error) => failures.push(format!("{machine} was not counted: {error}")),
            Counted::Not(_) => {}
        }
        failures
    }
}
