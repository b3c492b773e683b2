//! `vocab`: learns a WordPiece vocabulary from text.
//!
//! Words are counted as `bert-core` sees them (normalized, split at blanks, punctuation and CJK
//! ideographs); pieces are learnt by byte-pair merges of characters, most frequent pair first
//! (Sennrich et al. 2016), which is how Hugging Face's `WordPieceTrainer` makes WordPieces too.
//! That trainer goes through hash maps with a key drawn anew for each, and its result follows their
//! order: on a megabyte of text two runs differ in about 5 of 8,000 pieces.
//! Here ties are broken by the pieces, so one text gives one vocabulary (invariant 4); a test compares
//! the two trainers, which then share 7,992 pieces.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bert_core::tokenizer::basic_words;

use super::corpus::{Corpus, CorpusItem};
use super::tokenizer::{CONTINUATION, SPECIAL_PIECES, TokenizerConfig};
use super::{DataError, TextTokenizer};
use crate::atomic;

/// Most characters that become pieces of their own, the most frequent ones first; words with
/// others are `[UNK]`. Hugging Face's `BertWordPieceTokenizer` has the same limit.
const MAX_ALPHABET: usize = 1000;

/// `model_max_length` of the tokenizer: BERT's number of positions.
const MODEL_MAX_LENGTH: usize = 512;

/// What `vocab` reads and writes.
#[derive(Debug, Clone)]
pub struct VocabularyOptions {
    /// Text files, plain or compressed.
    pub inputs: Vec<PathBuf>,
    /// Directory for `vocab.txt`, `tokenizer.json` and `tokenizer_config.json`; other files in it
    /// stay.
    pub output: PathBuf,
    /// V, special pieces included; a small text may give fewer.
    pub vocabulary_size: u32,
    /// Keep case and accents.
    pub cased: bool,
    /// How often a pair must occur to become a piece.
    pub min_frequency: u64,
}

/// What `vocab` made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VocabularySummary {
    /// Pieces, special ones included; at most the size asked for.
    pub pieces: u32,
    /// Words in the text.
    pub words: u64,
    /// Different words in the text.
    pub distinct_words: u64,
}

/// Learns a vocabulary and writes a tokenizer directory.
///
/// # Errors
/// [`DataError`] if an input is missing, empty or not UTF-8, the size has no room for the special
/// pieces and a few characters, or writing fails.
pub fn train(options: &VocabularyOptions) -> Result<VocabularySummary, DataError> {
    const SMALLEST: u32 = 16;
    if options.vocabulary_size < SMALLEST {
        let expected = format!("{SMALLEST} or more pieces");
        return Err(DataError::option("vocab-size", expected, options.vocabulary_size));
    }
    if options.inputs.is_empty() {
        return Err(DataError::option("input", "at least one file", "none"));
    }
    let config = if options.cased { TokenizerConfig::cased() } else { TokenizerConfig::uncased() };
    let mut counts = HashMap::new();
    for path in &options.inputs {
        count_words(path, &config, &mut counts)?;
    }
    let summary = (counts.values().sum(), counts.len() as u64);
    // A sorted list: nothing after this sees the order of the hash map.
    let mut words: Vec<(String, u64)> = counts.into_iter().collect();
    words.sort_unstable();
    let pieces = learn(&words, options.vocabulary_size as usize, options.min_frequency);
    let tokenizer = TextTokenizer::from_pieces(pieces, config)?;
    std::fs::create_dir_all(&options.output)
        .map_err(|e| DataError::io(&options.output, "create", e))?;
    for (name, text) in tokenizer.files(MODEL_MAX_LENGTH) {
        atomic::write_file(&options.output.join(name), text.as_bytes())?;
    }
    Ok(VocabularySummary {
        pieces: tokenizer.vocabulary_size(),
        words: summary.0,
        distinct_words: summary.1,
    })
}

fn count_words(
    path: &Path,
    config: &TokenizerConfig,
    counts: &mut HashMap<String, u64>,
) -> Result<(), DataError> {
    let mut corpus = Corpus::open(path)?;
    while let Some(item) = corpus.next_item()? {
        let CorpusItem::Sentence(text) = item else { continue };
        basic_words(text, config, |word, _| {
            // A word that is too long is [UNK] and has no pieces to learn.
            if let Some(word) = word.text() {
                match counts.get_mut(word) {
                    Some(count) => *count += 1,
                    None => _ = counts.insert(word.to_owned(), 1),
                }
            }
            ControlFlow::Continue(())
        })
        .expect("lines are shorter than 4 GiB, see `corpus::MAX_LINE_BYTES`");
    }
    Ok(())
}

/// A pair of neighbouring pieces of a word, by id.
type Pair = (u32, u32);

/// Learns at most `size` pieces from words (each once) and their counts.
///
/// The first pieces are [`SPECIAL_PIECES`], then characters, then characters that continue a word,
/// both in the order of Unicode, then merged pieces, most frequent first.
fn learn(words: &[(String, u64)], size: usize, min_frequency: u64) -> Vec<String> {
    let mut pieces: Vec<String> = SPECIAL_PIECES.map(String::from).to_vec();
    // A character takes up to two pieces.
    let alphabet = alphabet(words, MAX_ALPHABET.min((size - pieces.len()) / 2));
    let mut ids: HashMap<String, u32> = HashMap::new();
    let mut add = |piece: String, pieces: &mut Vec<String>| {
        *ids.entry(piece.clone()).or_insert_with(|| {
            pieces.push(piece);
            pieces.len() as u32 - 1
        })
    };
    for &c in alphabet.keys() {
        add(c.to_string(), &mut pieces);
    }
    for (&c, &continues) in &alphabet {
        if continues {
            add(format!("{CONTINUATION}{c}"), &mut pieces);
        }
    }
    let mut split: Vec<Vec<u32>> = Vec::new();
    let mut counts: Vec<i64> = Vec::new();
    for (word, count) in words {
        // A word with a character outside of the alphabet will be [UNK] whatever its pieces.
        if word.chars().all(|c| alphabet.contains_key(&c)) {
            let piece = |(at, c): (usize, char)| match at {
                0 => add(c.to_string(), &mut pieces),
                _ => add(format!("{CONTINUATION}{c}"), &mut pieces),
            };
            split.push(word.char_indices().map(piece).collect());
            counts.push(*count as i64);
        }
    }

    let mut pairs = Pairs::new(&split, &counts);
    while pieces.len() < size {
        let Some((pair, count)) = pairs.most_frequent() else { break };
        if count < min_frequency.max(1) as i64 {
            break;
        }
        let second = &pieces[pair.1 as usize];
        let merged = format!(
            "{}{}",
            pieces[pair.0 as usize],
            second.strip_prefix(CONTINUATION).unwrap_or(second)
        );
        let merged = add(merged, &mut pieces);
        pairs.merge(pair, merged, &mut split, &counts);
    }
    pieces
}

/// The `limit` most frequent characters, and whether each occurs inside a word.
fn alphabet(words: &[(String, u64)], limit: usize) -> BTreeMap<char, bool> {
    let mut counts: BTreeMap<char, (u64, bool)> = BTreeMap::new();
    for (word, count) in words {
        for (at, c) in word.char_indices() {
            let entry = counts.entry(c).or_default();
            entry.0 += count;
            entry.1 |= at > 0;
        }
    }
    let mut kept: Vec<(Reverse<u64>, char, bool)> =
        counts.into_iter().map(|(c, (count, inside))| (Reverse(count), c, inside)).collect();
    kept.sort_unstable();
    kept.into_iter().take(limit).map(|(_, c, inside)| (c, inside)).collect()
}

/// How often each pair occurs, and in which words.
struct Pairs {
    counts: HashMap<Pair, i64>,
    words: HashMap<Pair, Vec<u32>>,
    /// Pairs with a count that was right when they were put here.
    queue: BinaryHeap<(i64, Reverse<Pair>)>,
}

impl Pairs {
    fn new(split: &[Vec<u32>], counts: &[i64]) -> Self {
        let mut pairs =
            Pairs { counts: HashMap::new(), words: HashMap::new(), queue: BinaryHeap::new() };
        for (word, pieces) in split.iter().enumerate() {
            for pair in pairs_of(pieces) {
                *pairs.counts.entry(pair).or_default() += counts[word];
                let words = pairs.words.entry(pair).or_default();
                if words.last() != Some(&(word as u32)) {
                    words.push(word as u32);
                }
            }
        }
        // The order in which they enter does not matter: no two entries are equal.
        pairs.queue = pairs.counts.iter().map(|(&pair, &count)| (count, Reverse(pair))).collect();
        pairs
    }

    /// The most frequent pair, of equal ones the one with the lowest ids.
    fn most_frequent(&mut self) -> Option<(Pair, i64)> {
        while let Some((count, Reverse(pair))) = self.queue.pop() {
            match self.counts.get(&pair) {
                Some(&now) if now == count => return Some((pair, count)),
                Some(&now) if now > 0 => self.queue.push((now, Reverse(pair))),
                _ => {}
            }
        }
        None
    }

    /// Replaces `pair` by `merged` in all words.
    fn merge(&mut self, pair: Pair, merged: u32, split: &mut [Vec<u32>], counts: &[i64]) {
        let mut touched = Vec::new();
        for word in self.words.remove(&pair).unwrap_or_default() {
            let (pieces, count) = (&mut split[word as usize], counts[word as usize]);
            // A word that lost the pair to another merge stays in the list.
            if !pairs_of(pieces).any(|p| p == pair) {
                continue;
            }
            for old in pairs_of(pieces) {
                *self.counts.entry(old).or_default() -= count;
            }
            replace(pieces, pair, merged);
            for new in pairs_of(pieces) {
                *self.counts.entry(new).or_default() += count;
                if new.0 == merged || new.1 == merged {
                    let words = self.words.entry(new).or_default();
                    if words.last() != Some(&word) {
                        words.push(word);
                    }
                    touched.push(new);
                }
            }
        }
        self.counts.remove(&pair);
        touched.sort_unstable();
        touched.dedup();
        // A pair that is queued already gets a second entry; the one with the wrong count is passed
        // over, and of two right ones the second finds the pair merged.
        for new in touched {
            if let Some(&count) = self.counts.get(&new) {
                self.queue.push((count, Reverse(new)));
            }
        }
    }
}

fn pairs_of(pieces: &[u32]) -> impl Iterator<Item = Pair> + '_ {
    pieces.windows(2).map(|pair| (pair[0], pair[1]))
}

/// Replaces `pair` by `merged`, from left to right.
fn replace(pieces: &mut Vec<u32>, pair: Pair, merged: u32) {
    let (mut from, mut to) = (0, 0);
    while from < pieces.len() {
        let found = from + 1 < pieces.len() && (pieces[from], pieces[from + 1]) == pair;
        pieces[to] = if found { merged } else { pieces[from] };
        from += 1 + usize::from(found);
        to += 1;
    }
    pieces.truncate(to);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
    use tokenizers::{AddedToken, Model};

    use super::*;

    fn words(words: &[(&str, u64)]) -> Vec<(String, u64)> {
        words.iter().map(|&(word, count)| (word.to_owned(), count)).collect()
    }

    fn learnt(list: &[(&str, u64)], size: usize, min_frequency: u64) -> Vec<String> {
        learn(&words(list), size, min_frequency)[SPECIAL_PIECES.len()..].to_vec()
    }

    #[test]
    fn the_most_frequent_pair_is_merged_first() {
        let list = [("hug", 10), ("hugs", 5), ("pug", 5), ("pun", 12)];
        let pieces = learnt(&list, 100, 2);
        let characters = ["g", "h", "n", "p", "s", "u", "##g", "##n", "##s", "##u"];
        assert_eq!(pieces[..10], characters);
        // ##u+##g 20, then h+##ug 15, p+##u 12, pu+##n 12, and of two with 5 the lower ids.
        assert_eq!(pieces[10..], ["##ug", "hug", "pu", "pun", "pug", "hugs"]);
        assert_eq!(learnt(&list, 5 + 12, 2).len(), 12);
        // Of pairs that are equally frequent the one with the lower ids goes first.
        assert_eq!(learnt(&[("ab", 3), ("ac", 3)], 100, 3)[5..], ["ab", "ac"]);
        assert!(!learnt(&[("ab", 3), ("ac", 2)], 100, 3).contains(&"ac".to_owned()));
    }

    #[test]
    fn repeated_letters_and_other_ways_to_the_same_piece() {
        let pieces = learnt(&[("aaaa", 9), ("aaa", 5), ("xaaa", 4)], 100, 1);
        let distinct: BTreeSet<&String> = pieces.iter().collect();
        assert_eq!(distinct.len(), pieces.len());
        for word in ["aaaa", "aaa", "xaaa"] {
            assert!(pieces.contains(&word.to_owned()), "{pieces:?}");
        }
    }

    #[test]
    fn rare_characters_give_way_in_a_small_vocabulary() {
        let pieces = learn(&words(&[("ab", 9), ("cd", 8), ("ef", 7), ("gh", 6), ("☂", 1)]), 21, 1);
        assert!(pieces.len() <= 21);
        assert!(pieces.contains(&"a".to_owned()) && !pieces.contains(&"☂".to_owned()));
    }

    fn train_on(text: &str, size: u32, output: &Path) -> Result<VocabularySummary, DataError> {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("text.txt");
        std::fs::write(&input, text).unwrap();
        train(&VocabularyOptions {
            inputs: vec![input],
            output: output.to_owned(),
            vocabulary_size: size,
            cased: false,
            min_frequency: 2,
        })
    }

    #[test]
    fn the_directory_opens_here_and_in_tokenizers() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("a/b");
        let text = "The lights, the LIGHTS and the lamps: café!\nSwitch the lights off.\n";
        let summary = train_on(text, 60, &output).unwrap();
        let ours = TextTokenizer::open(&output).unwrap();
        assert_eq!(ours.vocabulary_size(), summary.pieces);
        assert_eq!(ours.pieces()[..5], SPECIAL_PIECES);
        let theirs = tokenizers::Tokenizer::from_file(output.join("tokenizer.json")).unwrap();
        for text in [text, "Thé lamp's off-switch ☂ lightsthe", ""] {
            let mut ids = vec![ours.special().cls];
            ours.encode(text, &mut ids);
            ids.push(ours.special().sep);
            assert_eq!(theirs.encode(text, true).unwrap().get_ids(), ids);
        }
        let pair = theirs.encode(("lamps", "off"), true).unwrap();
        assert_eq!(pair.get_type_ids().first(), Some(&0));
        assert_eq!(pair.get_type_ids().last(), Some(&1));
        // Any one of the files is enough, and gives the same tokenizer.
        for missing in ["vocab.txt", "tokenizer.json", "tokenizer_config.json"] {
            let bytes = std::fs::read(output.join(missing)).unwrap();
            std::fs::remove_file(output.join(missing)).unwrap();
            assert_eq!(TextTokenizer::open(&output).unwrap().hash(), ours.hash(), "{missing}");
            std::fs::write(output.join(missing), bytes).unwrap();
        }
    }

    #[test]
    fn wrong_options_and_inputs_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("out");
        let error = train_on("a b\n", 15, &output).unwrap_err().to_string();
        assert_eq!(error, "vocab-size: expected 16 or more pieces, found 15");
        let error = train_on("\n\n", 100, &output).unwrap_err().to_string();
        assert!(error.contains("text.txt: expected one sentence a line"), "{error}");
        assert!(!output.exists());
    }

    /// Hugging Face's trainer on the same counts.
    fn reference(list: &[(String, u64)], size: usize) -> BTreeSet<String> {
        let special = SPECIAL_PIECES.iter().map(|&piece| AddedToken::from(piece, true)).collect();
        let mut trainer = WordPieceTrainer::builder()
            .vocab_size(size)
            .min_frequency(2)
            .limit_alphabet(MAX_ALPHABET)
            .special_tokens(special)
            .show_progress(false)
            .build();
        let repeated = list
            .iter()
            .map(|(word, count)| vec![word.as_str(); usize::try_from(*count).unwrap()].join(" "));
        let split = |text: &str| Ok(text.split(' ').map(str::to_owned).collect());
        tokenizers::Trainer::feed(&mut trainer, repeated, split).unwrap();
        let mut model = WordPiece::default();
        trainer.train(&mut model).unwrap();
        model.get_vocab().into_keys().collect()
    }

    #[test]
    fn it_learns_what_tokenizers_learns() {
        // Without ties and without two ways to one piece both give the same pieces.
        let list = words(&[("hug", 10), ("hugs", 5), ("pug", 5), ("pun", 12), ("bun", 4)]);
        let ours: BTreeSet<String> = learn(&list, 20, 2).into_iter().collect();
        assert_eq!(ours, reference(&list, 20));

        let Some(corpus) = crate::data::tests::sample_corpus() else { return };
        let mut counts = HashMap::new();
        count_words(&corpus, &TokenizerConfig::uncased(), &mut counts).unwrap();
        let mut list: Vec<(String, u64)> = counts.into_iter().collect();
        list.sort_unstable();
        let ours: BTreeSet<String> = learn(&list, 8000, 2).into_iter().collect();
        let theirs = reference(&list, 8000);
        let shared = ours.intersection(&theirs).count();
        assert_eq!(ours.len(), 8000);
        assert!(shared >= 7900, "{shared} of 8000 pieces in common");
    }
}
