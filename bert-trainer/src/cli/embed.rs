//! `bert-trainer embed`

use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use bert_core::{EmbedOptions, Layers, Pooling};
use serde_json::{Value, json};

use super::{DeviceArgs, OpenCheckpoint, Report, is_model_file};
use crate::data::tasks::table::{ColumnChoice, TableFormat};
use crate::data::tasks::{ReadOptions, read_texts};
use crate::evaluate::{
    DeviceEmbedder, Embedder, HostEmbedder, TextVector, VectorFormat, json_line, write_vectors,
};
use crate::model::LoadedCheckpoint;

/// Turn texts into vectors, with a checkpoint or with an exported model through the code of the device.
///
/// Every model has an encoder and can do it, pre-trained or fine-tuned. Without --output each text
/// becomes a JSON object on a line of its own: text, vector, tokens and truncated.
///
/// Example: bert-trainer embed --model pretrained --input sentences.txt --output vectors.npy
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Checkpoint directory or exported model.bert.
    #[arg(long)]
    model: PathBuf,
    /// Texts; `-` reads one a line from stdin.
    #[arg(required_unless_present = "input", conflicts_with = "input")]
    text: Vec<String>,
    /// File of texts: one a line, or a table (.tsv, .csv, .jsonl, or any with an option below).
    #[arg(long)]
    input: Option<PathBuf>,
    /// Column of the text, by its name in the header or its number from 1.
    #[arg(long, value_name = "NAME|NUMBER", requires = "input")]
    text_column: Option<String>,
    /// The first line names the columns; it does so anyway if the column is chosen by name.
    #[arg(long, requires = "input")]
    header: bool,
    /// How the table is written; told by the file's name if not given.
    #[arg(long, value_enum, requires = "input")]
    format: Option<TableFormat>,
    /// How the rows of the tokens become one [default: an exported model's own, else mean].
    #[arg(long)]
    pooling: Option<PoolingName>,
    /// The layers to take it from: last, a number (0 is the embeddings), sum-last-four or
    /// concat-last-four (four times as wide); the last two need a model of four layers or more.
    #[arg(long, default_value = "last", value_parser = layers)]
    layers: Layers,
    /// Divide each vector by its length, so that the product of two is their cosine.
    #[arg(long)]
    normalize: bool,
    /// Write the vectors to this file, a row a text, f32: .npy, .jsonl or .safetensors.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Tokens of a text at most; the model's positions if not given.
    #[arg(long)]
    max_length: Option<u32>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// The names of `bert-edge`.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum PoolingName {
    /// The mean over all tokens.
    Mean,
    /// The row of `[CLS]`.
    Cls,
}

impl From<PoolingName> for Pooling {
    fn from(name: PoolingName) -> Self {
        match name {
            PoolingName::Mean => Self::Mean,
            PoolingName::Cls => Self::First,
        }
    }
}

fn layers(text: &str) -> Result<Layers, String> {
    match text {
        "last" => Ok(Layers::Last),
        "sum-last-four" => Ok(Layers::SumLastFour),
        "concat-last-four" => Ok(Layers::ConcatLastFour),
        _ => text.parse().map(Layers::One).map_err(|_| {
            "expected last, the number of a layer, sum-last-four or concat-last-four".into()
        }),
    }
}

/// Vectors of a large file are not gathered, so without `is_json` lines are printed as they come.
pub(super) fn run(args: Args, is_json: bool) -> anyhow::Result<Report> {
    // A name that cannot be written is found before the work.
    args.output.as_deref().map(VectorFormat::of).transpose()?;
    let pooling = args.pooling.map(Pooling::from);
    if is_model_file(&args.model)? {
        let max_length = args.max_length.map(|length| length as usize);
        let mut embedder = DeviceEmbedder::open(&args.model, pooling, args.layers, max_length)?;
        return report(&args, &mut embedder, is_json);
    }
    let open = OpenCheckpoint::with(
        LoadedCheckpoint::encoder(&args.model)?,
        &args.model,
        &args.device,
        args.max_length,
    )?;
    let options = EmbedOptions { pooling: pooling.unwrap_or(Pooling::Mean), layers: args.layers };
    let mut embedder = HostEmbedder::new(&open.model, &open.tokenizer, options, open.max_length)
        .with_context(|| args.model.display().to_string())?;
    report(&args, &mut embedder, is_json)
}

fn report(args: &Args, embedder: &mut dyn Embedder, is_json: bool) -> anyhow::Result<Report> {
    let texts = texts(args)?;
    let (rows, width) = (texts.len(), embedder.width());
    let mut cut = 0u64;
    let mut finish = |vector: &mut TextVector| {
        cut += u64::from(vector.truncated);
        if args.normalize {
            bert_core::ops::l2_normalize_row(&mut vector.values);
        }
    };
    let Some(output) = &args.output else {
        let mut out = io::stdout().lock();
        let mut objects: Vec<Value> = Vec::new();
        embedder.embed(&texts, &mut |text, mut vector| {
            finish(&mut vector);
            let line = json_line(text, &vector)?;
            if is_json {
                // The digits of an f32, parsed and printed as an f64, stay as they are.
                objects.push(serde_json::from_str(&line)?);
            } else {
                writeln!(out, "{line}").context("stdout")?;
            }
            Ok(())
        })?;
        return Ok(Report { lines: Vec::new(), json: json!({ "results": objects }) });
    };
    write_vectors(output, rows, width, |sink| {
        embedder.embed(&texts, &mut |text, mut vector| {
            finish(&mut vector);
            Ok(sink.push(text, &vector)?)
        })
    })?;
    let path = output.display().to_string();
    Ok(Report {
        lines: vec![format!("{path}: {rows} vectors of {width} numbers, {cut} texts cut")],
        json: json!({ "output": path, "vectors": rows, "width": width, "truncated": cut }),
    })
}

/// The texts in their order. A blank line is a text too: rows are counted by lines.
fn texts(args: &Args) -> anyhow::Result<Vec<String>> {
    if let Some(input) = &args.input {
        let columns = ColumnChoice { text: args.text_column.clone(), ..ColumnChoice::default() };
        let (has_header, format) = (args.header, args.format);
        let options = ReadOptions { columns, has_header, format, ..ReadOptions::default() };
        return Ok(read_texts(input, &options, Some(false))?);
    }
    if args.text != ["-"] {
        return Ok(args.text.clone());
    }
    let read = |(index, line): (usize, io::Result<String>)| {
        line.with_context(|| format!("stdin, line {}: expected UTF-8", index + 1))
    };
    let texts: Vec<String> =
        io::stdin().lock().lines().enumerate().map(read).collect::<Result<_, _>>()?;
    ensure!(!texts.is_empty(), "stdin: expected a text a line");
    Ok(texts)
}
