//! `bert-trainer vocab`

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use super::Report;
use crate::data::vocabulary::{self, VocabularyOptions};

/// Learn a WordPiece vocabulary from text.
///
/// Example: bert-trainer vocab --input corpus.txt.xz --vocab-size 8000 --output tokenizer
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Text, a sentence a line, blank lines between documents; plain, .xz, .zst or .gz.
    #[arg(long, required = true, num_args = 1..)]
    input: Vec<PathBuf>,
    /// Pieces of the vocabulary, special tokens included.
    #[arg(long, default_value_t = 8000, value_parser = clap::value_parser!(u32).range(16..))]
    vocab_size: u32,
    /// Directory to write vocab.txt, tokenizer.json and tokenizer_config.json to.
    #[arg(long)]
    output: PathBuf,
    /// Keep case and accents.
    #[arg(long)]
    cased: bool,
    /// Times a character sequence must occur to become a piece.
    #[arg(long, default_value_t = 2)]
    min_frequency: u64,
}

pub(super) fn run(args: Args) -> anyhow::Result<Report> {
    let start = Instant::now();
    let options = VocabularyOptions {
        inputs: args.input,
        output: args.output.clone(),
        vocabulary_size: args.vocab_size,
        cased: args.cased,
        min_frequency: args.min_frequency,
    };
    let summary = vocabulary::train(&options)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Report {
        lines: vec![format!(
            "{} pieces from {} words ({} different) in {seconds:.1} s, in {}",
            summary.pieces,
            summary.words,
            summary.distinct_words,
            args.output.display()
        )],
        json: json!({
            "output": args.output,
            "pieces": summary.pieces,
            "words": summary.words,
            "distinct_words": summary.distinct_words,
            "seconds": seconds,
        }),
    })
}
