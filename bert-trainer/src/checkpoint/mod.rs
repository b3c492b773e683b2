//! Checkpoints: Hugging Face directories (invariant 5), with the state of a run in `trainer/`.
//!
//! ```text
//! OUTPUT/
//!   config.json  model.safetensors                         the model, as `transformers` has it
//!   vocab.txt  tokenizer.json  tokenizer_config.json       its tokenizer
//!   trainer/step-000001000/state.json, state.safetensors   what --resume needs, weights included
//! ```
//!
//! A kill at any moment leaves the directory loadable and resumable, because nothing that belongs
//! together is replaced piece by piece:
//!
//! * `config.json` and the tokenizer are written before the first `model.safetensors` and never
//!   change after it; later saves replace the one file `model.safetensors`, by a rename.
//! * The state of a step is a directory of its own with its own copy of the weights, renamed into
//!   place when complete; the older one is removed afterwards. Resuming never looks at
//!   `model.safetensors`, so the two need not be of the same step.
//!
//! The order of a save is [`save_state`], then [`write`](fn@write).

mod names;
mod read;
mod rows;
mod state;
mod tensor_file;
mod write;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use read::{ReadCheckpoint, read};
pub use rows::write_rows;
pub use state::{
    LoadedState, TRAINER_DIRECTORY, TrainerState, fingerprint, latest_step, load_latest_state,
    save_state,
};
pub(crate) use tensor_file::write_header;
pub use write::write;

use crate::atomic::WriteError;
use crate::config::ConfigError;

/// Name of the weights inside a checkpoint directory.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// Files of a tokenizer; those that exist travel with every checkpoint.
pub const TOKENIZER_FILES: [&str; 5] = [
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];

/// Name and shape of one parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// As in `transformers`' state dict, `bert.pooler.dense.weight`.
    pub name: String,
    /// Outermost dimension first, as PyTorch has it: a linear layer is `[out, in]`.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// A name and a shape.
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        Self { name: name.into(), shape: shape.into() }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if a dimension is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The config is missing or unusable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file of the checkpoint cannot be read.
    #[error("{}: cannot read: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file or directory is not what it has to be.
    #[error("{}: {problem}", file.display())]
    Invalid {
        /// The file or directory.
        file: PathBuf,
        /// What was expected and what was found.
        problem: String,
    },
    /// The checkpoint cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl CheckpointError {
    fn invalid(file: &Path, problem: impl Into<String>) -> Self {
        Self::Invalid { file: file.to_owned(), problem: problem.into() }
    }
}

fn read_bytes(file: &Path) -> Result<Vec<u8>, CheckpointError> {
    std::fs::read(file).map_err(|source| CheckpointError::Read { file: file.to_owned(), source })
}

/// `a, b, c and 4 more`, for messages of one line.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
