//! Two pre-trainings that should be one.

use std::path::Path;

use bert_trainer::model::LoadedCheckpoint;
use serde_json::Value;

use crate::golden::relative_error;

/// Weights after some steps, in the Euclidean norm, where sums ran in another order.
pub const MAX_WEIGHT_ERROR: f64 = 1e-4;
/// Losses and gradient norms of a step.
pub const MAX_METRIC_ERROR: f64 = 1e-4;

/// Checks that two pre-trainings are the same but for the order of sums.
///
/// # Panics
///
/// If they differ by more, or cannot be read.
pub fn check_same_run(found: &Path, expected: &Path) {
    let [found_lines, expected_lines] = [found, expected].map(metrics);
    assert_eq!(found_lines.len(), expected_lines.len());
    for (found, expected) in found_lines.iter().zip(&expected_lines) {
        for name in ["step", "tokens", "learning_rate"] {
            assert_eq!(found[name], expected[name], "{name}");
        }
        for name in ["mlm_loss", "nsp_loss", "gradient_norm"] {
            let number = |line: &Value| line[name].as_f64().expect("a number");
            let (found, expected) = (number(found), number(expected));
            let error = (found - expected).abs() / expected.abs();
            eprintln!("{name} {error}");
            assert!(error < MAX_METRIC_ERROR, "{name}: {found} instead of {expected}");
        }
    }
    let weights = |dir: &Path| LoadedCheckpoint::open(dir).expect("a checkpoint").values().to_vec();
    let error = relative_error(&weights(found), &weights(expected), 0.0);
    eprintln!("weights {error}");
    assert!(error < MAX_WEIGHT_ERROR, "weights differ by {error}");
}

/// The lines of `metrics.jsonl`.
fn metrics(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("metrics.jsonl")).expect("metrics.jsonl");
    text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
}
