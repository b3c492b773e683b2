//! `bert-trainer tune`

mod products;

use std::cell::Cell;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bert_kernels::{Context, ops};
use jiff::Timestamp;

use super::bench::kernels::timing::operand_sets;
use super::{DeviceArgs, Report};
use crate::config::Config;
use crate::tuning::{MeasuredProduct, TuningFile};

pub(in crate::cli) use products::{Ending, Product, linear_layers};

/// Measure every block for the products of a model, and keep the fastest for the runs that follow.
///
/// A block is the part of a product that a cube of the device computes at once. Which one is the fastest
/// depends on the sizes and on the device; without a measurement it follows from the sizes. A block must
/// be 2 % faster than that one to take its place. The choice changes no bit of a result.
///
/// What is found goes to the file that --tuning names, or to that of the device in the user's cache, where
/// all commands look for it; `--tuning off` keeps nothing. Products measured before stay in the file
/// unless the driver is another one. Rows in between take the nearest measured number of tokens, at most
/// twice as many or as few. A CPU has one block: it is timed, and there is nothing to choose.
///
/// Example: bert-trainer tune --config bert-base --batch-tokens 8192,16384 --device cuda --precision bf16
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Models, by bert-tiny, bert-mini, bert-small, bert-medium, bert-base, bert-large, or a config.json.
    #[arg(long, value_delimiter = ',', default_value = "bert-base")]
    config: Vec<String>,
    /// Rows of the word embedding table; the config's if not given.
    #[arg(long)]
    vocab_size: Option<usize>,
    /// Tokens of a pass, of which 15 % are predicted.
    #[arg(long, value_delimiter = ',', default_value = "8192",
          value_parser = clap::value_parser!(u32).range(8..))]
    batch_tokens: Vec<u32>,
    /// Stop after this many seconds, and keep what was measured until then.
    #[arg(long)]
    max_seconds: Option<f64>,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Report> {
    // Blocks tuned before must not count as those that follow from the sizes.
    let ctx = Context::open(&args.device.device)?;
    let path = args.device.tuning.file(&ctx)?;
    let mut file = match &path {
        Some(path) => begun(&ctx, path)?,
        None => TuningFile::new(&ctx),
    };
    let products = products(args, &ctx)?;
    let start = Instant::now();
    let mut found = TuningFile::new(&ctx);
    for product in &products {
        if args.max_seconds.is_some_and(|most| start.elapsed().as_secs_f64() > most) {
            break;
        }
        let measured = measure(args, &ctx, product)
            .with_context(|| format!("{} {:?}", product.layer, product.pass))?;
        found.products.push(measured.clone());
        file.add(measured);
        // One that fails may take the device with it.
        if let Some(path) = &path {
            file.write(path)?;
        }
    }
    Ok(report(args, &ctx, &found, products.len(), path.as_deref()))
}

/// The file that is there, if it is one of this device as it is now; an empty one otherwise.
fn begun(ctx: &Context, path: &Path) -> anyhow::Result<TuningFile> {
    if !path.exists() {
        return Ok(TuningFile::new(ctx));
    }
    let file = TuningFile::read(path)?;
    if file.is_of(ctx) {
        return Ok(file);
    }
    let new = TuningFile::new(ctx);
    ensure!(
        (&file.runtime, &file.device) == (&new.runtime, &new.device),
        "{}: it has the blocks of {} ({}), which those of {} ({}) would replace; remove it or choose \
         another file",
        path.display(),
        file.device,
        file.runtime,
        new.device,
        new.runtime
    );
    eprintln!("{}: begun anew, as the driver is another one", path.display());
    Ok(new)
}

/// The products of all models at all sizes, each once.
fn products(args: &Args, ctx: &Context) -> anyhow::Result<Vec<Product>> {
    let dtype = args.device.precision.dtype();
    let mut products = Vec::new();
    for name in &args.config {
        let mut config = Config::resolve(name)?;
        if let Some(size) = args.vocab_size {
            config.vocab_size = size;
            config.validate()?;
        }
        for &tokens in &args.batch_tokens {
            let tokens = tokens as usize;
            let masked = (tokens * 15).div_ceil(100);
            let of_size = Product::of_pretraining(ctx, name, &config, dtype, tokens, masked);
            for product in of_size {
                if !products.iter().any(|other: &Product| other.has_sizes_of(&product)) {
                    products.push(product);
                }
            }
        }
    }
    Ok(products)
}

fn measure(args: &Args, ctx: &Context, product: &Product) -> anyhow::Result<MeasuredProduct> {
    let blocks = ops::gemm_blocks(ctx, product.dtype);
    // Several, so that operands do not come from a cache.
    let sets: Vec<_> =
        (0..operand_sets(ctx, product.bytes())).map(|_| product.operands(ctx)).collect();
    let turn = Cell::new(0);
    let launch = |ctx: &Context| {
        let operands = &sets[turn.replace(turn.get() + 1) % sets.len()];
        ops::gemm(ctx, operands.gemm())
    };
    let us = ops::time_blocks(ctx, &blocks, &launch)?;
    let of_sizes = ops::gemm_block(ctx, &sets[0].gemm());
    let default = blocks.iter().position(|block| *block == of_sizes);
    let default = default.with_context(|| format!("{of_sizes} is in no list of blocks"))?;
    let block = blocks[ops::fastest_block(&us, default)];
    Ok(MeasuredProduct {
        layer: product.layer.clone(),
        kind: product.kind,
        precision: args.device.precision,
        pass: product.pass,
        m: product.m,
        n: product.n,
        k: product.k,
        default: of_sizes.to_string(),
        block: block.to_string(),
        us: blocks.iter().map(ToString::to_string).zip(us).collect(),
        measured: Timestamp::now(),
    })
}

fn report(
    args: &Args,
    ctx: &Context,
    found: &TuningFile,
    asked: usize,
    path: Option<&Path>,
) -> Report {
    let precision = args.device.precision.dtype();
    let mut lines = vec![format!("blocks for {precision} on {} ({})", found.device, found.runtime)];
    if let [only] = ops::gemm_blocks(ctx, precision).as_slice() {
        lines.push(format!("{only} is the only block of this device: there is nothing to choose"));
    }
    lines.push(format!(
        "{:<24} {:<8} {:>21}  {:<15} {:>9}  {:<15} {:>9}  {:>6}",
        "product", "pass", "m x n x k", "default", "us", "chosen", "us", "faster"
    ));
    lines.extend(found.products.iter().map(line));
    if found.products.len() < asked {
        let done = found.products.len();
        lines.push(format!("the time was up after {done} of {asked} products"));
    }
    match path {
        Some(path) => lines.push(format!("kept in {}", path.display())),
        None => lines.push("not kept".into()),
    }
    let mut json = serde_json::json!(found);
    json["asked"] = asked.into();
    json["file"] = path.map(|path| path.display().to_string()).into();
    Report { lines, json }
}

fn line(product: &MeasuredProduct) -> String {
    let MeasuredProduct { layer, pass, m, n, k, default, block, .. } = product;
    let (of_default, of_chosen) = product.default_and_chosen_us();
    let us = |us: Option<f64>| us.map_or("-".into(), |us| format!("{us:.1}"));
    let faster =
        of_default.zip(of_chosen).map(|(default, chosen)| (default / chosen - 1.0) * 100.0);
    format!(
        "{layer:<24} {:<8} {:>21}  {default:<15} {:>9}  {block:<15} {:>9}  {:>6}",
        format!("{pass:?}").to_lowercase(),
        format!("{m} x {n} x {k}"),
        us(of_default),
        us(of_chosen),
        faster.map_or("-".into(), |percent| format!("{percent:.1} %")),
    )
}
