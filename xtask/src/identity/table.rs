//! The results as tables, and as `target/identity.json`.

use std::fmt;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::record::{Change, Record};
use super::{Counted, Row, Verdict};
use crate::shell;

/// Digits of a hash that are shown.
const SHOWN: usize = 12;

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Same => f.write_str("same"),
            Verdict::Differs(place) => {
                write!(f, "DIFFERS from the scalar path of the host, first in {place}")
            }
            Verdict::LeftOut(reason) => write!(f, "left out: {}", first_line(reason)),
            Verdict::Failed(error) => write!(f, "FAILED: {error}"),
        }
    }
}

/// Prints outputs and instructions, a line for each machine.
pub fn print(rows: &[Row], record: &Record) {
    println!(
        "\n{:<16} {:>9} {:<SHOWN$} {:>7} {:>7}  outputs",
        "machine", "sentences", "sha256", "stack", "seconds"
    );
    for row in rows {
        let (mut sentences, mut hash, mut stack, mut seconds) = Default::default();
        if let Some(answer) = &row.answer {
            sentences = answer.sentences.to_string();
            hash = answer.hash.chars().take(SHOWN).collect::<String>();
            stack = answer.stack_bytes.map(|bytes| bytes.to_string()).unwrap_or_default();
            seconds = format!("{:.1}", answer.seconds);
        }
        println!(
            "{:<16} {sentences:>9} {hash:<SHOWN$} {stack:>7} {seconds:>7}  {}",
            row.machine, row.verdict
        );
    }
    println!("\nMillions of instructions of an inference, by model and tokens:");
    let mut heading = false;
    for row in rows {
        let (compiler, counts) = match &row.counted {
            Counted::By(compiler, counts) => (compiler, counts),
            Counted::Not(reason) | Counted::Failed(reason) => {
                println!("{:<16} not counted: {}", row.machine, first_line(reason));
                continue;
            }
        };
        if !heading {
            let cases: String = counts.iter().map(|(case, _)| format!(" {case:>10}")).collect();
            println!("{:<16}{cases}  compiler", "machine");
            heading = true;
        }
        let numbers: String =
            counts.iter().map(|(_, n)| format!(" {:>10.3}", *n as f64 / 1e6)).collect();
        let changes = counts
            .iter()
            .map(|(case, count)| Change::of(*count, record.count(compiler, &row.machine, case)));
        println!("{:<16}{numbers}  {compiler}, {}", row.machine, summary(changes));
    }
}

/// The worst of the changes in words.
fn summary(changes: impl Iterator<Item = Change>) -> String {
    let mut worst: Option<f64> = None;
    for change in changes {
        match change {
            Change::Unrecorded => return "not recorded".into(),
            Change::Allowed(by) | Change::Risen(by) => {
                worst = Some(worst.map_or(by, |worst| worst.max(by)));
            }
        }
    }
    match worst {
        Some(0.0) | None => "as recorded".into(),
        Some(by) => format!("{:+.2} % at worst", 100.0 * by),
    }
}

/// Writes what the tables say, in full.
pub fn write(rows: &[Row]) -> Result<()> {
    let machine = |row: &Row| {
        let answer = row.answer.as_ref();
        let (compiler, instructions) = match &row.counted {
            Counted::By(compiler, counts) => {
                let counts = counts.iter().map(|(case, count)| (case.clone(), (*count).into()));
                (json!(compiler), Value::Object(counts.collect()))
            }
            Counted::Not(_) | Counted::Failed(_) => (Value::Null, Value::Null),
        };
        json!({
            "machine": row.machine,
            "outputs": row.verdict.to_string(),
            "sentences": answer.map(|answer| answer.sentences),
            "sha256": answer.map(|answer| &answer.hash),
            "stack_bytes": answer.and_then(|answer| answer.stack_bytes),
            "seconds": answer.map(|answer| answer.seconds),
            "compiler": compiler,
            "instructions": instructions,
        })
    };
    let path = shell::target_dir().join("identity.json");
    let rows: Vec<Value> = rows.iter().map(machine).collect();
    std::fs::write(&path, format!("{:#}\n", Value::from(rows)))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
