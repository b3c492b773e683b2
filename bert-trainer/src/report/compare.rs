//! Several runs beside each other: those that differ only by seed are one row, with the mean and the
//! standard deviation of each metric.

use serde_json::{Map, Value, json};

use super::Run;

/// Runs that differ by nothing but their seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Places among the runs, ascending.
    pub runs: Vec<usize>,
    /// Options in which this group differs from others, by name. An option that a run does not have
    /// is `null`.
    pub options: Vec<(String, Value)>,
    /// The metrics of the group's runs, in the order of the first run.
    pub metrics: Vec<(String, Spread)>,
}

/// A figure over several runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation of the sample, `√(Σ (x − mean)² / (n − 1))`; `None` of a single run.
    pub deviation: Option<f64>,
    /// Runs that have the figure.
    pub runs: usize,
}

/// Options that do not make a run another one.
const INDIFFERENT: [&str; 2] = ["seed", "output"];

/// Puts together the runs that have the same command, task, options, model and data; groups in the
/// order of their first runs.
pub fn groups(runs: &[Run]) -> Vec<Group> {
    let identities: Vec<Map<String, Value>> = runs.iter().map(identity).collect();
    let mut members: Vec<Vec<usize>> = Vec::new();
    for (run, identity) in identities.iter().enumerate() {
        let same = |group: &&mut Vec<usize>| same_object(&identities[group[0]], identity);
        match members.iter_mut().find(same) {
            Some(group) => group.push(run),
            None => members.push(vec![run]),
        }
    }
    let firsts: Vec<usize> = members.iter().map(|runs| runs[0]).collect();
    let differing = differing_keys(firsts.iter().map(|&first| &identities[first]));
    let group = |members: Vec<usize>| {
        let own = &identities[members[0]];
        let value = |key: &String| (key.clone(), own.get(key).cloned().unwrap_or_default());
        let options = differing.iter().map(value).collect();
        Group { metrics: spreads(runs, &members), runs: members, options }
    };
    members.into_iter().map(group).collect()
}

impl Spread {
    /// Mean and deviation of values; `None` without any.
    pub fn of(values: &[f64]) -> Option<Self> {
        let runs = values.len();
        if runs == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / runs as f64;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let deviation = (runs > 1).then(|| (squares / (runs - 1) as f64).sqrt());
        Some(Self { mean, deviation, runs })
    }
}

/// All that distinguishes a run, flat, by names that can be shown.
fn identity(run: &Run) -> Map<String, Value> {
    let record = &run.record;
    let mut all = Map::new();
    all.insert("command".into(), json!(record.command));
    all.insert("task".into(), json!(record.task));
    for (name, value) in record.configuration.iter().chain(&record.model) {
        if !INDIFFERENT.contains(&name.as_str()) {
            all.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    for file in &record.data {
        // Two files of a role are one value; which they are is what counts.
        let known = all.entry(format!("{} data", file.role)).or_insert_with(|| json!(""));
        let digest: String = file.sha256.chars().take(12).collect();
        let text = format!("{} {} {digest}", known.as_str().unwrap_or_default(), file.file);
        *known = json!(text.trim());
    }
    all
}

/// Equality of objects whatever the order of their keys.
fn same_object(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    a.len() == b.len() && a.iter().all(|(key, value)| b.get(key) == Some(value))
}

fn differing_keys<'a>(
    identities: impl Iterator<Item = &'a Map<String, Value>> + Clone,
) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for identity in identities.clone() {
        for key in identity.keys().filter(|key| !keys.contains(key)).collect::<Vec<_>>() {
            keys.push(key.clone());
        }
    }
    keys.retain(|key| {
        let mut values = identities.clone().map(|identity| identity.get(key));
        let first = values.next();
        values.any(|value| Some(value) != first)
    });
    keys
}

fn spreads(runs: &[Run], members: &[usize]) -> Vec<(String, Spread)> {
    let results: Vec<_> = members.iter().map(|&run| runs[run].result()).collect();
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in results.iter().flat_map(|result| result.iter()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let spread = |name: &str| {
        let values: Vec<f64> = results.iter().filter_map(|result| result.value(name)).collect();
        Some((name.to_owned(), Spread::of(&values)?))
    };
    names.into_iter().filter_map(spread).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::{DataFile, EpochRecord, RunRecord};

    fn run(options: Value, sha256: &str, accuracy: f64) -> Run {
        let mut record = RunRecord::begin("finetune", "classify", &options);
        record.data =
            vec![DataFile { role: "train".into(), sha256: sha256.into(), ..Default::default() }];
        let metrics = [("accuracy", accuracy)].into_iter().collect();
        record.push_epoch(EpochRecord { epoch: 1, metrics, ..Default::default() });
        Run { name: "run".into(), directory: "run".into(), lines: Vec::new(), record }
    }

    #[test]
    fn runs_that_differ_by_seed_only_are_one_group() {
        let runs = [
            run(json!({ "rate": 1, "seed": 1, "output": "a" }), "00", 0.25),
            run(json!({ "rate": 2, "seed": 1, "output": "b" }), "00", 0.5),
            run(json!({ "seed": 2, "output": "c", "rate": 1 }), "00", 0.75),
            run(json!({ "rate": 1, "seed": 1, "output": "d" }), "11", 1.0),
        ];
        let groups = groups(&runs);
        let members: Vec<_> = groups.iter().map(|group| group.runs.clone()).collect();
        assert_eq!(members, [vec![0, 2], vec![1], vec![3]]);
        let keys: Vec<_> = groups[0].options.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["rate", "train data"]);
        let spread = groups[0].metrics[0].1;
        assert_eq!((spread.mean, spread.runs), (0.5, 2));
        // (0.25² + 0.25²) / 1
        assert_eq!(spread.deviation, Some(0.125f64.sqrt()));
        assert_eq!(groups[1].metrics[0].1, Spread { mean: 0.5, deviation: None, runs: 1 });
    }

    #[test]
    fn a_spread_is_that_of_the_sample() {
        // statistics.stdev([2, 4, 4, 4, 5, 5, 7, 9]) is 2.138089935299395.
        let spread = Spread::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
        assert_eq!(spread.mean, 5.0);
        assert!((spread.deviation.unwrap() - 2.138_089_935_299_395).abs() < 1e-15);
        assert_eq!(Spread::of(&[]), None);
    }
}
