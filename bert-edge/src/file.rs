//! The model file in memory.

use std::fs;
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
