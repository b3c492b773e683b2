//! `bert-trainer export`

mod keep;
mod measure;
mod smaller;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use bert_core::format::{Layout, Part};
use bert_core::{Model, Pooling};
use serde_json::json;

use self::keep::{Kept, kept, parts};
use self::measure::{Subject, finite, measure};
use self::smaller::{Cost, EmbeddingsName, Sizes, pruning};
use super::embed::PoolingName;
use super::{AnswerArgs, DeviceArgs, OpenCheckpoint, ReadArgs, Report, Task};
use crate::atomic;
use crate::data::TextTokenizer;
use crate::data::tasks::{self, RawExample, TaskKind};
use crate::evaluate::{DevicePredictor, Predictor as _, TaskMetrics, evaluate};
use crate::export::{ExportOptions, export};
use crate::model::Precision;
use crate::prune::Pruning;
use crate::report::{DataFile, ExportReport, Int8Record, RunRecord, arithmetic, render_export};
use crate::tuning::TuningChoice;

/// Quantize a fine-tuned model to int8 and write it as one file for the device.
///
/// The file holds the vocabulary, the labels, the exact scratch size and a self-test, and every
/// section carries a checksum. With --embed, any checkpoint becomes a model that gives vectors.
/// Most of a small model is its word table: --embeddings int4 and --prune-vocabulary make it smaller,
/// and with --eval it is said what each costs.
///
/// Example: bert-trainer export --model assistant --output model.bert --max-length 64 --eval test.tsv
/// Example: bert-trainer export --model assistant --output small.bert --embeddings int4 \
///     --prune-vocabulary train.tsv dev.tsv --eval test.tsv
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Checkpoint directory of a fine-tuned model.
    #[arg(long)]
    model: PathBuf,
    /// Model file to write.
    #[arg(long)]
    output: PathBuf,
    /// Tokens of a text at most; decides the scratch memory. All positions if not given.
    #[arg(long)]
    max_length: Option<u32>,
    /// Examples to evaluate the written model on, through the code of the device.
    #[arg(long)]
    eval: Option<PathBuf>,
    /// Task of the model, where its checkpoint does not say whether it reads one text or two:
    /// classify or pair.
    #[arg(long, value_enum)]
    task: Option<Task>,
    /// Give a vector for a text instead of the task's answer: the mean over its tokens, or the row of
    /// [CLS], from the last layer.
    #[arg(long, value_enum, conflicts_with_all = ["task", "eval"])]
    embed: Option<PoolingName>,
    /// How the weights lie: panels suit every instruction set, rows the readers before version 3.
    #[arg(long, value_enum, default_value = "panels")]
    layout: LayoutName,
    /// How the word embeddings are stored.
    #[arg(long, value_enum, default_value = "int8")]
    embeddings: EmbeddingsName,
    /// Keep the pieces of the vocabulary that the texts of these files use, the special tokens and
    /// all single characters. The files are read as those of --eval; with --embed they are texts, one
    /// a line or a table. To prune before fine-tuning, see `bert-trainer prune`.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    prune_vocabulary: Vec<PathBuf>,
    /// Keep matrices in f16 where int8 loses too much, at twice the bytes and some time: f16:1 a layer
    /// counted from 0, f16:0-2 layers, f16:pooler, f16:head, or several with commas between.
    #[arg(long, value_name = "f16:WHAT", value_parser = kept)]
    keep: Vec<Kept>,
    /// Write an HTML page about what int8 does to the model: metrics beside f32, signal to noise by
    /// layer, bytes by part, the slowest examples.
    #[arg(long, value_name = "PAGE.html", requires = "eval")]
    report: Option<PathBuf>,
    /// Where the report computes in f32: auto, cpu, cuda, hip or wgpu, with an optional index.
    #[arg(long, default_value = "auto", requires = "report")]
    device: String,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    answers: AnswerArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LayoutName {
    /// Sixteen channels side by side, four inputs of each together.
    Panels,
    /// One channel after another.
    Rows,
}

/// A model file with what its evaluation gave.
struct Evaluated {
    predictor: DevicePredictor,
    found: TaskMetrics,
    /// The same with the checkpoint's whole vocabulary, where the file has not: its hidden states are
    /// compared for the same ids.
    whole: Option<Vec<u8>>,
}

impl Evaluated {
    /// The file whose ids are those of the checkpoint.
    fn comparable(&self) -> &[u8] {
        self.whole.as_deref().unwrap_or(self.predictor.bytes())
    }
}

impl Args {
    fn options<'a>(&self, halves: &'a [Part], pruning: Option<&'a Pruning>) -> ExportOptions<'a> {
        ExportOptions {
            task: self.task.map(TaskKind::from),
            embed: self.embed.map(Pooling::from),
            max_length: self.max_length.map(|length| length as usize),
            layout: match self.layout {
                LayoutName::Panels => Layout::Panels,
                LayoutName::Rows => Layout::Rows,
            },
            words: self.embeddings.into(),
            pruning,
            halves,
        }
    }

    fn evaluated(
        &self,
        mut predictor: DevicePredictor,
        eval: &Path,
        examples: &[RawExample],
    ) -> anyhow::Result<Evaluated> {
        let found = evaluate(&mut predictor, eval, examples, self.answers.options())?;
        Ok(Evaluated { predictor, found, whole: None })
    }

    /// Measures the export for its page.
    fn measured(
        &self,
        eval: &Path,
        examples: &[RawExample],
        exported: &mut Evaluated,
        plain: Option<&mut Evaluated>,
        kept: &[String],
        pruning: Option<&Pruning>,
    ) -> anyhow::Result<ExportReport> {
        let device = DeviceArgs {
            device: self.device.clone(),
            precision: Precision::F32,
            tuning: TuningChoice::Cache,
        };
        let task = self.task.map(TaskKind::from);
        let checkpoint = OpenCheckpoint::open(&self.model, task, &device, self.max_length)?;
        let answers = self.answers.options();
        let own = &checkpoint.tokenizer;
        let pruned = pruning
            .map(|pruning| TextTokenizer::from_pieces(pruning.pieces().to_vec(), own.config()))
            .transpose()?;
        let device = pruned.as_ref().unwrap_or(own);
        let subject = Subject { checkpoint: &checkpoint, device, eval, examples, answers };
        measure(&subject, &self.output, exported, plain, kept)
    }
}

pub(super) fn run(args: Args) -> anyhow::Result<Report> {
    let halves = parts(&args.keep);
    let names: Vec<String> = halves.iter().map(Part::to_string).collect();
    if let Some(page) = &args.report {
        ensure!(*page != args.output, "{}: both --output and --report", page.display());
    }
    let pruning = pruning(&args)?;
    let options = args.options(&halves, pruning.as_ref());
    let bytes = export(&args.model, &options)?;
    let sizes = Sizes::of(&args.output, &bytes, &options)?;
    if args.embed.is_some() {
        return embedding(&args.output, &bytes, &sizes, &names);
    }
    let predictor = DevicePredictor::from_bytes(&args.output, bytes)?;
    let (model_bytes, scratch_bytes) = (predictor.model_bytes(), predictor.scratch_bytes());
    let output = args.output.display();
    let mut lines =
        vec![format!("{output}: {model_bytes} bytes, {scratch_bytes} bytes of scratch")];
    lines.extend(sizes.lines());
    let mut json = json!({
        "output": args.output,
        "model_bytes": model_bytes,
        "scratch_bytes": scratch_bytes,
        "pieces": sizes.pieces(),
        "word_table_bytes": sizes.word_table_bytes(),
        "costs": null,
        "keep": names,
        "eval": null,
    });
    let Some(eval) = &args.eval else {
        write(&args.output, predictor.bytes())?;
        return Ok(Report { lines, json });
    };
    let examples = tasks::read(eval, predictor.task(), &args.read.options())?;
    let mut exported = args.evaluated(predictor, eval, &examples)?;
    let mut plain = match halves.is_empty() {
        true => None,
        false => {
            let bytes = export(&args.model, &args.options(&[], pruning.as_ref()))?;
            let predictor = DevicePredictor::from_bytes(&args.output, bytes)?;
            Some(args.evaluated(predictor, eval, &examples)?)
        }
    };
    let mut costs = Vec::new();
    if !sizes.is_plain {
        let written = Cost::of(&options, exported.predictor.bytes(), exported.found.clone())?;
        costs = Cost::all(&args, eval, &examples, &options, written)?;
    }
    let report = match &args.report {
        Some(_) => {
            if pruning.is_some() {
                exported.whole = Some(export(&args.model, &args.options(&halves, None))?);
                if let Some(plain) = &mut plain {
                    plain.whole = Some(export(&args.model, &args.options(&[], None))?);
                }
            }
            let (plain, pruning) = (plain.as_mut(), pruning.as_ref());
            let report = args.measured(eval, &examples, &mut exported, plain, &names, pruning)?;
            let word_tables = costs.iter().map(Cost::to_report).collect();
            Some(ExportReport { word_tables, ..report })
        }
        None => None,
    };

    let (name, found) = (arithmetic(&names), exported.found.describe());
    lines.push(format!("{name} on {} examples of {}: {found}", examples.len(), eval.display()));
    json["eval"] = json!({
        "task": exported.predictor.task(),
        "metrics": exported.found.to_json(),
        "examples": examples.len(),
    });
    if let Some(plain) = &plain {
        let bytes = plain.predictor.model_bytes();
        lines.push(format!("int8 alone: {}; {bytes} bytes", plain.found.describe()));
        json["eval"]["without_keep"] =
            json!({ "metrics": plain.found.to_json(), "model_bytes": bytes });
    }
    if !costs.is_empty() {
        lines.push("what a smaller word table costs:".into());
        lines.extend(costs.iter().map(Cost::line));
        json["costs"] = costs.iter().map(Cost::to_json).collect();
    }
    if let (Some(page), Some(report)) = (&args.report, &report) {
        atomic::write_file(page, render_export(report)?.as_bytes())?;
        lines.extend(report.lines());
        lines.push(format!("report in {}", page.display()));
        json["report"] = report.figures();
        json["report"]["page"] = json!(page);
    }
    write(&args.output, exported.predictor.bytes())?;
    let int8 = Int8Record {
        data: DataFile::of("eval", eval, examples.len() as u64)?,
        metrics: finite(&exported.found),
        f32: report.map(|report| report.f32),
        model_bytes: model_bytes as u64,
        scratch_bytes: scratch_bytes as u64,
    };
    // The record is of use to the report alone: where it cannot be written, the model is no worse.
    if let Err(error) = RunRecord::add_int8(&args.model, int8) {
        eprintln!("the record of the run does not have the figures of int8: {error}");
    }
    Ok(Report { lines, json })
}

/// A model that gives vectors has no examples to be evaluated on.
fn embedding(
    output: &Path,
    bytes: &[u8],
    sizes: &Sizes,
    names: &[String],
) -> anyhow::Result<Report> {
    let model = Model::parse(bytes).with_context(|| output.display().to_string())?;
    let (width, length) = (model.config().hidden, model.config().max_length);
    let scratch = model.scratch_bytes(usize::from(length));
    write(output, bytes)?;
    let mut lines = vec![format!(
        "{}: {} bytes, {scratch} bytes of scratch, vectors of {width} numbers",
        output.display(),
        bytes.len()
    )];
    lines.extend(sizes.lines());
    Ok(Report {
        lines,
        json: json!({
            "output": output,
            "model_bytes": bytes.len(),
            "scratch_bytes": scratch,
            "width": width,
            "pieces": sizes.pieces(),
            "word_table_bytes": sizes.word_table_bytes(),
            "keep": names,
            "eval": null,
        }),
    })
}

fn write(output: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    atomic::write_file(output, bytes)
        .with_context(|| format!("{}: cannot write the model", output.display()))
}
