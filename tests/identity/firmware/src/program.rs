//! What the machines with semihosting do: `identity [TEXTS]` or `count`.
#![allow(unsafe_code)]

#[cfg(not(target_arch = "aarch64"))]
use core::fmt::Write;

use bert_identity::corpus::Corpus;
use bert_identity::report::{self, Failure};
use bert_machine::exit::{DONE, FAILED, USAGE};
use bert_machine::{MARKS, Out, arguments, eprintln};

/// Longest command line.
const ARGUMENT_BYTES: usize = 256;

bert_machine::program!(run);

/// Runs what the arguments ask for; the result is the exit code.
fn run() -> i32 {
    match ask() {
        Ok(()) => DONE,
        Err(Some(Failure::Model { model, text, error })) => {
            eprintln!("firmware: model {model}, text {text}: {error:?}");
            FAILED
        }
        Err(Some(failure)) => {
            eprintln!("firmware: {failure:?}");
            FAILED
        }
        Err(None) => {
            eprintln!("firmware: `identity [TEXTS]` or `count` expected");
            USAGE
        }
    }
}

/// `Err(None)` if the arguments are not understood.
fn ask() -> Result<(), Option<Failure>> {
    let out = &mut Out::open().map_err(|_| Failure::Write)?;
    // SAFETY: the program runs once.
    let scratch = unsafe { crate::corpus::scratch() };
    let corpus = Corpus::parse(crate::corpus::bytes()).ok_or(Failure::Corpus)?;
    let arguments = arguments::<ARGUMENT_BYTES>().map_err(|_| None)?;
    let mut words = (&arguments).map(|word| word.unwrap_or(""));
    match (words.next(), words.next().map(str::parse::<usize>)) {
        (Some("identity"), None) => report::identity(&corpus, corpus.texts(), scratch, out)?,
        (Some("identity"), Some(Ok(texts))) => report::identity(&corpus, texts, scratch, out)?,
        (Some("count"), None) => report::count(&corpus, scratch, MARKS, out)?,
        _ => return Err(None),
    }
    #[cfg(not(target_arch = "aarch64"))]
    writeln!(out, "stack {}", bert_machine::stack_bytes()).map_err(|_| Failure::Write)?;
    Ok(())
}
