//! Measurements that need more than one program.

mod edge;
mod serve;

use anyhow::Result;

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// `bert-core` beside its peers, one sentence at a time on one core.
    ///
    /// Measured in turns in one run, on the same weights: bert-core, ONNX Runtime, rten, OpenVINO and
    /// CTranslate2 in int8, candle and tract in f32; and what the core's dot product can do at most.
    /// The first run builds the peers and installs those of Python, which takes 10 to 20 minutes;
    /// later ones start at once. Everything lies in target/bench/.
    ///
    /// Writes edge.json, edge.svg and edge.md there, and prints the latter. A peer that cannot be had
    /// here is named with the reason. docs/benchmarks/edge.md says how to read the figures.
    #[command(after_help = edge::EXAMPLES)]
    Edge(edge::Args),
    /// `bert-edge serve` beside a minimal service around ONNX Runtime, with the load of wrk.
    ///
    /// The demo's joint model, two threads each, in turns in one run, load and services on the same
    /// cores; then more load than can be answered. Installs wrk, and for ONNX Runtime what `bench edge`
    /// installs. Writes target/bench/serve.md and prints it.
    Serve(serve::Args),
}

/// Runs the benchmark that was named.
pub fn run(args: &Args) -> Result<()> {
    match &args.what {
        What::Edge(args) => edge::run(args),
        What::Serve(args) => serve::run(args),
    }
}
