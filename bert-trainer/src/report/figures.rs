//! The figures of a report for a program: what `--json` prints.

use serde_json::{Map, Value, json};

use super::{Group, Run, Spread};

/// `{"runs": [{"directory", "command", "task", "seed", "steps", "epochs", "best_epoch", "metrics",
/// "int8", "seconds"}, …], "groups": [{"runs", "options", "metrics": {name: {"mean", "deviation",
/// "runs"}}}, …]}`; `runs` of a group are places among the runs, from 0.
pub fn figures(runs: &[Run], groups: &[Group]) -> Value {
    let runs: Vec<Value> = runs.iter().map(of_run).collect();
    let groups: Vec<Value> = groups.iter().map(of_group).collect();
    json!({ "runs": runs, "groups": groups })
}

fn of_run(run: &Run) -> Value {
    let record = &run.record;
    json!({
        "directory": run.directory.display().to_string(),
        "command": record.command,
        "task": record.task,
        "seed": record.configuration.get("seed"),
        "steps": run.steps(),
        "epochs": record.epochs.len(),
        "best_epoch": record.best_epoch,
        "metrics": run.result(),
        "int8": record.int8.as_ref().map(|int8| &int8.metrics),
        "seconds": record.seconds,
    })
}

fn of_group(group: &Group) -> Value {
    let options: Map<String, Value> = group.options.iter().cloned().collect();
    let spread = |(name, spread): &(String, Spread)| {
        let Spread { mean, deviation, runs } = spread;
        (name.clone(), json!({ "mean": mean, "deviation": deviation, "runs": runs }))
    };
    let metrics: Map<String, Value> = group.metrics.iter().map(spread).collect();
    json!({ "runs": group.runs, "options": options, "metrics": metrics })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::{EpochRecord, RunRecord, groups};

    #[test]
    fn figures_are_those_of_the_best_epoch() {
        let mut record = RunRecord::begin("finetune", "tag", &json!({ "seed": 5 }));
        for (epoch, f1) in [(1, 0.75), (2, 0.5)] {
            let metrics = [("f1", f1)].into_iter().collect();
            let is_best = epoch == 1;
            record.push_epoch(EpochRecord {
                epoch,
                step: 9,
                metrics,
                is_best,
                ..Default::default()
            });
        }
        let run = Run { name: "a".into(), directory: "dir/a".into(), lines: Vec::new(), record };
        let runs = [run];
        let figures = figures(&runs, &groups(&runs));
        assert_eq!(figures["runs"][0]["metrics"], json!({ "f1": 0.75 }));
        assert_eq!(figures["runs"][0]["seed"], 5);
        assert_eq!(figures["runs"][0]["best_epoch"], 1);
        let metrics = &figures["groups"][0]["metrics"];
        assert_eq!(metrics["f1"], json!({ "mean": 0.75, "deviation": null, "runs": 1 }));
    }
}
