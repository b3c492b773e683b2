//! Runs a model file: labels, tags, numbers, answers, vectors, over HTTP too, a look inside, its
//! self-test, its speed.

mod args;
mod commands;
mod file;
mod input;
mod npy;
#[cfg(feature = "serve")]
mod serve;

use std::io;
use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Classify(args) => commands::classify(&args),
        Command::Tag(args) => commands::tag(&args.file, &args.texts),
        Command::Regress(args) => commands::regress(&args),
        Command::Span(args) => commands::span(&args),
        Command::Embed(args) => commands::embed(&args),
        Command::Inspect(file) => commands::inspect(&file),
        Command::Selftest(file) => commands::selftest(&file),
        Command::Bench(args) => commands::bench(&args.file, &args.text, args.iterations),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::serve(&args),
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
