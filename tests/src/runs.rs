//! Two pre-trainings that should be one.

use std::path::Path;

use bert_trainer::model::LoadedCheckpoint;
use serde_json::Value;

use crate::golden::relative_error;

/// Losses and gradient norms of a step, where sums ran in another order: a sum of n terms is off by n
/// halves of an ulp at most, 6e-8 of it each, and here n is some hundreds. Other masks or shares are off
/// by percents.
const MAX_METRIC_ERROR: f64 = 1e-5;
/// Weights after K steps, in the Euclidean norm. A step moves a weight by the learning rate at most,
/// 1e-3, and by as large a part more or less as the gradient is off, 1e-5; weights are 0.02 and more, K
/// is 12 at most: K · 1e-3 · 1e-5 / 0.02.
const MAX_WEIGHT_ERROR: f64 = 6e-6;

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
            assert!(error < MAX_METRIC_ERROR, "{name}: {found} instead of {expected}");
        }
    }
    let weights = |dir: &Path| LoadedCheckpoint::open(dir).expect("a checkpoint").values().to_vec();
    let error = relative_error(&weights(found), &weights(expected), 0.0);
    assert!(error < MAX_WEIGHT_ERROR, "weights differ by {error}");
}

/// The lines of `metrics.jsonl`.
fn metrics(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("metrics.jsonl")).expect("metrics.jsonl");
    text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
}
