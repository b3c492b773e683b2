//! A BERT-tiny with random weights and as large a vocabulary as is asked for: what a model takes of a
//! chip depends on its shape, not on what it knows.

use bert_core::Activation;
use bert_core::format::{
    BuildError, EmbeddingWeights, HeadWeights, LayerWeights, Layout, LinearWeights, ModelBuilder,
    NormWeights, WordEncoding,
};
use bert_core::tokenizer::TokenizerConfig;

use crate::measure::{FILLERS, WORDS};

/// H, A, F and L of BERT-tiny, and the longest text that is measured.
const HIDDEN: usize = 128;
const HEADS: usize = 2;
const FEED_FORWARD: usize = 512;
const LAYERS: usize = 2;
const MAX_LENGTH: usize = 64;
/// Standard deviation of BERT's first weights.
const DEVIATION: f32 = 0.02;

const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
const LABELS: [&str; 8] = ["on", "off", "dim", "open", "close", "play", "stop", "other"];
const TAGS: [&str; 5] = ["O", "B-device", "I-device", "B-room", "I-room"];

/// The file of a model for labels and tags, hidden 128, two layers, with `vocabulary` pieces; equal
/// numbers give equal bytes.
///
/// # Errors
///
/// [`BuildError`] if the format has no room for so many pieces.
pub fn random_model(vocabulary: usize) -> Result<Vec<u8>, BuildError> {
    let mut draws = Draws(0);
    let pieces = pieces(vocabulary);
    let word = draws.weights(pieces.len() * HIDDEN);
    let position = draws.weights(MAX_LENGTH * HIDDEN);
    let segment = draws.weights(2 * HIDDEN);
    let layers: Vec<Layer> = (0..LAYERS).map(|_| Layer::draw(&mut draws)).collect();
    let pooler = Linear::draw(&mut draws, HIDDEN, HIDDEN);
    let classifier = Linear::draw(&mut draws, LABELS.len(), HIDDEN);
    let tagger = Linear::draw(&mut draws, TAGS.len(), HIDDEN);
    let (labels, tags) = (LABELS.map(String::from), TAGS.map(String::from));
    let (ones, zeros) = ([1.0; HIDDEN], [0.0; HIDDEN]);
    let norm = NormWeights { gamma: &ones, beta: &zeros };
    let model = ModelBuilder {
        hidden: HIDDEN,
        heads: HEADS,
        feed_forward: FEED_FORWARD,
        max_length: MAX_LENGTH,
        activation: Activation::Gelu,
        epsilon: 1e-12,
        tokenizer: TokenizerConfig::uncased(),
        vocabulary: &pieces,
        embeddings: EmbeddingWeights { word: &word, position: &position, segment: &segment, norm },
        layers: layers.iter().map(|layer| layer.view(norm)).collect(),
        pooler: Some(pooler.view()),
        head: HeadWeights::Joint {
            classifier: classifier.view(),
            labels: &labels,
            tagger: tagger.view(),
            tags: &tags,
        },
        layout: Layout::default(),
        words: WordEncoding::default(),
        halves: &[],
        self_test_texts: &["turn on the lamp in the kitchen", "Grüße! 12:30", ""],
    };
    model.build()
}

/// The special tokens, what texts for measuring are made of, then numbers until there are enough.
fn pieces(count: usize) -> Vec<String> {
    let mut pieces: Vec<String> = SPECIAL.map(String::from).to_vec();
    // The last filler is one that no vocabulary knows.
    for word in WORDS.iter().chain(&FILLERS[..FILLERS.len() - 1]) {
        if !pieces.iter().any(|piece| piece == word) {
            pieces.push((*word).into());
        }
    }
    let numbers = count.saturating_sub(pieces.len());
    pieces.extend((0..numbers).map(|number| format!("##{number}")));
    pieces
}

/// SplitMix64: the n-th draw depends on n alone.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Sums of four 16-bit parts of a draw, nearly normal.
    fn weights(&mut self, count: usize) -> Vec<f32> {
        // Of one part, uniform in 0 to 65,535.
        let deviation = 65_536.0 / 12.0f32.sqrt();
        let weight = |bits: u64| {
            let sum: i32 = (0..4).map(|part| i32::from((bits >> (16 * part)) as u16)).sum();
            (sum - 2 * 65_535) as f32 / (2.0 * deviation) * DEVIATION
        };
        (0..count).map(|_| weight(self.next())).collect()
    }
}

struct Linear {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Linear {
    fn draw(draws: &mut Draws, outputs: usize, inputs: usize) -> Self {
        Linear { weight: draws.weights(outputs * inputs), bias: draws.weights(outputs) }
    }

    fn view(&self) -> LinearWeights<'_> {
        LinearWeights { weight: &self.weight, bias: &self.bias }
    }
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    feed_forward_in: Linear,
    feed_forward_out: Linear,
}

impl Layer {
    fn draw(draws: &mut Draws) -> Self {
        let mut linear = |outputs, inputs| Linear::draw(draws, outputs, inputs);
        Layer {
            query: linear(HIDDEN, HIDDEN),
            key: linear(HIDDEN, HIDDEN),
            value: linear(HIDDEN, HIDDEN),
            attention_output: linear(HIDDEN, HIDDEN),
            feed_forward_in: linear(FEED_FORWARD, HIDDEN),
            feed_forward_out: linear(HIDDEN, FEED_FORWARD),
        }
    }

    fn view<'a>(&'a self, norm: NormWeights<'a>) -> LayerWeights<'a> {
        LayerWeights {
            query: self.query.view(),
            key: self.key.view(),
            value: self.value.view(),
            attention_output: self.attention_output.view(),
            attention_norm: norm,
            feed_forward_in: self.feed_forward_in.view(),
            feed_forward_out: self.feed_forward_out.view(),
            feed_forward_norm: norm,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bert_core::Model;

    use super::*;
    use crate::measured_texts;

    #[test]
    fn a_model_of_any_vocabulary_has_texts_to_measure() {
        for vocabulary in [64, 1000] {
            let file = random_model(vocabulary).unwrap();
            assert_eq!(file, random_model(vocabulary).unwrap());
            let model = Model::parse(&file).unwrap();
            assert_eq!(model.config().vocabulary as usize, vocabulary);
            let texts = measured_texts(&model).unwrap();
            assert_eq!(texts.iter().map(|text| text.tokens).collect::<Vec<_>>(), [16, 32, 64]);
        }
    }
}
