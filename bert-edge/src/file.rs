//! The model file in memory.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use bert_core::Model;
#[cfg(unix)]
use bert_core::format::Kind;
use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;

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
    // SAFETY: the mapping is read-only. If another program shortens or changes the file
    // meanwhile, this process may be ended by a signal or give wrong answers: model files are
    // replaced by renaming, never written in place.
    #[allow(unsafe_code)]
    let mapped = unsafe { Mmap::map(&file) };
    mapped.with_context(|| format!("{name}: cannot map into memory"))
}

/// Checks a mapped file.
///
/// Every byte is read for the checksums. The table of words is forgotten afterwards, so that it takes no
/// memory but where a text's words are: few of a vocabulary.
///
/// # Errors
/// What is wrong with the file; the message names it.
pub fn parse<'a>(path: &Path, mapped: &'a Mmap) -> Result<Model<'a>> {
    let model = Model::parse(mapped).with_context(|| path.display().to_string())?;
    #[cfg(unix)]
    for words in model.sections().filter(|section| section.kind == Kind::WordTable as u16) {
        // SAFETY: pages of a read-only mapping of a file come back as they were.
        #[allow(unsafe_code)]
        let forgotten = unsafe {
            let (at, bytes) = (words.offset as usize, words.length as usize);
            mapped.unchecked_advise_range(UncheckedAdvice::DontNeed, at, bytes)
        };
        // A system that does not do it keeps them.
        let _ = forgotten;
    }
    Ok(model)
}
