//! The firmware for this machine: what the chips are compared with.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use bert_core::format::heads;
use bert_core::{Model, ScratchVec};
use bert_firmware::{Marks, measured_texts, random_model, run};

const USAGE: &str = "usage: bert-firmware run MODEL TEXT… | measured MODEL | random MODEL PIECES";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (file, done) = match arguments[..] {
        ["run", file, ref texts @ ..] => (file, answers(file, texts)),
        ["measured", file] => (file, measured(file)),
        ["random", file, pieces] => (file, random(file, pieces)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bert-firmware: {file}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a chip prints, but for its memory.
fn answers(file: &str, texts: &[&str]) -> Result<(), String> {
    let bytes = std::fs::read(file).map_err(told)?;
    let model = Model::parse(&bytes).map_err(told)?;
    let mut scratch = ScratchVec::of(&model);
    let mut out = Text(io::stdout().lock());
    let marks: Marks = (|| (), || ());
    run::<{ heads::ALL }>(&bytes, &mut scratch, texts.iter().copied(), marks, &mut out)
        .map_err(told)
}

/// A line for each text that is measured: tokens, multiplications, text.
fn measured(file: &str) -> Result<(), String> {
    let bytes = std::fs::read(file).map_err(told)?;
    let model = Model::parse(&bytes).map_err(told)?;
    let mut out = io::stdout().lock();
    for text in measured_texts(&model).map_err(told)? {
        writeln!(out, "{} {} {}", text.tokens, text.macs, text.text).map_err(told)?;
    }
    Ok(())
}

/// Writes a model with random weights.
fn random(file: &str, pieces: &str) -> Result<(), String> {
    let pieces = pieces.parse().map_err(told)?;
    std::fs::write(file, random_model(pieces).map_err(told)?).map_err(told)
}

fn told(error: impl fmt::Display) -> String {
    error.to_string()
}

/// Standard output as `core::fmt` writes to it.
struct Text<'a>(io::StdoutLock<'a>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_all(text.as_bytes()).map_err(|_| fmt::Error)
    }
}
