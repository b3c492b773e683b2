//! What `run.sh` left behind.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// A folder of results.
pub struct Results {
    /// `machine.json`.
    pub machine: Value,
    /// Every measurement, in the order in which it was made.
    pub lines: Vec<Value>,
    /// How each step of the run ended.
    pub steps: Vec<Value>,
}

/// An operation's time beside that of PyTorch.
pub struct Pair<'a> {
    /// What was measured.
    pub case: &'a str,
    /// Microseconds of ours.
    pub ours: f64,
    /// Microseconds of the fastest way of PyTorch, and which that is; `None` if it was not measured.
    pub peer: Option<(f64, &'a str)>,
    /// Our line.
    pub line: &'a Value,
}

impl Pair<'_> {
    /// Speed of ours over the peer's: above 1 is faster.
    pub fn ratio(&self) -> Option<f64> {
        self.peer.map(|(us, _)| us / self.ours)
    }
}

/// Ours and the peers' time of one training step.
pub struct Step<'a> {
    /// Our line.
    pub line: &'a Value,
    /// Line of eager PyTorch.
    pub eager: Option<&'a Value>,
    /// Line of compiled PyTorch.
    pub compiled: Option<&'a Value>,
}

impl Results {
    /// Reads `machine.json`, `results.jsonl` and `steps.jsonl`.
    ///
    /// # Errors
    ///
    /// A file that is missing or holds something else; the message names file and line.
    pub fn read(folder: &Path) -> Result<Self> {
        let machine = folder.join("machine.json");
        let text = read(&machine)?;
        Ok(Self {
            machine: serde_json::from_str(&text).with_context(|| machine.display().to_string())?,
            lines: lines(&folder.join("results.jsonl"))?,
            steps: lines(&folder.join("steps.jsonl"))?,
        })
    }

    /// Lines of a kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.lines.iter().filter(move |line| line["kind"] == kind)
    }

    /// Operations `op` in `precision`, each beside the fastest of PyTorch.
    pub fn pairs(&self, op: &str, precision: &str) -> Vec<Pair<'_>> {
        let of_op: Vec<&Value> = self
            .of_kind("kernel")
            .filter(|line| line["op"] == op && line["precision"] == precision)
            .collect();
        let ours = of_op.iter().filter(|line| line["by"] == "bert-trainer");
        ours.filter_map(|line| {
            let theirs = of_op
                .iter()
                .filter(|peer| peer["by"] == "torch" && peer["case"] == line["case"])
                .filter_map(|peer| Some((peer["us"].as_f64()?, peer["how"].as_str()?)));
            Some(Pair {
                case: line["case"].as_str()?,
                ours: line["us"].as_f64()?,
                peer: theirs.min_by(|a, b| a.0.total_cmp(&b.0)),
                line,
            })
        })
        .collect()
    }

    /// Training steps of ours with the peers' of the same sizes.
    pub fn training(&self) -> Vec<Step<'_>> {
        const SAME: [&str; 6] =
            ["config", "batch_size", "max_length", "ragged", "precision", "device"];
        let timed = |by: &'static str| {
            self.of_kind("step")
                .filter(move |line| line["by"] == by && milliseconds(line).is_some())
        };
        timed("bert-trainer")
            .map(|line| {
                let peer =
                    |by| timed(by).find(|peer| SAME.iter().all(|key| peer[*key] == line[*key]));
                Step { line, eager: peer("torch eager"), compiled: peer("torch compiled") }
            })
            .collect()
    }
}

/// Median time of a step.
pub fn milliseconds(line: &Value) -> Option<f64> {
    line["median_step_ms"].as_f64()
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The last line may be cut: the process that wrote it may have been killed.
fn lines(path: &Path) -> Result<Vec<Value>> {
    let text = read(path)?;
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let parsed = whole.lines().enumerate().map(|(at, line)| {
        let place = || format!("{}:{}: expected a JSON object", path.display(), at + 1);
        serde_json::from_str(line).with_context(place)
    });
    parsed.collect()
}
