//! A smaller vocabulary: the pieces that the texts of a task need, and what no text can be without.
//!
//! WordPiece takes the longest piece that fits, so a text whose pieces are all kept is cut into the
//! same pieces as before and its answer has the same bits. Of other texts the words are cut into
//! shorter pieces, down to characters, which are kept for that.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::checkpoint;
use crate::config::{CONFIG_FILE, Config};
use crate::data::TextTokenizer;
use crate::data::tokenizer::{CONTINUATION, SPECIAL_PIECES};
use crate::model::LoadedCheckpoint;

/// Which pieces of a vocabulary stay. Their order stays too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruning {
    ids: Vec<u32>,
    pieces: Vec<String>,
    before: usize,
}

impl Pruning {
    /// Keeps the pieces that `texts` are cut into, the special ones, and all that are one character,
    /// at the start of a word or inside it.
    pub fn of<'a>(tokenizer: &TextTokenizer, texts: impl IntoIterator<Item = &'a str>) -> Self {
        let pieces = tokenizer.pieces();
        let mut keep: Vec<bool> = pieces.iter().map(|piece| is_always_kept(piece)).collect();
        for text in texts {
            tokenizer.for_each_piece(text, |id, _| keep[id as usize] = true);
        }
        let ids = (0..tokenizer.vocabulary_size()).filter(|&id| keep[id as usize]);
        Self::with_ids(pieces, ids.collect())
    }

    fn with_ids(pieces: &[String], ids: Vec<u32>) -> Self {
        let kept = ids.iter().map(|&id| pieces[id as usize].clone());
        Self { pieces: kept.collect(), ids, before: pieces.len() }
    }

    /// Keeps one more piece, by its id.
    fn with(self, pieces: &[String], id: u32) -> Self {
        let Err(place) = self.ids.binary_search(&id) else {
            return self;
        };
        let mut ids = self.ids;
        ids.insert(place, id);
        Self::with_ids(pieces, ids)
    }

    /// The pieces that stay, by their new ids.
    pub fn pieces(&self) -> &[String] {
        &self.pieces
    }

    /// How many pieces there were.
    pub fn pieces_before(&self) -> usize {
        self.before
    }

    /// The old id of each piece that stays, ascending.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Rows of a table \[V, `columns`\] that stay.
    ///
    /// # Panics
    ///
    /// If the table has fewer rows than the vocabulary had pieces.
    pub fn rows(&self, table: &[f32], columns: usize) -> Vec<f32> {
        let row = |&id: &u32| &table[id as usize * columns..][..columns];
        self.ids.iter().flat_map(row).copied().collect()
    }
}

fn is_always_kept(piece: &str) -> bool {
    let mut characters = piece.strip_prefix(CONTINUATION).unwrap_or(piece).chars();
    let is_one = characters.next().is_some() && characters.next().is_none();
    is_one || SPECIAL_PIECES.contains(&piece)
}

/// Writes the checkpoint of `dir` with a part of its vocabulary to the directory `output`: the rows of
/// the word table and of what is tied to it, `vocab_size`, and the tokenizer.
/// All else stays as it is, heads and types included.
///
/// Returns what stayed: more than `pruning` where `config.json` names a piece by its id.
///
/// # Errors
///
/// `dir` is no checkpoint, its word table has fewer rows than its tokenizer pieces, or `output` holds
/// another model, in which case nothing is changed.
pub fn prune_checkpoint(dir: &Path, pruning: Pruning, output: &Path) -> anyhow::Result<Pruning> {
    let loaded = LoadedCheckpoint::encoder(dir)?;
    let tokenizer = TextTokenizer::open(dir)?;
    let rows = loaded.config.vocab_size;
    ensure!(
        pruning.before <= rows,
        "{}: its tokenizer has {} pieces, but config.json says vocab_size {rows}",
        dir.display(),
        pruning.before
    );
    let mut config = loaded.config;
    let pruning = renumber(&mut config, pruning, tokenizer.pieces())
        .with_context(|| dir.join(CONFIG_FILE).display().to_string())?;
    config.vocab_size = pruning.pieces.len();
    let pruned = TextTokenizer::from_pieces(pruning.pieces.clone(), tokenizer.config())?;
    let files = pruned.files(config.max_position_embeddings);
    checkpoint::write_rows(output, &config, dir, &pruning.ids, &files)?;
    Ok(pruning)
}

/// Gives the pieces that the configuration names (`pad_token_id` and others) their new ids, and keeps
/// them.
fn renumber(config: &mut Config, pruning: Pruning, pieces: &[String]) -> anyhow::Result<Pruning> {
    let named = |(key, value): (&String, &serde_json::Value)| {
        key.ends_with("_token_id").then(|| Some((key.clone(), value.as_u64()?))).flatten()
    };
    let others: Vec<(String, u64)> = config.extra.iter().filter_map(named).collect();
    let all: HashSet<u64> =
        others.iter().map(|(_, id)| *id).chain([u64::from(config.pad_token_id)]).collect();
    let mut pruning = pruning;
    for id in all {
        let known = u32::try_from(id).ok().filter(|&id| (id as usize) < pieces.len());
        let known = known.with_context(|| {
            format!("expected ids of the {} pieces of the tokenizer, found {id}", pieces.len())
        })?;
        pruning = pruning.with(pieces, known);
    }
    let new = |id: u64| pruning.ids.partition_point(|&old| u64::from(old) < id);
    config.pad_token_id = new(u64::from(config.pad_token_id)) as u32;
    for (key, id) in others {
        config.extra.insert(key, new(id).into());
    }
    Ok(pruning)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::tokenizer::TokenizerConfig;

    fn tokenizer() -> TextTokenizer {
        let pieces = [
            "[PAD]",
            "[unused1]",
            "[UNK]",
            "[CLS]",
            "[SEP]",
            "[MASK]",
            "a",
            "##a",
            "é",
            "##中",
            "play",
            "##play",
            "##ed",
            "jazz",
            "##",
            "stop",
            "##b",
        ];
        let pieces = pieces.map(String::from).to_vec();
        TextTokenizer::from_pieces(pieces, TokenizerConfig::cased()).unwrap()
    }

    #[test]
    fn characters_special_pieces_and_those_in_use_stay() {
        let pruning = Pruning::of(&tokenizer(), ["played", "a ab"]);
        assert_eq!(
            pruning.pieces(),
            [
                "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##a", "é", "##中", "play",
                "##ed", "##b"
            ]
        );
        assert_eq!(pruning.ids(), [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16]);
        assert_eq!(pruning.pieces_before(), 17);
        let table: Vec<f32> = (0..34).map(|v| v as f32).collect();
        assert_eq!(pruning.rows(&table, 2)[..6], [0.0, 1.0, 4.0, 5.0, 6.0, 7.0]);
    }

    /// The reason why pruning costs nothing for texts like those it saw.
    #[test]
    fn texts_are_cut_into_the_same_pieces() {
        let texts = ["played", "a jazz", "stopa"];
        let (old, pruning) = (tokenizer(), Pruning::of(&tokenizer(), texts));
        let new = TextTokenizer::from_pieces(pruning.pieces().to_vec(), TokenizerConfig::cased())
            .unwrap();
        for text in texts {
            let (mut before, mut after) = (Vec::new(), Vec::new());
            old.encode(text, &mut before);
            new.encode(text, &mut after);
            let old_ids: Vec<u32> = after.iter().map(|&id| pruning.ids()[id as usize]).collect();
            assert_eq!(old_ids, before, "{text}");
        }
    }

    #[test]
    fn ids_in_the_configuration_follow_their_pieces() {
        let tokenizer = tokenizer();
        let mut config = Config { pad_token_id: 1, ..Config::default() };
        config.extra.insert("cls_token_id".into(), 3.into());
        config.extra.insert("eos_token_id".into(), serde_json::Value::Null);
        let pruning = Pruning::of(&tokenizer, ["a"]);
        let pruning = renumber(&mut config, pruning, tokenizer.pieces()).unwrap();
        assert_eq!(pruning.pieces()[1], "[unused1]");
        assert_eq!(config.pad_token_id, 1);
        assert_eq!(config.extra["cls_token_id"], 3);
        assert!(config.extra["eos_token_id"].is_null());
        config.extra.insert("sep_token_id".into(), 17.into());
        let error = renumber(&mut config, pruning, tokenizer.pieces()).unwrap_err();
        assert!(error.to_string().contains("17 pieces"), "{error}");
    }
}
