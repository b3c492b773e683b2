//! The state of a run: everything `--resume` needs to go on bit for bit (invariant 4).
//!
//! A run draws every random number from counters, so its state is small: how far it is, what it
//! is a run of, and the flat buffers of the optimizer.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::tensor_file::{widened, write_tensors};
use super::{CheckpointError, read_bytes};
use crate::atomic::{WriteError, clean_leftovers, write_directory, write_file, write_file_with};

/// Name of the directory of states inside a checkpoint directory.
pub const TRAINER_DIRECTORY: &str = "trainer";

const STATE_FILE: &str = "state.json";
const BUFFERS_FILE: &str = "state.safetensors";
/// Digests of the two, in the form `sha256sum --check` takes.
const DIGESTS_FILE: &str = "SHA256SUMS";
const STEP_PREFIX: &str = "step-";
/// Raised when an older version could not continue from a state.
const FORMAT: u32 = 1;

/// How far a run is and what it is a run of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainerState {
    /// Optimizer steps done.
    pub step: u64,
    /// Epochs completed.
    pub epoch: u64,
    /// The seed every counter-based draw takes.
    pub seed: u64,
    /// [`fingerprint`] of all that determines the run: config, data manifest, options.
    pub fingerprint: String,
    /// The options of the run, so that `--resume` needs none of them again.
    pub options: Value,
    /// Whatever runs across steps: means not yet logged, best score so far.
    pub progress: Value,
}

impl TrainerState {
    /// Fails unless `expected` is the fingerprint of this state's run.
    ///
    /// # Errors
    /// [`CheckpointError::Invalid`], naming `directory`.
    pub fn expect_run(&self, expected: &str, directory: &Path) -> Result<(), CheckpointError> {
        if self.fingerprint == expected {
            return Ok(());
        }
        let problem = format!(
            "cannot resume: the config, data or options differ from those of the run that stopped \
             at step {}",
            self.step
        );
        Err(CheckpointError::invalid(directory, problem))
    }
}

/// A state and its buffers, as [`save_state`] got them.
#[derive(Debug)]
pub struct LoadedState {
    /// How far the run is.
    pub state: TrainerState,
    /// Flat buffers by name.
    pub buffers: HashMap<String, Vec<f32>>,
}

/// SHA-256 over `parts`, in hex; where one part ends and the next begins matters.
pub fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())
}

/// Saves the state of a run in `directory`, complete or not at all, then removes those of other
/// steps.
///
/// # Errors
/// The operating system refuses; the earlier state, if any, still stands.
pub fn save_state(
    directory: &Path,
    state: &TrainerState,
    buffers: &[(&str, &[f32])],
) -> Result<(), CheckpointError> {
    let trainer = directory.join(TRAINER_DIRECTORY);
    clean_leftovers(&trainer)?;
    let place = trainer.join(format!("{STEP_PREFIX}{:09}", state.step));
    write_directory(&place, |new| -> Result<(), CheckpointError> {
        let shapes: Vec<[usize; 1]> = buffers.iter().map(|(_, values)| [values.len()]).collect();
        let tensors: Vec<(&str, &[usize], &[f32])> = buffers
            .iter()
            .zip(&shapes)
            .map(|((name, values), shape)| (*name, shape.as_slice(), *values))
            .collect();
        let mut buffers_digest = String::new();
        write_file_with(&new.join(BUFFERS_FILE), |out| {
            let mut out = Hashing { out, hash: Sha256::new() };
            write_tensors(&mut out, None, &tensors)?;
            buffers_digest = hex(&out.hash.finalize());
            Ok(())
        })?;
        let text = serde_json::to_string_pretty(&Stored { format: FORMAT, state: state.clone() })
            .map_err(|error| WriteError::new(new, "write the state", error.into()))?;
        write_file(&new.join(STATE_FILE), text.as_bytes())?;
        let state_digest = hex(&Sha256::digest(&text));
        let digests = format!("{state_digest}  {STATE_FILE}\n{buffers_digest}  {BUFFERS_FILE}\n");
        write_file(&new.join(DIGESTS_FILE), digests.as_bytes())?;
        Ok(())
    })?;
    for (_, other) in steps(&trainer)? {
        if other != place {
            fs::remove_dir_all(&other)
                .map_err(|source| WriteError::new(&other, "remove the older state", source))?;
        }
    }
    Ok(())
}

/// The step of the state [`load_latest_state`] would load, without loading it.
///
/// # Errors
/// The directory cannot be read.
pub fn latest_step(directory: &Path) -> Result<Option<u64>, CheckpointError> {
    let trainer = directory.join(TRAINER_DIRECTORY);
    clean_leftovers(&trainer)?;
    Ok(steps(&trainer)?.into_iter().map(|(step, _)| step).max())
}

/// Loads the newest state saved in `directory`; `None` if none was ever saved there.
///
/// # Errors
/// The state cannot be read, or is not the one that was written (digests guard every byte).
pub fn load_latest_state(directory: &Path) -> Result<Option<LoadedState>, CheckpointError> {
    let trainer = directory.join(TRAINER_DIRECTORY);
    clean_leftovers(&trainer)?;
    let Some((step, place)) = steps(&trainer)?.into_iter().max() else {
        return Ok(None);
    };
    let digests = place.join(DIGESTS_FILE);
    let digests = String::from_utf8_lossy(&read_bytes(&digests)?).into_owned();
    let guarded = |name: &str| {
        let file = place.join(name);
        let bytes = read_bytes(&file)?;
        let line = format!("{}  {name}", hex(&Sha256::digest(&bytes)));
        if digests.lines().any(|digest| digest == line) {
            return Ok((file, bytes));
        }
        let problem = format!("truncated or edited: its digest is not the one in {DIGESTS_FILE}");
        Err(CheckpointError::invalid(&file, problem))
    };
    let (file, text) = guarded(STATE_FILE)?;
    let stored: Stored = serde_json::from_slice(&text)
        .map_err(|e| CheckpointError::invalid(&file, format!("expected a saved state: {e}")))?;
    if stored.format != FORMAT {
        let problem = format!("expected a state of format {FORMAT}, found {}", stored.format);
        return Err(CheckpointError::invalid(&file, problem));
    }
    if stored.state.step != step {
        let problem = format!("expected the state of step {step}, found {}", stored.state.step);
        return Err(CheckpointError::invalid(&file, problem));
    }
    let (file, bytes) = guarded(BUFFERS_FILE)?;
    let archive = SafeTensors::deserialize(&bytes)
        .map_err(|error| CheckpointError::invalid(&file, error.to_string()))?;
    let mut buffers = HashMap::new();
    for (name, view) in archive.tensors() {
        let values = widened(&view)
            .map_err(|error| CheckpointError::invalid(&file, format!("buffer {name}: {error}")))?;
        buffers.insert(name, values);
    }
    Ok(Some(LoadedState { state: stored.state, buffers }))
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    state: TrainerState,
}

/// The states in `trainer`, in no order. A directory under its final name is complete.
fn steps(trainer: &Path) -> Result<Vec<(u64, PathBuf)>, CheckpointError> {
    let fail = |source| CheckpointError::Read { file: trainer.to_owned(), source };
    let entries = match fs::read_dir(trainer) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fail)?,
    };
    let mut steps = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name();
        let step = name.to_str().and_then(|n| n.strip_prefix(STEP_PREFIX)?.parse().ok());
        if let Some(step) = step {
            steps.push((step, entry.path()));
        }
    }
    Ok(steps)
}

struct Hashing<'a> {
    out: &'a mut dyn Write,
    hash: Sha256,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
