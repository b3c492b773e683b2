//! What we aim at, beside what was measured.

use serde_json::Value;

use super::results::{Pair, Results, Step, milliseconds};

/// A figure that is aimed at.
pub struct Aim {
    /// What is compared.
    pub what: &'static str,
    /// The figure to reach.
    pub wanted: f64,
    /// Whether less is better.
    pub at_most: bool,
    /// What was measured: the geometric mean where there are several cases.
    pub measured: Option<f64>,
    /// How many cases, and the lowest.
    pub note: String,
}

impl Aim {
    /// `met`, `missed` or `not measured`.
    pub fn verdict(&self) -> &'static str {
        match self.measured {
            None => "not measured",
            Some(figure) if self.at_most && figure <= self.wanted => "met",
            Some(figure) if !self.at_most && figure >= self.wanted => "met",
            Some(_) => "missed",
        }
    }
}

/// Operations of `bench kernels rows` that move memory, all but the copy that they are measured by.
pub const MOVING: [&str; 8] =
    ["layer_norm", "dropout", "gelu", "bias", "embedding", "cross_entropy", "global_norm", "adamw"];

/// All aims.
pub fn aims(results: &Results) -> Vec<Aim> {
    let gemm: Vec<f64> = results.pairs("gemm", "bf16").iter().filter_map(Pair::ratio).collect();
    let attention: Vec<f64> = both_passes(results).iter().filter_map(|row| row.ratio()).collect();
    let moving: Vec<f64> = bandwidth_shares(results).into_iter().map(|row| row.share).collect();
    let training = results.training();
    let step = |ragged: bool| -> Option<&Step<'_>> {
        training.iter().find(|step| {
            let line = step.line;
            line["config"] == "bert-base" && line["max_length"] == 128 && line["ragged"] == ragged
        })
    };
    let over = |step: Option<&Step<'_>>, peer: fn(&Step<'_>) -> Option<f64>| -> Vec<f64> {
        step.and_then(peer).into_iter().collect()
    };
    let (texts, full) = (step(true), step(false));
    // The device's clock tells kernels apart from waiting; the host's does not.
    let idle = texts.map(|step| &step.line["profile"]).filter(|told| told["clock"] == "device");
    let idle = idle.and_then(|told| told["idle_share"].as_f64());
    vec![
        at_least("GEMM, speed over cuBLAS", 0.60, &gemm),
        at_least(
            "attention forward and backward, speed over the fastest of PyTorch",
            0.80,
            &attention,
        ),
        at_least("what moves memory, share of the bandwidth of a copy", 0.85, &moving),
        at_least("step, BERT-base, length 128 of texts, over eager", 2.0, &over(texts, over_eager)),
        at_least("the same over compiled", 1.3, &over(texts, over_compiled)),
        at_least("step, BERT-base, length 128 full, over eager", 1.2, &over(full, over_eager)),
        at_least("the same over compiled", 0.9, &over(full, over_compiled)),
        Aim {
            what: "share of a step (BERT-base, length 128 of texts) in which no kernel runs",
            wanted: 0.03,
            at_most: true,
            measured: idle,
            note: String::new(),
        },
    ]
}

fn at_least(what: &'static str, wanted: f64, figures: &[f64]) -> Aim {
    let lowest = figures.iter().copied().reduce(f64::min);
    let note = match (figures.len(), lowest) {
        (count, Some(lowest)) if count > 1 => format!("{count} cases, lowest {lowest:.2}"),
        _ => String::new(),
    };
    Aim { what, wanted, at_most: false, measured: geometric_mean(figures), note }
}

fn geometric_mean(figures: &[f64]) -> Option<f64> {
    let logs: f64 = figures.iter().map(|figure| figure.ln()).sum();
    (!figures.is_empty()).then(|| (logs / figures.len() as f64).exp())
}

/// Speed of a step of ours over eager PyTorch.
pub fn over_eager(step: &Step<'_>) -> Option<f64> {
    Some(milliseconds(step.eager?)? / milliseconds(step.line)?)
}

/// Speed of a step of ours over compiled PyTorch.
pub fn over_compiled(step: &Step<'_>) -> Option<f64> {
    Some(milliseconds(step.compiled?)? / milliseconds(step.line)?)
}

/// Attention of one case, both passes together.
pub struct BothPasses<'a> {
    /// The case without its pass.
    pub case: &'a str,
    /// Microseconds of ours.
    pub ours: f64,
    /// Microseconds of PyTorch's fastest way that has both passes, and its name.
    pub peer: Option<(f64, &'a str)>,
    /// Floating-point operations.
    pub flops: f64,
}

impl BothPasses<'_> {
    /// Speed of ours over the peer's.
    pub fn ratio(&self) -> Option<f64> {
        self.peer.map(|(us, _)| us / self.ours)
    }
}

/// Attention in bf16, forward and backward added.
pub fn both_passes(results: &Results) -> Vec<BothPasses<'_>> {
    let lines: Vec<&Value> = results
        .of_kind("kernel")
        .filter(|line| line["op"] == "attention" && line["precision"] == "bf16")
        .collect();
    let time = |by: &str, how: Option<&str>, case: &str| -> Option<(f64, f64)> {
        let of = |pass: &str| {
            let name = format!("{case} {pass}");
            let line = lines.iter().find(|line| {
                line["by"] == by && line["how"].as_str() == how && line["case"] == name.as_str()
            })?;
            Some((line["us"].as_f64()?, line["flops"].as_f64()?))
        };
        let (forward, backward) = (of("forward")?, of("backward")?);
        Some((forward.0 + backward.0, forward.1 + backward.1))
    };
    let mut ways: Vec<&str> = lines.iter().filter_map(|line| line["how"].as_str()).collect();
    ways.sort_unstable();
    ways.dedup();
    let cases = lines
        .iter()
        .filter(|line| line["by"] == "bert-trainer")
        .filter_map(|line| line["case"].as_str()?.strip_suffix(" forward"));
    cases
        .filter_map(|case| {
            let (ours, flops) = time("bert-trainer", None, case)?;
            let theirs =
                ways.iter().filter_map(|how| Some((time("torch", Some(how), case)?.0, *how)));
            let peer = theirs.min_by(|a, b| a.0.total_cmp(&b.0));
            Some(BothPasses { case, ours, peer, flops })
        })
        .collect()
}

/// How much of a copy's bandwidth an operation reaches.
pub struct Bandwidth<'a> {
    /// The operation and its case.
    pub name: String,
    /// Bytes a second in GB.
    pub gb_per_second: f64,
    /// Beside the copy of the same run.
    pub share: f64,
    /// Time beside PyTorch's.
    pub pair: Pair<'a>,
}

/// The operations that move memory, in bf16.
pub fn bandwidth_shares(results: &Results) -> Vec<Bandwidth<'_>> {
    let Some(copy) = copy_bandwidth(results) else {
        return Vec::new();
    };
    let rows = MOVING.iter().flat_map(|op| {
        results.pairs(op, "bf16").into_iter().filter_map(move |pair| {
            let gb_per_second = pair.line["gb_per_second"].as_f64()?;
            let name = format!("{op} {}", pair.case);
            Some(Bandwidth { name, gb_per_second, share: gb_per_second / copy, pair })
        })
    });
    rows.collect()
}

/// GB/s of our copy.
pub fn copy_bandwidth(results: &Results) -> Option<f64> {
    results.pairs("copy", "bf16").first()?.line["gb_per_second"].as_f64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kernel(by: &str, op: &str, case: &str, us: f64) -> Value {
        json!({
            "kind": "kernel", "by": by, "op": op, "case": case, "precision": "bf16", "us": us,
            "gb_per_second": 1e3 / us, "flops": 1e9,
        })
    }

    fn of_torch(how: &str, op: &str, case: &str, us: f64) -> Value {
        let mut line = kernel("torch", op, case, us);
        line["how"] = json!(how);
        line
    }

    fn step(by: &str, ragged: bool, ms: f64) -> Value {
        json!({
            "kind": "step", "by": by, "config": "bert-base", "batch_size": 128, "max_length": 128,
            "ragged": ragged, "precision": "bf16", "device": "cuda", "median_step_ms": ms,
            "profile": { "clock": "device", "idle_share": 0.02 },
        })
    }

    fn verdicts(lines: Vec<Value>) -> Vec<(Option<f64>, &'static str)> {
        let results = Results { machine: json!({}), lines, steps: Vec::new() };
        aims(&results).iter().map(|aim| (aim.measured, aim.verdict())).collect()
    }

    #[test]
    fn figures_are_compared_with_the_fastest_peer() {
        let ours = "bert-trainer";
        let found = verdicts(vec![
            kernel(ours, "gemm", "a", 100.0),
            of_torch("mm", "gemm", "a", 64.0),
            kernel(ours, "gemm", "b", 100.0),
            of_torch("mm", "gemm", "b", 36.0),
            kernel(ours, "attention", "c forward", 10.0),
            kernel(ours, "attention", "c backward", 30.0),
            of_torch("flash", "attention", "c forward", 12.0),
            of_torch("flash", "attention", "c backward", 24.0),
            of_torch("cuDNN", "attention", "c forward", 1.0),
            kernel(ours, "copy", "d", 1.0),
            kernel(ours, "gelu", "d backward", 1.25),
            step(ours, true, 10.0),
            step("torch eager", true, 20.0),
            step("torch compiled", true, 12.0),
            step("torch eager", false, 20.0),
        ]);
        let (gemm, verdict) = found[0];
        assert!((gemm.unwrap_or_default() - 0.48).abs() < 1e-9);
        assert_eq!(verdict, "missed");
        assert_eq!(found[1], (Some(0.9), "met"));
        assert_eq!(found[2].1, "missed");
        assert_eq!(found[3], (Some(2.0), "met"));
        assert_eq!(found[4], (Some(1.2), "missed"));
        assert_eq!(found[5], (None, "not measured"));
        assert_eq!(found[7], (Some(0.02), "met"));
    }

    #[test]
    fn a_run_that_measured_nothing_has_not_measured_every_aim() {
        assert!(verdicts(Vec::new()).iter().all(|found| *found == (None, "not measured")));
    }
}
