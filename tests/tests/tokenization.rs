//! One tokenizer (invariant 1): Hugging Face `tokenizers`, the trainer and `bert-core` give the same
//! pieces at the same bytes for every nasty line of `tests/golden/make_tokenization.py`.

#![allow(clippy::unwrap_used)]

use std::ops::ControlFlow;

use bert_core::tokenizer::{Tokenizer, TokenizerConfig, Vocabulary, pack_vocabulary};
use bert_tests::golden;
use bert_trainer::data::TextTokenizer;
use serde_json::{Value, json};

/// Id, first byte and byte behind the last.
type Piece = (u32, u32, u32);

struct Line {
    text: String,
    pieces: Vec<Piece>,
}

struct Golden {
    name: &'static str,
    vocabulary: Vec<String>,
    lower_case: bool,
    lines: Vec<Line>,
}

fn goldens() -> [Golden; 2] {
    let all = golden::json("tokenization.json");
    ["uncased", "cased"].map(|name| {
        let one = &all[name];
        let list = |value: &Value| value.as_array().unwrap().clone();
        let number = |value: &Value| u32::try_from(value.as_u64().unwrap()).unwrap();
        let line = |line: &Value| Line {
            text: line["text"].as_str().unwrap().to_owned(),
            pieces: list(&line["ids"])
                .iter()
                .zip(list(&line["offsets"]))
                .map(|(id, ends)| (number(id), number(&ends[0]), number(&ends[1])))
                .collect(),
        };
        Golden {
            name,
            vocabulary: list(&one["vocabulary"])
                .iter()
                .map(|piece| piece.as_str().unwrap().to_owned())
                .collect(),
            lower_case: one["lower_case"].as_bool().unwrap(),
            lines: list(&one["lines"]).iter().map(line).collect(),
        }
    })
}

impl Golden {
    fn config(&self) -> TokenizerConfig {
        if self.lower_case { TokenizerConfig::uncased() } else { TokenizerConfig::cased() }
    }

    /// Compares every line and reports all that differ.
    fn check<T: PartialEq + std::fmt::Debug>(
        &self,
        who: &str,
        mut found: impl FnMut(&str) -> Vec<T>,
        expected: impl Fn(&Piece) -> T,
    ) {
        assert!(self.lines.len() >= 500);
        let mut wrong = Vec::new();
        for Line { text, pieces } in &self.lines {
            let expected: Vec<T> = pieces.iter().map(&expected).collect();
            let found = found(text);
            if found != expected {
                wrong.push(format!("{text:?}: {found:?} for {expected:?}"));
            }
        }
        assert!(wrong.is_empty(), "{who}, {}: {}", self.name, wrong.join("\n"));
    }
}

#[test]
fn bert_core_equals_tokenizers() {
    for golden in goldens() {
        let packed = pack_vocabulary(&golden.vocabulary).unwrap();
        let vocabulary = Vocabulary::parse(&packed).unwrap();
        let tokenizer = Tokenizer::new(vocabulary, golden.config()).unwrap();
        let pieces = |text: &str| {
            let mut pieces = Vec::new();
            let sink = |token: bert_core::tokenizer::Token| {
                pieces.push((token.id, token.start, token.end));
                ControlFlow::Continue(())
            };
            tokenizer.tokenize(text, sink).unwrap();
            pieces
        };
        golden.check("bert-core", pieces, |&piece| piece);
    }
}

#[test]
fn the_trainer_equals_tokenizers() {
    for golden in goldens() {
        let pieces = golden.vocabulary.clone();
        let tokenizer = TextTokenizer::from_pieces(pieces, golden.config()).unwrap();
        let ids = |text: &str| {
            let mut ids = Vec::new();
            tokenizer.encode(text, &mut ids);
            ids
        };
        golden.check("bert-trainer", ids, |&(id, _, _)| id);
    }
}

/// The Rust crate of this version says what the Python package of the golden files said.
#[test]
fn the_tokenizers_crate_equals_the_golden_files() {
    for golden in goldens() {
        let vocabulary: serde_json::Map<String, Value> =
            golden.vocabulary.iter().enumerate().map(|(id, p)| (p.clone(), json!(id))).collect();
        let file = json!({
            "version": "1.0",
            "added_tokens": [],
            "normalizer": {
                "type": "BertNormalizer",
                "clean_text": true,
                "handle_chinese_chars": true,
                "strip_accents": null,
                "lowercase": golden.lower_case,
            },
            "pre_tokenizer": { "type": "BertPreTokenizer" },
            "model": {
                "type": "WordPiece",
                "unk_token": "[UNK]",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": vocabulary,
            },
        });
        let tokenizer = tokenizers::Tokenizer::from_bytes(file.to_string()).unwrap();
        let pieces = |text: &str| {
            let encoding = tokenizer.encode(text, false).unwrap();
            let offsets = encoding.get_offsets().iter();
            let ids = encoding.get_ids().iter();
            ids.zip(offsets).map(|(&id, &(a, b))| (id, a as u32, b as u32)).collect()
        };
        golden.check("tokenizers", pieces, |&piece| piece);
    }
}
