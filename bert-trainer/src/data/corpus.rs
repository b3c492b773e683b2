//! Text files as lines, sentences and documents.
//!
//! The corpus format is google-research/bert's: one sentence a line, a blank line between
//! documents, UTF-8.
//! Files are plain or compressed, told apart by their extension (`.gz`, `.xz`, `.zst`), and read as
//! a stream, so they may be larger than memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::DataError;

/// The longest line that is read, in bytes; a longer one is an error rather than a full memory.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// A text file as a stream of lines, each with its number.
pub struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    line: u64,
    text: String,
}

impl Lines {
    /// Opens a file, decompressing by its extension.
    ///
    /// # Errors
    /// [`DataError::Io`] if the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let reader = open_decompressed(path)?;
        Ok(Lines { path: path.to_owned(), reader, line: 0, text: String::new() })
    }

    /// The next line without its line end (LF or CR LF), or `None` at the end of the file.
    ///
    /// A byte order mark at the start of the file is dropped.
    ///
    /// # Errors
    /// [`DataError::Line`] if a line is not UTF-8 or longer than [`MAX_LINE_BYTES`],
    /// [`DataError::Io`] if reading or decompressing fails.
    pub fn next_line(&mut self) -> Result<Option<&str>, DataError> {
        Ok(if self.advance()? { Some(&self.text) } else { None })
    }

    /// Reads the next line into `self.text`; false at the end of the file.
    fn advance(&mut self) -> Result<bool, DataError> {
        let mut bytes = std::mem::take(&mut self.text).into_bytes();
        bytes.clear();
        let read = (&mut self.reader)
            .take(MAX_LINE_BYTES as u64 + 1)
            .read_until(b'\n', &mut bytes)
            .map_err(|e| DataError::io(&self.path, "read", e))?;
        if read == 0 {
            return Ok(false);
        }
        self.line += 1;
        if read > MAX_LINE_BYTES {
            let expected = format!("a line of at most {} MiB", MAX_LINE_BYTES >> 20);
            return Err(self.error(expected, "a longer one"));
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        if self.line == 1 && bytes.starts_with("\u{feff}".as_bytes()) {
            bytes.drain(.."\u{feff}".len());
        }
        self.text = String::from_utf8(bytes).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            let found = format!("byte 0x{:02x} at column {}", e.as_bytes()[at], at + 1);
            self.error("UTF-8", found)
        })?;
        Ok(true)
    }

    /// Number of the line that was read last, from 1; 0 before the first.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An error about the line that was read last.
    pub(crate) fn error(&self, expected: impl Into<String>, found: impl Into<String>) -> DataError {
        DataError::line(&self.path, self.line, expected, found)
    }
}

/// Opens a file, decompressing by its extension.
pub(crate) fn open_decompressed(path: &Path) -> Result<Box<dyn BufRead + Send>, DataError> {
    let file = File::open(path).map_err(|e| DataError::io(path, "read", e))?;
    if file.metadata().is_ok_and(|meta| meta.is_dir()) {
        return Err(DataError::file(path, "a file", "a directory"));
    }
    let file = BufReader::with_capacity(1 << 16, file);
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    Ok(match extension.to_ascii_lowercase().as_str() {
        "gz" => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(file))),
        "xz" => Box::new(BufReader::new(liblzma::bufread::XzDecoder::new_multi_decoder(file))),
        "zst" => Box::new(BufReader::new(
            zstd::Decoder::with_buffer(file).map_err(|e| DataError::io(path, "read", e))?,
        )),
        _ => Box::new(file),
    })
}

/// What a corpus consists of, in reading order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CorpusItem<'a> {
    /// A sentence, trimmed and not empty.
    Sentence(&'a str),
    /// The document ends: a blank line after at least one sentence, or the end of a file.
    DocumentEnd,
}

/// Counts of one corpus file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CorpusCounts {
    /// Lines, blank ones included.
    pub lines: u64,
    /// Lines that are not blank.
    pub sentences: u64,
    /// Runs of sentences between blank lines.
    pub documents: u64,
}

/// One corpus file as a stream of [`CorpusItem`]s.
pub struct Corpus {
    lines: Lines,
    counts: CorpusCounts,
    inside: bool,
    ended: bool,
}

impl Corpus {
    /// Opens a corpus file; see [`Lines::open`].
    ///
    /// # Errors
    /// As [`Lines::open`].
    pub fn open(path: &Path) -> Result<Self, DataError> {
        Ok(Corpus {
            lines: Lines::open(path)?,
            counts: CorpusCounts::default(),
            inside: false,
            ended: false,
        })
    }

    /// The next sentence or document end, or `None` after the last document.
    ///
    /// # Errors
    /// As [`Lines::next_line`]; [`DataError::File`] at the end of a file without any sentence.
    pub fn next_item(&mut self) -> Result<Option<CorpusItem<'_>>, DataError> {
        while !self.ended {
            self.ended = !self.lines.advance()?;
            if self.ended && self.counts.sentences == 0 {
                return Err(DataError::file(
                    self.lines.path(),
                    "one sentence a line, a blank line between documents",
                    "no sentence",
                ));
            }
            if !self.ended {
                self.counts.lines += 1;
                if !self.lines.text.trim().is_empty() {
                    self.inside = true;
                    self.counts.sentences += 1;
                    return Ok(Some(CorpusItem::Sentence(self.lines.text.trim())));
                }
            }
            if self.inside {
                self.inside = false;
                self.counts.documents += 1;
                return Ok(Some(CorpusItem::DocumentEnd));
            }
        }
        Ok(None)
    }

    /// Counts so far; those of the whole file once `next_item` returned `None`.
    pub fn counts(&self) -> &CorpusCounts {
        &self.counts
    }
}

/// SHA-256 of a file's bytes as they lie on disk, in hexadecimal.
///
/// # Errors
/// [`DataError::Io`] if the file cannot be read.
pub fn sha256_file(path: &Path) -> Result<String, DataError> {
    let mut file = File::open(path).map_err(|e| DataError::io(path, "read", e))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hasher.finalize())),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(DataError::io(path, "read", e)),
        }
    }
}

/// SHA-256 of bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

    fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    fn items(path: &Path) -> Result<(Vec<String>, CorpusCounts), DataError> {
        let mut corpus = Corpus::open(path)?;
        let mut items = Vec::new();
        while let Some(item) = corpus.next_item()? {
            items.push(match item {
                CorpusItem::Sentence(text) => text.to_owned(),
                CorpusItem::DocumentEnd => "|".to_owned(),
            });
        }
        Ok((items, corpus.counts().clone()))
    }

    const TEXT: &str = "\u{feff}\n\n One é.\r\nTwo.\n \t\n\n\nThree.";

    #[test]
    fn sentences_and_documents() {
        let (_dir, path) = file("a.txt", TEXT.as_bytes());
        let (found, counts) = items(&path).unwrap();
        assert_eq!(found, ["One é.", "Two.", "|", "Three.", "|"]);
        assert_eq!(counts, CorpusCounts { lines: 8, sentences: 3, documents: 2 });
    }

    #[test]
    fn compressed_files_read_as_plain_ones() {
        let (_plain_dir, plain) = file("a.txt", TEXT.as_bytes());
        let expected = items(&plain).unwrap();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(TEXT.as_bytes()).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(TEXT.as_bytes()).unwrap();
        let packed = [
            ("a.txt.gz", gz.finish().unwrap()),
            ("a.txt.xz", xz.finish().unwrap()),
            ("a.txt.zst", zstd::encode_all(TEXT.as_bytes(), 1).unwrap()),
        ];
        for (name, bytes) in packed {
            let (_dir, path) = file(name, &bytes);
            assert_eq!(items(&path).unwrap(), expected, "{name}");
            let (_dir, path) = file(name, &bytes[..bytes.len() - 5]);
            let error = items(&path).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
            let (_dir, path) = file(name, b"this is not compressed at all");
            assert!(items(&path).is_err(), "{name}");
        }
    }

    #[test]
    fn errors_name_file_and_line() {
        let (_dir, path) = file("bad.txt", b"fine\nab\xff\n");
        let error = items(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("bad.txt:2: expected UTF-8, found byte 0xff at column 3"),
            "{error}"
        );
        let (_dir, path) = file("empty.txt", b"\n  \n");
        let error = items(&path).unwrap_err().to_string();
        assert!(error.contains("empty.txt: expected one sentence a line"), "{error}");
        let error = items(Path::new("/nowhere/at/all.txt")).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/at/all.txt: cannot read"), "{error}");
        let dir = tempfile::tempdir().unwrap();
        assert!(items(dir.path()).is_err());
    }

    #[test]
    fn a_file_without_line_ends_is_an_error_and_not_a_full_memory() {
        let (_dir, path) = file("long.txt", &vec![b'a'; MAX_LINE_BYTES + 2]);
        let error = items(&path).unwrap_err().to_string();
        assert!(error.contains("long.txt:1: expected a line of at most 16 MiB"), "{error}");
    }
}
