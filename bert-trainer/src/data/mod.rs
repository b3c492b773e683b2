//! From text to batches: vocabulary, corpus, shards, instances, masks, task files.
//!
//! The modules follow the flow:
//!
//! | stage | module | result |
//! |---|---|---|
//! | reading lines | [`corpus`] | sentences and documents, with file and line in every error |
//! | `vocab` | [`vocabulary`] | a tokenizer directory |
//! | tokenizing | [`tokenizer`] | piece ids, by `bert-core` itself |
//! | `prepare` | [`shards`] | memory-mapped shards and `manifest.json` |
//! | `pretrain` | [`nsp`], [`masking`], [`pretrain`] | [`PretrainBatch`] of any step, in any order |
//! | `finetune`, `eval` | [`tasks`] | [`TaskBatch`] |
//!
//! Nothing here keeps a random state: every draw is a function of the seed and of what is drawn
//! ([`rng`]), so a batch depends on (data manifest, options, step) alone and a run resumes anywhere.

mod batch;
pub mod corpus;
mod error;
mod mapped;
pub mod masking;
pub mod nsp;
pub mod pretrain;
pub mod rng;
pub mod shards;
pub mod tasks;
pub mod tokenizer;
pub mod vocabulary;

pub use batch::{PackedBatch, PretrainBatch, TaskBatch, cut};
pub use error::DataError;
pub use pretrain::{PretrainData, PretrainOptions};
pub use shards::{Manifest, PrepareOptions, PrepareProgress, Shards, prepare};
pub use tokenizer::TextTokenizer;

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    /// A megabyte of real text, if it lies in `$BERT_DATA` or `../shared/data` beside the workspace.
    pub(crate) fn sample_corpus() -> Option<PathBuf> {
        data_file("corpus/tiny.train.sent.txt")
    }

    /// A file of real data, if it is there; a line says so if not.
    pub(crate) fn data_file(name: &str) -> Option<PathBuf> {
        let root = match std::env::var_os("BERT_DATA") {
            Some(root) => PathBuf::from(root),
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        };
        let path = root.join(name);
        if path.is_file() {
            return Some(path);
        }
        println!("skipped: no {} (set BERT_DATA)", path.display());
        None
    }
}
