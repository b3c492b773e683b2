//! Masks for the masked language model.
//!
//! Devlin et al. 2019, section 3.1: 15 % of the tokens are predicted; of those 80 % are replaced by
//! `[MASK]`, 10 % by a random piece and 10 % stay.
//! The masks are drawn anew each time a pair is used.

use super::TextTokenizer;
use super::rng::Draws;

/// How tokens are masked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaskOptions {
    /// Share of the tokens of a sequence that is predicted, above 0 and at most 1.
    pub probability: f64,
    /// Mask all pieces of a word or none.
    pub whole_word: bool,
}

/// Masks one sequence in place and appends (index in `ids`, the piece that stood there) of each
/// masked token to `masked`, ascending.
///
/// As in google-research/bert, round(probability · tokens) tokens are masked, at least one, counted
/// with `[CLS]` and `[SEP]`, which themselves are never masked; with whole words, words that would
/// exceed that number are passed over, unless no word fits at all.
/// A random piece is any of the vocabulary.
pub fn mask(
    ids: &mut [u32],
    tokenizer: &TextTokenizer,
    options: MaskOptions,
    draws: &mut Draws,
    masked: &mut Vec<(u32, u32)>,
) {
    let special = tokenizer.special();
    let wanted = ((ids.len() as f64 * options.probability).round() as usize).max(1);

    // Units are what is masked together: tokens, or the tokens of a word.
    let mut units: Vec<(u32, u32)> = Vec::with_capacity(ids.len());
    let mut inside_word = false;
    for (at, &id) in ids.iter().enumerate() {
        let at = at as u32;
        if id == special.cls || id == special.sep {
            inside_word = false;
        } else if let Some(word) = units
            .last_mut()
            .filter(|_| inside_word && options.whole_word && tokenizer.continues(id))
        {
            word.1 = at + 1;
        } else {
            units.push((at, at + 1));
            inside_word = true;
        }
    }

    let start = masked.len();
    draws.shuffle(&mut units);
    for &(first, end) in &units {
        let taken = masked.len() - start;
        if taken >= wanted {
            break;
        }
        if taken + (end - first) as usize <= wanted {
            masked.extend((first..end).map(|at| (at, ids[at as usize])));
        }
    }
    if masked.len() == start
        && let Some(&(first, end)) = units.first()
    {
        masked.extend((first..end).map(|at| (at, ids[at as usize])));
    }
    masked[start..].sort_unstable();
    for &(at, _) in &masked[start..] {
        let kind = draws.unit();
        if kind < 0.8 {
            ids[at as usize] = special.mask;
        } else if kind < 0.9 {
            ids[at as usize] = draws.below(u64::from(tokenizer.vocabulary_size())) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::rng::Stream;
    use crate::data::tokenizer::{SPECIAL_PIECES, TokenizerConfig};

    /// Pieces 5.. with every third one a continuation.
    fn tokenizer() -> TextTokenizer {
        let mut pieces: Vec<String> = SPECIAL_PIECES.map(String::from).to_vec();
        pieces.extend((5..1000).map(|id| match id % 3 {
            0 => format!("##p{id}"),
            _ => format!("p{id}"),
        }));
        let config = TokenizerConfig {
            lower_case: true,
            strip_accents: true,
            split_chinese: true,
            max_word_chars: 100,
        };
        TextTokenizer::from_pieces(pieces, config).unwrap()
    }

    fn sequence(draws: &mut Draws, length: usize) -> Vec<u32> {
        let mut ids: Vec<u32> = (0..length).map(|_| draws.between(5, 999) as u32).collect();
        (ids[0], ids[length / 2], ids[length - 1]) = (2, 3, 3);
        ids
    }

    #[test]
    fn shares_are_those_of_the_paper() {
        let tokenizer = tokenizer();
        for whole_word in [false, true] {
            let options = MaskOptions { probability: 0.15, whole_word };
            let (mut tokens, mut masks, mut random, mut kept) = (0, 0, 0, 0);
            for n in 0..2000 {
                let mut draws = Draws::new(1, Stream::Masks, 0, n);
                let original = sequence(&mut draws, 100);
                let mut ids = original.clone();
                let mut masked = Vec::new();
                mask(&mut ids, &tokenizer, options, &mut draws, &mut masked);
                assert!(masked.len() <= 15 && masked.len() >= if whole_word { 13 } else { 15 });
                assert!(masked.is_sorted());
                tokens += 100;
                for (at, (&was, &is)) in original.iter().zip(&ids).enumerate() {
                    match masked.iter().find(|(index, _)| *index as usize == at) {
                        None => assert_eq!(was, is),
                        Some(&(_, target)) => {
                            assert_eq!(target, was);
                            assert!(was != 2 && was != 3, "special pieces are never masked");
                            *match is {
                                4 => &mut masks,
                                _ if is == was => &mut kept,
                                _ => &mut random,
                            } += 1;
                        }
                    }
                }
            }
            let all = f64::from(masks + random + kept);
            assert!((all / f64::from(tokens) - 0.15).abs() < 0.005, "{all} of {tokens}");
            // Five standard deviations of shares of 30,000 draws are below 0.012.
            for (count, share) in [(masks, 0.8), (random, 0.1), (kept, 0.1)] {
                assert!((f64::from(count) / all - share).abs() < 0.012, "{count} {share}");
            }
        }
    }

    #[test]
    fn whole_words_are_masked_as_a_whole() {
        let tokenizer = tokenizer();
        let options = MaskOptions { probability: 0.15, whole_word: true };
        for n in 0..500 {
            let mut draws = Draws::new(2, Stream::Masks, 0, n);
            let original = sequence(&mut draws, 60);
            let mut ids = original.clone();
            let mut masked = Vec::new();
            mask(&mut ids, &tokenizer, options, &mut draws, &mut masked);
            let is_masked = |at: usize| masked.iter().any(|&(index, _)| index as usize == at);
            for at in 1..60 {
                let (before, piece) = (original[at - 1], original[at]);
                if tokenizer.continues(piece) && before != 2 && before != 3 {
                    assert_eq!(is_masked(at), is_masked(at - 1));
                }
            }
        }
    }

    #[test]
    fn at_least_one_token_is_masked_where_there_is_one() {
        let tokenizer = tokenizer();
        for whole_word in [false, true] {
            let options = MaskOptions { probability: 0.01, whole_word };
            let mut draws = Draws::new(3, Stream::Masks, 0, 0);
            let mut masked = Vec::new();
            // One word of three pieces.
            mask(&mut [2, 7, 9, 12, 3], &tokenizer, options, &mut draws, &mut masked);
            assert_eq!(masked.len(), if whole_word { 3 } else { 1 });
            masked.clear();
            mask(&mut [2, 3, 3], &tokenizer, options, &mut draws, &mut masked);
            assert!(masked.is_empty());
        }
    }
}
