//! A checkpoint with a part of its vocabulary.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use super::write::{Tokenizer, put};
use super::{CheckpointError, WEIGHTS_FILE, names, read_bytes};
use crate::atomic::write_file;
use crate::config::Config;

/// Writes the Hugging Face directory `directory`: the weights of the directory `source` with the rows
/// `keep` of what has a row for each piece, under a config and a tokenizer that have as many.
///
/// All other tensors keep their names, types and bytes. What happens to an existing directory is as
/// [`super::write`](fn@super::write) says.
///
/// # Errors
/// The weights of `source` cannot be read, or a tensor has no row for a piece; `directory` holds
/// another model or cannot be written.
pub fn write_rows(
    directory: &Path,
    config: &Config,
    source: &Path,
    keep: &[u32],
    tokenizer: &[(&'static str, String)],
) -> Result<(), CheckpointError> {
    let file = source.join(WEIGHTS_FILE);
    let bytes = read_bytes(&file)?;
    let invalid = |problem: String| CheckpointError::invalid(&file, problem);
    let archive = SafeTensors::deserialize(&bytes)
        .map_err(|error| invalid(format!("not a whole safetensors file: {error}")))?;
    let mut tensors = Vec::new();
    for (name, view) in archive.tensors() {
        let (mut shape, mut data) = (view.shape().to_vec(), Cow::Borrowed(view.data()));
        if names::canonical(&name).is_some_and(|name| names::has_a_row_a_piece(&name)) {
            let rows = rows(&view, keep).map_err(|e| invalid(format!("tensor {name}: {e}")))?;
            (shape[0], data) = (keep.len(), Cow::Owned(rows));
        }
        tensors.push((name, view.dtype(), shape, data));
    }
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        let view = TensorView::new(*dtype, shape.clone(), data);
        view.map(|view| (name, view)).map_err(|error| invalid(format!("tensor {name}: {error}")))
    });
    let views = views.collect::<Result<Vec<_>, _>>()?;
    // `transformers` refuses a file that does not say which framework's layout it has.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let weights = safetensors::serialize(views, Some(metadata))
        .map_err(|error| invalid(error.to_string()))?;
    let files = tokenizer.iter().map(|(name, text)| (*name, text.clone().into_bytes()));
    let tokenizer = Tokenizer { source, files: files.collect() };
    put(directory, config, &tokenizer, |at| Ok(write_file(&at.join(WEIGHTS_FILE), &weights)?))
}

/// The rows `keep` of a tensor.
fn rows(view: &TensorView<'_>, keep: &[u32]) -> Result<Vec<u8>, String> {
    let count = view.shape().first().copied().unwrap_or(0);
    let least = keep.last().map_or(0, |&last| last as usize + 1);
    if count < least {
        let shape = view.shape();
        return Err(format!("expected {least} rows or more, found shape {shape:?}"));
    }
    let length = view.data().len() / count.max(1);
    let row = |&id: &u32| &view.data()[id as usize * length..][..length];
    Ok(keep.iter().flat_map(row).copied().collect())
}
