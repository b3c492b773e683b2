//! Numbers for people: which unit a figure has is told by its name.

use super::compare::Spread;
use crate::log::{clock, grouped};

/// How a figure is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// A share of 1, shown in percent.
    Share,
    /// A learning rate, shown as `1.5e-3`.
    Rate,
    /// Anything else: losses in nats, correlations, norms.
    Number,
}

impl Unit {
    /// The unit of the metric or option of this name.
    pub fn of(name: &str) -> Self {
        const SHARES: [&str; 5] = ["accuracy", "f1", "precision", "recall", "exact_match"];
        match name {
            "learning_rate" => Self::Rate,
            _ if SHARES.iter().any(|share| name.ends_with(share)) => Self::Share,
            _ => Self::Number,
        }
    }

    /// A value with its unit.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Share => format!("{:.2} %", value * 100.0),
            Self::Rate => rate(value),
            Self::Number => number(value),
        }
    }

    /// `97.43 ± 0.21 %`; without a deviation as [`Self::show`].
    pub fn spread(self, spread: &Spread) -> String {
        match (self, spread.deviation) {
            (_, None) => self.show(spread.mean),
            (Self::Share, Some(deviation)) => {
                format!("{:.2} ± {:.2} %", spread.mean * 100.0, deviation * 100.0)
            }
            (_, Some(deviation)) => {
                format!("{} ± {}", self.show(spread.mean), self.show(deviation))
            }
        }
    }

    /// A value beside the axis of a chart that spans `span`.
    pub fn tick(self, value: f64, span: f64) -> String {
        let decimals = |span: f64| (1.0 - span.log10().floor()).clamp(0.0, 6.0) as usize;
        match self {
            Self::Share => format!("{:.*} %", decimals(span * 100.0), value * 100.0),
            Self::Rate => rate(value),
            Self::Number if value.abs() >= 1e7 => rate(value),
            Self::Number => format!("{value:.*}", decimals(span)),
        }
    }
}

/// Whether less of a figure is better.
pub(super) fn less_is_better(name: &str) -> bool {
    ["loss", "error", "perplexity"].iter().any(|bad| name.ends_with(bad))
}

/// `slot F1`, `MLM loss`: a name as the field writes it.
pub(super) fn title(name: &str) -> String {
    let word = |word: &str| match word {
        "mlm" | "nsp" | "f1" => word.to_uppercase(),
        _ => word.to_owned(),
    };
    let words: Vec<String> = name.split('_').map(word).collect();
    words.join(" ")
}

/// `0.0015` as `1.5e-3`; 0 as `0`.
pub(super) fn rate(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let text = format!("{value:.2e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    format!("{}e{exponent}", mantissa.trim_end_matches('0').trim_end_matches('.'))
}

/// Four digits, or more before the point.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    match size {
        0.0 => "0".to_owned(),
        _ if !(1e-3..1e12).contains(&size) => rate(value),
        _ if size >= 1000.0 => {
            let sign = if value < 0.0 { "−" } else { "" };
            format!("{sign}{}", grouped(size.round() as u64))
        }
        _ => format!("{value:.*}", (3.0 - size.log10().floor()).clamp(1.0, 4.0) as usize),
    }
}

/// `3:07 min`, `2:03:07 h`.
pub(super) fn duration(seconds: f64) -> String {
    let text = clock(seconds.max(0.0));
    match text.matches(':').count() {
        0 => text,
        1 => format!("{text} min"),
        _ => format!("{text} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_follow_names() {
        assert_eq!(Unit::of("slot_f1").show(0.883_41), "88.34 %");
        assert_eq!(Unit::of("mlm_loss").show(5.164_2), "5.164");
        assert_eq!(Unit::of("pearson").show(-0.912_34), "-0.9123");
        assert_eq!(Unit::of("learning_rate").show(5e-5), "5e-5");
        assert_eq!(Unit::of("learning_rate").show(0.001_5), "1.5e-3");
        let spread = |deviation| Spread { mean: 0.5, deviation, runs: 1 };
        assert_eq!(Unit::Share.spread(&spread(Some(0.0123))), "50.00 ± 1.23 %");
        assert_eq!(Unit::Number.spread(&spread(None)), "0.5000");
        assert!(less_is_better("mlm_loss") && !less_is_better("accuracy"));
        assert_eq!(title("mlm_loss"), "MLM loss");
    }

    #[test]
    fn numbers_keep_four_digits() {
        let shown = [0.0, 0.012_345, 9.876_54, 123.456, 1_234.5, -1_234_567.0, 2e-5, 1e300];
        let expected = ["0", "0.0123", "9.877", "123.5", "1,235", "−1,234,567", "2e-5", "1e300"];
        assert_eq!(shown.map(number), expected);
        assert_eq!([5.0, 187.0, 7_387.0].map(duration), ["5 s", "3:07 min", "2:03:07 h"]);
    }

    #[test]
    fn ticks_tell_neighbours_apart() {
        assert_eq!(Unit::Share.tick(0.5, 1.0), "50 %");
        assert_eq!(Unit::Share.tick(0.985, 0.02), "98.5 %");
        assert_eq!(Unit::Number.tick(6.5, 3.0), "6.5");
        assert_eq!(Unit::Number.tick(6.51, 0.05), "6.510");
        assert_eq!(Unit::Number.tick(1e12, 1e12), "1e12");
    }
}
