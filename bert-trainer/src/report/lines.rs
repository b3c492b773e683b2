//! Reading `metrics.jsonl`: one JSON object a line, each with its `step`, in ascending order.
//!
//! Keys the report does not know are passed over; those it draws must be finite numbers.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use super::record::is_missing;
use super::{Metrics, ReportError};
use crate::log::METRICS_FILE;

/// Figures of a run at one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Steps done.
    pub step: u64,
    /// What the report draws, in the order of the line: see [`is_drawn`].
    pub metrics: Metrics,
}

/// Whether the report draws what stands under this key: losses, accuracies, the learning rate and
/// the norm of the gradient. `tokens` is not drawn, but shown.
pub fn is_drawn(key: &str) -> bool {
    let of_kind = |kind: &str| {
        key.strip_suffix(kind).is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
    };
    of_kind("loss") || of_kind("accuracy") || ["learning_rate", "gradient_norm"].contains(&key)
}

/// Reads `directory/metrics.jsonl`; no lines if there is no such file.
///
/// What stands behind the last line end was not finished, by a run that was killed or still writes,
/// and is passed over unless it is whole.
///
/// # Errors
/// The file cannot be read; a line is no object with an integer `step`, its step is below that of
/// the line before, or a figure is no finite number. File and line are named.
pub fn read_lines(directory: &Path) -> Result<Vec<Line>, ReportError> {
    let path = directory.join(METRICS_FILE);
    let bytes = match fs::read(&path) {
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        bytes => bytes.map_err(|source| ReportError::read(&path, source))?,
    };
    let mut lines: Vec<Line> = Vec::new();
    for (index, bytes) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let fail = |expected: &str, found: String| {
            ReportError::line(&path, index as u64 + 1, expected, found)
        };
        let object = match serde_json::from_slice::<Map<String, Value>>(bytes) {
            Ok(object) => object,
            Err(_) if bytes.last() != Some(&b'\n') => break,
            Err(error) => {
                return Err(fail("a JSON object with a `step`", describe(bytes, &error)));
            }
        };
        let step = object.get("step").unwrap_or(&Value::Null);
        let step = step
            .as_u64()
            .ok_or_else(|| fail("a `step` that is a whole number", step.to_string()))?;
        if let Some(last) = lines.last().filter(|last| last.step > step) {
            return Err(fail(&format!("a step of {} or more", last.step), step.to_string()));
        }
        let mut metrics = Metrics::default();
        for (key, value) in object.into_iter().filter(|(key, _)| is_drawn(key) || key == "tokens") {
            let number = value.as_f64().filter(|number| number.is_finite());
            let number = number
                .ok_or_else(|| fail(&format!("a finite number as `{key}`"), value.to_string()))?;
            metrics.insert(key, number);
        }
        lines.push(Line { step, metrics });
    }
    Ok(lines)
}

/// `"{\"step\":3,"` (EOF while parsing …)
fn describe(line: &[u8], error: &serde_json::Error) -> String {
    const SHOWN: usize = 40;
    let text = String::from_utf8_lossy(line);
    let text = text.trim();
    let start: String = text.chars().take(SHOWN).collect();
    let more = if start.len() < text.len() { "…" } else { "" };
    // The line is named in front; serde counts lines of its own.
    let reason = error.to_string();
    let reason = reason.split(" at line ").next().unwrap_or_default();
    format!("`{}{more}` ({reason})", start.escape_debug())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &[u8]) -> Result<Vec<Line>, String> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(METRICS_FILE), text).unwrap();
        read_lines(dir.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn unknown_keys_and_an_unfinished_line_are_passed_over() {
        let text = b"{\"step\":1,\"note\":null,\"mlm_loss\":2,\"glossy\":\"x\",\"tokens\":7}\n\
                     {\"step\":1,\"slot_loss\":0.5,\"nested\":{\"a\":[1]}}\n\
                     {\"step\":3,\"loss\":1.2";
        let lines = read(text).unwrap();
        let metrics = [[("mlm_loss", 2.0), ("tokens", 7.0)].into_iter().collect(), {
            [("slot_loss", 0.5)].into_iter().collect::<Metrics>()
        }];
        assert_eq!(lines.iter().map(|line| line.metrics.clone()).collect::<Vec<_>>(), metrics);
        // Whole, but without its line end.
        assert_eq!(read(b"{\"step\":4}").unwrap()[0].step, 4);
        assert_eq!(read(b"").unwrap(), []);
        assert_eq!(read_lines(Path::new("/nonexistent")).unwrap(), []);
    }

    #[test]
    fn a_broken_line_is_named() {
        let good = "{\"step\":5,\"loss\":1.0}\n";
        for (bad, expected) in [
            ("hello", "`hello`"),
            ("", "a JSON object"),
            ("{\"step\":6,", "EOF"),
            ("[5]", "a JSON object"),
            ("{\"loss\":1.0}", "a `step` that is a whole number, found null"),
            ("{\"step\":5.5}", "found 5.5"),
            ("{\"step\":-1}", "found -1"),
            ("{\"step\":4}", "a step of 5 or more, found 4"),
            ("{\"step\":6,\"loss\":null}", "a finite number as `loss`, found null"),
            ("{\"step\":6,\"nsp_accuracy\":\"1\"}", "a finite number as `nsp_accuracy`"),
            ("{\"step\":6,\"loss\":NaN}", "a JSON object"),
            ("{\"step\":6,\"loss\":1e999}", "number out of range"),
            ("\u{fffd}\u{1}", "`\u{fffd}\\u{1}`"),
        ] {
            let message = read(format!("{good}{bad}\n{good}").as_bytes()).unwrap_err();
            assert!(message.contains("metrics.jsonl:2: expected "), "{bad}: {message}");
            assert!(message.contains(expected) && !message.contains('\n'), "{bad}: {message}");
        }
        assert!(read(b"{\"step\":5}\n\xff\xfe\n").unwrap_err().contains("jsonl:2:"));
    }
}
