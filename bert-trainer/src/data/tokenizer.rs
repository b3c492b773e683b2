//! The tokenizer directory: `vocab.txt`, `tokenizer.json`, `tokenizer_config.json`.
//!
//! Text is encoded by `bert-core` itself, over the same packed vocabulary that goes into a model
//! file; the directory is Hugging Face's, so `transformers` opens it as a `BertTokenizerFast`.

use std::ops::ControlFlow;
use std::path::Path;

use bert_core::tokenizer::{MAX_WORD_CHARS, PackError, Tokenizer, Vocabulary, pack_vocabulary};
use serde_json::{Value, json};

pub use bert_core::tokenizer::TokenizerConfig;

use super::DataError;
use super::corpus::{Lines, sha256};

/// The pieces that BERT gives a meaning, in the order in which `vocab` numbers them from 0.
pub const SPECIAL_PIECES: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// What a piece starts with that continues a word.
pub const CONTINUATION: &str = "##";

/// Ids of [`SPECIAL_PIECES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialIds {
    /// `[PAD]`; only embeddings know it, batches are packed.
    pub pad: u32,
    /// `[UNK]`.
    pub unk: u32,
    /// `[CLS]`.
    pub cls: u32,
    /// `[SEP]`.
    pub sep: u32,
    /// `[MASK]`.
    pub mask: u32,
}

/// A vocabulary and the normalization that belongs to it, ready to encode text.
pub struct TextTokenizer {
    pieces: Vec<String>,
    continuation: Vec<bool>,
    core: Tokenizer<'static>,
}

impl TextTokenizer {
    /// Opens a tokenizer directory, ours or one of Hugging Face's.
    ///
    /// The pieces come from `vocab.txt`, else from `tokenizer.json`.
    /// The normalization comes from `tokenizer_config.json`, for keys it lacks from
    /// `tokenizer.json`, else it is that of `BertTokenizer`: lower case, accents stripped.
    ///
    /// # Errors
    /// [`DataError`] if neither file is there, or one is damaged, is not WordPiece, repeats a piece
    /// or lacks one of [`SPECIAL_PIECES`].
    pub fn open(dir: &Path) -> Result<Self, DataError> {
        let (vocab, json) = (dir.join("vocab.txt"), dir.join("tokenizer.json"));
        let fast = if json.is_file() { Some(read_json(&json)?) } else { None };
        let (source, pieces) = match &fast {
            _ if vocab.is_file() => (vocab.clone(), pieces_of_vocab(&vocab)?),
            Some(fast) => (json.clone(), pieces_of_json(&json, fast)?),
            None => {
                return Err(DataError::file(
                    dir,
                    "a tokenizer directory with vocab.txt or tokenizer.json",
                    if dir.is_dir() { "neither" } else { "no such directory" },
                ));
            }
        };
        let slow = dir.join("tokenizer_config.json");
        let slow = if slow.is_file() { Some(read_json(&slow)?) } else { None };
        Self::build(&source, pieces, config_of(slow.as_ref(), fast.as_ref()))
    }

    /// Makes a tokenizer from pieces as they stand in `vocab.txt`, by id.
    ///
    /// # Errors
    /// [`DataError`] as [`TextTokenizer::open`].
    pub fn from_pieces(pieces: Vec<String>, config: TokenizerConfig) -> Result<Self, DataError> {
        Self::build(Path::new("vocab.txt"), pieces, config)
    }

    fn build(
        source: &Path,
        pieces: Vec<String>,
        config: TokenizerConfig,
    ) -> Result<Self, DataError> {
        let packed = pack_vocabulary(&pieces).map_err(|e| match e {
            PackError::Empty { line } => {
                DataError::line(source, line as u64, "a piece", "an empty line")
            }
            PackError::Duplicate { piece, line, first } => {
                let found = format!("{piece:?} again, first on line {first}");
                DataError::line(source, line as u64, "each piece once", found)
            }
            other => DataError::file(source, "a vocabulary", other.to_string()),
        })?;
        if let Some(missing) = SPECIAL_PIECES.iter().find(|&&s| !pieces.iter().any(|p| p == s)) {
            return Err(DataError::file(source, format!("a piece {missing}"), "none"));
        }
        // A program opens a tokenizer or two and keeps them to its end, so the packed vocabulary
        // (some 20 bytes a piece) is given to the program: every use shares one checked view.
        let packed: &'static [u8] = Box::leak(packed.into_boxed_slice());
        let core = Vocabulary::parse(packed)
            .and_then(|vocabulary| Tokenizer::new(vocabulary, config))
            .map_err(|e| DataError::file(source, "a tokenizer", e.to_string()))?;
        let continuation = pieces.iter().map(|piece| piece.starts_with(CONTINUATION)).collect();
        Ok(TextTokenizer { pieces, continuation, core })
    }

    /// The tokenizer of the core, which does the work.
    pub fn core(&self) -> Tokenizer<'static> {
        self.core
    }

    /// Calls `sink` for each piece of `text` with its id and the byte offset at which it starts;
    /// without `[CLS]` and `[SEP]`.
    pub fn for_each_piece(&self, text: &str, mut sink: impl FnMut(u32, usize)) {
        self.core
            .tokenize(text, |token| {
                sink(token.id, token.start as usize);
                ControlFlow::Continue(())
            })
            .expect("lines are shorter than 4 GiB, see `corpus::MAX_LINE_BYTES`");
    }

    /// Appends the ids of `text` to `ids`, without `[CLS]` and `[SEP]`.
    pub fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        self.for_each_piece(text, |id, _| ids.push(id));
    }

    /// V, the number of pieces.
    pub fn vocabulary_size(&self) -> u32 {
        self.pieces.len() as u32
    }

    /// The pieces as in `vocab.txt`, by id.
    pub fn pieces(&self) -> &[String] {
        &self.pieces
    }

    /// The normalization.
    pub fn config(&self) -> TokenizerConfig {
        self.core.config()
    }

    /// Ids of the special pieces.
    pub fn special(&self) -> SpecialIds {
        let Tokenizer { pad, unk, cls, sep, mask, .. } = self.core;
        SpecialIds { pad, unk, cls, sep, mask }
    }

    /// Whether a piece continues a word (starts with `##`); `id` is below V.
    pub fn continues(&self, id: u32) -> bool {
        self.continuation[id as usize]
    }

    /// SHA-256 over the pieces and the normalization, in hexadecimal: equal for two tokenizers if
    /// they encode every text equally.
    pub fn hash(&self) -> String {
        let TokenizerConfig { lower_case, strip_accents, split_chinese, max_word_chars } =
            self.config();
        let rules = format!("{lower_case} {strip_accents} {split_chinese} {max_word_chars}\n");
        let mut bytes = rules.into_bytes();
        for piece in &self.pieces {
            bytes.extend_from_slice(piece.as_bytes());
            bytes.push(b'\n');
        }
        sha256(&bytes)
    }

    /// The files of a tokenizer directory, by name.
    ///
    /// `max_length` is the longest input in tokens, as `model_max_length` in
    /// `tokenizer_config.json`.
    pub fn files(&self, max_length: usize) -> [(&'static str, String); 3] {
        let mut vocab = self.pieces.join("\n");
        vocab.push('\n');
        let config = self.config();
        let [pad, unk, cls, sep, mask] = SPECIAL_PIECES;
        let slow = json!({
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": config.lower_case,
            "strip_accents": config.strip_accents,
            "tokenize_chinese_chars": config.split_chinese,
            "model_max_length": max_length,
            "pad_token": pad,
            "unk_token": unk,
            "cls_token": cls,
            "sep_token": sep,
            "mask_token": mask,
        });
        [
            ("vocab.txt", vocab),
            ("tokenizer.json", format!("{:#}\n", fast_json(&self.pieces, config))),
            ("tokenizer_config.json", format!("{slow:#}\n")),
        ]
    }
}

/// `tokenizer.json` of a WordPiece vocabulary.
fn fast_json(pieces: &[String], config: TokenizerConfig) -> Value {
    let id = |piece: &str| pieces.iter().position(|p| p == piece).unwrap_or_default();
    let special = |piece: &str| {
        json!({ "id": id(piece), "content": piece, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true })
    };
    let mut added: Vec<&str> = SPECIAL_PIECES.to_vec();
    added.sort_by_key(|piece| id(piece));
    let token =
        |piece: &str, segment: u32| json!({ "SpecialToken": { "id": piece, "type_id": segment } });
    let text = |name: &str, segment: u32| json!({ "Sequence": { "id": name, "type_id": segment } });
    let template = |piece: &str| json!({ "id": piece, "ids": [id(piece)], "tokens": [piece] });
    let vocab: serde_json::Map<String, Value> =
        pieces.iter().enumerate().map(|(id, piece)| (piece.clone(), json!(id))).collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added.into_iter().map(special).collect::<Vec<_>>(),
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": config.split_chinese,
            "strip_accents": config.strip_accents,
            "lowercase": config.lower_case,
        },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [token("[CLS]", 0), text("A", 0), token("[SEP]", 0)],
            "pair": [
                token("[CLS]", 0), text("A", 0), token("[SEP]", 0), text("B", 1), token("[SEP]", 1),
            ],
            "special_tokens": { "[CLS]": template("[CLS]"), "[SEP]": template("[SEP]") },
        },
        "decoder": { "type": "WordPiece", "prefix": CONTINUATION, "cleanup": true },
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": CONTINUATION,
            "max_input_chars_per_word": config.max_word_chars,
            "vocab": vocab,
        },
    })
}

fn read_json(path: &Path) -> Result<Value, DataError> {
    let bytes = std::fs::read(path).map_err(|e| DataError::io(path, "read", e))?;
    serde_json::from_slice(&bytes).map_err(|e| DataError::file(path, "JSON", e.to_string()))
}

fn pieces_of_vocab(path: &Path) -> Result<Vec<String>, DataError> {
    let mut lines = Lines::open(path)?;
    let mut pieces = Vec::new();
    while let Some(line) = lines.next_line()? {
        pieces.push(line.to_owned());
    }
    Ok(pieces)
}

fn pieces_of_json(path: &Path, fast: &Value) -> Result<Vec<String>, DataError> {
    let model = &fast["model"];
    // Files of the first versions of `tokenizers` name no type; WordPiece has this prefix.
    let prefix = model["continuing_subword_prefix"].as_str();
    let kind = model["type"].as_str().unwrap_or("WordPiece");
    let vocab = match model["vocab"].as_object() {
        Some(vocab) if kind == "WordPiece" && prefix == Some(CONTINUATION) => vocab,
        _ => {
            return Err(DataError::file(path, "a WordPiece model with prefix ##", kind));
        }
    };
    let mut by_id: Vec<(u64, &str)> = Vec::with_capacity(vocab.len());
    for (piece, id) in vocab {
        by_id.push((id.as_u64().unwrap_or(u64::MAX), piece));
    }
    for added in fast["added_tokens"].as_array().into_iter().flatten() {
        if let (Some(id), Some(content)) = (added["id"].as_u64(), added["content"].as_str())
            && !vocab.contains_key(content)
        {
            by_id.push((id, content));
        }
    }
    by_id.sort_unstable();
    for (expected, (id, piece)) in by_id.iter().enumerate() {
        if *id != expected as u64 {
            return Err(DataError::file(
                path,
                format!("a piece with id {expected}"),
                format!("{piece:?} next, with id {id}"),
            ));
        }
    }
    Ok(by_id.into_iter().map(|(_, piece)| piece.to_owned()).collect())
}

fn config_of(slow: Option<&Value>, fast: Option<&Value>) -> TokenizerConfig {
    let null = Value::Null;
    let (slow, fast) = (slow.unwrap_or(&null), fast.unwrap_or(&null));
    let normalizer = &fast["normalizer"];
    let choose = |a: &Value, b: &Value| a.as_bool().or(b.as_bool());
    let lower_case = choose(&slow["do_lower_case"], &normalizer["lowercase"]).unwrap_or(true);
    TokenizerConfig {
        lower_case,
        // Hugging Face: where nothing is said, accents go with the case.
        strip_accents: choose(&slow["strip_accents"], &normalizer["strip_accents"])
            .unwrap_or(lower_case),
        split_chinese: choose(&slow["tokenize_chinese_chars"], &normalizer["handle_chinese_chars"])
            .unwrap_or(true),
        max_word_chars: fast["model"]["max_input_chars_per_word"]
            .as_u64()
            .map_or(100, |chars| chars.min(MAX_WORD_CHARS as u64) as u16),
    }
}
