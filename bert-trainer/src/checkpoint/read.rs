//! Reading a Hugging Face directory.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use super::tensor_file::widened;
use super::{CheckpointError, TensorSpec, WEIGHTS_FILE, list, names, read_bytes};
use crate::config::Config;

/// A model as it lay in a directory.
#[derive(Debug)]
pub struct ReadCheckpoint {
    /// `config.json`.
    pub config: Config,
    /// The values of every tensor asked for that was there, row-major, by the name asked for.
    pub tensors: HashMap<String, Vec<f32>>,
    /// Optional tensors that were asked for and not there, in the order asked for.
    pub missing: Vec<String>,
    /// Heads or pooler in the file that were not asked for, sorted.
    pub unused: Vec<String>,
}

/// Reads the tensors of `specs` from the Hugging Face directory `directory`.
///
/// Values of type f16 and bf16 are widened to f32. Names without the prefix `bert.`, TensorFlow's
/// `gamma` and `beta`, and `position_ids` buffers are understood. A decoder in the file must be
/// equal to the word embeddings, since here the two are one.
/// A tensor for which `optional` answers true may be absent (a head that is about to be learnt).
///
/// # Errors
/// The directory or a file of it is missing or damaged; a tensor of `specs` is absent, or has
/// another shape, or holds numbers that are not finite; the file holds a tensor that is part of
/// no BERT this crate knows. One line each, naming the file and the tensors.
pub fn read(
    directory: &Path,
    specs: &[TensorSpec],
    optional: impl Fn(&str) -> bool,
) -> Result<ReadCheckpoint, CheckpointError> {
    if !directory.is_dir() {
        return Err(CheckpointError::invalid(directory, "expected a checkpoint directory"));
    }
    let config = Config::load(directory)?;
    let file = directory.join(WEIGHTS_FILE);
    if !file.exists() {
        return Err(CheckpointError::invalid(directory, what_instead(directory)));
    }
    let bytes = read_bytes(&file)?;
    let invalid = |problem: String| CheckpointError::invalid(&file, problem);
    let archive = SafeTensors::deserialize(&bytes)
        .map_err(|error| invalid(format!("not a whole safetensors file: {error}")))?;
    let mut found = by_canonical_name(&archive).map_err(invalid)?;
    settle_ties(&mut found).map_err(invalid)?;

    let mut tensors = HashMap::with_capacity(specs.len());
    let (mut missing, mut required) = (Vec::new(), Vec::new());
    for spec in specs {
        let Some((stored_name, view)) = found.remove(&spec.name) else {
            let absent = if optional(&spec.name) { &mut missing } else { &mut required };
            absent.push(spec.name.clone());
            continue;
        };
        if view.shape() != spec.shape {
            let (expected, shape) = (&spec.shape, view.shape());
            return Err(invalid(format!(
                "tensor {stored_name}: expected shape {expected:?}, found {shape:?}"
            )));
        }
        let values = widened(&view).map_err(|e| invalid(format!("tensor {stored_name}: {e}")))?;
        tensors.insert(spec.name.clone(), values);
    }
    if !required.is_empty() {
        let (count, names) = (required.len(), list(&required));
        return Err(invalid(format!("lacks {count} tensors the model needs: {names}")));
    }
    let (unused, unknown): (Vec<String>, Vec<String>) =
        found.into_keys().partition(|name| names::may_be_unused(name));
    if !unknown.is_empty() {
        let (count, names) = (unknown.len(), list(&unknown));
        return Err(invalid(format!("holds {count} tensors this model has no place for: {names}")));
    }
    Ok(ReadCheckpoint { config, tensors, missing, unused })
}

type Found<'a> = BTreeMap<String, (String, TensorView<'a>)>;

fn by_canonical_name<'a>(archive: &SafeTensors<'a>) -> Result<Found<'a>, String> {
    let mut found = Found::new();
    for (stored_name, view) in archive.tensors() {
        let Some(name) = names::canonical(&stored_name) else {
            continue;
        };
        if let Some((other, _)) = found.insert(name, (stored_name.clone(), view)) {
            return Err(format!("holds the same tensor twice, as {other} and {stored_name}"));
        }
    }
    Ok(found)
}

/// Removes the decoder, which is the word embeddings and the bias under second names.
fn settle_ties(found: &mut Found<'_>) -> Result<(), String> {
    for (tied, original) in [
        (names::DECODER_WEIGHT, names::WORD_EMBEDDINGS),
        (names::DECODER_BIAS, names::PREDICTION_BIAS),
    ] {
        let Some((_, copy)) = found.remove(tied) else {
            continue;
        };
        match found.get(original) {
            None => {
                found.insert(original.to_owned(), (tied.to_owned(), copy));
            }
            Some((_, view)) if widened(view)? == widened(&copy)? => {}
            Some(_) => {
                return Err(format!(
                    "{tied} differs from {original}: expected a tied decoder, BERT has no other"
                ));
            }
        }
    }
    Ok(())
}

/// What lies in the directory in place of `model.safetensors`.
fn what_instead(directory: &Path) -> String {
    let missing = format!("expected {WEIGHTS_FILE}, found ");
    if directory.join("model.safetensors.index.json").exists() {
        return missing
            + "model.safetensors.index.json: weights in several files are not supported";
    }
    for other in ["pytorch_model.bin", "tf_model.h5", "flax_model.msgpack"] {
        if directory.join(other).exists() {
            return missing + other + ": save the model with transformers' save_pretrained first";
        }
    }
    missing + "no weights"
}
