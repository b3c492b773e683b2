//! The inferences whose instructions are counted: each model with a short and with its longest text.

use crate::corpus::Case;

/// A piece of every vocabulary, so that a word is a token.
const WORD: &str = "a ";
const WORDS: &str = "a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g h i j k l m \
                     n o p q r s t u v w x y z a b c d e f g h i j k l m n o p q r s t u v w x y z";

/// Short ones have 16 tokens, as a command to a device has.
pub fn all() -> Vec<Case<'static>> {
    let case = |(model, tokens, words): (usize, u32, usize)| {
        let text = &WORDS[..(words * WORD.len()).saturating_sub(1)];
        Case { model, tokens, text }
    };
    // The question of the span model takes some of its tokens, see `measure::QUESTION`.
    [(0, 16, 14), (0, 64, 62), (1, 16, 10), (1, 48, 42), (2, 16, 14), (2, 40, 38)].map(case).into()
}
