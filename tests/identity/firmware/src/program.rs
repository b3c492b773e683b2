//! What the machines with semihosting do: `identity [TEXTS]` or `count`.
#![allow(unsafe_code)]

use core::hint::black_box;

use bert_identity::corpus::Corpus;
use bert_identity::report::{self, Failure};
use semihosting::{eprintln, io};

/// Exit codes.
const DONE: i32 = 0;
const FAILED: i32 = 1;
const USAGE: i32 = 2;

/// Longest command line.
const ARGUMENT_BYTES: usize = 256;

/// Runs what the arguments ask for; the result is the exit code.
///
/// # Safety
///
/// Once in the life of the program.
pub unsafe fn run() -> i32 {
    // SAFETY: by the condition above.
    let scratch = unsafe { crate::corpus::scratch() };
    let Some(corpus) = Corpus::parse(crate::corpus::bytes()) else {
        eprintln!("firmware: the image holds no corpus");
        return FAILED;
    };
    let Ok(arguments) = semihosting::experimental::env::args::<ARGUMENT_BYTES>() else {
        eprintln!("firmware: no arguments");
        return USAGE;
    };
    // The first is the program's name.
    let mut words = (&arguments).skip(1).map(|word| word.unwrap_or(""));
    let mut out = match io::stdout() {
        Ok(out) => Out(out),
        Err(_) => return FAILED,
    };
    let done = match (words.next(), words.next().map(str::parse::<usize>)) {
        (Some("identity"), None) => report::identity(&corpus, corpus.texts(), scratch, &mut out),
        (Some("identity"), Some(Ok(texts))) => report::identity(&corpus, texts, scratch, &mut out),
        (Some("count"), None) => {
            let marks: (fn(), fn()) = (|| measure_begin(), || measure_end());
            report::count(&corpus, scratch, marks, &mut out)
        }
        _ => {
            eprintln!("firmware: `identity [TEXTS]` or `count` expected");
            return USAGE;
        }
    };
    match done {
        Ok(()) => DONE,
        Err(Failure::Model { model, text, error }) => {
            eprintln!("firmware: model {model}, text {text}: {error:?}");
            FAILED
        }
        Err(failure) => {
            eprintln!("firmware: {failure:?}");
            FAILED
        }
    }
}

/// Standard output as `core::fmt` writes to it.
struct Out(io::Stdout);

impl core::fmt::Write for Out {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        io::Write::write_all(&mut self.0, text.as_bytes()).map_err(|_| core::fmt::Error)
    }
}

/// The counter of instructions watches for this name.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn measure_begin() {
    black_box("begin");
}

/// As [`measure_begin`]; the bodies differ, so that the two functions are not made one.
// SAFETY: nothing else has the name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn measure_end() {
    black_box("end");
}
