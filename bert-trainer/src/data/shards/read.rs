//! Reads shards.

use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;

use super::{
    FORMAT_VERSION, HEADER_BYTES, MAGIC, MANIFEST, Manifest, ShardEntry, UNIGRAM, cross_entropy,
};
use crate::data::DataError;
use crate::data::corpus::{sha256, sha256_file};
use crate::data::mapped::map_file;
use crate::data::nsp::Documents;

/// An opened directory of shards.
///
/// The files stay mapped while this exists and must not be written to meanwhile; replacing or
/// deleting the directory does no harm.
pub struct Shards {
    manifest: Manifest,
    fingerprint: String,
    counts: Vec<u64>,
    shards: Vec<Shard>,
}

struct Shard {
    map: Mmap,
    token_bytes: usize,
    /// Where the sentence table and the token ids start in `map`, in bytes.
    sentences_at: usize,
    tokens_at: usize,
    documents: u32,
    sentences: u32,
    /// Number of the shard's first document and sentence in the corpus.
    first_document: u32,
    first_sentence: u32,
}

impl Shards {
    /// Opens and verifies a directory that `prepare` wrote: sizes, headers and SHA-256 of every file
    /// (about a second a gigabyte), so that nothing after this can find a damaged byte.
    ///
    /// # Errors
    /// [`DataError`] that names the file which is missing, truncated, edited or of another version.
    pub fn open(dir: &Path) -> Result<Self, DataError> {
        let path = dir.join(MANIFEST);
        let bytes = std::fs::read(&path).map_err(|e| DataError::io(&path, "read", e))?;
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|e| DataError::file(&path, "a manifest of prepared data", e.to_string()))?;
        if manifest.format_version != FORMAT_VERSION {
            return Err(DataError::file(
                &path,
                format!("format version {FORMAT_VERSION}"),
                manifest.format_version.to_string(),
            ));
        }
        let unigram = dir.join(UNIGRAM);
        check_hash(&unigram, &manifest.unigram_sha256)?;
        let counts: Vec<u64> = std::fs::read(&unigram)
            .map_err(|e| DataError::io(&unigram, "read", e))
            .and_then(|bytes| {
                serde_json::from_slice(&bytes)
                    .map_err(|e| DataError::file(&unigram, "a list of counts", e.to_string()))
            })?;

        let (mut documents, mut sentences, mut tokens) = (0u64, 0u64, 0u64);
        let mut shards = Vec::with_capacity(manifest.shards.len());
        for entry in &manifest.shards {
            let shard = Shard::open(dir, entry, documents as u32, sentences as u32)?;
            if shard.token_bytes != if manifest.vocabulary_size <= 1 << 16 { 2 } else { 4 } {
                let expected = format!("token ids for {} pieces", manifest.vocabulary_size);
                let found = format!("ids of {} bytes", shard.token_bytes);
                return Err(DataError::file(&dir.join(&entry.file), expected, found));
            }
            shards.push(shard);
            documents += entry.documents;
            sentences += entry.sentences;
            tokens += entry.tokens;
        }
        let expected = (manifest.documents, manifest.sentences, manifest.tokens);
        if (documents, sentences, tokens) != expected
            || documents == 0
            || sentences > u64::from(u32::MAX)
            || counts.len() != manifest.vocabulary_size as usize
        {
            return Err(DataError::file(
                &path,
                format!("shards of {expected:?} documents, sentences, tokens"),
                format!("{:?}", (documents, sentences, tokens)),
            ));
        }
        Ok(Shards { fingerprint: sha256(&bytes), manifest, counts, shards })
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the manifest: names the data of a run.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// How often each piece occurs, by id.
    pub fn unigram_counts(&self) -> &[u64] {
        &self.counts
    }

    /// Loss in nats a token, on other data of the same tokenizer, of a model that predicts each
    /// piece with the share it has here (one added to each count).
    pub fn unigram_loss_on(&self, other: &Shards) -> f64 {
        let total = self.manifest.tokens as f64 + self.counts.len() as f64;
        let weight = |id: usize| self.counts.get(id).map_or(1.0, |&count| count as f64 + 1.0);
        cross_entropy(&other.counts, weight, total)
    }

    /// Appends the token ids of a sentence, numbered through the corpus, to `ids`.
    pub fn append_sentence(&self, sentence: u32, ids: &mut Vec<u32>) {
        let shard = self.shard_of_sentence(sentence);
        shard.append_sentence(sentence - shard.first_sentence, ids);
    }

    fn shard_of_sentence(&self, sentence: u32) -> &Shard {
        let after = self.shards.partition_point(|shard| shard.first_sentence <= sentence);
        &self.shards[after - 1]
    }
}

impl Documents for Shards {
    fn documents(&self) -> u32 {
        self.manifest.documents as u32
    }

    fn sentences(&self, document: u32) -> Range<u32> {
        let after = self.shards.partition_point(|shard| shard.first_document <= document);
        let shard = &self.shards[after - 1];
        let starts = &shard.document_starts()[(document - shard.first_document) as usize..];
        shard.first_sentence + starts[0]..shard.first_sentence + starts[1]
    }

    fn sentence_length(&self, sentence: u32) -> u32 {
        let shard = self.shard_of_sentence(sentence);
        let starts = &shard.sentence_starts()[(sentence - shard.first_sentence) as usize..];
        starts[1] - starts[0]
    }
}

impl Shard {
    fn open(
        dir: &Path,
        entry: &ShardEntry,
        first_document: u32,
        first_sentence: u32,
    ) -> Result<Self, DataError> {
        let path = dir.join(&entry.file);
        let size = std::fs::metadata(&path).map_err(|e| DataError::io(&path, "read", e))?.len();
        if size != entry.bytes || size < HEADER_BYTES as u64 {
            return Err(DataError::file(
                &path,
                format!("{} bytes", entry.bytes),
                format!("{size} bytes: truncated or edited"),
            ));
        }
        let map = map_file(&path)?;
        let found = sha256(&map);
        if found != entry.sha256 {
            return Err(DataError::file(&path, format!("SHA-256 {}", entry.sha256), found));
        }
        let word = |at: usize| u32::from_le_bytes([map[at], map[at + 1], map[at + 2], map[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let (token_bytes, documents, sentences) = (word(12) as usize, long(16), long(24));
        let sane = &map[..8] == MAGIC
            && word(8) == FORMAT_VERSION
            && matches!(token_bytes, 2 | 4)
            && (documents, sentences, long(32)) == (entry.documents, entry.sentences, entry.tokens)
            && [documents, sentences, entry.tokens].iter().all(|&n| n <= u64::from(u32::MAX))
            && HEADER_BYTES as u64
                + 4 * (documents + sentences + 2)
                + token_bytes as u64 * entry.tokens
                == size;
        if !sane {
            return Err(DataError::file(
                &path,
                format!("a shard of version {FORMAT_VERSION} as the manifest describes it"),
                "another header",
            ));
        }
        let sentences_at = HEADER_BYTES + 4 * (documents as usize + 1);
        Ok(Shard {
            token_bytes,
            sentences_at,
            tokens_at: sentences_at + 4 * (sentences as usize + 1),
            documents: documents as u32,
            sentences: sentences as u32,
            first_document,
            first_sentence,
            map,
        })
    }

    fn document_starts(&self) -> &[u32] {
        let end = HEADER_BYTES + 4 * (self.documents as usize + 1);
        bytemuck::cast_slice(&self.map[HEADER_BYTES..end])
    }

    fn sentence_starts(&self) -> &[u32] {
        let end = self.sentences_at + 4 * (self.sentences as usize + 1);
        bytemuck::cast_slice(&self.map[self.sentences_at..end])
    }

    fn append_sentence(&self, sentence: u32, ids: &mut Vec<u32>) {
        let starts = &self.sentence_starts()[sentence as usize..];
        let (start, end) = (starts[0] as usize, starts[1] as usize);
        let bytes = &self.map[self.tokens_at..];
        let bytes = &bytes[start * self.token_bytes..end * self.token_bytes];
        match self.token_bytes {
            2 => ids.extend(bytemuck::cast_slice::<u8, u16>(bytes).iter().map(|&id| u32::from(id))),
            _ => ids.extend_from_slice(bytemuck::cast_slice(bytes)),
        }
    }
}

fn check_hash(path: &Path, expected: &str) -> Result<(), DataError> {
    let found = sha256_file(path)?;
    if found != expected {
        return Err(DataError::file(path, format!("SHA-256 {expected}"), found));
    }
    Ok(())
}
