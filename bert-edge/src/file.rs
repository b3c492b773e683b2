//! The model file in memory, and the texts to answer.

use std::fs;
use std::io::{self, BufRead};
use std::path::Path;

use anyhow::{Context, Result, bail};
use bert_core::Model;
use memmap2::Mmap;

/// Maps a file into memory.
///
/// # Errors
/// The file cannot be opened or mapped; the message names it.
pub fn map(path: &Path) -> Result<Mmap> {
    let name = path.display();
    let file = fs::File::open(path).with_context(|| format!("{name}: cannot open"))?;
    let metadata = file.metadata().with_context(|| format!("{name}: cannot read"))?;
    if !metadata.is_file() {
        bail!("{name}: not a file");
    }
    // SAFETY: the mapping is private and read-only. If another program shortens or changes the file
    // meanwhile, this process may be ended by a signal or give wrong answers: model files are
    // replaced by renaming, never written in place.
    #[allow(unsafe_code)]
    let mapped = unsafe { Mmap::map(&file) };
    mapped.with_context(|| format!("{name}: cannot map into memory"))
}

/// Checks a mapped file.
///
/// # Errors
/// What is wrong with the file; the message names it.
pub fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<Model<'a>> {
    Model::parse(bytes).with_context(|| path.display().to_string())
}

/// Hands each text to `answer`: the arguments in order, `-` being the lines of standard input.
///
/// # Errors
/// Those of `answer`, and lines that cannot be read, with their number.
pub fn each_text(texts: &[String], mut answer: impl FnMut(&str) -> Result<()>) -> Result<()> {
    for text in texts {
        if text != "-" {
            answer(text)?;
            continue;
        }
        let mut input = io::stdin().lock();
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let read = input.read_until(b'\n', &mut line).context("standard input")?;
            if read == 0 {
                break;
            }
            let Ok(line) = str::from_utf8(&line) else {
                bail!("standard input, line {number}: not valid UTF-8");
            };
            answer(line.trim_end_matches(['\n', '\r']))?;
        }
    }
    Ok(())
}
