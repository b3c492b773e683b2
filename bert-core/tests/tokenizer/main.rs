//! The tokenizer against Hugging Face `tokenizers`, over all of Unicode and over nasty texts.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod corpus;
mod hostile_text;
mod hugging_face;
mod parity;
#[path = "../common/hugging_face.rs"]
mod reference;
mod small_tables;
mod tables;
mod unicode;
mod vocabulary;

use std::ops::ControlFlow;
use std::path::PathBuf;

use bert_core::tokenizer::{
    Token, Tokenizer, TokenizerConfig, Vocabulary, basic_words, pack_vocabulary,
};

/// The configurations under test: all four of case and accents, and Chinese not split.
fn configs() -> Vec<TokenizerConfig> {
    let config = |lower_case, strip_accents, split_chinese| TokenizerConfig {
        lower_case,
        strip_accents,
        split_chinese,
        max_word_chars: 100,
    };
    vec![
        config(true, true, true),
        config(false, false, true),
        config(true, false, true),
        config(false, true, true),
        config(true, true, false),
        config(false, false, false),
    ]
}

/// A word as text and as place in the original text.
type PlacedWord = (String, usize, usize);

fn words(text: &str, config: &TokenizerConfig) -> Vec<PlacedWord> {
    let mut words = Vec::new();
    basic_words(text, config, |word, index| {
        assert_eq!(index as usize, words.len());
        let text = word.text().unwrap_or("(too long)").to_owned();
        words.push((text, word.start() as usize, word.end() as usize));
        ControlFlow::Continue(())
    })
    .unwrap();
    words
}

fn tokens(tokenizer: &Tokenizer<'_>, text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    tokenizer
        .tokenize(text, |token| {
            tokens.push(token);
            ControlFlow::Continue(())
        })
        .unwrap();
    tokens
}

/// The texts of `nasty.txt`, unescaped.
fn nasty() -> Vec<String> {
    let texts: Vec<String> = include_str!("nasty.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(unescaped)
        .collect();
    assert!(texts.len() >= 500, "{} nasty lines", texts.len());
    texts
}

fn unescaped(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, escape)) = rest.split_once('\\') {
        text.push_str(before);
        let (c, length) = match escape.as_bytes()[0] {
            b't' => ('\t', 1),
            b'n' => ('\n', 1),
            b'r' => ('\r', 1),
            b'\\' => ('\\', 1),
            b'u' => {
                let end = escape.find('}').unwrap();
                let point = u32::from_str_radix(&escape[2..end], 16).unwrap();
                (char::from_u32(point).unwrap(), end + 1)
            }
            _ => panic!("unknown escape in {line:?}"),
        };
        text.push(c);
        rest = &escape[length..];
    }
    text + rest
}

/// Where a file of the shared data is, if it is there.
fn shared_path(name: &str) -> PathBuf {
    let root = std::env::var_os("BERT_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")),
        PathBuf::from,
    );
    root.join(name)
}

/// A file of the shared data, or `None`, with a line that says so.
fn shared_data(name: &str) -> Option<String> {
    let path = shared_path(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) => {
            println!("skipped: {}: {error} (BERT_DATA names the folder)", path.display());
            None
        }
    }
}

/// A vocabulary by name, and its pieces in order.
type NamedPieces = (&'static str, Vec<String>);

/// The vocabularies under test: one made here, and the official ones where they are.
fn vocabularies() -> Vec<NamedPieces> {
    let mut all = vec![("made here", vocabulary::pieces_for(&nasty()))];
    for name in ["vocab/bert-base-uncased-vocab.txt", "vocab/bert-base-cased-vocab.txt"] {
        if let Some(lines) = shared_data(name) {
            all.push((name, lines.lines().map(str::to_owned).collect()));
        }
    }
    all
}

fn packed(pieces: &[String]) -> Vec<u8> {
    let bytes = pack_vocabulary(pieces).unwrap();
    Vocabulary::parse(&bytes).unwrap();
    bytes
}
