//! Runs a model file: labels, tags, a look inside, its self-test, its speed.

mod commands;
mod file;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Answers sentences with a quantized BERT in one file.
///
/// A model file is what `bert-trainer export` writes; it holds weights, vocabulary, labels and a
/// self-test. Nothing else is needed to run it.
#[derive(Parser)]
#[command(name = "bert-edge", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage.\n\n\
    Examples:\n  \
    bert-edge classify model.bert \"turn on the light\" \"what time is it\"\n  \
    bert-edge tag model.bert --json \"wake me at seven\"\n  \
    cat sentences.txt | bert-edge classify model.bert -")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the label of each text and its probability.
    ///
    /// One line a text: label, probability and text, separated by tabs. Works with models that
    /// have labels for texts (task classify or joint).
    Classify(Texts),
    /// Print the tag of each word; with a joint model, the label of the text first.
    ///
    /// One line a word: word, tag and probability, separated by tabs; a blank line between texts.
    /// A line `# label` with label and probability comes first if the model has labels too.
    Tag(Texts),
    /// Print what is in a model file: sizes, labels, memory, sections.
    Inspect(File),
    /// Run the self-test in the file: every stored text must give the stored output bits.
    Selftest(File),
    /// Time a text: median and least microseconds from text to answer, on one core.
    Bench(Bench),
}

#[derive(Args)]
struct File {
    /// The model file.
    model: PathBuf,
    /// Print one JSON object and nothing else.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Texts {
    #[command(flatten)]
    file: File,
    /// Texts; `-` reads them from standard input, one a line.
    #[arg(required = true)]
    texts: Vec<String>,
}

#[derive(Args)]
struct Bench {
    #[command(flatten)]
    file: File,
    /// The text to time.
    text: String,
    /// How often it is answered.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    iterations: u32,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Classify(args) => commands::classify(&args.file, &args.texts),
        Command::Tag(args) => commands::tag(&args.file, &args.texts),
        Command::Inspect(file) => commands::inspect(&file),
        Command::Selftest(file) => commands::selftest(&file),
        Command::Bench(args) => commands::bench(&args.file, &args.text, args.iterations),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match output_error(&error) {
            // The reader of our output went away, e.g. `| head`: nothing is wrong.
            Some(io::ErrorKind::BrokenPipe) => ExitCode::SUCCESS,
            Some(_) => {
                eprintln!("error: standard output: {error}");
                ExitCode::FAILURE
            }
            None => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

/// The kind of a failure to write: the only I/O errors that carry no context.
fn output_error(error: &anyhow::Error) -> Option<io::ErrorKind> {
    let bare = error.chain().count() == 1;
    error.downcast_ref::<io::Error>().filter(|_| bare).map(io::Error::kind)
}
