//! The operations of a training step, one by one, at the sizes of a config.

mod attention;
pub(in crate::cli) mod data;
mod gemm;
mod rows;
pub(in crate::cli) mod timing;

use std::io::Write as _;

use anyhow::ensure;
use bert_kernels::{Context, KernelError};
use serde_json::{Map, Value, json};

use super::super::{DeviceArgs, Report};
use crate::config::Config;
use crate::model::Precision;
use timing::Timing;

/// Measure the operations of a training step, one by one.
///
/// Prints a line a result as it comes; with --json an object a line, which
/// `tests/peers/torch_kernels.py` measures again in PyTorch. Each operation is queued many times
/// between two waits for the device, over several sets of operands, so that they do not come from a
/// cache; what is told is the median of seven repetitions.
///
/// Example: bert-trainer bench kernels gemm --config bert-base --tokens 8192 --precision bf16
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which operations; all if not given.
    #[arg(value_enum)]
    groups: Vec<Group>,
    /// Sizes, by bert-tiny, bert-mini, bert-small, bert-medium, bert-base, bert-large, or a config.json.
    #[arg(long, value_delimiter = ',', default_value = "bert-base")]
    config: Vec<String>,
    /// Tokens of a batch.
    #[arg(long, value_delimiter = ',', default_value = "8192",
          value_parser = clap::value_parser!(u32).range(8..))]
    tokens: Vec<u32>,
    /// Tokens of the longest sequence, for attention.
    #[arg(long, value_delimiter = ',', default_values_t = [128, 512],
          value_parser = clap::value_parser!(u32).range(8..))]
    max_length: Vec<u32>,
    /// Print what would be measured, without a device.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Group {
    /// The products of the linear layers, forward and for both gradients.
    Gemm,
    /// Attention, forward and backward, sequences of full length and of the lengths of texts.
    Attention,
    /// What moves memory: layer norm, dropout, GELU, biases, embeddings, cross-entropy, AdamW, a copy.
    Rows,
}

/// Launches an operation once.
type Launch = Box<dyn Fn(&Context) -> Result<(), KernelError>>;

/// One operation at one size.
struct Case {
    op: &'static str,
    /// What distinguishes it from others of the op, for people and as a key.
    name: String,
    /// Sizes.
    sizes: Value,
    precision: Precision,
    /// Floating-point operations, where they are what takes the time.
    flops: Option<f64>,
    /// Bytes that any implementation has to read and write: each operand once.
    bytes: f64,
    /// Makes a set of operands.
    prepare: Box<dyn Fn(&Context) -> Launch>,
}

pub(super) fn run(args: &Args, json: bool) -> anyhow::Result<Report> {
    let cases = cases(args)?;
    let ctx = if args.list { None } else { Some(args.device.open()?) };
    let mut failed = 0;
    for case in &cases {
        let line = match &ctx {
            None => case.described(),
            Some(ctx) => case.measured(ctx),
        };
        failed += u32::from(line.contains_key("error"));
        let text = if json { Value::Object(line).to_string() } else { shown(&line) };
        println!("{text}");
        // A reader sees what was measured also if the next case ends the process.
        std::io::stdout().flush()?;
    }
    ensure!(failed == 0, "{failed} of {} operations failed", cases.len());
    let summary = json!({ "kind": "summary", "cases": cases.len() });
    Ok(Report { lines: Vec::new(), json: summary })
}

fn cases(args: &Args) -> anyhow::Result<Vec<Case>> {
    let wants = |group| args.groups.is_empty() || args.groups.contains(&group);
    let precision = args.device.precision;
    let mut cases = Vec::new();
    for name in &args.config {
        let config = Config::resolve(name)?;
        for &tokens in &args.tokens {
            let size = Size { name, config: &config, tokens: tokens as usize, precision };
            let first = cases.len();
            if wants(Group::Gemm) {
                cases.extend(gemm::cases(&size));
            }
            if wants(Group::Attention) {
                for &length in args.max_length.iter().filter(|&&length| length <= tokens) {
                    cases.extend(attention::cases(&size, length as usize));
                }
            }
            if wants(Group::Rows) {
                cases.extend(rows::cases(&size));
            }
            // How often a step has what a layer has.
            for case in &mut cases[first..] {
                case.sizes["layers"] = json!(config.num_hidden_layers);
            }
        }
    }
    Ok(cases)
}

/// What the sizes of a case come from.
struct Size<'a> {
    name: &'a str,
    config: &'a Config,
    tokens: usize,
    precision: Precision,
}

impl Case {
    fn described(&self) -> Map<String, Value> {
        let mut line = Map::from_iter([
            ("kind".into(), json!("kernel")),
            ("op".into(), json!(self.op)),
            ("case".into(), json!(self.name)),
            ("precision".into(), json!(self.precision.dtype().to_string())),
            ("bytes".into(), json!(self.bytes)),
        ]);
        if let Some(flops) = self.flops {
            line.insert("flops".into(), json!(flops));
        }
        if let Value::Object(sizes) = &self.sizes {
            line.extend(sizes.clone());
        }
        line
    }

    /// A failure of one case is in its line: the others are still worth having.
    fn measured(&self, ctx: &Context) -> Map<String, Value> {
        let mut line = self.described();
        line.insert("by".into(), json!("bert-trainer"));
        line.insert("device".into(), json!(ctx.name()));
        match timing::time(ctx, self.bytes, &*self.prepare) {
            Ok(timing) => line.extend(self.figures(&timing)),
            Err(error) => {
                line.insert("error".into(), json!(error.to_string()));
            }
        }
        line
    }

    fn figures(&self, timing: &Timing) -> Map<String, Value> {
        let seconds = timing.median_us * 1e-6;
        let mut figures = Map::from_iter([
            ("us".into(), json!(timing.median_us)),
            ("us_min".into(), json!(timing.min_us)),
            ("kernels_us".into(), json!(timing.kernels_us)),
            ("gb_per_second".into(), json!(self.bytes / seconds / 1e9)),
        ]);
        if let Some(flops) = self.flops {
            figures.insert("tflops".into(), json!(flops / seconds / 1e12));
        }
        figures
    }
}

fn shown(line: &Map<String, Value>) -> String {
    let text = |key| line.get(key).and_then(Value::as_str).unwrap_or_default();
    let number = |key| line.get(key).and_then(Value::as_f64);
    let mut shown = format!("{} {} {}", text("op"), text("precision"), text("case"));
    if let Some(us) = number("us") {
        let gigabytes = number("gb_per_second").unwrap_or_default();
        shown.push_str(&format!(": {us:.1} us, {gigabytes:.1} GB/s"));
    }
    if let Some(tflops) = number("tflops") {
        shown.push_str(&format!(", {tflops:.3} TFLOP/s"));
    }
    if line.contains_key("error") {
        shown.push_str(&format!(": {}", text("error")));
    }
    shown
}
