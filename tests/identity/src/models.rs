//! Three small models of different widths, heads and rules, with random weights.
//!
//! Random weights alone stay in a comfortable range, so each model has parts at its edges: weights so
//! faint that products are subnormal, rows of zeros, attention so sharp that exponentials underflow,
//! a channel far larger than the others.

use bert_core::format::{
    EmbeddingWeights, HeadWeights, LayerWeights, Layout, LinearWeights, ModelBuilder, NormWeights,
    WordEncoding,
};
use bert_core::tokenizer::TokenizerConfig;
use bert_core::{Activation, Pooling};

use crate::lexicon::pieces;
use crate::random::Draws;

/// What distinguishes the models.
struct Recipe {
    layers: usize,
    hidden: usize,
    heads: usize,
    feed_forward: usize,
    max_length: usize,
    activation: Activation,
    cased: bool,
    head: Head,
    /// 1/√H or near it, a power of two so that it is exact.
    scale: f32,
    seed: u64,
}

#[derive(PartialEq)]
enum Head {
    Joint,
    Span,
    Embed,
}

/// In the order in which every machine is asked.
const RECIPES: [Recipe; 3] = [
    // A bert-tiny with labels and tags.
    Recipe {
        layers: 2,
        hidden: 128,
        heads: 2,
        feed_forward: 512,
        max_length: 64,
        activation: Activation::Gelu,
        cased: false,
        head: Head::Joint,
        scale: 0.0625,
        seed: 11,
    },
    // Answers to questions; widths that are no multiple of a register.
    Recipe {
        layers: 1,
        hidden: 93,
        heads: 3,
        feed_forward: 203,
        max_length: 48,
        activation: Activation::GeluTanh,
        cased: true,
        head: Head::Span,
        scale: 0.125,
        seed: 12,
    },
    // Vectors of texts, from one head.
    Recipe {
        layers: 2,
        hidden: 64,
        heads: 1,
        feed_forward: 256,
        max_length: 40,
        activation: Activation::Relu,
        cased: false,
        head: Head::Embed,
        scale: 0.125,
        seed: 13,
    },
];

/// Labels of the joint model.
const LABELS: [&str; 7] = ["on", "off", "dim", "open", "close", "ask", "other"];
/// Tags of the joint model.
const TAGS: [&str; 7] = ["O", "B-device", "I-device", "B-room", "I-room", "B-time", "I-time"];

/// Far below 1, and times the scale of a row below the least normal f32.
const FAINT: f32 = 1.0 / (1u128 << 110) as f32;
/// Makes the scores of attention differ by more than the logarithm of the least f32.
const SHARP: f32 = 16.0;

/// The model files.
pub fn build_all() -> Vec<Vec<u8>> {
    RECIPES.iter().map(build).collect()
}

struct Linear {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

struct Norm {
    gamma: Vec<f32>,
    beta: Vec<f32>,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    feed_forward_in: Linear,
    feed_forward_out: Linear,
    feed_forward_norm: Norm,
}

impl Linear {
    fn draw(draws: &mut Draws, outputs: usize, inputs: usize, scale: f32) -> Self {
        Linear {
            weight: draws.weights(outputs * inputs, scale, 0.0),
            bias: draws.weights(outputs, 0.125, 0.0),
        }
    }

    /// Multiplies the weights of an output, and its bias.
    fn scale_output(&mut self, output: usize, by: f32) {
        let inputs = self.weight.len() / self.bias.len();
        self.weight[output * inputs..][..inputs].iter_mut().for_each(|w| *w *= by);
        self.bias[output] *= by;
    }

    fn view(&self) -> LinearWeights<'_> {
        LinearWeights { weight: &self.weight, bias: &self.bias }
    }
}

impl Norm {
    fn draw(draws: &mut Draws, width: usize) -> Self {
        Norm { gamma: draws.weights(width, 0.125, 1.0), beta: draws.weights(width, 0.125, 0.0) }
    }

    fn view(&self) -> NormWeights<'_> {
        NormWeights { gamma: &self.gamma, beta: &self.beta }
    }
}

impl Layer {
    fn draw(draws: &mut Draws, recipe: &Recipe) -> Self {
        let (h, f, scale) = (recipe.hidden, recipe.feed_forward, recipe.scale);
        let mut layer = Layer {
            query: Linear::draw(draws, h, h, scale),
            key: Linear::draw(draws, h, h, scale),
            value: Linear::draw(draws, h, h, scale),
            attention_output: Linear::draw(draws, h, h, scale),
            attention_norm: Norm::draw(draws, h),
            feed_forward_in: Linear::draw(draws, f, h, scale),
            feed_forward_out: Linear::draw(draws, h, f, scale / 2.0),
            feed_forward_norm: Norm::draw(draws, h),
        };
        // The last head is sharp, one of its values faint.
        for output in h - h / recipe.heads..h {
            layer.query.scale_output(output, SHARP);
        }
        layer.value.scale_output(h - 1, FAINT);
        layer.feed_forward_in.scale_output(f / 2, 0.0);
        layer.feed_forward_in.scale_output(f - 1, SHARP);
        layer.attention_norm.gamma[0] = 0.0;
        layer
    }

    fn view(&self) -> LayerWeights<'_> {
        LayerWeights {
            query: self.query.view(),
            key: self.key.view(),
            value: self.value.view(),
            attention_output: self.attention_output.view(),
            attention_norm: self.attention_norm.view(),
            feed_forward_in: self.feed_forward_in.view(),
            feed_forward_out: self.feed_forward_out.view(),
            feed_forward_norm: self.feed_forward_norm.view(),
        }
    }
}

fn build(recipe: &Recipe) -> Vec<u8> {
    let mut draws = Draws::new(recipe.seed);
    let h = recipe.hidden;
    let vocabulary = pieces(recipe.cased);
    let word = draws.weights(vocabulary.len() * h, 1.0, 0.0);
    let position = draws.weights(recipe.max_length * h, 0.5, 0.0);
    let segment = draws.weights(2 * h, 0.25, 0.0);
    let norm = Norm::draw(&mut draws, h);
    let layers: Vec<Layer> = (0..recipe.layers).map(|_| Layer::draw(&mut draws, recipe)).collect();
    let pooler = Linear::draw(&mut draws, h, h, recipe.scale);
    let mut classifier = Linear::draw(&mut draws, LABELS.len(), h, recipe.scale);
    classifier.scale_output(LABELS.len() - 1, FAINT);
    let mut tagger = Linear::draw(&mut draws, TAGS.len(), h, recipe.scale);
    tagger.scale_output(0, FAINT);
    let spans = Linear::draw(&mut draws, 2, h, recipe.scale);
    let (labels, tags) = (LABELS.map(String::from), TAGS.map(String::from));
    let model = ModelBuilder {
        hidden: h,
        heads: recipe.heads,
        feed_forward: recipe.feed_forward,
        max_length: recipe.max_length,
        activation: recipe.activation,
        epsilon: 1e-12,
        tokenizer: match recipe.cased {
            true => TokenizerConfig::cased(),
            false => TokenizerConfig::uncased(),
        },
        vocabulary: &vocabulary,
        embeddings: EmbeddingWeights {
            word: &word,
            position: &position,
            segment: &segment,
            norm: norm.view(),
        },
        layers: layers.iter().map(Layer::view).collect(),
        pooler: (recipe.head == Head::Joint).then(|| pooler.view()),
        head: match recipe.head {
            Head::Joint => HeadWeights::Joint {
                classifier: classifier.view(),
                labels: &labels,
                tagger: tagger.view(),
                tags: &tags,
            },
            Head::Span => HeadWeights::Span { spans: spans.view() },
            Head::Embed => HeadWeights::Embed { pooling: Pooling::Mean },
        },
        layout: Layout::default(),
        words: WordEncoding::default(),
        halves: &[],
        self_test_texts: &["turn on the lamp in the kitchen", ""],
    };
    model.build().expect("weights and shapes of the recipe fit the format")
}
