//! Sentences per second of the tokenizer and of Hugging Face `tokenizers`, on one thread.
//!
//!     BERT_DATA=../shared/data cargo bench -p bert-core --bench tokenizer
//!
//! Reads `corpus/tiny.train.sent.txt`, `corpus/wiki.valid.sent.txt` and the official vocabularies
//! in `vocab/`. Both sides must give the same ids before they are timed. `tokenizers` is timed
//! without offsets (`encode_fast`), which is its quicker way; ours always has them.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bert_core::tokenizer::{Tokenizer, TokenizerConfig, Vocabulary, pack_vocabulary};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;

/// Sentences of each corpus.
const SENTENCES: usize = 2000;
/// The best of so many rounds counts; the sides take turns.
const ROUNDS: usize = 9;

fn data(name: &str) -> Option<String> {
    let root = std::env::var_os("BERT_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")),
        PathBuf::from,
    );
    let path = root.join(name);
    let text = std::fs::read_to_string(&path);
    text.inspect_err(|error| println!("skipped: {}: {error}", path.display())).ok()
}

fn ids(tokenizer: &Tokenizer<'_>, text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    tokenizer
        .tokenize(text, |token| {
            ids.push(token.id);
            ControlFlow::Continue(())
        })
        .unwrap();
    ids
}

fn time(mut work: impl FnMut()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn compare(title: &str, sentences: &[&str], vocabulary: &str, config: TokenizerConfig) {
    let pieces: Vec<&str> = vocabulary.lines().collect();
    let packed = pack_vocabulary(&pieces).unwrap();
    let parsing = time(|| assert!(black_box(Vocabulary::parse(black_box(&packed))).is_ok()));
    let ours = Tokenizer::new(Vocabulary::parse(&packed).unwrap(), config).unwrap();

    let model = WordPiece::builder()
        .vocab(WordPiece::read_bytes(vocabulary.as_bytes()).unwrap())
        .unk_token("[UNK]".into())
        .build()
        .unwrap();
    let strip_accents = Some(config.strip_accents);
    let normalizer =
        BertNormalizer::new(true, config.split_chinese, strip_accents, config.lower_case);
    let mut theirs = tokenizers::Tokenizer::new(model);
    theirs.with_normalizer(Some(normalizer)).unwrap();
    theirs.with_pre_tokenizer(Some(BertPreTokenizer));

    let mut tokens = 0;
    for &sentence in sentences {
        let expected = theirs.encode_fast(sentence, false).unwrap();
        assert_eq!(ids(&ours, sentence), expected.get_ids(), "{sentence:?}");
        tokens += expected.len();
    }
    let (mut best_ours, mut best_theirs) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        best_ours = best_ours.min(time(|| {
            for &sentence in sentences {
                black_box(ids(&ours, black_box(sentence)));
            }
        }));
        best_theirs = best_theirs.min(time(|| {
            for &sentence in sentences {
                black_box(theirs.encode_fast(black_box(sentence), false).unwrap());
            }
        }));
    }
    let us = |time: Duration| time.as_secs_f64() * 1e6 / sentences.len() as f64;
    let bytes: usize = sentences.iter().map(|sentence| sentence.len()).sum();
    println!(
        "{title}: {:.2} tokens a text; ours {:.3} us ({:.0} MB/s), tokenizers {:.3} us, ratio {:.1}; \
         vocabulary {} bytes, parsed in {:.0} us",
        tokens as f64 / sentences.len() as f64,
        us(best_ours),
        bytes as f64 / best_ours.as_secs_f64() / 1e6,
        us(best_theirs),
        us(best_theirs) / us(best_ours),
        packed.len(),
        parsing.as_secs_f64() * 1e6,
    );
}

fn main() {
    let cases = [
        ("uncased", "vocab/bert-base-uncased-vocab.txt", TokenizerConfig::uncased()),
        ("cased", "vocab/bert-base-cased-vocab.txt", TokenizerConfig::cased()),
    ];
    for corpus in ["corpus/tiny.train.sent.txt", "corpus/wiki.valid.sent.txt"] {
        let Some(text) = data(corpus) else { continue };
        let sentences: Vec<&str> =
            text.lines().filter(|line| !line.is_empty()).take(SENTENCES).collect();
        // Tagging gives words one by one.
        let words: Vec<&str> = sentences.iter().flat_map(|text| text.split(' ')).collect();
        for (name, vocabulary, config) in cases {
            if let Some(vocabulary) = data(vocabulary) {
                compare(&format!("{corpus}, {name}"), &sentences, &vocabulary, config);
                compare(&format!("{corpus}, {name}, by word"), &words, &vocabulary, config);
            }
        }
    }
}
