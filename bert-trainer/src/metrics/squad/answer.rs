//! One predicted answer against one true answer.
//!
//! The reference is Python, so characters belong to the classes that Python puts them in: its
//! words, its spaces and its lower case, which here and there are not Rust's.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What Python's `re` takes for a word. The underscore, a part of words too, is punctuation and gone
/// by then; combining marks are no part of words, so that `a` + U+0301 is an article with an accent.
/// The regular expression `\w` of Rust has them.
static WORD: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[\p{L}\p{N}]+").expect("a constant and valid pattern"));

/// An answer in lower case without ASCII punctuation and English articles, with one space between
/// its words.
///
/// ```
/// use bert_trainer::metrics::squad::normalize_answer;
/// assert_eq!(normalize_answer("The  \"Cat's\" mat."), "cats mat");
/// ```
pub fn normalize_answer(answer: &str) -> String {
    let lower = answer.to_lowercase();
    let bare: String = lower.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let meant = WORD.replace_all(&bare, |word: &Captures<'_>| {
        if matches!(&word[0], "a" | "an" | "the") { " ".to_owned() } else { word[0].to_owned() }
    });
    meant.split(is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Whether two answers are the same once [normalized](normalize_answer).
pub fn exact_match(gold: &str, predicted: &str) -> bool {
    normalize_answer(gold) == normalize_answer(predicted)
}

/// F1 of the words of two [normalized](normalize_answer) answers, as often as they occur, in 0..=1.
///
/// Without any word in one of them it is what `wordless` makes of whether both have none.
pub(super) fn token_f1(gold: &str, predicted: &str, wordless: fn(bool) -> f64) -> f64 {
    let (gold, predicted) = (normalize_answer(gold), normalize_answer(predicted));
    if gold.is_empty() || predicted.is_empty() {
        return wordless(gold == predicted);
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    gold.split(' ').for_each(|word| *left.entry(word).or_default() += 1);
    let mut shared = 0;
    for word in predicted.split(' ') {
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            shared += 1;
        }
    }
    if shared == 0 {
        return 0.0;
    }
    // Rounded where the script rounds: the search for a threshold compares sums of these.
    let precision = f64::from(shared) / predicted.split(' ').count() as f64;
    let recall = f64::from(shared) / gold.split(' ').count() as f64;
    2.0 * precision * recall / (precision + recall)
}

/// What Python's `str.split` splits at: white space, and four separators of ASCII.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each differs from what the obvious Rust function would make of it.
    #[test]
    fn characters_are_pythons() {
        for (answer, expected) in [
            ("a\u{301} b", "\u{301} b"),
            ("a\u{200d}b", "\u{200d}b"),
            ("the\u{24b6}", "\u{24d0}"),
            ("a\u{b2} an\u{661}", "a\u{b2} an\u{661}"),
            ("x\u{1c}y\u{1f}z", "x y z"),
            ("\u{201c}the\u{201d} end", "\u{201c} \u{201d} end"),
            ("a_b the_end", "ab theend"),
            ("ΟΔΟΣ", "οδος"),
        ] {
            assert_eq!(normalize_answer(answer), expected, "{answer:?}");
        }
    }
}
