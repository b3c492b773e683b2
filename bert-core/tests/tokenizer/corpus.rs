//! Equal ids and byte offsets on 100,000 lines of the corpus, half Wikipedia and half novels.
//!
//! The corpus is packed; `xz` unpacks it. Where either is missing, a line says so.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use bert_core::tokenizer::{Token, Tokenizer, TokenizerConfig, Vocabulary};

use crate::hugging_face::Reference;
use crate::{packed, shared_data, shared_path, tokens};

const WIKI: &str = "corpus/wiki.train.sent.txt.xz";
const BOOKS: &str = "corpus/books.train.sent.txt.xz";
/// Lines of each file.
const LINES: usize = 50_000;

/// The lines of a packed file that is being unpacked.
struct Unpacked {
    xz: Child,
    lines: BufReader<ChildStdout>,
}

impl Unpacked {
    /// `None`, with a line that says why, where there is no such file or no `xz`.
    fn open(name: &str) -> Option<Self> {
        let path = shared_path(name);
        if !path.exists() {
            println!("skipped: {} is not there (BERT_DATA names the folder)", path.display());
            return None;
        }
        let xz = Command::new("xz").arg("-dc").arg(path).stdout(Stdio::piped()).spawn();
        let mut xz = xz.inspect_err(|error| println!("skipped: cannot start xz: {error}")).ok()?;
        let lines = BufReader::new(xz.stdout.take().unwrap());
        Some(Self { xz, lines })
    }

    /// The first lines that are not empty.
    fn texts(&mut self) -> impl Iterator<Item = String> {
        let lines = self.lines.by_ref().lines().map(Result::unwrap);
        lines.filter(|line| !line.is_empty()).take(LINES)
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        // Nobody reads the rest, and `xz` would wait to write it.
        let _ = self.xz.kill();
        let _ = self.xz.wait();
    }
}

fn check(corpus: &str, vocabulary: &str, config: TokenizerConfig) {
    let (Some(list), Some(mut unpacked)) = (shared_data(vocabulary), Unpacked::open(corpus)) else {
        return;
    };
    let pieces: Vec<String> = list.lines().map(str::to_owned).collect();
    let bytes = packed(&pieces);
    let ours = Tokenizer::new(Vocabulary::parse(&bytes).unwrap(), config).unwrap();
    let theirs = Reference::new(&pieces, &config);
    let (mut lines, mut count) = (0, 0);
    for text in unpacked.texts() {
        let found: Vec<Token> = tokens(&ours, &text);
        assert_eq!(found, theirs.tokens(&text), "{corpus}: {text:?}");
        lines += 1;
        count += found.len();
    }
    println!("{corpus}, {vocabulary}: {lines} lines, {count} tokens");
    assert_eq!(lines, LINES, "{corpus} has too few lines, or xz cannot read it");
}

#[test]
fn wikipedia_is_tokenized_alike_uncased() {
    check(WIKI, "vocab/bert-base-uncased-vocab.txt", TokenizerConfig::uncased());
}

#[test]
fn wikipedia_is_tokenized_alike_cased() {
    check(WIKI, "vocab/bert-base-cased-vocab.txt", TokenizerConfig::cased());
}

#[test]
fn novels_are_tokenized_alike_uncased() {
    check(BOOKS, "vocab/bert-base-uncased-vocab.txt", TokenizerConfig::uncased());
}

#[test]
fn novels_are_tokenized_alike_cased() {
    check(BOOKS, "vocab/bert-base-cased-vocab.txt", TokenizerConfig::cased());
}
