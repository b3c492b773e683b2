//! Texts of exact lengths, and the work of an inference.

use std::ops::ControlFlow;

use bert_core::tokenizer::Tokenizer;
use bert_core::{Config, Error, Head, Model, Pooling};

/// The lengths that are measured, in tokens.
const LENGTHS: [usize; 3] = [16, 32, 64];
/// What the texts are made of, over and over.
pub(crate) const WORDS: [&str; 12] =
    ["please", "turn", "on", "the", "lamp", "in", "the", "kitchen", "and", "play", "some", "music"];
/// Short words for the last tokens; of the last no vocabulary knows a piece, so it is one `[UNK]`.
pub(crate) const FILLERS: [&str; 4] = ["the", "a", ".", "\u{2603}"];

/// A text for measuring.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Tokens the model sees, `[CLS]` and `[SEP]` included.
    pub tokens: usize,
    /// Products of a weight or an activation with an activation, see [`macs`].
    pub macs: u64,
    /// The text; two with a tab between for a model that takes two.
    pub text: String,
}

/// A text for each length that the model takes.
///
/// # Errors
///
/// Those of its vocabulary.
pub fn measured_texts(model: &Model<'_>) -> Result<Vec<Measured>, Error> {
    let config = model.config();
    let tokenizer = Tokenizer::new(*model.vocabulary(), config.tokenizer)?;
    let pieces = |text: &str| -> Result<(usize, u64), Error> {
        let (mut tokens, mut words) = (0, 0);
        tokenizer.tokenize(text, |token| {
            tokens += 1;
            words += u64::from(token.first);
            ControlFlow::Continue(())
        })?;
        Ok((tokens, words))
    };
    let pair = matches!(config.head, Head::PairClassify { .. } | Head::Span);
    let lengths = LENGTHS.iter().filter(|&&tokens| tokens <= config.max_length.into());
    lengths
        .map(|&tokens| {
            // `[CLS]` and one `[SEP]`, or two, are no part of the text.
            let room = tokens - if pair { 3 } else { 2 };
            let mut text = String::new();
            let mut words = WORDS.iter().cycle().peekable();
            loop {
                let (found, first) = pieces(&text)?;
                if found == room {
                    let macs = macs(config, tokens, first);
                    return Ok(Measured { tokens, macs, text });
                }
                let separator = match text.len() {
                    0 => "",
                    _ if pair && !text.contains('\t') => "\t",
                    _ => " ",
                };
                let with = |word: &str| format!("{text}{separator}{word}");
                let fits = |word: &&&str| pieces(&with(word)).is_ok_and(|(n, _)| n <= room);
                let next = words.next().into_iter().chain(&FILLERS).find(fits);
                text = with(next.unwrap_or(&""));
            }
        })
        .collect()
}

/// Multiplications with additions of an inference over `tokens` tokens, of which `words` begin a word:
/// those of the matrices and of attention, as the formula of BERT has them. The last layer counts for
/// the rows that the head reads.
#[must_use]
pub fn macs(config: &Config, tokens: usize, words: u64) -> u64 {
    let [hidden, wide, tokens] =
        [config.hidden as usize, config.feed_forward as usize, tokens].map(|n| n as u64);
    let outputs = u64::from(config.head.outputs());
    let layer = |rows: u64| {
        let keys_and_values = 2 * tokens * hidden * hidden;
        let attention = 2 * rows * tokens * hidden;
        keys_and_values + attention + rows * (2 * hidden * hidden + 2 * hidden * wide)
    };
    let (last, head) = match config.head {
        Head::Tag { tags } | Head::Joint { tags, .. } => (tokens, words * hidden * u64::from(tags)),
        Head::Span => (tokens, 2 * tokens * hidden),
        Head::Embed { pooling: Pooling::Mean } => (tokens, 0),
        _ => (1, 0),
    };
    let pooler = if config.pooler { hidden * hidden } else { 0 };
    (u64::from(config.layers) - 1) * layer(tokens) + layer(last) + head + pooler + outputs * hidden
}
