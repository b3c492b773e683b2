//! The runner for this machine, and the maker of the corpus for others.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use bert_core::ScratchVec;
use bert_identity::corpus::Corpus;
use bert_identity::report::{self, Failure};
use bert_identity::{TEXTS, corpus_bytes};

const USAGE: &str = "usage: bert-identity identity [TEXTS] | count | corpus FILE | paths";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["identity"] => run(|corpus, scratch, out| report::identity(corpus, TEXTS, scratch, out)),
        ["identity", texts] => match texts.parse() {
            Ok(texts) => run(|corpus, scratch, out| report::identity(corpus, texts, scratch, out)),
            Err(_) => Err(format!("a number of texts expected, {texts:?} found")),
        },
        // The profiler watches for the name of what is run.
        ["count"] => {
            run(|corpus, scratch, out| report::count(corpus, scratch, (|| (), || ()), out))
        }
        ["corpus", file] => write_corpus(file).map_err(|error| format!("{file}: {error}")),
        ["paths"] => {
            paths().iter().for_each(|path| println!("{path}"));
            Ok(())
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bert-identity: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Leaves a file alone that holds the corpus already, so that what is built from it stays.
fn write_corpus(file: &str) -> io::Result<()> {
    let bytes = corpus_bytes();
    match std::fs::read(file) {
        Ok(found) if found == bytes => Ok(()),
        _ => std::fs::write(file, bytes),
    }
}

/// The values of `BERT_ARCH` that this machine can run.
fn paths() -> Vec<&'static str> {
    bert_core::arch::available().map(bert_core::arch::Kernels::name).collect()
}

fn run(
    report: impl Fn(&Corpus<'_>, &mut [u8], &mut dyn fmt::Write) -> Result<(), Failure>,
) -> Result<(), String> {
    let bytes = corpus_bytes();
    let corpus = Corpus::parse(&bytes).ok_or("the corpus cannot be read back")?;
    let told = |failure: Failure| format!("{failure:?}");
    let mut scratch = ScratchVec::new(report::scratch_bytes(&corpus).map_err(told)?);
    let mut out = Text(io::stdout().lock());
    report(&corpus, &mut scratch, &mut out).map_err(told)
}

/// Standard output as `core::fmt` writes to it.
struct Text<'a>(io::StdoutLock<'a>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_all(text.as_bytes()).map_err(|_| fmt::Error)
    }
}
