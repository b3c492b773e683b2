//! Time per sentence of the tokenizer and of Hugging Face `tokenizers`, on one thread.
//!
//!     BERT_DATA=../shared/data cargo bench -p bert-core --bench tokenizer
//!
//! Each sentence is timed alone: ours, `encode_fast` (ids only, the quickest way of `tokenizers`)
//! and `encode` (with byte offsets, which ours always has), in turns. The least of all rounds counts,
//! so that other work on the machine, which hits the longer calls more often, does not look like our
//! merit. All three must give the same ids, and the last the same offsets, before they are timed.
//!
//! Reads `snips/test.tsv`, `corpus/wiki.valid.sent.txt` and the official vocabularies in `vocab/`;
//! `scripts.txt` beside this file has sentences in scripts other than plain Latin. Fails when a
//! corpus is tokenized less than [`LEAST_RATIO`] times as fast as by `encode_fast`.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bert_core::tokenizer::{Token, Tokenizer, TokenizerConfig, Vocabulary, pack_vocabulary};

#[path = "../tests/common/hugging_face.rs"]
mod reference;

/// Sentences of each corpus.
const SENTENCES: usize = 500;
/// Rounds over all sentences.
const ROUNDS: usize = 15;
/// What is timed: ours, `encode_fast` and `encode`.
const OURS: usize = 0;
const FAST: usize = 1;
const FULL: usize = 2;
/// What the project promises; what is measured is several times that.
const LEAST_RATIO: f64 = 5.0;

fn data(name: &str) -> Option<String> {
    let root = std::env::var_os("BERT_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")),
        PathBuf::from,
    );
    let path = root.join(name);
    let text = std::fs::read_to_string(&path);
    text.inspect_err(|error| println!("skipped: {}: {error}", path.display())).ok()
}

/// Texts that are tokenized one by one and timed together: a sentence, or its words.
type Sample = Vec<String>;

struct Corpus {
    name: &'static str,
    samples: Vec<Sample>,
}

fn corpora() -> Vec<Corpus> {
    let whole = |lines: &mut dyn Iterator<Item = &str>| {
        let lines = lines.filter(|line| !line.is_empty()).take(SENTENCES);
        lines.map(|line| vec![line.to_owned()]).collect::<Vec<Sample>>()
    };
    let mut all = Vec::new();
    if let Some(table) = data("snips/test.tsv") {
        let samples = whole(&mut table.lines().filter_map(|line| line.split('\t').nth(1)));
        // Tagging reads words one by one.
        let words = samples.iter().map(|sample| sample[0].split(' ').map(str::to_owned).collect());
        let by_word = Corpus { name: "commands, by word", samples: words.collect() };
        all.push(Corpus { name: "commands", samples });
        all.push(by_word);
    }
    if let Some(text) = data("corpus/wiki.valid.sent.txt") {
        all.push(Corpus { name: "wiki", samples: whole(&mut text.lines()) });
    }
    let samples = whole(&mut include_str!("scripts.txt").lines());
    all.push(Corpus { name: "other scripts", samples });
    all
}

/// A vocabulary with the configuration it is for.
struct Setting {
    name: String,
    pieces: Vec<String>,
    config: TokenizerConfig,
}

fn settings() -> Vec<Setting> {
    let read = |name: &str| -> Option<Vec<String>> {
        Some(data(name)?.lines().map(str::to_owned).collect())
    };
    let mut all = Vec::new();
    let mut add = |kind: &str, pieces: Vec<String>, config| {
        all.push(Setting { name: format!("{kind} {}", pieces.len()), pieces, config });
    };
    if let Some(pieces) = read("vocab/bert-base-uncased-vocab.txt") {
        add("uncased", small(&pieces), TokenizerConfig::uncased());
        add("uncased", pieces, TokenizerConfig::uncased());
    }
    if let Some(pieces) = read("vocab/bert-base-cased-vocab.txt") {
        add("cased", pieces, TokenizerConfig::cased());
    }
    all
}

/// 8,000 of the pieces: the special ones, all characters, and then the first ones, which are the
/// most frequent.
fn small(pieces: &[String]) -> Vec<String> {
    let special = |piece: &str| ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].contains(&piece);
    let is_char = |piece: &str| piece.strip_prefix("##").unwrap_or(piece).chars().count() == 1;
    let (first, rest): (Vec<&String>, Vec<&String>) =
        pieces.iter().partition(|piece| special(piece) || is_char(piece));
    let rest = rest.into_iter().filter(|piece| !piece.starts_with("[unused"));
    first.into_iter().chain(rest).take(8000).cloned().collect()
}

fn time(mut work: impl FnMut()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Appends the tokens of `text`.
fn tokenize(tokenizer: &Tokenizer<'_>, text: &str, tokens: &mut Vec<Token>) {
    let sink = |token| {
        tokens.push(token);
        ControlFlow::Continue(())
    };
    tokenizer.tokenize(text, sink).unwrap();
}

/// Tokens of all samples, once all agree on them.
fn check(corpus: &Corpus, ours: &Tokenizer<'_>, theirs: &tokenizers::Tokenizer) -> usize {
    let mut count = 0;
    for text in corpus.samples.iter().flatten() {
        let mut tokens = Vec::new();
        tokenize(ours, text, &mut tokens);
        let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
        let spans: Vec<(usize, usize)> =
            tokens.iter().map(|token| (token.start as usize, token.end as usize)).collect();
        let encoding = theirs.encode(text.as_str(), false).unwrap();
        assert_eq!(
            (&ids[..], &spans[..]),
            (encoding.get_ids(), encoding.get_offsets()),
            "{text:?}"
        );
        let encoding = theirs.encode_fast(text.as_str(), false).unwrap();
        assert_eq!(ids, encoding.get_ids(), "{text:?}");
        count += ids.len();
    }
    count
}

/// Prints a row of the table, and returns how many times ours is as fast as `encode_fast`.
fn compare(corpus: &Corpus, setting: &Setting) -> f64 {
    let packed = pack_vocabulary(&setting.pieces).unwrap();
    let ours = Tokenizer::new(Vocabulary::parse(&packed).unwrap(), setting.config).unwrap();
    let theirs = reference::tokenizer(&setting.pieces, &setting.config);
    let tokens = check(corpus, &ours, &theirs);

    let mut room = Vec::with_capacity(4096);
    let mut least = vec![[Duration::MAX; 3]; corpus.samples.len()];
    for round in 0..ROUNDS {
        for (sample, least) in corpus.samples.iter().zip(&mut least) {
            // Whoever is second finds the sentence in the cache, so each is first in turn.
            for side in (0..3).map(|turn| (round + turn) % 3) {
                room.clear();
                let texts = || sample.iter().map(|text| black_box(text.as_str()));
                let took = match side {
                    OURS => time(|| texts().for_each(|text| tokenize(&ours, text, &mut room))),
                    FAST => time(|| {
                        texts().for_each(|text| drop(theirs.encode_fast(text, false).unwrap()));
                    }),
                    _ => {
                        time(|| texts().for_each(|text| drop(theirs.encode(text, false).unwrap())))
                    }
                };
                black_box(&room);
                least[side] = took.min(least[side]);
            }
        }
    }
    let count = corpus.samples.len() as f64;
    let mean = |side: usize| {
        let total: Duration = least.iter().map(|times| times[side]).sum();
        total.as_secs_f64() * 1e6 / count
    };
    let [our, fast, full] = [mean(OURS), mean(FAST), mean(FULL)];
    let worst = least.iter().map(|[our, fast, _]| fast.as_secs_f64() / our.as_secs_f64());
    println!(
        "| {} | {} | {:.1} | {our:.2} | {fast:.1} | {full:.1} | {:.1} | {:.1} | {:.1} |",
        corpus.name,
        setting.name,
        tokens as f64 / count,
        fast / our,
        full / our,
        worst.fold(f64::INFINITY, f64::min),
    );
    fast / our
}

fn main() -> ExitCode {
    let (corpora, settings) = (corpora(), settings());
    println!(
        "| texts | vocabulary | tokens | ours µs | encode_fast µs | encode µs | \
         ratio to encode_fast | ratio to encode | least ratio of a sentence |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut enough = true;
    for corpus in &corpora {
        for setting in &settings {
            enough &= compare(corpus, setting) >= LEAST_RATIO;
        }
    }
    if !enough {
        eprintln!("ours is less than {LEAST_RATIO} times as fast as `encode_fast`");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
