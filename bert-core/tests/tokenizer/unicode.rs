//! Every code point, and every pair of combining characters that could change places.

use bert_core::tokenizer::TokenizerConfig;
use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::char::{canonical_combining_class, decompose_canonical};

use crate::{configs, hugging_face, words};

fn check(text: &str, config: &TokenizerConfig) {
    let (ours, theirs) = (words(text, config), hugging_face::words(text, config));
    if ours == theirs {
        return;
    }
    let first = ours.iter().zip(&theirs).find(|(ours, theirs)| ours != theirs);
    panic!("{config:?}: {first:?}, or {} for {} words", ours.len(), theirs.len());
}

/// Between letters; and where characters are assigned, also alone, twice and between marks.
fn settings(c: char) -> String {
    if c >= '\u{30000}' {
        return format!("a{c}B ");
    }
    format!("{c} a{c}B {c}{c}É{c}\u{323} ")
}

#[test]
fn every_code_point_is_treated_alike() {
    // One text holds many code points: `tokenizers` takes a while for each text.
    const TOGETHER: usize = 64;
    let chars: Vec<char> = ('\0'..=char::MAX).collect();
    for config in configs() {
        for some in chars.chunks(TOGETHER) {
            let text: String = some.iter().map(|&c| settings(c)).collect();
            check(&text, &config);
        }
    }
}

/// Characters that are sorted when decomposed, or that decompose into such ones.
fn combining() -> Vec<char> {
    let combines = |c: char| {
        let mut any = false;
        decompose_canonical(c, |part| any |= canonical_combining_class(part) > 0);
        any && !c.is_letter()
    };
    ('\0'..=char::MAX).filter(|&c| combines(c)).collect()
}

#[test]
fn combining_characters_change_places_alike() {
    let combining = combining();
    let staying: Vec<char> =
        combining.iter().copied().filter(|c| !c.is_mark_nonspacing()).collect();
    assert!(staying.len() > 30 && combining.len() > 500);
    let config = TokenizerConfig::uncased();
    for &stays in &staying {
        let text: String = combining
            .iter()
            .flat_map(|c| [format!("x{c}{stays}y "), format!("{stays}{c}{stays}\u{200b}{c} ")])
            .collect();
        check(&text, &config);
    }
}

#[test]
fn long_runs_of_combining_characters_are_treated_alike() {
    let combining = combining();
    let staying: Vec<char> =
        combining.iter().copied().filter(|c| !c.is_mark_nonspacing()).collect();
    // A fixed walk through both lists, of steps that share no factor with their lengths.
    for length in [1, 2, 3, 7, 40, 99, 130, 1000] {
        for start in 0..40 {
            let run: String = (0..length)
                .map(|i| match (i * 7 + start) % 5 {
                    0 | 1 => staying[(i * 31 + start * 17) % staying.len()],
                    _ => combining[(i * 97 + start * 61) % combining.len()],
                })
                .collect();
            for config in &configs()[..4] {
                check(&run, config);
                check(&format!("é{run}é {run}中{run}!{run}"), config);
            }
        }
    }
}
