//! `cargo xtask demo`: the whole flow on text of our own, from nothing to sentences answered by a
//! quantized model.
//!
//! Everything goes through the binaries a user has, and every file stays under `target/demo/`.

mod grammar;
mod pipeline;
mod report;
mod rules;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;

use crate::{setup, shell};
use pipeline::Pipeline;

/// Seeds of the demo: one for the utterances, one for each corpus.
const UTTERANCE_SEED: u64 = 1;
const CORPUS_SEED: u64 = 2;
const VALID_CORPUS_SEED: u64 = 3;

/// Utterances to fine-tune on, to watch, and to measure.
const TRAIN_UTTERANCES: usize = 8000;
const VALID_UTTERANCES: usize = 500;
const TEST_UTTERANCES: usize = 1000;

/// Dialogues to pre-train on and to measure on.
const DIALOGUES: usize = 8000;
const VALID_DIALOGUES: usize = 400;

/// The sentences answered at the end. None of them is in the training text.
const SENTENCES: [&str; 3] = [
    "could you dim the lights in the living room to thirty percent",
    "play some smooth jazz by the golden owls in the kitchen",
    "please remind me tomorrow to water the plants at half past six",
];

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args, Default)]
pub struct Args {
    /// Takes the binaries that are there, as CI does after its tests.
    #[arg(long, hide = true)]
    pub prebuilt: bool,
}

/// Runs the demo and prints its table.
///
/// # Errors
///
/// A stage that fails, or a figure that misses what the demo demands; the message names it.
pub fn run(args: &Args) -> anyhow::Result<()> {
    setup::ensure()?;
    if !args.prebuilt {
        pipeline::build_binaries()?;
    }
    let started = Instant::now();
    let dir = shell::target_dir().join("demo");
    let text = write_text(&dir)?;

    let mut pipeline = Pipeline::new(dir.clone());
    let vocabulary = pipeline.vocab(&text.corpus)?;
    let shards = pipeline.prepare(&text.corpus, &vocabulary)?;
    let pretrained = pipeline.pretrain(&shards)?;
    pipeline.eval_pretrained(&pretrained, &text.valid_corpus)?;
    let assistant = pipeline.finetune(&pretrained, &text.train, &text.valid)?;
    pipeline.eval_f32(&assistant, &text.test)?;
    let model = pipeline.export(&assistant, &text.test)?;
    pipeline.eval_int8(&model, &text.test)?;
    pipeline.bench(&model, &SENTENCES)?;
    let answers = pipeline.answer(&model, &SENTENCES)?;

    let figures = pipeline.into_figures(started.elapsed().as_secs_f64());
    let report = dir.join("report.json");
    write(&report, &figures.json()?)?;
    figures.print_table();
    println!();
    print!("{answers}");
    println!();
    println!("The figures are in {}.", relative(&report).display());
    println!("Try a sentence of your own:");
    println!("  {}", pipeline::try_command(&relative(&model)));
    figures.check_demands()
}

/// Where the demo's text lies.
struct Text {
    corpus: PathBuf,
    valid_corpus: PathBuf,
    train: PathBuf,
    valid: PathBuf,
    test: PathBuf,
}

/// Starts from an empty directory and writes the demo's text into it.
fn write_text(dir: &Path) -> anyhow::Result<Text> {
    if dir.exists() {
        std::fs::remove_dir_all(dir).with_context(|| format!("cannot clear {}", dir.display()))?;
    }
    let data = dir.join("text");
    std::fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;

    let splits =
        grammar::utterances(UTTERANCE_SEED, TRAIN_UTTERANCES, VALID_UTTERANCES, TEST_UTTERANCES);
    let avoid = splits.valid.iter().chain(&splits.test).map(grammar::Utterance::text).collect();
    let lines = |utterances: &[grammar::Utterance]| -> String {
        utterances.iter().map(grammar::Utterance::tsv_line).collect()
    };

    let text = Text {
        corpus: data.join("dialogues.train.txt"),
        valid_corpus: data.join("dialogues.valid.txt"),
        train: data.join("assistant.train.tsv"),
        valid: data.join("assistant.valid.tsv"),
        test: data.join("assistant.test.tsv"),
    };
    write(&text.corpus, &grammar::dialogues(CORPUS_SEED, DIALOGUES, &avoid))?;
    write(&text.valid_corpus, &grammar::dialogues(VALID_CORPUS_SEED, VALID_DIALOGUES, &avoid))?;
    write(&text.train, &lines(&splits.train))?;
    write(&text.valid, &lines(&splits.valid))?;
    write(&text.test, &lines(&splits.test))?;
    Ok(text)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The path as seen from the working directory, where it lies below it.
fn relative(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).to_owned()
}
