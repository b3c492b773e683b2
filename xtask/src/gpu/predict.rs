//! `cargo xtask gpu-predict`: what each operation of a training step should take on a GPU, by its bytes and
//! its arithmetic (the roofline model, Williams, Waterman and Patterson 2009), to be compared with what
//! `run.sh` of the pack measures.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::test::{self, FEATURES};
use crate::{setup, shell};

/// Arguments of `cargo xtask gpu-predict`.
#[derive(clap::Args)]
pub struct Args {
    /// Which GPU.
    #[arg(long, value_enum, default_value_t = Gpu::H200)]
    gpu: Gpu,
    /// bert-tiny, bert-mini, bert-small, bert-medium, bert-base, bert-large, or a config.json.
    #[arg(long, default_value = "bert-base")]
    config: String,
    /// Tokens of a step.
    #[arg(long, default_value_t = 8192)]
    tokens: u32,
    /// Tokens of a sequence.
    #[arg(long, default_value_t = 128)]
    max_length: u32,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Gpu {
    A100,
    H100,
    H200,
}

/// Share of the datasheet's bandwidth that a copy reaches, and of that what we aim at.
const BANDWIDTH_SHARE: f64 = 0.9 * 0.85;
/// Share of what `mma.sync` can do that a product reaches: stages fill and drain, and waves end ragged.
const GEMM_SHARE: f64 = 0.75;
/// The same for attention, whose products are short and have a softmax between them, forward and backward.
const ATTENTION_SHARES: [f64; 2] = [0.35, 0.25];

/// Kernels of a layer, and of a step beside its layers, forward and backward: what `bench --profile`
/// counts, without the packing of operands that only CPUs do, and with a second kernel for the sum of each
/// bias, which only GPUs launch.
const KERNELS_OF_LAYER: f64 = 31.0;
const KERNELS_BESIDE: f64 = 51.0;
/// Seconds between two kernels of a pass that the device keeps as a graph. NVIDIA's own example of graphs
/// leaves half a microsecond; these kernels use more of the device, and fill and drain it each.
const GAP: f64 = 1e-6;

impl Gpu {
    /// Bytes and operations a second: the datasheet's bandwidth, and what `mma.sync` in 16 bits can start,
    /// which on Hopper is 62 % of what `wgmma` can (Luo et al. 2024, arXiv:2402.13499).
    fn limits(self) -> (f64, f64) {
        match self {
            Self::A100 => (2.039e12, 312e12),
            Self::H100 => (3.35e12, 0.62 * 989e12),
            Self::H200 => (4.8e12, 0.62 * 989e12),
        }
    }
}

/// An operation of a step: how often, and what it is bound by.
struct Line {
    name: String,
    times: f64,
    bytes: f64,
    flops: f64,
    /// Share of the arithmetic limit.
    share: f64,
}

impl Line {
    /// Seconds of one, and whether arithmetic bounds it.
    fn seconds(&self, gpu: Gpu) -> (f64, bool) {
        let (bandwidth, flops) = gpu.limits();
        let moving = self.bytes / (bandwidth * BANDWIDTH_SHARE);
        let computing = self.flops / (flops * self.share);
        (moving.max(computing), computing > moving)
    }
}

/// Prints the prediction as a table in Markdown.
///
/// # Errors
///
/// If the trainer cannot be built or refuses the sizes.
pub fn run(args: &Args) -> Result<()> {
    setup::ensure_for_tests()?;
    test::binaries(FEATURES)?;
    let trainer = shell::target_dir().join("release/bert-trainer");
    let mut list = Command::new(&trainer);
    list.args(["bench", "kernels", "--list", "--json", "--precision", "bf16", "--config"]);
    list.arg(&args.config).args(["--tokens", &args.tokens.to_string()]);
    list.args(["--max-length", &args.max_length.to_string()]);
    let output = list.output().with_context(|| format!("cannot start {}", trainer.display()))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let operations: Vec<Value> = String::from_utf8(output.stdout)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let layers = operations.iter().find_map(|operation| operation["layers"].as_f64());
    let layers = layers.context("the list of operations does not tell the layers")?;
    print!("{}", table(args, &lines(&operations, layers), layers));
    Ok(())
}

/// The operations of a step of pre-training, from those that `bench kernels` knows.
fn lines(operations: &[Value], layers: f64) -> Vec<Line> {
    let number = |line: &Value, key: &str| line[key].as_f64().unwrap_or(0.0);
    operations
        .iter()
        .filter_map(|operation| {
            let (op, case) = (operation["op"].as_str()?, operation["case"].as_str()?);
            let forward = case.ends_with("forward");
            let times = match op {
                "gemm" => layers,
                "attention" if case.contains(" full p=0.1 ") => layers,
                // Two a layer, after the embeddings and in the head of the masked words.
                "layer_norm" => 2.0 * layers + 2.0,
                // At the embeddings, forward and backward.
                "dropout" => 2.0,
                "gelu" => layers,
                // The case is the widest of the four biases of a layer: the others are a quarter, a
                // quarter and three quarters of it.
                "bias" => 2.25 * layers,
                // Positions take what segments do.
                "embedding" if case.contains(" segments ") => 2.0,
                "embedding" | "cross_entropy" | "global_norm" | "adamw" => 1.0,
                _ => return None,
            };
            let share = match op {
                "attention" => ATTENTION_SHARES[usize::from(!forward)],
                _ => GEMM_SHARE,
            };
            // The sizes of a line stand for all of them.
            let name = format!("{op} {}", case.split_once(' ').map_or(case, |(_, rest)| rest));
            let [bytes, flops] = ["bytes", "flops"].map(|key| number(operation, key));
            Some(Line { name, times, bytes, flops, share })
        })
        .chain(word_scores(operations))
        .collect()
}

/// The products of the masked words with the word table: scores, again in the backward pass, and both
/// gradients. `bench kernels` has only what follows them.
fn word_scores(operations: &[Value]) -> Option<Line> {
    let loss = operations.iter().find(|line| line["op"] == "cross_entropy")?;
    let layer = operations.iter().find(|line| line["op"] == "gemm")?;
    let (rows, classes) = (loss["rows"].as_f64()?, loss["classes"].as_f64()?);
    let width = layer["k"].as_f64()?;
    Some(Line {
        name: format!("word scores M={rows} V={classes}"),
        times: 4.0,
        bytes: 2.0 * (rows * width + classes * width + rows * classes),
        flops: 2.0 * rows * classes * width,
        share: GEMM_SHARE,
    })
}

fn table(args: &Args, lines: &[Line], layers: f64) -> String {
    let mut text = String::from(
        "| operation | a step | MB each | GFLOP each | bound by | us each | ms a step |\n\
         |---|--:|--:|--:|---|--:|--:|\n",
    );
    let mut total = 0.0;
    for line in lines {
        let (seconds, computes) = line.seconds(args.gpu);
        let step = seconds * line.times;
        total += step;
        text.push_str(&format!(
            "| {} | {} | {:.1} | {:.2} | {} | {:.1} | {:.3} |\n",
            line.name,
            line.times,
            line.bytes / 1e6,
            line.flops / 1e9,
            if computes { "arithmetic" } else { "memory" },
            seconds * 1e6,
            step * 1e3
        ));
    }
    let sequences = f64::from(args.tokens) / f64::from(args.max_length);
    let kernels = KERNELS_OF_LAYER * layers + KERNELS_BESIDE;
    let gaps = kernels * GAP;
    let step = total + gaps;
    text.push_str(&format!(
        "| gaps between kernels of a recorded pass | {kernels} | | | | {:.1} | {:.3} |\n",
        GAP * 1e6,
        gaps * 1e3
    ));
    text.push_str(&format!(
        "\n{:?}, {}, {} tokens in sequences of {}: {:.2} ms a step, {:.0} sequences/s, idle {:.1} %.\n",
        args.gpu,
        args.config,
        args.tokens,
        args.max_length,
        step * 1e3,
        sequences / step,
        gaps / step * 100.0
    ));
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_bound_by_what_takes_longer() {
        let line =
            |bytes, flops| Line { name: String::new(), times: 1.0, bytes, flops, share: 0.5 };
        let (seconds, computes) = line(2.039e12, 0.0).seconds(Gpu::A100);
        assert!((seconds - 1.0 / BANDWIDTH_SHARE).abs() < 1e-9 && !computes);
        let (seconds, computes) = line(1.0, 312e12).seconds(Gpu::A100);
        assert!((seconds - 2.0).abs() < 1e-9 && computes);
    }

    #[test]
    fn operations_count_as_often_as_a_step_has_them() {
        let operations = [
            json!({ "op": "copy", "case": "x T=8", "bytes": 1 }),
            json!({ "op": "gemm", "case": "x T=8 H→H NT", "bytes": 1, "flops": 2, "k": 16 }),
            json!({ "op": "attention", "case": "x B=1 L=8 full p=0 forward", "bytes": 1 }),
            json!({ "op": "attention", "case": "x B=1 L=8 full p=0.1 backward", "bytes": 1 }),
            json!({ "op": "cross_entropy", "case": "x T=8 forward", "rows": 2, "classes": 50 }),
        ];
        let found: Vec<(String, f64)> =
            lines(&operations, 3.0).into_iter().map(|line| (line.name, line.times)).collect();
        let expected = [
            ("gemm T=8 H→H NT", 3.0),
            ("attention B=1 L=8 full p=0.1 backward", 3.0),
            ("cross_entropy T=8 forward", 1.0),
            ("word scores M=2 V=50", 4.0),
        ];
        let expected: Vec<_> = expected.map(|(name, times)| (name.to_owned(), times)).into();
        assert_eq!(found, expected);
    }
}
