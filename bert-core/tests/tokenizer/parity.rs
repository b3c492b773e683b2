//! Equal pieces, offsets and words on nasty lines, on real text and on drawn text.

use std::ops::ControlFlow;
use std::sync::LazyLock;

use bert_core::tokenizer::{Tokenizer, TokenizerConfig, Vocabulary, basic_words};
use proptest::prelude::*;

use crate::common::Random;
use crate::hostile_text::hostile_text;
use crate::hugging_face::{self, Reference};
use crate::{configs, nasty, packed, shared_data, tokens, vocabularies, words};

/// Compares all texts with all vocabularies and configurations; every difference is in the message.
fn check<'t>(texts: impl Iterator<Item = &'t str> + Clone, configs: &[TokenizerConfig]) {
    let mut differences = Vec::new();
    for (name, pieces) in vocabularies() {
        let bytes = packed(&pieces);
        for config in configs {
            let vocabulary = Vocabulary::parse(&bytes).unwrap();
            let tokenizer = Tokenizer::new(vocabulary, *config).unwrap();
            let reference = Reference::new(&pieces, config);
            let (mut count, mut unknown) = (0, 0);
            for text in texts.clone() {
                let (ours, theirs) = (tokens(&tokenizer, text), reference.tokens(text));
                count += theirs.len();
                unknown += theirs.iter().filter(|token| token.id == tokenizer.unk).count();
                if ours != theirs {
                    differences.push(format!(
                        "{name}, {config:?}\n  {text:?}\n  ours   {ours:?}\n  theirs {theirs:?}"
                    ));
                }
            }
            println!("{name}, {config:?}: {count} tokens, {unknown} unknown");
            assert!(unknown < count);
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn nasty_lines_are_tokenized_alike() {
    let texts = nasty();
    check(texts.iter().map(String::as_str), &configs());
}

#[test]
fn nasty_lines_have_the_same_words() {
    for config in configs() {
        for text in nasty() {
            let theirs = hugging_face::words(&text, &config);
            assert_eq!(words(&text, &config), theirs, "{config:?} {text:?}");
        }
    }
}

#[test]
fn real_text_is_tokenized_alike() {
    const LINES: usize = 3000;
    for name in ["corpus/tiny.train.sent.txt", "corpus/wiki.valid.sent.txt"] {
        if let Some(text) = shared_data(name) {
            check(text.lines().take(LINES), &configs()[..2]);
        }
    }
}

#[test]
fn a_long_text_is_one_stream() {
    let text = nasty().join("\n").repeat(3);
    check(std::iter::once(text.as_str()), &configs()[..2]);
}

#[test]
fn hostile_texts_are_tokenized_alike() {
    const TEXTS: usize = 1000;
    let mut random = Random(1);
    let texts: Vec<String> = (0..TEXTS).map(|_| hostile_text(&mut random)).collect();
    check(texts.iter().map(String::as_str), &configs());
}

#[test]
fn hostile_texts_have_the_same_words() {
    const TEXTS: u64 = 4000;
    for (number, config) in (0..).zip(configs()) {
        let mut random = Random(number);
        for _ in 0..TEXTS {
            let text = hostile_text(&mut random);
            let theirs = hugging_face::words(&text, &config);
            assert_eq!(words(&text, &config), theirs, "{config:?} {text:?}");
        }
    }
}

#[test]
fn special_tokens_in_a_text_are_plain_text() {
    let (_, pieces) = vocabularies().swap_remove(0);
    let bytes = packed(&pieces);
    let vocabulary = Vocabulary::parse(&bytes).unwrap();
    let tokenizer = Tokenizer::new(vocabulary, TokenizerConfig::cased()).unwrap();
    let tokens = tokens(&tokenizer, "[MASK]");
    assert!(tokens.iter().all(|token| token.id != tokenizer.mask));
    assert_eq!(tokens.iter().filter(|token| token.first).count(), 3);
}

#[test]
fn the_word_limit_is_that_of_the_configuration() {
    let (_, pieces) = vocabularies().swap_remove(0);
    let bytes = packed(&pieces);
    let vocabulary = Vocabulary::parse(&bytes).unwrap();
    for max_word_chars in [0, 1, 2, 7, 199, 200] {
        let config = TokenizerConfig { max_word_chars, ..TokenizerConfig::uncased() };
        let tokenizer = Tokenizer::new(vocabulary, config).unwrap();
        let reference = Reference::new(&pieces, &config);
        for text in nasty() {
            assert_eq!(tokens(&tokenizer, &text), reference.tokens(&text), "{text:?}");
        }
    }
    let config = TokenizerConfig { max_word_chars: 201, ..TokenizerConfig::uncased() };
    assert_eq!(Tokenizer::new(vocabulary, config).unwrap_err(), bert_core::Error::Config);
}

#[test]
fn a_sink_that_breaks_is_not_called_again() {
    let text = "one, two (three)";
    let total = words(text, &TokenizerConfig::uncased()).len();
    for wanted in 1..=total {
        let mut seen = 0;
        let sink = |_: &_, _| {
            seen += 1;
            if seen == wanted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        basic_words(text, &TokenizerConfig::uncased(), sink).unwrap();
        assert_eq!(seen, wanted);
    }
}

/// Characters of the nasty lines, so that each is as likely as its neighbours.
static NASTY_CHARS: LazyLock<Vec<char>> = LazyLock::new(|| {
    let mut chars: Vec<char> = nasty().concat().chars().collect();
    chars.sort_unstable();
    chars.dedup();
    chars
});

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

    #[test]
    fn drawn_code_points_have_the_same_words(text in proptest::collection::vec(any::<char>(), 0..60)) {
        let text: String = text.into_iter().collect();
        for config in configs() {
            prop_assert_eq!(words(&text, &config), hugging_face::words(&text, &config));
        }
    }

    #[test]
    fn drawn_nasty_characters_have_the_same_words(
        text in proptest::collection::vec(proptest::sample::select(&NASTY_CHARS[..]), 0..60)
    ) {
        let text: String = text.into_iter().collect();
        for config in configs() {
            prop_assert_eq!(words(&text, &config), hugging_face::words(&text, &config));
        }
    }
}
