//! `prepare`: a corpus as memory-mapped token ids.
//!
//! The output directory holds
//!
//! | file | content |
//! |---|---|
//! | `manifest.json` | [`Manifest`]: counts and SHA-256 of every source and shard, the unigram entropy |
//! | `shard-00000.bin`, … | token ids, where sentences and documents begin |
//! | `unigram.json` | how often each piece occurs, by id |
//! | `vocab.txt`, `tokenizer.json`, `tokenizer_config.json` | the tokenizer, so that the directory is complete |
//!
//! A shard is, in little endian:
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | `BERTSHRD` |
//! | 8..12 | format version, 1 |
//! | 12..16 | bytes of a token id: 2 if V ≤ 65,536, else 4 |
//! | 16..24, 24..32, 32..40 | number of documents D, sentences S, tokens T |
//! | 40..64 | zero |
//! | then | D + 1 × u32: first sentence of each document, and S |
//! | then | S + 1 × u32: first token of each sentence, and T |
//! | then | T token ids |
//!
//! A document lies in one shard; shards end at the first document that would exceed
//! [`PrepareOptions::shard_tokens`].

mod prepare;
mod read;
#[cfg(test)]
pub(crate) mod tests;

use serde::{Deserialize, Serialize};

pub use prepare::{PrepareOptions, PrepareProgress, prepare};
pub use read::Shards;

/// Version of the manifest and of the shards that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;

const MANIFEST: &str = "manifest.json";
const UNIGRAM: &str = "unigram.json";
const MAGIC: &[u8; 8] = b"BERTSHRD";
const HEADER_BYTES: usize = 64;

#[cfg(target_endian = "big")]
compile_error!("shards are mapped into memory as they are and are little-endian");

/// What `prepare` made, as in `manifest.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// [`hash`](crate::data::TextTokenizer::hash) of the tokenizer.
    pub tokenizer_sha256: String,
    /// V.
    pub vocabulary_size: u32,
    /// Documents with at least one token.
    pub documents: u64,
    /// Sentences with at least one token.
    pub sentences: u64,
    /// Tokens, without special pieces.
    pub tokens: u64,
    /// Entropy of the distribution of pieces, in nats: the loss of a masked language model that
    /// knows how often each piece occurs and nothing else.
    pub unigram_entropy: f64,
    /// SHA-256 of `unigram.json`.
    pub unigram_sha256: String,
    /// The corpus files, in order.
    pub sources: Vec<SourceEntry>,
    /// The shards, in order.
    pub shards: Vec<ShardEntry>,
}

/// A corpus file in the manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceEntry {
    /// Path as it was given.
    pub path: String,
    /// SHA-256 of the file as it lies on disk.
    pub sha256: String,
    /// Lines, blank ones included.
    pub lines: u64,
    /// Documents as the blank lines tell.
    pub documents: u64,
    /// Lines that are not blank.
    pub sentences: u64,
    /// Tokens, without special pieces.
    pub tokens: u64,
}

/// A shard in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardEntry {
    /// File name in the directory.
    pub file: String,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Documents in it.
    pub documents: u64,
    /// Sentences in it.
    pub sentences: u64,
    /// Tokens in it.
    pub tokens: u64,
}

/// Entropy in nats of the distribution given by counts.
fn entropy(counts: &[u64]) -> f64 {
    cross_entropy(counts, |id| counts[id] as f64, counts.iter().sum::<u64>() as f64)
}

/// −Σ p ln q in nats with p from `counts` and q = weight / total.
fn cross_entropy(counts: &[u64], weight: impl Fn(usize) -> f64, total: f64) -> f64 {
    let all = counts.iter().sum::<u64>() as f64;
    let nats = |id: usize, count: u64| -(count as f64) * (weight(id) / total).ln();
    counts.iter().enumerate().filter(|(_, c)| **c > 0).map(|(id, &c)| nats(id, c)).sum::<f64>()
        / all
}
