//! Packing, looking up, and bytes that nobody packed.

use std::collections::BTreeSet;

use bert_core::Error;
use bert_core::tokenizer::{
    PackError, Tokenizer, TokenizerConfig, Vocabulary, basic_words, pack_vocabulary,
};
use proptest::prelude::*;

use crate::{configs, hugging_face, nasty, packed, tokens, vocabularies};

/// A vocabulary that knows most of the words of `texts` in pieces of one to three characters, and
/// not all of them, so that every path of WordPiece is taken.
pub fn pieces_for(texts: &[String]) -> Vec<String> {
    let mut pieces = BTreeSet::new();
    let pairs = texts.iter().flat_map(|text| configs().into_iter().map(move |c| (text, c)));
    for (word, ..) in pairs.flat_map(|(text, config)| hugging_face::words(text, &config)) {
        // A space is only in the word that says that another one is too long.
        let chars: Vec<char> = word.chars().filter(|_| !word.contains(' ')).collect();
        for (at, width) in (0..chars.len()).map(|at| (at, 1 + at % 3)) {
            let piece: String = chars[at..chars.len().min(at + width)].iter().collect();
            let prefix = if at == 0 { "" } else { "##" };
            // About one character in eleven is missing.
            if u32::from(chars[at]) % 11 != 7 {
                pieces.insert(format!("{prefix}{piece}"));
                pieces.insert(format!("{prefix}{}", chars[at]));
            }
        }
    }
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned);
    special.into_iter().chain(pieces).collect()
}

#[test]
fn every_piece_is_found_and_nothing_else() {
    for (name, pieces) in vocabularies() {
        let bytes = packed(&pieces);
        let vocabulary = Vocabulary::parse(&bytes).unwrap();
        println!("{name}: {} pieces in {} bytes", vocabulary.len(), bytes.len());
        assert_eq!(vocabulary.len() as usize, pieces.len());
        let known: BTreeSet<&str> = pieces.iter().map(String::as_str).collect();
        for (id, piece) in (0..).zip(&pieces) {
            assert_eq!(vocabulary.id(piece.as_bytes()), Some(id));
            assert_eq!(vocabulary.piece(id), Some(piece.as_str()));
            let rest: String = piece.chars().skip(1).collect();
            for other in [format!("{piece}!x"), format!("##{piece}"), rest] {
                let found = vocabulary.id(other.as_bytes()).is_some();
                assert_eq!(found, known.contains(other.as_str()), "{other:?}");
            }
        }
        assert_eq!(vocabulary.piece(vocabulary.len()), None);
        assert_eq!(vocabulary.piece(u32::MAX), None);
        assert_eq!(vocabulary.id(b""), None);
        assert_eq!(vocabulary.id(&[0xFF, 0xFE]), None);
    }
}

#[test]
fn small_and_large_vocabularies_pack() {
    for count in [1usize, 2, 3, 5, 13, 100, 200_000] {
        let pieces: Vec<String> = (0..count).map(|i| format!("piece{i}")).collect();
        let bytes = packed(&pieces);
        assert_eq!(Vocabulary::parse(&bytes).unwrap().len() as usize, count);
        assert_eq!(bytes, pack_vocabulary(&pieces).unwrap(), "packing is a function");
    }
}

#[test]
fn a_bad_list_of_pieces_names_its_line() {
    let line = |pieces: &[&str]| pack_vocabulary(pieces).unwrap_err();
    assert_eq!(line(&[]), PackError::NoPieces);
    assert_eq!(line(&["a", "b", ""]), PackError::Empty { line: 3 });
    let duplicate = PackError::Duplicate { piece: "a".into(), line: 3, first: 1 };
    assert_eq!(line(&["a", "b", "a", ""]), duplicate);
    assert_eq!(duplicate.to_string(), "line 3: \"a\" is there already, in line 1");
}

#[test]
fn special_tokens_must_be_there() {
    let all = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    for missing in all {
        let pieces: Vec<&str> = all.into_iter().filter(|&piece| piece != missing).collect();
        let bytes = pack_vocabulary(&pieces).unwrap();
        let vocabulary = Vocabulary::parse(&bytes).unwrap();
        let error = Tokenizer::new(vocabulary, TokenizerConfig::default()).unwrap_err();
        assert_eq!(error, Error::SpecialToken);
    }
}

fn small() -> Vec<String> {
    let pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ein", "##er", "é", "中", "##ß"];
    pieces.map(str::to_owned).to_vec()
}

/// Uses a vocabulary that was accepted, whatever it holds.
fn use_it(vocabulary: Vocabulary<'_>) {
    for id in 0..vocabulary.len() {
        assert_eq!(vocabulary.id(vocabulary.piece(id).unwrap().as_bytes()), Some(id));
    }
    if let Ok(tokenizer) = Tokenizer::new(vocabulary, TokenizerConfig::uncased()) {
        for token in tokens(&tokenizer, "einer É 中 Straße einererer") {
            assert!(token.id < vocabulary.len());
        }
    }
}

#[test]
fn a_vocabulary_cut_short_or_extended_is_refused() {
    let bytes = packed(&small());
    for length in 0..bytes.len() {
        assert_eq!(Vocabulary::parse(&bytes[..length]).unwrap_err(), Error::Vocabulary);
    }
    let longer = [&bytes[..], b"x"].concat();
    assert_eq!(Vocabulary::parse(&longer).unwrap_err(), Error::Vocabulary);
}

#[test]
fn a_vocabulary_with_any_byte_changed_is_refused_or_consistent() {
    let bytes = packed(&small());
    for at in 0..bytes.len() {
        for value in 0..=255 {
            let mut changed = bytes.clone();
            changed[at] = value;
            if let Ok(vocabulary) = Vocabulary::parse(&changed) {
                use_it(vocabulary);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn hostile_bytes_are_refused_or_consistent(
        header in proptest::collection::vec(0u32..40, 5),
        body in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let fields = header.iter().flat_map(|field| field.to_le_bytes());
        let bytes: Vec<u8> = b"WPV1".iter().copied().chain(fields).chain(body).collect();
        if let Ok(vocabulary) = Vocabulary::parse(&bytes) {
            use_it(vocabulary);
        }
    }
}

#[test]
fn too_long_a_limit_is_refused_for_words_too() {
    let config = TokenizerConfig { max_word_chars: u16::MAX, ..TokenizerConfig::default() };
    let words = basic_words(&nasty()[0], &config, |_, _| unreachable!());
    assert_eq!(words.unwrap_err(), Error::Config);
}
