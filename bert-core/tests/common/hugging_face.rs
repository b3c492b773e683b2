//! The reference tokenizer: `tokenizers` with BERT's parts, and no added tokens.
#![allow(dead_code)]

use bert_core::tokenizer::TokenizerConfig;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{
    Encoding, PostProcessor, Tokenizer, TruncationParams, TruncationStrategy, truncate_encodings,
};

pub fn normalizer(config: &TokenizerConfig) -> BertNormalizer {
    let strip_accents = Some(config.strip_accents);
    BertNormalizer::new(true, config.split_chinese, strip_accents, config.lower_case)
}

pub fn tokenizer(pieces: &[String], config: &TokenizerConfig) -> Tokenizer {
    let vocabulary = WordPiece::read_bytes(pieces.join("\n").as_bytes()).unwrap();
    assert_eq!(vocabulary.len(), pieces.len());
    let model = WordPiece::builder()
        .vocab(vocabulary)
        .unk_token("[UNK]".into())
        .max_input_chars_per_word(config.max_word_chars.into())
        .build()
        .unwrap();
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_normalizer(Some(normalizer(config))).unwrap();
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer
}

/// Pairs of texts with `[CLS]` and `[SEP]`, cut.
pub struct Pairs(Tokenizer);

impl Pairs {
    pub fn new(pieces: &[String], config: &TokenizerConfig) -> Self {
        let mut tokenizer = tokenizer(pieces, config);
        let special = |name: &str| {
            let id = pieces.iter().position(|piece| piece == name).unwrap() as u32;
            (name.to_string(), id)
        };
        let processing = BertProcessing::new(special("[SEP]"), special("[CLS]"));
        tokenizer.with_post_processor(Some(processing));
        Pairs(tokenizer)
    }

    /// Two texts cut longest first.
    pub fn cut(&self, texts: (&str, &str), max_length: usize) -> Encoding {
        let (mut a, mut b) = self.truncate(texts, max_length, TruncationStrategy::LongestFirst, 0);
        // What was cut off would be joined too, each part of one text with each of the other.
        drop((a.take_overflowing(), b.take_overflowing()));
        self.0.post_process(a, Some(b), true).unwrap()
    }

    /// The first text with each of the windows of the second, of which `stride` tokens overlap.
    pub fn windows(&self, texts: (&str, &str), max_length: usize, stride: usize) -> Vec<Encoding> {
        let (a, b) = self.truncate(texts, max_length, TruncationStrategy::OnlySecond, stride);
        let mut first = self.0.post_process(a, Some(b), true).unwrap();
        let rest = first.take_overflowing();
        std::iter::once(first).chain(rest).collect()
    }

    /// `Tokenizer::encode` of 0.23 gives up on a text once it has `max_length` tokens, before it cuts:
    /// of longer ones it loses the rest, and with it which of two was longer
    /// (<https://github.com/huggingface/tokenizers/issues/2091>). So the texts are tokenized whole,
    /// then cut by the function that `encode` calls for that.
    fn truncate(
        &self,
        texts: (&str, &str),
        max_length: usize,
        strategy: TruncationStrategy,
        stride: usize,
    ) -> (Encoding, Encoding) {
        let (a, b) = self.whole(texts);
        let max_length = max_length - self.0.get_post_processor().unwrap().added_tokens(true);
        let parameters = TruncationParams { max_length, strategy, stride, ..Default::default() };
        let (a, b) = truncate_encodings(a, Some(b), &parameters).unwrap();
        (a, b.unwrap())
    }

    /// Tokens of two texts that nothing is cut off.
    pub fn whole_length(&self, texts: (&str, &str)) -> usize {
        let (a, b) = self.whole(texts);
        a.len() + b.len() + 3
    }

    fn whole(&self, (a, b): (&str, &str)) -> (Encoding, Encoding) {
        let [a, mut b] = [a, b].map(|text| self.0.encode(text, false).unwrap());
        b.set_type_ids(vec![1; b.len()]);
        (a, b)
    }
}
