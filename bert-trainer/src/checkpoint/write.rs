//! Writing a Hugging Face directory.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::tensor_file::write_tensors;
use super::{CheckpointError, TOKENIZER_FILES, TensorSpec, WEIGHTS_FILE, read_bytes};
use crate::atomic::{clean_leftovers, write_directory, write_file, write_file_with};
use crate::config::{CONFIG_FILE, Config};

/// Writes the Hugging Face directory `directory`: config, weights, and the tokenizer's files
/// copied from `tokenizer`.
///
/// A new directory appears complete. In an existing one with a model of the same config and
/// tokenizer only the weights are replaced, by a rename. Other files in it are left alone.
/// A tied decoder has no tensor of its own, as `transformers` has it.
///
/// # Errors
/// `directory` holds another config or tokenizer, with a model or without (which could not be
/// replaced without a moment of mixture); `tokenizer` holds no tokenizer; the operating system refuses, in which
/// case the old weights still stand.
///
/// # Panics
/// If a slice is not as long as its spec says, or two specs share a name.
pub fn write<'a>(
    directory: &Path,
    config: &Config,
    tensors: impl IntoIterator<Item = (&'a TensorSpec, &'a [f32])>,
    tokenizer: &Path,
) -> Result<(), CheckpointError> {
    let mut tensors: Vec<(&str, &[usize], &[f32])> = tensors
        .into_iter()
        .map(|(spec, values)| {
            assert_eq!(spec.len(), values.len(), "{}: length of {:?}", spec.name, spec.shape);
            (spec.name.as_str(), spec.shape.as_slice(), values)
        })
        .collect();
    tensors.sort_by_key(|(name, ..)| *name);
    assert!(tensors.is_sorted_by(|a, b| a.0 < b.0), "two tensors of one name");

    let tokenizer = Tokenizer::read(tokenizer)?;
    put(directory, config, &tokenizer, |at| write_weights(at, &tensors))
}

/// The files of a tokenizer and where they are from.
pub(super) struct Tokenizer<'a> {
    pub source: &'a Path,
    pub files: Vec<(&'static str, Vec<u8>)>,
}

impl<'a> Tokenizer<'a> {
    fn read(source: &'a Path) -> Result<Self, CheckpointError> {
        let there = TOKENIZER_FILES.into_iter().filter(|name| source.join(name).exists());
        let read = |name| Ok((name, read_bytes(&source.join(name))?));
        Ok(Self { source, files: there.map(read).collect::<Result<_, CheckpointError>>()? })
    }
}

/// Writes a directory as [`write`] says, with weights that `write_weights` puts into it.
pub(super) fn put(
    directory: &Path,
    config: &Config,
    tokenizer: &Tokenizer<'_>,
    write_weights: impl Fn(&Path) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    let exists = directory.exists();
    let is_empty =
        exists && fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
    if !exists || is_empty {
        return write_directory(directory, |new| {
            write_small_files(new, config, tokenizer)?;
            write_weights(new)
        });
    }
    clean_leftovers(directory)?;
    if directory.join(WEIGHTS_FILE).exists() {
        refuse_another_model(directory, config, tokenizer)?;
    } else {
        refuse_to_replace(directory, config, tokenizer)?;
        write_small_files(directory, config, tokenizer)?;
    }
    write_weights(directory)
}

fn write_weights(
    directory: &Path,
    tensors: &[(&str, &[usize], &[f32])],
) -> Result<(), CheckpointError> {
    // `transformers` refuses a file that does not say which framework's layout it has.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    write_file_with(&directory.join(WEIGHTS_FILE), |out| {
        write_tensors(out, Some(metadata), tensors)
    })?;
    Ok(())
}

fn write_small_files(
    directory: &Path,
    config: &Config,
    tokenizer: &Tokenizer<'_>,
) -> Result<(), CheckpointError> {
    if tokenizer.files.is_empty() {
        let problem = "expected a directory with vocab.txt or tokenizer.json, found neither";
        return Err(CheckpointError::invalid(tokenizer.source, problem));
    }
    for (name, bytes) in &tokenizer.files {
        write_file(&directory.join(name), bytes)?;
    }
    write_file(&directory.join(CONFIG_FILE), config.to_json().as_bytes())?;
    Ok(())
}

/// Where there are no weights yet, what a run that was killed had written is the same; a tokenizer
/// or a config of another model is somebody's.
fn refuse_to_replace(
    directory: &Path,
    config: &Config,
    tokenizer: &Tokenizer<'_>,
) -> Result<(), CheckpointError> {
    let config = (CONFIG_FILE, config.to_json().into_bytes());
    for (name, bytes) in tokenizer.files.iter().chain([&config]) {
        let there = directory.join(name);
        if there.exists() && *bytes != read_bytes(&there)? {
            let problem = format!("already holds another {name}; choose another place");
            return Err(CheckpointError::invalid(directory, problem));
        }
    }
    Ok(())
}

fn refuse_another_model(
    directory: &Path,
    config: &Config,
    tokenizer: &Tokenizer<'_>,
) -> Result<(), CheckpointError> {
    let refuse = |name: &str| {
        let problem = format!("already holds a model with another {name}; choose another place");
        Err(CheckpointError::invalid(directory, problem))
    };
    if Config::load(directory)? != *config {
        return refuse(CONFIG_FILE);
    }
    for (name, bytes) in &tokenizer.files {
        let there = directory.join(name);
        if !there.exists() || *bytes != read_bytes(&there)? {
            return refuse(name);
        }
    }
    Ok(())
}
