//! What the repository says the outputs and the instructions are.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::shell;

/// By how many percent the instructions of an inference may rise.
const MOST_RISE_PERCENT: u128 = 2;

/// Instructions of an inference by case, in the order of the cases.
pub type Counts = Vec<(String, u64)>;

/// The recorded values.
pub struct Record(Value);

impl Record {
    fn path() -> PathBuf {
        shell::root().join("tests/golden/identity.json")
    }

    /// Reads the file; an absent one has recorded nothing.
    ///
    /// # Errors
    ///
    /// If the file is there and is not JSON.
    pub fn read() -> Result<Self> {
        let path = Self::path();
        let Ok(text) = std::fs::read_to_string(&path) else {
            return Ok(Record(json!({ "sha256": {}, "instructions": {} })));
        };
        let value = serde_json::from_str(&text);
        Ok(Record(value.with_context(|| format!("{} is not JSON", path.display()))?))
    }

    /// The hash of the outputs for the first `texts` texts.
    pub fn hash(&self, texts: usize) -> Option<&str> {
        self.0["sha256"][texts.to_string()].as_str()
    }

    /// Takes a hash.
    pub fn set_hash(&mut self, texts: usize, hash: &str) {
        self.0["sha256"][texts.to_string()] = hash.into();
    }

    /// Instructions of a case on a machine, as a compiler makes it.
    pub fn count(&self, compiler: &str, machine: &str, case: &str) -> Option<u64> {
        self.0["instructions"].get(compiler)?.get(machine)?.get(case)?.as_u64()
    }

    /// Takes the counts of a machine.
    pub fn set_counts(&mut self, compiler: &str, machine: &str, counts: &Counts) {
        let counts: Map<String, Value> =
            counts.iter().map(|(case, count)| (case.clone(), (*count).into())).collect();
        self.0["instructions"][compiler][machine] = counts.into();
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    ///
    /// If that is not possible.
    pub fn write(&self) -> Result<()> {
        let path = Self::path();
        let draft = path.with_extension("json.new");
        std::fs::write(&draft, format!("{:#}\n", self.0))?;
        std::fs::rename(&draft, &path).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// How a count compares with the recorded one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// Nothing is recorded for this compiler.
    Unrecorded,
    /// Relative change, within what is allowed.
    Allowed(f64),
    /// Relative change, beyond it.
    Risen(f64),
}

impl Change {
    /// Compares.
    pub fn of(count: u64, recorded: Option<u64>) -> Self {
        let Some(recorded) = recorded else {
            return Change::Unrecorded;
        };
        let change = count as f64 / recorded.max(1) as f64 - 1.0;
        // In whole numbers, so that exactly so much is allowed.
        let most = u128::from(recorded) * (100 + MOST_RISE_PERCENT);
        if u128::from(count) * 100 > most { Change::Risen(change) } else { Change::Allowed(change) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rise_of_more_than_two_percent_is_told() {
        assert_eq!(Change::of(1000, None), Change::Unrecorded);
        assert_eq!(Change::of(1000, Some(1000)), Change::Allowed(0.0));
        assert!(matches!(Change::of(1020, Some(1000)), Change::Allowed(_)));
        assert!(matches!(Change::of(1021, Some(1000)), Change::Risen(_)));
        assert!(matches!(Change::of(500, Some(1000)), Change::Allowed(_)));
    }

    #[test]
    fn what_is_taken_is_given() {
        let mut record = Record(json!({ "sha256": {}, "instructions": {} }));
        record.set_hash(96, "ab");
        record.set_counts("rustc 1.95.0", "m4", &vec![("joint 16".into(), 7)]);
        assert_eq!(record.hash(96), Some("ab"));
        assert_eq!(record.hash(97), None);
        assert_eq!(record.count("rustc 1.95.0", "m4", "joint 16"), Some(7));
        assert_eq!(record.count("rustc 1.95.0", "m4", "joint 17"), None);
        assert_eq!(record.count("rustc 1.96.0", "m4", "joint 16"), None);
    }
}
