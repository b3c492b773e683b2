//! `bert-trainer prepare`

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use super::Report;
use crate::data::{PrepareOptions, prepare};

/// Turn text into memory-mapped shards of token ids for pre-training.
///
/// Example: bert-trainer prepare --input corpus.txt.xz --tokenizer tokenizer --output shards
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Text, a sentence a line, blank lines between documents; plain, .xz, .zst or .gz.
    #[arg(long, required = true, num_args = 1..)]
    input: Vec<PathBuf>,
    /// Directory with vocab.txt, as `vocab` writes it, or a Hugging Face model directory.
    #[arg(long)]
    tokenizer: PathBuf,
    /// Directory to write shards, manifest.json and the tokenizer to.
    #[arg(long)]
    output: PathBuf,
}

pub(super) fn run(args: Args) -> anyhow::Result<Report> {
    let start = Instant::now();
    let options = PrepareOptions::new(args.input, args.tokenizer, args.output.clone());
    let manifest = prepare(&options, |_| ())?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Report {
        lines: vec![format!(
            "{} documents, {} sentences, {} tokens in {seconds:.1} s; entropy of the tokens {:.3} \
             nats, which is the loss without context",
            manifest.documents, manifest.sentences, manifest.tokens, manifest.unigram_entropy
        )],
        json: json!({
            "output": args.output,
            "documents": manifest.documents,
            "sentences": manifest.sentences,
            "tokens": manifest.tokens,
            "vocabulary_size": manifest.vocabulary_size,
            "unigram_entropy": manifest.unigram_entropy,
            "seconds": seconds,
        }),
    })
}
