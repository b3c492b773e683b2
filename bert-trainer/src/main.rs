//! The training command line; see `bert-trainer --help`.

use std::process::ExitCode;

use bert_trainer::cli::Cli;

fn main() -> ExitCode {
    match Cli::from_process().and_then(Cli::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, whatever the causes behind it.
            let message = format!("{error:#}").replace('\n', " ");
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
