//! Writes shards.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{
    FORMAT_VERSION, HEADER_BYTES, MAGIC, MANIFEST, Manifest, ShardEntry, SourceEntry, UNIGRAM,
    entropy,
};
use crate::atomic;
use crate::data::corpus::{Corpus, CorpusItem, sha256, sha256_file};
use crate::data::{DataError, TextTokenizer};

/// What `prepare` reads and writes.
#[derive(Debug, Clone)]
pub struct PrepareOptions {
    /// Corpus files, plain or compressed.
    pub inputs: Vec<PathBuf>,
    /// Tokenizer directory.
    pub tokenizer: PathBuf,
    /// Directory to write: new, empty, or an earlier result, which is replaced.
    pub output: PathBuf,
    /// Tokens after which a new shard begins; memory use grows with it.
    pub shard_tokens: u64,
    /// Threads that tokenize; the result does not depend on it.
    pub threads: usize,
}

impl PrepareOptions {
    /// Options with shards of 2²⁴ tokens and all cores.
    pub fn new(inputs: Vec<PathBuf>, tokenizer: PathBuf, output: PathBuf) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        PrepareOptions { inputs, tokenizer, output, shard_tokens: 1 << 24, threads }
    }
}

/// How far `prepare` is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrepareProgress {
    /// Index of the input that is being written.
    pub input: usize,
    /// Sentences so far.
    pub sentences: u64,
    /// Tokens so far.
    pub tokens: u64,
}

/// Tokenizes a corpus into shards; `progress` is called now and then.
///
/// The result is a function of the files and the tokenizer alone.
///
/// # Errors
/// [`DataError`] if an input is missing, empty or not UTF-8, the tokenizer is no tokenizer, the
/// output holds other files, or writing fails; the output is then as it was before.
pub fn prepare(
    options: &PrepareOptions,
    mut progress: impl FnMut(PrepareProgress),
) -> Result<Manifest, DataError> {
    if options.inputs.is_empty() {
        return Err(DataError::option("input", "at least one file", "none"));
    }
    check_output(&options.output)?;
    let tokenizer = TextTokenizer::open(&options.tokenizer)?;
    let mut manifest = None;
    atomic::write_directory(&options.output, |dir| -> Result<(), DataError> {
        let mut writer = ShardWriter::new(dir, &tokenizer, options.shard_tokens);
        let mut sources = Vec::with_capacity(options.inputs.len());
        for (input, path) in options.inputs.iter().enumerate() {
            let source = tokenize_file(path, &tokenizer, options.threads, &mut writer, |writer| {
                progress(PrepareProgress {
                    input,
                    sentences: writer.sentences,
                    tokens: writer.tokens,
                });
            })?;
            sources.push(source);
        }
        let made = manifest.insert(writer.finish(&tokenizer, sources)?);
        for (name, text) in tokenizer.files(MODEL_MAX_LENGTH) {
            write_file(dir, name, text.as_bytes())?;
        }
        let json = serde_json::to_string_pretty(made)
            .map_err(|e| DataError::file(dir, "a manifest that is JSON", e.to_string()))?;
        write_file(dir, MANIFEST, format!("{json}\n").as_bytes())
    })?;
    Ok(manifest.expect("the directory was filled, so its manifest was made"))
}

/// Refuses a directory of other files before the work rather than after it.
fn check_output(output: &Path) -> Result<(), DataError> {
    if !output.exists() || output.join(MANIFEST).is_file() {
        return Ok(());
    }
    let mut entries =
        std::fs::read_dir(output).map_err(|e| DataError::io(output, "open the directory", e))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(DataError::file(
            output,
            format!("a new or empty directory, or one with {MANIFEST} to replace"),
            "other files",
        )),
    }
}

fn write_file(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), DataError> {
    let path = dir.join(name);
    std::fs::write(&path, bytes).map_err(|e| DataError::io(&path, "write", e))
}

/// `model_max_length` of the tokenizer that lies beside the shards: BERT's number of positions.
const MODEL_MAX_LENGTH: usize = 512;

/// Bytes of text that a thread tokenizes at a time.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// Some consecutive sentences of one file.
#[derive(Default)]
struct Chunk {
    text: String,
    /// End of each sentence in `text`, and whether the document ends behind it.
    ends: Vec<(usize, bool)>,
}

/// The tokens of a [`Chunk`].
#[derive(Default)]
struct Tokens {
    ids: Vec<u32>,
    /// End of each sentence in `ids`, and whether the document ends behind it.
    ends: Vec<(usize, bool)>,
}

fn tokenize_file(
    path: &Path,
    tokenizer: &TextTokenizer,
    threads: usize,
    writer: &mut ShardWriter<'_>,
    mut progress: impl FnMut(&ShardWriter<'_>),
) -> Result<SourceEntry, DataError> {
    let mut corpus = Corpus::open(path)?;
    let before = writer.tokens;
    let mut round = read_round(&mut corpus, threads)?;
    while !round.is_empty() {
        // While this round is tokenized, the next one is read and decompressed.
        let (done, next) = std::thread::scope(|scope| {
            let running: Vec<_> = round
                .iter()
                .map(|chunk| scope.spawn(move || tokenize_chunk(chunk, tokenizer)))
                .collect();
            let next = read_round(&mut corpus, threads);
            let done: Vec<Tokens> = running
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
                .collect();
            (done, next)
        });
        for tokens in done {
            writer.push(&tokens)?;
        }
        progress(writer);
        round = next?;
    }
    let counts = corpus.counts();
    Ok(SourceEntry {
        path: path.display().to_string(),
        sha256: sha256_file(path)?,
        lines: counts.lines,
        documents: counts.documents,
        sentences: counts.sentences,
        tokens: writer.tokens - before,
    })
}

fn read_round(corpus: &mut Corpus, threads: usize) -> Result<Vec<Chunk>, DataError> {
    let mut round = Vec::new();
    while round.len() < threads.max(1) {
        let chunk = read_chunk(corpus)?;
        if chunk.ends.is_empty() {
            break;
        }
        round.push(chunk);
    }
    Ok(round)
}

fn read_chunk(corpus: &mut Corpus) -> Result<Chunk, DataError> {
    let mut chunk = Chunk::default();
    while chunk.text.len() < CHUNK_BYTES {
        match (corpus.next_item()?, chunk.ends.last_mut()) {
            (None, _) => break,
            (Some(CorpusItem::Sentence(text)), _) => {
                chunk.text.push_str(text);
                chunk.ends.push((chunk.text.len(), false));
            }
            (Some(CorpusItem::DocumentEnd), Some(last)) => last.1 = true,
            // Its last sentence lies in the chunk before: the end stands behind an empty one.
            (Some(CorpusItem::DocumentEnd), None) => chunk.ends.push((0, true)),
        }
    }
    Ok(chunk)
}

fn tokenize_chunk(chunk: &Chunk, tokenizer: &TextTokenizer) -> Tokens {
    let mut tokens = Tokens::default();
    let mut start = 0;
    for &(end, document_end) in &chunk.ends {
        tokenizer.encode(&chunk.text[start..end], &mut tokens.ids);
        tokens.ends.push((tokens.ids.len(), document_end));
        start = end;
    }
    tokens
}

/// Collects documents into shards.
struct ShardWriter<'a> {
    dir: &'a Path,
    token_bytes: usize,
    limit: u64,
    counts: Vec<u64>,
    documents: u64,
    sentences: u64,
    tokens: u64,
    shards: Vec<ShardEntry>,
    /// The shard that is being filled: ids, and the ends of sentences and documents.
    ids: Vec<u32>,
    sentence_ends: Vec<u32>,
    document_ends: Vec<u32>,
}

impl<'a> ShardWriter<'a> {
    fn new(dir: &'a Path, tokenizer: &TextTokenizer, limit: u64) -> Self {
        let vocabulary = tokenizer.vocabulary_size();
        ShardWriter {
            dir,
            token_bytes: if vocabulary <= 1 << 16 { 2 } else { 4 },
            limit: limit.clamp(1, u64::from(u32::MAX)),
            counts: vec![0; vocabulary as usize],
            documents: 0,
            sentences: 0,
            tokens: 0,
            shards: Vec::new(),
            ids: Vec::new(),
            sentence_ends: Vec::new(),
            document_ends: Vec::new(),
        }
    }

    fn push(&mut self, tokens: &Tokens) -> Result<(), DataError> {
        let mut start = 0;
        for &(end, document_end) in &tokens.ends {
            // A sentence without pieces is none.
            if end > start {
                let ids = &tokens.ids[start..end];
                for &id in ids {
                    self.counts[id as usize] += 1;
                }
                self.ids.extend_from_slice(ids);
                self.sentences += 1;
                self.tokens += ids.len() as u64;
                if self.ids.len() > u32::MAX as usize || self.sentences > u64::from(u32::MAX) {
                    return Err(DataError::file(
                        self.dir,
                        "documents below 2^32 tokens and a corpus below 2^32 sentences",
                        "more",
                    ));
                }
                self.sentence_ends.push(self.ids.len() as u32);
            }
            if document_end {
                self.end_document()?;
            }
            start = end;
        }
        Ok(())
    }

    fn end_document(&mut self) -> Result<(), DataError> {
        let sentences = self.document_ends.last().copied().unwrap_or(0) as usize;
        if self.sentence_ends.len() == sentences {
            return Ok(());
        }
        if self.ids.len() as u64 > self.limit && sentences > 0 {
            self.flush(sentences)?;
        }
        self.document_ends.push(self.sentence_ends.len() as u32);
        self.documents += 1;
        Ok(())
    }

    /// Writes the first `sentences` sentences, which are whole documents, as a shard.
    fn flush(&mut self, sentences: usize) -> Result<(), DataError> {
        let tokens = self.sentence_ends[sentences - 1];
        let file = format!("shard-{:05}.bin", self.shards.len());
        let path = self.dir.join(&file);
        self.write_shard(&path, sentences, tokens).map_err(|e| DataError::io(&path, "write", e))?;
        self.shards.push(ShardEntry {
            bytes: std::fs::metadata(&path).map_err(|e| DataError::io(&path, "read", e))?.len(),
            sha256: sha256_file(&path)?,
            file,
            documents: self.document_ends.len() as u64,
            sentences: sentences as u64,
            tokens: u64::from(tokens),
        });
        self.ids.drain(..tokens as usize);
        self.sentence_ends.drain(..sentences);
        self.sentence_ends.iter_mut().for_each(|end| *end -= tokens);
        self.document_ends.clear();
        Ok(())
    }

    fn write_shard(&self, path: &Path, sentences: usize, tokens: u32) -> std::io::Result<()> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&(self.token_bytes as u32).to_le_bytes());
        let counts = [self.document_ends.len() as u64, sentences as u64, u64::from(tokens)];
        for (field, count) in header[16..40].chunks_exact_mut(8).zip(counts) {
            field.copy_from_slice(&count.to_le_bytes());
        }
        file.write_all(&header)?;
        for ends in [&self.document_ends[..], &self.sentence_ends[..sentences]] {
            file.write_all(&0u32.to_le_bytes())?;
            file.write_all(bytemuck::cast_slice(ends))?;
        }
        let ids = &self.ids[..tokens as usize];
        match self.token_bytes {
            2 => ids.iter().try_for_each(|&id| file.write_all(&(id as u16).to_le_bytes()))?,
            _ => file.write_all(bytemuck::cast_slice(ids))?,
        }
        file.flush()?;
        file.get_ref().sync_all()
    }

    fn finish(
        mut self,
        tokenizer: &TextTokenizer,
        sources: Vec<SourceEntry>,
    ) -> Result<Manifest, DataError> {
        if self.documents == 0 {
            let path = sources.first().map_or("", |source| &source.path);
            let expected = "at least one sentence with a visible character";
            return Err(DataError::file(Path::new(path), expected, "none"));
        }
        self.flush(self.sentence_ends.len())?;
        let unigram = serde_json::to_string(&self.counts)
            .map_err(|e| DataError::file(self.dir, "counts that are JSON", e.to_string()))?;
        write_file(self.dir, UNIGRAM, unigram.as_bytes())?;
        Ok(Manifest {
            format_version: FORMAT_VERSION,
            tokenizer_sha256: tokenizer.hash(),
            vocabulary_size: tokenizer.vocabulary_size(),
            documents: self.documents,
            sentences: self.sentences,
            tokens: self.tokens,
            unigram_entropy: entropy(&self.counts),
            unigram_sha256: sha256(unigram.as_bytes()),
            sources,
            shards: self.shards,
        })
    }
}
