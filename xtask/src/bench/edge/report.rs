//! What was measured as JSON and as Markdown.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::engines::{OURS, PEERS};
use super::measure::{Peak, Row, Timing};
use super::models::{MODELS, Model};

/// Everything that was measured.
#[derive(Default)]
pub struct Measured {
    pub rows: Vec<Row>,
    pub peaks: Vec<Peak>,
}

/// Ours beside the fastest peer.
pub struct Comparison {
    /// The peer's engine.
    pub best: &'static str,
    /// Median of ours over median of the peer.
    pub ratio: f64,
}

impl Measured {
    /// The fastest way of a peer at a size and length, with its times.
    pub fn fastest<'a>(
        &'a self,
        model: &'a str,
        tokens: usize,
        peer: &str,
    ) -> Option<(&'a Row, Timing)> {
        self.timed(model, tokens)
            .filter(|(row, _)| row.peer == peer)
            .min_by(|(_, a), (_, b)| a.median_ms.total_cmp(&b.median_ms))
    }

    /// Ours beside the fastest peer, if both have times.
    pub fn comparison(&self, model: &str, tokens: usize) -> Option<Comparison> {
        let (_, ours) = self.fastest(model, tokens, OURS)?;
        let peers = self.timed(model, tokens).filter(|(row, _)| row.peer != OURS);
        let (best, theirs) = peers.min_by(|(_, a), (_, b)| a.median_ms.total_cmp(&b.median_ms))?;
        Some(Comparison { best: best.engine, ratio: ours.median_ms / theirs.median_ms })
    }

    /// Lengths that a size was measured at.
    pub fn lengths(&self, model: &str) -> Vec<usize> {
        let mut lengths: Vec<usize> =
            self.rows.iter().filter(|row| row.model == model).map(|row| row.tokens).collect();
        lengths.sort_unstable();
        lengths.dedup();
        lengths
    }

    /// Sizes that were measured.
    pub fn models(&self) -> impl Iterator<Item = &'static Model> {
        MODELS.iter().filter(|model| self.rows.iter().any(|row| row.model == model.name))
    }

    fn timed<'a>(
        &'a self,
        model: &'a str,
        tokens: usize,
    ) -> impl Iterator<Item = (&'a Row, Timing)> {
        let here = move |row: &&Row| row.model == model && row.tokens == tokens;
        self.rows.iter().filter(here).filter_map(|row| Some((row, *row.timing.as_ref().ok()?)))
    }

    fn peaks(&self, model: &str, tokens: usize) -> Vec<&Peak> {
        self.peaks.iter().filter(|peak| peak.model == model && peak.tokens == tokens).collect()
    }

    /// Names of the instructions whose peak was measured.
    fn instructions(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for peak in &self.peaks {
            if !names.contains(&peak.name.as_str()) {
                names.push(&peak.name);
            }
        }
        names
    }

    /// Products a second of ours.
    fn products_per_second(&self, model: &Model, tokens: usize) -> Option<f64> {
        let (_, ours) = self.fastest(model.name, tokens, OURS)?;
        Some(model.products(tokens) / (ours.median_ms / 1e3))
    }

    /// A list of objects: `model`, `tokens`, `engine`, `median_ms`, `min_ms`, `cosine` and `detail`;
    /// with `error` instead of times where there are none. Ours has `best_peer`, `ratio`,
    /// `gmacs_per_second` and `peaks` too.
    pub fn json(&self) -> Value {
        self.rows.iter().map(|row| self.row_json(row)).collect()
    }

    fn row_json(&self, row: &Row) -> Value {
        let mut value = json!({
            "model": row.model,
            "tokens": row.tokens,
            "engine": row.engine,
            "median_ms": row.timing.as_ref().ok().map(|timing| timing.median_ms),
            "min_ms": row.timing.as_ref().ok().map(|timing| timing.min_ms),
            "cosine": row.cosine,
            "detail": row.detail,
        });
        if let Err(reason) = &row.timing {
            value["error"] = json!(reason);
        }
        let model = MODELS.iter().find(|model| model.name == row.model);
        if row.peer != OURS {
            return value;
        }
        if let Some(comparison) = self.comparison(row.model, row.tokens) {
            value["best_peer"] = json!(comparison.best);
            value["ratio"] = json!(comparison.ratio);
        }
        let speed = model.and_then(|model| self.products_per_second(model, row.tokens));
        if let Some(speed) = speed {
            value["gmacs_per_second"] = json!(speed / 1e9);
            let peaks = self.peaks(row.model, row.tokens).into_iter().map(|peak| {
                json!({
                    "instruction": peak.name,
                    "gmacs_per_second": peak.products_per_second / 1e9,
                    "share": speed / peak.products_per_second,
                })
            });
            value["peaks"] = peaks.collect();
        }
        value
    }

    /// A table a size: peers by lengths, the ratio, the share of the peak; then what failed.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for model in self.models() {
            self.table(model, &mut text);
        }
        let failures = self.failures();
        if !failures.is_empty() {
            text.push_str("## Without figures\n\n");
            for failure in failures {
                _ = writeln!(text, "* {failure}");
            }
            text.push('\n');
        }
        text
    }

    fn table(&self, model: &Model, text: &mut String) {
        let lengths = self.lengths(model.name);
        let mut line = |name: &str, cells: &mut dyn Iterator<Item = String>| {
            _ = writeln!(text, "| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
        };
        let head = format!("{} ({})", model.name, model.describe());
        line(&head, &mut lengths.iter().map(|tokens| format!("{tokens} tokens")));
        line("---", &mut lengths.iter().map(|_| "--:".into()));
        for (peer, name) in PEERS {
            if !self.rows.iter().any(|row| row.model == model.name && row.peer == peer) {
                continue;
            }
            let mut cells = lengths.iter().map(|&tokens| {
                let Some((row, timing)) = self.fastest(model.name, tokens, peer) else {
                    return "–".into();
                };
                let way = row.engine.strip_prefix(peer).unwrap_or_default().replace('-', " ");
                let [median, least] = [timing.median_ms, timing.min_ms].map(milliseconds);
                format!("{median} ({least}){way}")
            });
            line(name, &mut cells);
        }
        let mut ratios = lengths.iter().map(|&tokens| {
            let comparison = self.comparison(model.name, tokens);
            comparison.map_or("–".into(), |comparison| format!("**{:.2}**", comparison.ratio))
        });
        line("**bert-core / best peer**", &mut ratios);
        for instruction in self.instructions() {
            let mut shares = lengths.iter().map(|&tokens| {
                let peaks = self.peaks(model.name, tokens);
                let peak = peaks.into_iter().find(|peak| peak.name == instruction);
                let speed = self.products_per_second(model, tokens);
                peak.zip(speed).map_or("–".into(), |(peak, speed)| {
                    let share = 100.0 * speed / peak.products_per_second;
                    format!("{share:.0} % of {:.0} G/s", peak.products_per_second / 1e9)
                })
            });
            line(&format!("bert-core, share of {instruction}"), &mut shares);
        }
        text.push('\n');
    }

    /// An engine with its reason and where it holds, once.
    fn failures(&self) -> Vec<String> {
        let mut found: Vec<(&str, &str, Vec<String>)> = Vec::new();
        for row in &self.rows {
            let Err(reason) = &row.timing else { continue };
            let place = format!("{} at {}", row.model, row.tokens);
            match found.iter_mut().find(|(engine, why, _)| *engine == row.engine && why == reason) {
                Some((.., places)) => places.push(place),
                None => found.push((row.engine, reason, vec![place])),
            }
        }
        let all = self.models().map(|model| self.lengths(model.name).len()).sum::<usize>();
        let lines = found.into_iter().map(|(engine, reason, places)| match places.len() == all {
            true => format!("{engine}: {reason}"),
            false => format!("{engine} ({}): {reason}", places.join(", ")),
        });
        lines.collect()
    }
}

/// Milliseconds with three digits that count.
pub fn milliseconds(value: f64) -> String {
    match value {
        _ if value < 1.0 => format!("{value:.3}"),
        _ if value < 10.0 => format!("{value:.2}"),
        _ if value < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(engine: &'static str, peer: &'static str, timing: Result<f64, &str>) -> Row {
        Row {
            model: "bert-tiny",
            tokens: 16,
            engine,
            peer,
            detail: String::new(),
            cosine: Some(1.0),
            timing: timing
                .map(|median_ms| Timing { median_ms, min_ms: median_ms / 2.0 })
                .map_err(String::from),
        }
    }

    fn measured() -> Measured {
        Measured {
            rows: vec![
                row(OURS, OURS, Ok(0.1)),
                row("ort-channel", "ort", Ok(0.4)),
                row("ort-fused-channel", "ort", Ok(0.2)),
                row("openvino", "openvino", Err("no wheel for this Python")),
            ],
            peaks: vec![Peak {
                model: "bert-tiny",
                tokens: 16,
                name: "vpdpbusd-512".into(),
                products_per_second: 400e9,
            }],
        }
    }

    #[test]
    fn the_fastest_way_of_the_fastest_peer_counts() {
        let comparison = measured().comparison("bert-tiny", 16).expect("both have times");
        assert_eq!((comparison.best, comparison.ratio), ("ort-fused-channel", 0.5));
    }

    #[test]
    fn a_peer_that_failed_is_named_in_both() {
        let (json, markdown) = (measured().json(), measured().markdown());
        assert_eq!(json[3]["engine"], "openvino");
        assert_eq!(json[3]["error"], "no wheel for this Python");
        assert!(json[3]["median_ms"].is_null());
        assert!(markdown.contains("* openvino: no wheel for this Python"), "{markdown}");
    }

    #[test]
    fn ours_has_ratio_and_share() {
        let json = measured().json();
        assert_eq!(json[0]["ratio"], 0.5);
        // bert-tiny at 16 tokens: 2 · (12 · 16 · 128² + 2 · 16² · 128) products in 0.1 ms.
        let share = json[0]["peaks"][0]["share"].as_f64().unwrap_or_default();
        assert!((share - 6_422_528.0 / 1e-4 / 400e9).abs() < 1e-9, "{share}");
        let markdown = measured().markdown();
        assert!(markdown.contains("| ONNX Runtime int8 | 0.200 (0.100) fused channel |"));
    }
}
