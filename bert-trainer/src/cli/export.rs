//! `bert-trainer export`

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bert_core::format::{Layout, WordEncoding};
use bert_core::{Model, Pooling};
use serde_json::{Value, json};

use super::embed::PoolingName;
use super::{AnswerArgs, ReadArgs, Report, Task, prune};
use crate::atomic;
use crate::data::tasks::{self, RawExample, TaskKind};
use crate::evaluate::{DevicePredictor, Predictor as _, TaskMetrics, evaluate};
use crate::export::{ExportOptions, export};
use crate::model::{checkpoint_config, task_of_config};
use crate::prune::Pruning;
use crate::report::{DataFile, Int8Record, Metrics, RunRecord};

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
    /// a line or a table. Pruning before fine-tuning costs less, see `bert-trainer prune`.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    prune_vocabulary: Vec<PathBuf>,
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

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum EmbeddingsName {
    /// A scale for each piece.
    Int8,
    /// A scale for each 32 values, about half the bytes; for readers of version 4.
    Int4,
}

pub(super) fn run(args: Args) -> anyhow::Result<Report> {
    let pruning = pruning(&args)?;
    let options = ExportOptions {
        task: args.task.map(TaskKind::from),
        embed: args.embed.map(Pooling::from),
        max_length: args.max_length.map(|length| length as usize),
        layout: match args.layout {
            LayoutName::Panels => Layout::Panels,
            LayoutName::Rows => Layout::Rows,
        },
        words: match args.embeddings {
            EmbeddingsName::Int8 => WordEncoding::Int8,
            EmbeddingsName::Int4 => WordEncoding::Int4,
        },
        pruning: pruning.as_ref(),
    };
    let bytes = export(&args.model, &options)?;
    let sizes = Sizes::of(&args.output, &bytes, &options)?;
    if args.embed.is_some() {
        return embedding(&args.output, &bytes, &sizes);
    }
    let mut predictor = DevicePredictor::from_bytes(&args.output, bytes)?;
    let mut lines = sizes.lines();
    let (mut evaluation, mut costs, mut int8) = (json!(null), json!(null), None);
    if let Some(eval) = &args.eval {
        let task = predictor.task();
        let examples = tasks::read(eval, task, &args.read.options())?;
        let metrics = evaluate(&mut predictor, eval, &examples, args.answers.options())?;
        lines.push(format!(
            "int8 on {} examples of {}: {}",
            examples.len(),
            eval.display(),
            metrics.describe()
        ));
        evaluation = json!({
            "task": task,
            "metrics": metrics.to_json(),
            "examples": examples.len(),
        });
        if !sizes.is_plain {
            let written = Cost::of(&options, predictor.bytes(), metrics.clone())?;
            let all = Cost::all(&args, eval, &examples, &options, written)?;
            lines.push("what a smaller word table costs:".into());
            lines.extend(all.iter().map(Cost::line));
            costs = all.iter().map(Cost::to_json).collect();
        }
        let finite = metrics.iter().filter(|(_, value)| value.is_finite());
        int8 = Some(Int8Record {
            data: DataFile::of("eval", eval, examples.len() as u64)?,
            metrics: finite.collect::<Metrics>(),
            f32: None,
            model_bytes: predictor.model_bytes() as u64,
            scratch_bytes: predictor.scratch_bytes() as u64,
        });
    }
    write(&args.output, predictor.bytes())?;
    // The record is of use to the report alone: where it cannot be written, the model is no worse.
    if let Some(int8) = int8
        && let Err(error) = RunRecord::add_int8(&args.model, int8)
    {
        eprintln!("the record of the run does not have the figures of int8: {error}");
    }
    lines.insert(
        0,
        format!(
            "{}: {} bytes, {} bytes of scratch",
            args.output.display(),
            predictor.model_bytes(),
            predictor.scratch_bytes()
        ),
    );
    Ok(Report {
        lines,
        json: json!({
            "output": args.output,
            "model_bytes": predictor.model_bytes(),
            "scratch_bytes": predictor.scratch_bytes(),
            "pieces": sizes.pieces(),
            "word_table_bytes": sizes.word_table_bytes(),
            "eval": evaluation,
            "costs": costs,
        }),
    })
}

/// What is to stay of the vocabulary, if files say so.
fn pruning(args: &Args) -> anyhow::Result<Option<Pruning>> {
    if args.prune_vocabulary.is_empty() {
        return Ok(None);
    }
    let own = task_of_config(&checkpoint_config(&args.model)?, &args.model);
    let task = match args.embed {
        Some(_) => None,
        None => args.task.map(TaskKind::from).or(own?.map(|(task, _)| task)),
    };
    let files = &args.prune_vocabulary;
    Ok(Some(prune::pruning(&args.model, files, task, &args.read)?.0))
}

/// Pieces and bytes of the word table, of the whole vocabulary in int8 and as they are written.
struct Sizes {
    pieces: [usize; 2],
    bytes: [u64; 2],
    /// Whether neither option made it smaller.
    is_plain: bool,
}

impl Sizes {
    fn of(path: &Path, file: &[u8], options: &ExportOptions<'_>) -> anyhow::Result<Self> {
        let model = Model::parse(file).with_context(|| path.display().to_string())?;
        let (after, hidden) = (model.config().vocabulary as usize, model.config().hidden.into());
        let before = options.pruning.map_or(after, Pruning::pieces_before);
        let bytes = [WordEncoding::Int8.bytes(before, hidden), options.words.bytes(after, hidden)];
        let is_plain = options.pruning.is_none() && options.words == WordEncoding::Int8;
        Ok(Self { pieces: [before, after], bytes, is_plain })
    }

    fn lines(&self) -> Vec<String> {
        let ([pieces, kept], [bytes, left]) = (self.pieces, self.bytes);
        let line = || {
            format!("vocabulary: {kept} of {pieces} pieces; word table: {left} of {bytes} bytes")
        };
        (!self.is_plain).then(line).into_iter().collect()
    }

    fn pieces(&self) -> Value {
        json!({ "before": self.pieces[0], "after": self.pieces[1] })
    }

    fn word_table_bytes(&self) -> Value {
        json!({ "before": self.bytes[0], "after": self.bytes[1] })
    }
}

/// A model with both, one or none of what makes the word table smaller, and what it scores.
struct Cost {
    words: WordEncoding,
    is_pruned: bool,
    pieces: usize,
    word_table_bytes: u64,
    model_bytes: usize,
    metrics: TaskMetrics,
}

impl Cost {
    fn of(options: &ExportOptions<'_>, file: &[u8], metrics: TaskMetrics) -> anyhow::Result<Self> {
        let model = Model::parse(file)?;
        let (pieces, hidden) = (model.config().vocabulary as usize, model.config().hidden.into());
        Ok(Self {
            words: options.words,
            is_pruned: options.pruning.is_some(),
            pieces,
            word_table_bytes: options.words.bytes(pieces, hidden),
            model_bytes: file.len(),
            metrics,
        })
    }

    /// Neither, each by itself, and both as far as `options` has them, of which one is `written`.
    fn all(
        args: &Args,
        eval: &Path,
        examples: &[RawExample],
        options: &ExportOptions<'_>,
        written: Cost,
    ) -> anyhow::Result<Vec<Self>> {
        let int8 = WordEncoding::Int8;
        let mut others = vec![(int8, None)];
        if options.words != int8 && options.pruning.is_some() {
            others.extend([(options.words, None), (int8, options.pruning)]);
        }
        let measure = |(words, pruning)| {
            let options = ExportOptions { words, pruning, ..*options };
            let file = export(&args.model, &options)?;
            let mut predictor = DevicePredictor::from_bytes(&args.output, file)?;
            let metrics = evaluate(&mut predictor, eval, examples, args.answers.options())?;
            Self::of(&options, predictor.bytes(), metrics)
        };
        let mut all = others.into_iter().map(measure).collect::<anyhow::Result<Vec<_>>>()?;
        all.push(written);
        Ok(all)
    }

    fn encoding(&self) -> &'static str {
        match self.words {
            WordEncoding::Int8 => "int8",
            WordEncoding::Int4 => "int4",
        }
    }

    fn line(&self) -> String {
        let pieces = if self.is_pruned { "pruned" } else { "whole" };
        format!(
            "  {} {pieces:6} {:>7} pieces, word table {:>10} of {:>10} bytes: {}",
            self.encoding(),
            self.pieces,
            self.word_table_bytes,
            self.model_bytes,
            self.metrics.describe()
        )
    }

    fn to_json(&self) -> Value {
        json!({
            "embeddings": self.encoding(),
            "pruned": self.is_pruned,
            "pieces": self.pieces,
            "word_table_bytes": self.word_table_bytes,
            "model_bytes": self.model_bytes,
            "metrics": self.metrics.to_json(),
        })
    }
}

/// A model that gives vectors has no examples to be evaluated on.
fn embedding(output: &Path, bytes: &[u8], sizes: &Sizes) -> anyhow::Result<Report> {
    let model = Model::parse(bytes).with_context(|| output.display().to_string())?;
    let (width, length) = (model.config().hidden, model.config().max_length);
    let scratch = model.scratch_bytes(usize::from(length));
    write(output, bytes)?;
    let mut lines = sizes.lines();
    lines.insert(
        0,
        format!(
            "{}: {} bytes, {scratch} bytes of scratch, vectors of {width} numbers",
            output.display(),
            bytes.len()
        ),
    );
    Ok(Report {
        lines,
        json: json!({
            "output": output,
            "model_bytes": bytes.len(),
            "scratch_bytes": scratch,
            "pieces": sizes.pieces(),
            "word_table_bytes": sizes.word_table_bytes(),
            "width": width,
            "eval": null,
        }),
    })
}

fn write(output: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    atomic::write_file(output, bytes)
        .with_context(|| format!("{}: cannot write the model", output.display()))
}
