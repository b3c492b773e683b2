//! The reference: `tokenizers` with BERT's parts, and no added tokens.

use bert_core::tokenizer::{Token, TokenizerConfig};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};

use crate::PlacedWord;
use crate::reference::{normalizer, tokenizer};

/// The words of `text`, their normalized form and place.
pub fn words(text: &str, config: &TokenizerConfig) -> Vec<PlacedWord> {
    let mut normalized = NormalizedString::from(text);
    normalizer(config).normalize(&mut normalized).unwrap();
    let mut pre_tokenized = PreTokenizedString::from(normalized);
    BertPreTokenizer.pre_tokenize(&mut pre_tokenized).unwrap();
    pre_tokenized
        .get_splits(OffsetReferential::Original, OffsetType::Byte)
        .into_iter()
        .map(|(word, (start, end), _)| {
            let limit = usize::from(config.max_word_chars);
            let too_long = word.chars().count() > limit;
            (if too_long { "(too long)" } else { word }.to_owned(), start, end)
        })
        .collect()
}

pub struct Reference(tokenizers::Tokenizer);

impl Reference {
    pub fn new(pieces: &[String], config: &TokenizerConfig) -> Self {
        Self(tokenizer(pieces, config))
    }

    pub fn tokens(&self, text: &str) -> Vec<Token> {
        let encoding = self.0.encode(text, false).unwrap();
        let words: Vec<u32> = encoding.get_word_ids().iter().map(|word| word.unwrap()).collect();
        let pieces = encoding.get_ids().iter().zip(encoding.get_offsets());
        pieces
            .enumerate()
            .map(|(i, (&id, &(start, end)))| Token {
                id,
                start: start as u32,
                end: end as u32,
                word: words[i],
                first: i == 0 || words[i] != words[i - 1],
            })
            .collect()
    }
}
