//! `bert-trainer prune`

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{ReadArgs, Report, Task};
use crate::checkpoint::WEIGHTS_FILE;
use crate::data::TextTokenizer;
use crate::data::tasks::{TaskKind, texts_of_task};
use crate::model::{checkpoint_config, task_of_config};
use crate::prune::{Pruning, prune_checkpoint};

/// Make a checkpoint smaller before it is fine-tuned: keep the part of its vocabulary that a task uses.
///
/// What stays are the special tokens, all pieces of one character, and every piece that the texts of
/// --data are cut into; with the word table go the rows of the decoder and its bias, if the checkpoint
/// has them. Give the texts to train on, and others of the field if there are: a word that was not
/// seen is later cut into shorter pieces, down to characters. The model then learns with the pieces it
/// will have; `export --prune-vocabulary` does the same to a model that has learned already.
///
/// Example: bert-trainer prune --model pretrained --task classify --data train.tsv --output small
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Checkpoint directory, pre-trained or fine-tuned.
    #[arg(long)]
    model: PathBuf,
    /// Files of the task, or texts: one a line, or a table.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    data: Vec<PathBuf>,
    /// Checkpoint directory to write.
    #[arg(long)]
    output: PathBuf,
    /// Task of the data, which says how the files are read; that of a fine-tuned model if not given.
    /// Files of a pre-trained model without a task are texts.
    #[arg(long, value_enum)]
    task: Option<Task>,
    #[command(flatten)]
    read: ReadArgs,
}

pub(super) fn run(args: Args) -> anyhow::Result<Report> {
    let config = checkpoint_config(&args.model)?;
    // A checkpoint of a class that has no task here has an encoder to prune all the same.
    let own = task_of_config(&config, &args.model).ok().flatten().map(|(task, _)| task);
    let task = args.task.map(TaskKind::from).or(own);
    let (pruning, texts) = pruning(&args.model, &args.data, task, &args.read)?;
    let pruning = prune_checkpoint(&args.model, pruning, &args.output)?;
    let (before, after) = (pruning.pieces_before(), pruning.pieces().len());
    let bytes = |dir: &Path| std::fs::metadata(dir.join(WEIGHTS_FILE)).map(|file| file.len());
    let (bytes_before, bytes_after) = (bytes(&args.model)?, bytes(&args.output)?);
    Ok(Report {
        lines: vec![format!(
            "{}: {after} of {before} pieces for {texts} texts, weights {bytes_after} bytes of \
             {bytes_before}",
            args.output.display()
        )],
        json: json!({
            "output": args.output,
            "texts": texts,
            "pieces": { "before": before, "after": after },
            "model_bytes": { "before": bytes_before, "after": bytes_after },
        }),
    })
}

/// What the texts of `files` need of the vocabulary of the checkpoint `dir`, and how many they are.
pub(super) fn pruning(
    dir: &Path,
    files: &[PathBuf],
    task: Option<TaskKind>,
    read: &ReadArgs,
) -> anyhow::Result<(Pruning, usize)> {
    let tokenizer = TextTokenizer::open(dir)?;
    let mut texts = Vec::new();
    for file in files {
        texts.extend(texts_of_task(file, task, &read.options())?);
    }
    Ok((Pruning::of(&tokenizer, texts.iter().map(String::as_str)), texts.len()))
}
